"""What guests are billed for: across links and uplinks, over changes, restarts and what is gone."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

import vnet
from nics.pipe import PipeEnd
from tests.vnet.metrics.test_metrics import of, samples
from vnet import announce, daemon, runtime, state, usage
from vnet.cli import main
from vnet.cli.usage import rows
from vnet.errors import BadInput, VnetError
from vnet.metrics import exposition

BROADCAST = b"\xff" * 6
WORLD = bytes.fromhex("02ff00000001")
LENGTH = 100
PIPE = {"kind": "external", "nics": [{"network": "red", "switch": "left", "nic": {"kind": "pipe"}}]}


@pytest.fixture(autouse=True)
def nobody_is_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the fabric says in its guests' names is received by the others, and not what is counted here."""
    monkeypatch.setattr(announce, "frames", lambda _port: [])


LINK: dict[str, Any] = {"ends": ["left", "right"]}
BOND = {**LINK, "cables": [{}, {}], "bond": {"mode": "lacp"}}


def topology(link: dict[str, Any] = LINK, **more: Any) -> vnet.Topology:
    """Guests a and b at two switches, the wire at the second one."""

    def guest(switch: str, host: int) -> dict[str, Any]:
        nic = {"network": "red", "switch": switch, "nic": {"kind": "pipe"}, "ip": f"10.0.0.1{host}"}
        return {"kind": "external", "nics": [nic | {"mac": f"02:00:00:00:00:0{host}"}]}

    document = {
        "name": "lab",
        "networks": {"red": {"vlan": 10, "subnets": ["10.0.0.0/24"]}},
        "switches": {"left": {}, "right": {}},
        "links": [link],
        "guests": {"a": guest("left", 1), "b": guest("right", 2), **more},
        "uplinks": {"wan": {"switch": "right", "nic": {"kind": "pipe"}, "tagged": ["red"]}},
    }
    return vnet.Topology.from_dict(document)


def end(fabric: vnet.Fabric, port: str) -> PipeEnd:
    far = fabric.ports[port].opened.far
    assert isinstance(far, PipeEnd)
    return far


def frame(to: bytes, host: int) -> bytes:
    """An IPv4 packet of guest `host`, as its guard expects it."""
    ip = bytes([0x45, 0, 0, LENGTH - 14, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 10 + host, 10, 0, 0, 9])
    return (to + mac(host) + b"\x08\x00" + ip).ljust(LENGTH, b"\0")


def mac(host: int) -> bytes:
    return bytes([2, 0, 0, 0, 0, host])


def tagged(to: bytes) -> bytes:
    """A frame from the wire; without its tag it has LENGTH bytes."""
    return (to + WORLD + bytes([0x81, 0, 0, 10]) + b"\x88\xb5").ljust(LENGTH + 4, b"\0")


async def meet(fabric: vnet.Fabric) -> None:
    """Everybody is heard by everybody; each is told of two broadcasts."""
    await end(fabric, "a.0").send(frame(BROADCAST, 1))
    await end(fabric, "b.0").send(frame(BROADCAST, 2))
    await end(fabric, "wan").send(tagged(BROADCAST))
    for name in ("a.0", "b.0", "wan"):
        await arrived(fabric, name, 2)


async def arrived(fabric: vnet.Fabric, port: str, n: int) -> None:
    with trio.fail_after(30):
        for _ in range(n):
            await end(fabric, port).receive()


def figures(entry: dict[str, Any]) -> list[int]:
    """Frames: to fabric, to uplink, from fabric, from uplink; the bytes are LENGTH for each."""
    found = [entry[direction][scope] for direction in usage.DIRECTIONS for scope in usage.SCOPES]
    assert all(count["bytes"] == LENGTH * count["frames"] for count in found)
    return [count["frames"] for count in found]


def told(fabric: vnet.Fabric, *only: str, gone: bool = False) -> dict[str, list[int]]:
    return {entry["nic"]: figures(entry) for entry in fabric.usage(*only, gone=gone)["nics"]}


