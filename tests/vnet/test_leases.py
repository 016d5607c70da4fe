"""What guests have by DHCP is theirs after a restart, for as long as it was to be."""

from __future__ import annotations

import errno
import ipaddress
import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import trio

import vnet
from vnet import leases, state
from vnet.errors import BadInput

MAC = "02:00:00:00:00:0a"
HOUR = 3600 * 10**9


def fabric(mac: str = MAC, **more: Any) -> vnet.Fabric:
    nic = {"network": "red", "ip": "dhcp", "mac": mac, "nic": {"kind": "pipe"}}
    return vnet.Fabric.from_dict(
        {
            "name": "lab",
            "engine": {"driver": "trio"},
            "networks": {"blue": {}, "red": {"subnets": ["10.0.0.0/24", "fd00::/64"]}},
            "guests": {"vm": {"kind": "external", "nics": [nic]}, **more},
        }
    )


def bind(fabric: vnet.Fabric, prefix: str, seconds: float | None) -> None:
    port = fabric.port("vm")
    until = None if seconds is None else fabric.time() + int(seconds * 1e9)
    assert port.wanted.vlan is not None
    fabric.engine.bind(port.number, port.wanted.vlan, prefix, until)


def has(fabric: vnet.Fabric) -> dict[str, float | None]:
    """Address or prefix: seconds left."""
    now = fabric.time()
    found = fabric.engine.bindings(fabric.port("vm").number)
    return {prefix: None if until is None else (until - now) / 1e9 for _, prefix, until in found}


async def noted(path: Path, **given: float | None) -> None:
    """A fabric whose guest had these, noted at 1000 s."""
    async with fabric() as before:
        for prefix, seconds in given.items():
            bind(before, prefix, seconds)
        leases.note(path, leases.look(before), 1000.0)


FOUR, SIX, DELEGATED = "10.0.0.9/32", "fd00::9/128", "fd00:1:2::/48"


def entry(**changed: Any) -> dict[str, Any]:
    """A lease as the file has it."""
    return {"port": "vm.0", "mac": MAC, "network": "red", "prefix": FOUR, "left": 1} | changed


async def test_what_is_left_of_them_is_remembered(tmp_path: Path) -> None:
    path = tmp_path / leases.FILE
    await noted(path, **{FOUR: 60.0, SIX: 30.0, DELEGATED: None})
    async with fabric() as after:
        assert has(after) == {}
        assert leases.remember(after, path, 1040.0) == 2
        found = has(after)
        assert found.keys() == {FOUR, DELEGATED}
        assert found[FOUR] == pytest.approx(20, abs=1)
        assert found[DELEGATED] is None


async def test_a_clock_that_was_set_back_prolongs_none(tmp_path: Path) -> None:
    path = tmp_path / leases.FILE
    await noted(path, **{FOUR: 60.0})
    async with fabric() as after:
        assert leases.remember(after, path, 10.0) == 1
        assert has(after)[FOUR] == pytest.approx(60, abs=1)


async def test_another_nic_of_that_name_gets_nothing(tmp_path: Path) -> None:
    path = tmp_path / leases.FILE
    await noted(path, **{FOUR: 60.0})
    async with fabric(mac="02:00:00:00:00:0b") as after:
        assert leases.remember(after, path, 1000.0) == 0
        assert has(after) == {}


