"""Captures of a fabric that changes: they show what they were asked for, whatever numbers that has."""

import signal
from pathlib import Path
from typing import Any

import pytest
import trio

import vnet
from tests.vnet.test_control import in_thread, serving
from vnet.cli import main, words
from vnet.control.client import Client
from vnet.control.operations import Operations
from vnet.topology import Topology

PIPE: dict[str, Any] = {"kind": "pipe"}
RED_AND_BLUE: dict[str, Any] = {"red": {"vlan": 10}, "blue": {"vlan": 20}}
BROADCAST = b"\xff" * 6


def wanted(networks: dict[str, Any] = RED_AND_BLUE, **guests: str) -> Topology:
    """Guests with a pipe in a network each."""
    return Topology.from_dict(
        {
            "name": "lab",
            "networks": networks,
            "guests": {
                name: {"kind": "external", "nics": [{"network": network, "nic": PIPE}]}
                for name, network in guests.items()
            },
        }
    )


async def send(fabric: vnet.Fabric, name: str, payload: bytes) -> None:
    port = fabric.port(name)
    source = bytes.fromhex(port.wanted.mac.replace(":", ""))
    await port.opened.far.send(BROADCAST + source + b"\x88\xb5" + payload.ljust(50, b"\0"))
    # A millisecond, in which the engine turns.
    await trio.sleep(0.001)


def seen(path: Path, *payloads: bytes) -> list[bytes]:
    """Those of them that are in a file."""
    captured = path.read_bytes()
    return [payload for payload in payloads if payload in captured]


async def test_a_network_that_gets_another_vlan_is_what_is_captured(
    autojump_clock: Any, tmp_path: Path
) -> None:
    path = tmp_path / "red.pcapng"
    async with vnet.Fabric(wanted(web="red", shop="blue")) as fabric, fabric.capture(path, "red"):
        await send(fabric, "web", b"red before")
        moved = {"red": {"vlan": 30}, "blue": {"vlan": 10}}
        await fabric.apply(wanted(moved, web="red", shop="blue"))
        await send(fabric, "shop", b"blue in 10")
        await send(fabric, "web", b"red in 30")
        # One that is there later, too.
        await fabric.attach("db", network="red", nic=vnet.Pipe())
        await send(fabric, "db", b"red later")
        await fabric.apply(wanted({"blue": {"vlan": 30}}, shop="blue"))
        await send(fabric, "shop", b"blue in 30")
    said = (b"red before", b"blue in 10", b"red in 30", b"red later", b"blue in 30")
    assert seen(path, *said) == [b"red before", b"red in 30", b"red later"]


async def test_the_past_of_a_network_is_not_that_of_who_had_its_vlan(
    autojump_clock: Any, tmp_path: Path
) -> None:
    path = tmp_path / "blue.pcapng"
    async with vnet.Fabric(wanted(web="red", shop="blue")) as fabric:
        await send(fabric, "web", b"red in 10")
        await fabric.past(path, "red")
        assert seen(path, b"red in 10") == [b"red in 10"]
        moved = {"red": {"vlan": 30}, "blue": {"vlan": 10}}
        await fabric.apply(wanted(moved, web="red", shop="blue"))
        await trio.sleep(0.001)
        await send(fabric, "shop", b"blue in 10")
        await send(fabric, "web", b"red in 30")
        said = (b"red in 10", b"blue in 10", b"red in 30")
        await fabric.past(path, "blue")
        assert seen(path, *said) == [b"blue in 10"]
        await fabric.past(path, "red")
        assert seen(path, *said) == [b"red in 30"]
        # A VLAN that nobody has meanwhile is not given back its past either.
        await fabric.apply(wanted({"blue": {"vlan": 10}}, shop="blue"))
        await fabric.apply(wanted({"blue": {"vlan": 30}}, shop="blue"))
        await fabric.past(path, "blue")
        assert seen(path, *said) == []