@pytest.mark.parametrize("link", [LINK, BOND], ids=["cable", "bond"])
async def test_each_end_is_billed_by_where_the_other_one_is(link: dict[str, Any]) -> None:
    async with vnet.Fabric(topology(link)) as fabric:
        await meet(fabric)
        assert told(fabric) == {"a.0": [1, 1, 1, 1], "b.0": [1, 1, 1, 1]}
        for _ in range(3):
            await end(fabric, "a.0").send(frame(mac(2), 1))
        for _ in range(5):
            await end(fabric, "a.0").send(frame(WORLD, 1))
        for _ in range(7):
            await end(fabric, "wan").send(tagged(mac(1)))
        # Not its own address: dropped, and not billed.
        await end(fabric, "a.0").send(frame(mac(2), 2))
        await arrived(fabric, "b.0", 3)
        await arrived(fabric, "wan", 5)
        await arrived(fabric, "a.0", 7)
        assert told(fabric) == {"a.0": [4, 6, 1, 8], "b.0": [1, 1, 4, 1]}
        wan = fabric.ports["wan"].counters()
        assert wan["tx_frames"] == 7, "what guests sent there is what it sent"
        assert told(fabric, "b") == told(fabric, "b.0") == {"b.0": [1, 1, 4, 1]}
        with pytest.raises(BadInput, match=r"there is no guest or NIC 'bb' \(did you mean b\?\)"):
            fabric.usage("bb")
        found = samples(exposition([fabric.status()]))
        labels = {"port": "a.0", "guest": "a", "direction": "ingress", "scope": "uplink"}
        assert of(found, "vnet_usage_frames_total", **labels) == 8
        assert of(found, "vnet_usage_bytes_total", **labels) == 8 * LENGTH
        assert not any(name.startswith("vnet_usage") and ("port", "wan") in has for name, has in found)


async def test_figures_outlive_a_change_and_a_guest() -> None:
    async with vnet.Fabric(topology()) as fabric:
        await meet(fabric)
        since = fabric.usage("a")["nics"][0]["since"]
        await fabric.detach("a")
        assert told(fabric) == {"b.0": [1, 1, 1, 1]}
        assert told(fabric, "a", gone=True) == {"a.0": [1, 1, 1, 1]}
        (gone,) = fabric.usage("a", gone=True)["nics"]
        assert since == gone["since"] <= gone["gone"]
        await fabric.apply(topology())
        assert fabric.usage("a")["nics"][0] == gone | {"gone": None}
        await meet(fabric)
        assert told(fabric)["a.0"] == [2, 2, 2, 2]


async def test_figures_outlive_the_fabric(tmp_path: Path) -> None:
    path = tmp_path / usage.FILE
    for times in (1, 2, 3):
        async with vnet.Fabric(topology()) as fabric:
            assert fabric.accounts.remember(path) == (0 if times == 1 else 2)
            await meet(fabric)
            assert told(fabric)["a.0"] == [times] * 4
        usage.note(path, fabric.accounts.document(fabric.ports))
    async with vnet.Fabric(topology(c=PIPE).remove_guest("a")) as fabric:
        fabric.accounts.remember(path)
        assert told(fabric)["b.0"] == [3] * 4
        assert told(fabric, gone=True)["a.0"] == [3] * 4
        assert told(fabric)["c.0"] == [0] * 4


async def test_a_fabric_that_is_killed_loses_what_came_after_the_last_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "EVERY", 0.01)
    path = tmp_path / usage.FILE
    async with vnet.Fabric(topology()) as fabric, trio.open_nursery() as nursery:
        nursery.start_soon(usage.keep, fabric.accounts, fabric.ports, path)
        await meet(fabric)
        with trio.fail_after(30):
            while (a := usage.read(path).get("a.0")) is None or a.before != ((1, LENGTH),) * 4:  # noqa: ASYNC110
                await trio.sleep(0.01)
        # Killed here: `keep` writes nothing when it is cancelled.
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await meet(fabric)
    async with vnet.Fabric(topology()) as fabric:
        fabric.accounts.remember(path)
        assert told(fabric)["a.0"] == [1] * 4