async def test_a_network_is_known_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / leases.FILE
    await noted(path, **{FOUR: 60.0})
    document = json.loads(path.read_text())
    assert document["leases"][0]["network"] == "red"
    document["leases"][0]["network"] = "blue"
    path.write_text(json.dumps(document))
    async with fabric() as after:
        assert leases.remember(after, path, 1000.0) == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[" * 100_000,
        "\x00\xff",
    ],
)
async def test_a_file_that_is_none_is_kept_aside(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / leases.FILE
    path.write_text(text)
    async with fabric() as after:
        with caplog.at_level(logging.WARNING):
            assert leases.remember(after, path, 1000.0) == 0
    assert [record.message.split(":")[0] for record in caplog.records] == [f"{path} can't be used"]
    assert not path.exists()
    assert path.with_name(f"{leases.FILE}.bad").exists()


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        {"version": 2, "noted": 1, "leases": []},
        {"version": 1, "noted": "x", "leases": []},
        {"version": 1, "noted": 1, "leases": [{}]},
        {"version": 1, "noted": 1, "leases": [entry(prefix="x")]},
        {"version": 1, "noted": 1, "leases": [entry(left=-1)]},
        {"version": 1, "noted": 1, "leases": [entry(left=1e30)]},
        {"version": 1, "noted": 1, "leases": [entry(left=10**400)]},
    ],
)
async def test_one_that_says_something_else_is_told(
    tmp_path: Path, document: Any, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / leases.FILE
    path.write_text(json.dumps(document))
    async with fabric() as after:
        with caplog.at_level(logging.WARNING):
            assert leases.remember(after, path, 1000.0) == 0
        assert has(after) == {}
    assert len(caplog.records) == 1


async def test_somebody_else_s_file_is_not_read(tmp_path: Path) -> None:
    path, theirs = tmp_path / leases.FILE, tmp_path / "theirs"
    await noted(theirs, **{FOUR: 60.0})
    path.symlink_to(theirs)
    async with fabric() as after:
        assert leases.remember(after, path, 1000.0) == 0
    assert theirs.exists()


async def test_changes_are_noted_by_the_way_and_at_the_end(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / leases.FILE
    written: list[int] = []
    real = state.write

    def write(path: Path, document: Any) -> None:
        written.append(len(document["leases"]))
        real(path, document)

    async def at_once(function: Any, *arguments: Any) -> Any:
        return function(*arguments)

    monkeypatch.setattr(state, "write", write)
    # Virtual time would go on while a thread writes.
    monkeypatch.setattr(trio.to_thread, "run_sync", at_once)
    async with fabric() as running, trio.open_nursery() as nursery:
        nursery.start_soon(leases.keep, running, path)
        await trio.sleep(3 * leases.EVERY)
        assert not path.exists()
        bind(running, FOUR, 3600)
        await trio.sleep(3 * leases.EVERY)
        assert written == [1]  # once, though time goes by
        bind(running, SIX, 3600)
        nursery.cancel_scope.cancel()
    assert written == [1, 2]
    assert not path.with_name(f"{leases.FILE}.new").exists()


async def test_a_note_that_failed_is_made_again(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / leases.FILE

    async def at_once(function: Any, *arguments: Any) -> Any:
        return function(*arguments)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(trio.to_thread, "run_sync", at_once)
    async with fabric() as running, trio.open_nursery() as nursery:
        nursery.start_soon(leases.keep, running, path)
        await trio.sleep(1)
        with monkeypatch.context() as patched:
            patched.setattr(state, "write", full)
            bind(running, FOUR, 3600)
            await trio.sleep(2.5 * leases.EVERY)
        assert not path.exists()
        await trio.sleep(leases.EVERY)
        assert path.exists()
        nursery.cancel_scope.cancel()


async def test_a_guest_is_asked_at_what_it_has_by_dhcp() -> None:
    async with fabric(web={"nics": [{"network": "red", "ip": ["10.0.0.8", "fd00::8"]}]}) as running:
        web, vm = running.guests["web"], running.guests["vm"]
        with pytest.raises(BadInput, match="vm has no address"):
            web.address_of(vm)
        for prefix in (FOUR, SIX, DELEGATED):
            bind(running, prefix, 3600)
        assert [*map(str, vm.addresses)] == running.port("vm").status()["ip"][:2] == ["10.0.0.9", "fd00::9"]
        assert (vm.ip, str(web.address_of(vm, 6))) == ("10.0.0.9", "fd00::9")
        async with web.as_network():
            assert (await trio.socket.getaddrinfo("vm", 80))[0][4][0] == "fd00::9"
        # Nobody else is asked at it.
        assert web.other_at(ipaddress.ip_address("10.0.0.9"), web) is vm
    assert vm.addresses == []


async def test_what_the_engine_knows_of_many_ports_is_read_at_once() -> None:
    async with fabric(db={"nics": [{"network": "red", "ip": ["10.0.0.8"]}]}) as running:
        bind(running, FOUR, None)
        numbers = [running.port(name).number for name in ("db", "vm")]
        red = running.port("vm").wanted.vlan
        assert running.engine.readings([*numbers, 4000]) == [(0, []), (0, [(red, FOUR, None)]), (0, [])]

        # One port's entry, and all of them: the same, but for what passes meanwhile.
        def still(entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
            moves = ("rx", "tx", "drops", "usage")
            return [{k: v for k, v in e.items() if k not in moves} for e in entries]

        whole = still(running.status()["ports"])
        assert whole == still(running.status_in_turns()["ports"])
        assert whole == still(port.status() for port in running.ports.values())
        assert {entry["port"]: entry["leases"] for entry in whole} == {
            "vm.0": [{"ip": "10.0.0.9", "vlan": red, "until": None}],
            "db.0": [],
        }


async def test_a_file_that_the_system_does_not_read_now_is_told_and_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / leases.FILE
    await noted(path, **{FOUR: 60.0})

    def no_descriptors(*_: Any) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    async with fabric() as after:
        with monkeypatch.context() as patched:
            patched.setattr(os, "open", no_descriptors)
            assert leases.remember(after, path, 1000.0) == 0
        assert caplog.messages == [f"{path} can't be read: Too many open files"]
        assert leases.remember(after, path, 1000.0) == 1