async def test_what_is_anothers_is_not_captured_while_it_changes_hands(
    autojump_clock: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Red's VLAN is blue's when this one is opened; green's is nobody's.
    opened = vnet.Pipe.open

    async def open_late(self: vnet.Pipe, place: Any) -> Any:
        if place.port == "late.0":
            for guest, payload in (("shop", b"blue in 10"), ("web", b"red in 30"), ("depot", b"green in 50")):
                await send(fabric, guest, payload)
        return await opened(self, place)

    before = {"red": {"vlan": 10}, "blue": {"vlan": 20}, "green": {"vlan": 40}}
    after = {"red": {"vlan": 30}, "blue": {"vlan": 10}, "green": {"vlan": 50}}
    path = tmp_path / "some.pcapng"
    async with (
        vnet.Fabric(wanted(before, web="red", shop="blue", depot="green")) as fabric,
        fabric.capture(path, "red", "green"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(vnet.Pipe, "open", open_late)
            await fabric.apply(wanted(after, web="red", shop="blue", depot="green", late="blue"))
    assert seen(path, b"blue in 10", b"red in 30", b"green in 50") == [b"red in 30", b"green in 50"]


async def test_a_change_that_fails_leaves_captures_as_they_were(
    autojump_clock: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = vnet.Pipe.open

    async def fail_late(self: vnet.Pipe, place: Any) -> Any:
        if place.port != "late.0":
            return await opened(self, place)
        # Red's VLAN is blue's by now.
        await send(fabric, "shop", b"blue in 10")
        raise vnet.NicError("late.0: no")

    path, past = tmp_path / "red.pcapng", tmp_path / "past.pcapng"
    moved = wanted({"red": {"vlan": 30}, "blue": {"vlan": 10}}, web="red", shop="blue", late="blue")
    said = (b"blue in 10", b"red in 10", b"blue in 20")
    async with vnet.Fabric(wanted(web="red", shop="blue")) as fabric, fabric.capture(path, "red"):
        with monkeypatch.context() as patched:
            patched.setattr(vnet.Pipe, "open", fail_late)
            with pytest.raises(vnet.NicError, match=r"^late\.0: no$"):
                await fabric.apply(moved)
        await trio.sleep(0.001)
        await send(fabric, "web", b"red in 10")
        await send(fabric, "shop", b"blue in 20")
        await fabric.past(past, "red")
        assert seen(past, *said) == [b"red in 10"]
        await fabric.past(past, "blue")
        assert b"blue in 20" in seen(past, *said)
    assert seen(path, *said) == [b"red in 10"]


async def test_a_guest_that_comes_back_is_captured_on(
    autojump_clock: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "db.pcapng"
    async with vnet.Fabric(wanted(web="red", db="red")) as fabric:
        async with fabric.capture(path, "db", direction="in"):
            await send(fabric, "db", b"the first")
            for payload in (b"the second", b"the third"):
                await fabric.detach("db")
                [line] = [record.getMessage() for record in caplog.records]
                assert line == f"capture to {path}: there is nothing to capture until guest db is back"
                caplog.clear()
                await send(fabric, "web", b"another's")
                await fabric.attach("db", network="red", nic=vnet.Pipe())
                await send(fabric, "db", payload)
            # It is another port, and not gone.
            await fabric.apply(wanted(web="red", db="blue"))
            await send(fabric, "db", b"the fourth")
        await fabric.detach("db")
    assert not caplog.records
    said = (b"the first", b"the second", b"the third", b"another's", b"the fourth")
    assert seen(path, *said) == [b"the first", b"the second", b"the third", b"the fourth"]


async def test_a_switch_and_a_guest_are_captured_with_the_ports_that_they_get(
    autojump_clock: Any, tmp_path: Path
) -> None:
    nic = {"network": "red", "nic": PIPE, "switch": "core"}
    before: dict[str, Any] = {
        "name": "lab",
        "networks": RED_AND_BLUE,
        "switches": {"core": {}, "edge": {}},
        "guests": {"web": {"kind": "external", "nics": [nic]}},
    }
    after = {
        **before,
        "guests": {
            "web": {"kind": "external", "nics": [nic, {**nic, "switch": "edge"}]},
            "db": {"kind": "external", "nics": [nic]},
        },
        "links": [{"name": "cable", "ends": ["core", "edge"]}],
    }
    core, web = tmp_path / "core.pcapng", tmp_path / "web.pcapng"
    async with (
        vnet.Fabric.from_dict(before) as fabric,
        fabric.capture(core, "core"),
        fabric.capture(web, "web", direction="in"),
    ):
        await fabric.apply(Topology.from_dict(after))
        await send(fabric, "db.0", b"from db")
        await send(fabric, "web.1", b"from web")
    # What comes by the cable is captured at its end.
    assert seen(core, b"from db", b"from web", b"link, core", b"link, edge") == [
        b"from db",
        b"from web",
        b"link, core",
    ]
    assert seen(web, b"from db", b"from web") == [b"from web"]


@pytest.mark.parametrize("quiet", [False, True])
async def test_whoever_captures_reads_in_one_line_that_nothing_is_left(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    quiet: bool,
) -> None:
    # It is the main thread's, and there is none to interrupt here.
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    path = tmp_path / "db.pcapng"
    target = ["--json", "-w", "-"] if quiet else ["-w", str(path)]
    async with (
        vnet.Fabric(wanted(web="red", db="red"), runtime=tmp_path / "run", driver="trio") as fabric,
        serving(tmp_path, **Operations(fabric).table()) as control,
    ):
        monkeypatch.setattr(words, "client", lambda _name: Client(control))
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(in_thread, main, ["capture", "db", "-c", "1", "-Q", "in", *target])
                while not fabric.captures.running():  # noqa: ASYNC110
                    await trio.sleep(0.001)
                await fabric.detach("db")
                await fabric.attach("db", network="red", nic=vnet.Pipe())
                await send(fabric, "db", b"again")
    errors = capfd.readouterr().err.splitlines()
    told = ["vnet capture: there is nothing to capture until guest db is back"]
    assert errors[:-1] == ([] if quiet else told)
    assert errors[-1].startswith('{"received": 1' if quiet else "1 frame captured")