def noted(noted: str = "1", since: str = "1", gone: str = "null", frames: str = "1") -> str:
    counted = f"[[{frames}, 1], [0, 0], [0, 0], [0, 0]]"
    entry = f'{{"guest": "a", "since": {since}, "gone": {gone}, "counted": {counted}}}'
    return f'{{"version": 1, "noted": {noted}, "nics": {{"a.0": {entry}}}}}'


NONSENSE = [
    "{",
    "[]",
    '{"version": 2}',
    '{"version": 1, "noted": 1, "nics": {"a.0": {"counted": [[1, -1]]}}}',
    noted(frames="-1"),
    noted(frames="1e999"),
    noted(frames="NaN"),
    noted(noted="1e12"),
    noted(since="1e30"),
    noted(since="-1"),
    noted(since="1" + "0" * 400),
    noted(gone="NaN"),
]


@pytest.mark.parametrize("text", NONSENSE)
async def test_a_file_that_says_nothing_is_kept_aside_and_told(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / usage.FILE
    path.write_text(text)
    async with vnet.Fabric(topology()) as fabric:
        assert fabric.accounts.remember(path) == 0
        assert told(fabric)["a.0"] == [0] * 4
    assert path.with_name("usage.json.bad").read_text() == text
    assert "can't be used" in caplog.text


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO, None])
async def test_a_file_that_can_t_be_read_now_is_neither_moved_nor_written_over(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int | None
) -> None:
    path = state.folder("lab") / usage.FILE
    told = "nobody expects it"
    if number is not None:
        told = f"usage.json can't be read: {os.strerror(number)}: what guests "
    async with vnet.Fabric(topology()) as fabric:
        await meet(fabric)
        usage.note(path, fabric.accounts.document(fabric.ports))
    before = path.read_bytes()
    real = os.open

    def fails(name: Any, *arguments: Any, **more: Any) -> int:
        if name == path:
            raise RuntimeError(told) if number is None else OSError(number, os.strerror(number))
        return real(name, *arguments, **more)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", fails)
        with pytest.raises((VnetError, RuntimeError), match=told):
            await daemon.serve(topology(), lambda _: None)
    assert path.read_bytes() == before
    assert {entry.name for entry in path.parent.iterdir()} - {runtime.LOCK} == {usage.FILE}
    assert caplog.text == ""


async def test_a_note_that_failed_is_made_again(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / usage.FILE

    async def at_once(function: Any, *arguments: Any) -> Any:
        return function(*arguments)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    # Virtual time would go on while a thread writes.
    monkeypatch.setattr(trio.to_thread, "run_sync", at_once)
    async with vnet.Fabric(topology()) as fabric, trio.open_nursery() as nursery:
        nursery.start_soon(usage.keep, fabric.accounts, fabric.ports, path)
        await trio.sleep(1)
        assert usage.load(path)["a.0"].before == usage.NOTHING
        with monkeypatch.context() as patched:
            patched.setattr(state, "write", full)
            await meet(fabric)
            await trio.sleep(2 * usage.EVERY)
        assert usage.load(path)["a.0"].before == usage.NOTHING
        await trio.sleep(usage.EVERY)
        assert usage.load(path)["a.0"].before == ((1, LENGTH),) * 4
        nursery.cancel_scope.cancel()


def test_a_bad_disk_is_told_once_and_leaves_nothing_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / usage.FILE
    document = {"nics": {"a.0": "something"}}

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        for _ in range(3):
            usage.note(path, document)
            assert [*tmp_path.iterdir()] == []
    usage.note(path, document)
    usage.note(path, document)
    assert caplog.messages == [
        f"usage can't be noted in {path}: No space left on device",
        f"usage can be noted in {path} again",
    ]
    assert [entry.name for entry in tmp_path.iterdir()] == [usage.FILE]


@pytest.mark.parametrize("text", NONSENSE)
def test_who_only_looks_leaves_a_file_that_says_nothing_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    path = tmp_path / "vnet" / "e9-bad" / usage.FILE
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert main(["usage", "-n", "e9-bad"]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert f"{path} can't be used: " in told.err
    assert path.read_text() == text
    assert {entry.name for entry in path.parent.iterdir()} - {runtime.LOCK} == {usage.FILE}


async def test_nics_that_are_gone_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "GONE_MAX", 2)
    async with vnet.Fabric(topology()) as fabric:
        for name in ("c", "d", "e"):
            await fabric.attach(name, network="red", nic=vnet.Pipe())
            await fabric.detach(name)
        assert list(told(fabric, gone=True)) == ["a.0", "b.0", "d.0", "e.0"]


async def test_what_is_noted_of_nics_that_are_gone_is_made_once_and_is_what_is_told(tmp_path: Path) -> None:
    path = tmp_path / usage.FILE

    def noted(fabric: vnet.Fabric) -> dict[str, dict[str, Any]]:
        nics: dict[str, dict[str, Any]] = fabric.accounts.document(fabric.ports)["nics"]
        for name, (account, counted) in fabric.accounts.now(fabric.ports, gone=True).items():
            assert nics[name] == account.note(counted)
        assert nics.keys() == told(fabric, gone=True).keys()
        return nics

    async with vnet.Fabric(topology(c=PIPE)) as fabric:
        await meet(fabric)
        assert noted(fabric)["a.0"]["gone"] is None
        await fabric.detach("a")
        await fabric.detach("c")
        gone = noted(fabric)["a.0"]
        assert gone["counted"] == ((1, LENGTH),) * 4
        assert noted(fabric)["a.0"] is gone
        await fabric.apply(topology())
        assert noted(fabric)["a.0"]["gone"] is None
        await meet(fabric)
        usage.note(path, fabric.accounts.document(fabric.ports))
        assert list(usage.load(path)) == ["a.0", "b.0", "c.0"]
    async with vnet.Fabric(topology()) as fabric:
        await fabric.detach("a")
        fabric.accounts.remember(path)
        assert noted(fabric)["a.0"]["counted"] == ((2, LENGTH * 2),) * 4
        assert list(noted(fabric)) == ["c.0", "a.0", "b.0"], "who went first is forgotten first"


def test_the_table_fits_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    count = {"frames": 10**12, "bytes": 123_456_789_012}
    entry = {
        "nic": "customer-0042.0",
        "guest": "customer-0042",
        "since": "2026-11-25T20:04:36.120Z",
        "gone": None,
        **{direction: dict.fromkeys(usage.SCOPES, count) for direction in usage.DIRECTIONS},
    }
    told = rows([entry, entry | {"gone": "2026-11-26T20:04:36.120Z"}])
    assert told[0] == ["customer-0042.0", *["123 GB"] * 4, "2026-11-25", "-"]
    assert told[1][-1] == "2026-11-26"
    assert told[2] == ["total", *["247 GB"] * 4, "", ""]


def test_a_fabric_that_is_down_is_called_by_its_name_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    for place in ("state/vnet/lab", "elsewhere"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / usage.FILE).write_text("{")
    for name in ("lob", "../../elsewhere", str(tmp_path / "elsewhere")):
        assert main(["usage", "-n", name]) == 2
        assert capsys.readouterr().err.endswith(f"left figures in {tmp_path}/state/vnet (lab there)\n")
    assert (tmp_path / "elsewhere" / usage.FILE).exists(), "not looked at"


def test_the_document_is_json() -> None:
    account = usage.Account("a", 0.0, None, ((1, 2), (3, 4), (5, 6), (7, 8)))
    document = json.loads(json.dumps(usage.document("lab", {"a.0": (account, account.before)})))
    assert document["name"] == "lab"
    assert document["nics"] == [
        {
            "nic": "a.0",
            "guest": "a",
            "since": "1970-01-01T00:00:00.000Z",
            "gone": None,
            "egress": {"fabric": {"frames": 1, "bytes": 2}, "uplink": {"frames": 3, "bytes": 4}},
            "ingress": {"fabric": {"frames": 5, "bytes": 6}, "uplink": {"frames": 7, "bytes": 8}},
        }
    ]
