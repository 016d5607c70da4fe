"""The flight recorder: what passed before anybody asked, as outside readers see it."""

import os
import struct
from pathlib import Path
from typing import Any

import pytest
import trio
from scapy.layers.dhcp import BOOTP
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

import vnet
from tests.needs import needs_tool
from tests.vnet.test_capture import fields, run
from vnet._native import drop_reasons
from vnet.capture import CaptureError
from vnet.errors import BadInput
from vnet.past import drop_size, frame_size
from vnet.topology import Topology

LAB: dict[str, Any] = {
    "name": "lab",
    "networks": {"red": {"vlan": 10, "subnets": ["10.0.0.0/24"]}, "blue": {"vlan": 20}},
    "guests": {
        **{
            name: {"kind": "external", "nics": [{"network": "red", "nic": {"kind": "pipe", "limit": 4}}]}
            for name in ("a", "b", "c")
        },
        "d": {"kind": "external", "nics": [{"network": "blue", "nic": {"kind": "pipe"}}]},
    },
}


def lab(**keys: Any) -> vnet.Fabric:
    return vnet.Fabric.from_dict({**LAB, **keys})


def mac(fabric: vnet.Fabric, guest: str) -> bytes:
    return bytes.fromhex(fabric.guests[guest].mac.replace(":", ""))


def pipe(fabric: vnet.Fabric, guest: str) -> Any:
    return fabric.port(guest).opened.far


async def send(
    fabric: vnet.Fabric, source: str, target: bytes, payload: bytes = b"", forged: bytes = b""
) -> None:
    frame = target + (forged or mac(fabric, source)) + b"\x88\xb5" + payload
    await pipe(fabric, source).send(frame.ljust(60, b"\0"))
    # A millisecond, in which the engine turns.
    await trio.sleep(0.001)


async def story(fabric: vnet.Fabric) -> None:
    """A broadcast, an answer to it, a forged frame, and frames to a guest that reads none."""
    await send(fabric, "a", b"\xff" * 6, b"who is there")
    await send(fabric, "b", mac(fabric, "a"), b"me", b"")
    await send(fabric, "a", mac(fabric, "b"), forged=bytes.fromhex("020000000099"))
    for _ in range(5):
        await send(fabric, "b", mac(fabric, "a"), b"x" * 200)


NAME, ID, COMMENT = "frame.interface_name", "frame.packet_id", "frame.comment"
TOLD = (NAME, "frame.packet_flags_direction", ID, COMMENT, "frame.len")
INTO, OUT_OF = "0x00000001", "0x00000002"
FORGED = "dropped: guard-mac: the guest sent from a MAC address that is not its own"


@needs_tool("tshark")
async def test_tshark_tells_the_past_and_where_each_frame_went(autojump_clock: Any, tmp_path: Path) -> None:
    path = tmp_path / "past.pcapng"
    async with lab() as fabric:
        await story(fabric)
        stats = await fabric.past(path)
    rows = fields(path, *TOLD)
    full = rows[-1][3]
    assert full.startswith("dropped: tx-full: ")
    first = int(rows[0][2])
    wanted: list[tuple[str, str, int, str, str]] = [
        ("a.0", INTO, 0, "flooded in VLAN 10", "60"),
        ("b.0", INTO, 1, "to a.0", "60"),
        ("a.0", INTO, 2, FORGED, "60"),
        *(("b.0", INTO, 3 + n, "to a.0", "214") for n in range(4)),
        ("a.0", OUT_OF, 6, full, "214"),
        ("b.0", INTO, 7, "to a.0", "214"),
        ("a.0", OUT_OF, 7, full, "214"),
    ]
    assert rows == [[row[0], row[1], str(first + row[2]), *row[3:]] for row in wanted]
    assert (stats["written"], stats["left_out"], stats["unseen"]) == (len(rows), 0, 0)
    assert stats["bytes"] == path.stat().st_size
    # The first bytes are kept, the length is that of the whole.
    assert run("tshark", "-r", path, "-T", "fields", "-e", "frame.cap_len").split()[-1] == "96"
    found = run("tshark", "-r", path, "-Y", 'frame.comment contains "guard-mac"')
    assert found.count("\n") == 1


@needs_tool("capinfos")
async def test_capinfos_reads_the_past(autojump_clock: Any, tmp_path: Path) -> None:
    path = tmp_path / "past.pcapng"
    async with lab() as fabric:
        await story(fabric)
        await fabric.past(path, filter="ether proto 0x88b5")
    told = run("capinfos", path)
    for line in ("Number of packets:   10", "Number of interfaces in file: 2", "Number of stat entries = 1"):
        assert line in told, told
    assert "Filter string = ether proto 0x88b5" in told


@pytest.mark.parametrize(
    ("what", "options", "ids"),
    [
        ((), {"drops": True}, [2, 6, 7]),
        (("a",), {"direction": "in"}, [0, 2]),
        (("a",), {"direction": "out"}, [1, 3, 4, 5, 6, 6, 7, 7]),
        (("b",), {"direction": "out"}, [0]),
        (("c",), {}, [0]),
        (("d",), {}, []),
        (("red",), {"drops": True}, [2, 6, 7]),
        (("blue",), {}, []),
        ((), {"count": 3}, [6, 7, 7]),
        ((), {"seconds": 0.0025}, [6, 6, 7, 7]),
        ((), {"filter": "ether broadcast"}, [0]),
        ((), {"filter": "greater 200", "count": 1}, [7]),
    ],
)
@needs_tool("tshark")
async def test_what_is_asked_for_is_what_is_told(
    autojump_clock: Any, tmp_path: Path, what: tuple[str, ...], options: dict[str, Any], ids: list[int]
) -> None:
    path, whole = tmp_path / "past.pcapng", tmp_path / "all.pcapng"
    async with lab() as fabric:
        await story(fabric)
        await fabric.past(path, *what, **options)
        await fabric.past(whole)
    first = int(fields(whole, "frame.packet_id")[0][0])
    assert [int(row[0]) - first for row in fields(path, "frame.packet_id")] == ids


async def test_what_a_filter_cannot_see_any_more_is_counted(autojump_clock: Any, tmp_path: Path) -> None:
    async with lab() as fabric:
        await story(fabric)
        stats = await fabric.past(tmp_path / "past.pcapng", filter="ether[150] = 0x78")
    # The short ones are not as long, whatever was kept of them.
    assert (stats["written"], stats["unseen"]) == (0, 7)


async def test_the_same_run_has_the_same_past(autojump_clock: Any, tmp_path: Path) -> None:
    for name in ("one", "two"):
        async with lab() as fabric:
            began = trio.current_time()
            await story(fabric)
            stats = await fabric.past(tmp_path / name)
        assert stats["oldest"] == pytest.approx(0.008, abs=1e-6)
        assert trio.current_time() - began == pytest.approx(0.008)
    assert len((tmp_path / "one").read_bytes()) == len((tmp_path / "two").read_bytes())


async def test_a_running_engine_is_asked_between_its_turns(tmp_path: Path) -> None:
    async with lab(engine={"driver": "thread"}) as fabric:
        for _ in range(3):
            await pipe(fabric, "a").send((b"\xff" * 6 + mac(fabric, "a") + b"\x88\xb5").ljust(60, b"\0"))
            await pipe(fabric, "b").receive()
        stats = await fabric.past(tmp_path / "past.pcapng", "a", direction="in")
        assert stats["written"] == 3
        assert 0 < stats["oldest"] < 60
        reading, writing = os.pipe()
        os.close(reading)
        # A reader that is gone already is no error.
        assert (await fabric.past(writing))["written"] == 0
        os.close(writing)
        with pytest.raises(CaptureError, match=r"nowhere/x\.pcapng: No such file"):
            await fabric.past(tmp_path / "nowhere" / "x.pcapng")


async def test_it_can_be_off_and_be_turned_on_meanwhile(autojump_clock: Any, tmp_path: Path) -> None:
    async with lab(recorder="off") as fabric:
        await story(fabric)
        assert (await fabric.past(tmp_path / "x"))["written"] == 0
        assert await fabric.apply(Topology.from_dict(LAB)) == ["turn the recorder on"]
        await send(fabric, "a", b"\xff" * 6)
        assert (await fabric.past(tmp_path / "x"))["written"] == 1
        # Nothing changes but what has the past written down: it is still there.
        dump = {"dump": [{"on": "carrier-loss"}], "files": 2}
        await fabric.apply(Topology.from_dict({**LAB, "recorder": dump}))
        assert (await fabric.past(tmp_path / "x"))["written"] == 1


async def test_options_of_the_past_without_sense_are_refused(tmp_path: Path) -> None:
    async with lab() as fabric:
        for options, line in (
            ({"seconds": 0}, "past: found 0 s, expected a time such as 10 s"),
            ({"count": 0}, "count: found 0, expected 1 to 1000000000000000 frames"),
            ({"count": 1 << 80}, f"count: found {1 << 80}, expected 1 to 1000000000000000 frames"),
            ({"snaplen": 0}, "snaplen: found 0, expected 1 to 262144 bytes"),
            ({"snaplen": 1 << 80}, f"snaplen: found {1 << 80}, expected 1 to 262144 bytes"),
        ):
            with pytest.raises(BadInput) as caught:
                await fabric.past(tmp_path / "x", **options)
            assert str(caught.value) == line


def forged(fabric: vnet.Fabric) -> Any:
    return send(fabric, "a", mac(fabric, "b"), forged=bytes.fromhex("020000000099"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the past of the fabric `lab` is written."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "vnet" / "lab" / "past"


def dumping(*dump: dict[str, Any], **keys: Any) -> vnet.Fabric:
    return lab(recorder={"dump": list(dump), **keys})


def put(path: Path) -> None:
    """A file that somebody else put there."""
    path.parent.mkdir(parents=True)
    path.write_text("mine")


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@needs_tool("tshark")
async def test_a_violation_has_the_past_written_down(autojump_clock: Any, folder: Path) -> None:
    async with dumping({"on": "drop", "reason": "guard"}) as fabric:
        await send(fabric, "b", b"\xff" * 6)
        await send(fabric, "c", mac(fabric, "b"))
        assert files(folder) == []
        await forged(fabric)
        [name] = files(folder)
        assert name.endswith("-guard-a.0.pcapng")
        # All that is kept of that port: a broadcast to it, and what it did itself.
        rows = fields(folder / name, NAME, COMMENT)
        assert rows == [["b.0", "flooded in VLAN 10"], ["a.0", FORGED]]
        # It rests now ...
        await forged(fabric)
        assert files(folder) == [name]
        # ... for ten seconds.
        await trio.sleep(10)
        await forged(fabric)
        assert len(files(folder)) == 2


async def test_a_rate_of_drops_is_more_than_one_drop(autojump_clock: Any, folder: Path) -> None:
    async with dumping({"on": "drop", "reason": "guard-mac", "over": "3 /s"}) as fabric:
        for _ in range(2):
            await trio.sleep(1)
            for _ in range(3):
                await forged(fabric)
        assert files(folder) == []
        await forged(fabric)
        assert [name.partition("-")[2] for name in files(folder)] == ["guard-mac-a.0.pcapng"]


async def test_the_oldest_files_go(autojump_clock: Any, folder: Path) -> None:
    put(folder / "notes.txt")
    wanted = dumping({"on": "drop"}, files=3, pause="1 s")
    async with wanted as fabric:
        seen = []
        for _ in range(6):
            await trio.sleep(1)
            await forged(fabric)
            seen.append(max(files(folder)[:-1]))
        assert files(folder) == [*seen[-3:], "notes.txt"]


async def test_the_file_that_was_just_written_stays(autojump_clock: Any, folder: Path) -> None:
    # Written in real time before, these have names that come later than those in virtual time.
    before = [folder / f"2026013{day}T120000.000000-guard-a.0.pcapng" for day in (0, 1)]
    put(before[0])
    for path, age in zip(before, (1, 2), strict=True):
        path.write_text("before")
        os.utime(path, ns=(0, path.stat().st_mtime_ns - age * 10**9))
    async with dumping({"on": "drop"}, files=2, pause="1 s") as fabric:
        await forged(fabric)
        first, kept = files(folder)
        assert (first[0], kept) == ("0", before[0].name)
        await trio.sleep(1)
        await forged(fabric)
        assert first in files(folder)
        assert len(files(folder)) == 2
    async with dumping({"on": "drop"}, files=1) as fabric:
        await forged(fabric)
        assert len(files(folder)) == 1


def sizes(path: Path) -> list[int]:
    """Of the blocks of a file's packets."""
    data, found = path.read_bytes(), []
    while data:
        kind, size = struct.unpack_from("<II", data)
        found += [size] if kind == 6 else []
        data = data[size:]
    return found


def for_another(fabric: vnet.Fabric, guest: str) -> bytes:
    """A frame whose drop takes more words than any other's: DHCP for another guest."""
    source = fabric.guests[guest].mac
    asked = Ether(src=source, dst="ff:ff:ff:ff:ff:ff") / IP(src="0.0.0.0", dst="255.255.255.255")
    return bytes(
        asked / UDP(sport=68, dport=67) / BOOTP(chaddr=bytes(6), options=b"\x63\x82\x53\x63\x35\1\1\xff")
    )


async def test_a_file_is_as_large_as_it_may_be_and_no_larger(autojump_clock: Any, folder: Path) -> None:
    size, snap = 4 << 20, 128
    keys: dict[str, Any] = {"snap": snap, "size": "64 MiB", "file_size": size}
    async with dumping({"on": "carrier-loss"}, **keys) as fabric:
        frame = for_another(fabric, "a")
        for _ in range(200):
            for _ in range(64):
                await pipe(fabric, "a").send(frame)
            await trio.sleep(1)
        assert fabric.ports["a.0"].counters()["drops"] == {"guard-dhcp-client": 12_800}
        await fabric.set_link("a", False)
        await trio.sleep(0.001)
    [name] = files(folder)
    assert size * 0.95 < (folder / name).stat().st_size <= size
    # But for how many were lost before it, which is told where there are any.
    assert set(sizes(folder / name)) == {frame_size(snap, ["a.0"]) - 12}


@needs_tool("tshark")
async def test_what_is_told_of_a_drop_takes_as_much_as_is_reckoned_with(
    autojump_clock: Any, tmp_path: Path
) -> None:
    async with lab() as fabric:
        await story(fabric)
        await pipe(fabric, "a").send(for_another(fabric, "a"))
        await trio.sleep(0.001)
        await fabric.past(tmp_path / "past.pcapng", drops=True)
    reasons = dict(drop_reasons())
    rows = fields(tmp_path / "past.pcapng", "frame.cap_len", COMMENT)
    dropped = [(int(kept), told.split(": ")[1]) for kept, told in rows]
    assert {reason for _, reason in dropped} == {"guard-mac", "tx-full", "guard-dhcp-client"}
    most = frame_size(96, ["a.0"])
    room = most - max(drop_size(*reason) for reason in reasons.items())
    assert sizes(tmp_path / "past.pcapng") == [
        room - (96 - kept) - 12 + drop_size(reason, reasons[reason]) for kept, reason in dropped
    ]
    # A port may have a longer name than any reason.
    assert frame_size(96, ["x" * 400]) == room + 4 + 404


async def test_a_lost_carrier_has_the_past_written_down(autojump_clock: Any, folder: Path) -> None:
    async with dumping({"on": "carrier-loss"}) as fabric:
        await send(fabric, "b", b"\xff" * 6)
        await fabric.set_link("a", False)
        await trio.sleep(0.001)
        assert [name.partition("-")[2] for name in files(folder)] == ["carrier-loss-a.0.pcapng"]
        await fabric.set_link("a", True)
        await trio.sleep(0.001)
        assert len(files(folder)) == 1


@needs_tool("tshark")
def test_a_step_that_fails_leaves_the_past_behind(folder: Path) -> None:
    from vnet.probe.course import Options
    from vnet.probe.course import run as test

    wanted = Topology.from_dict(
        {
            "name": "lab",
            "recorder": {"dump": [{"on": "expect"}, {"on": "drop"}]},
            "networks": {"red": {"subnets": ["10.0.0.0/24"]}},
            "guests": {"a": {"nics": [{"network": "red"}]}, "b": {"nics": [{"network": "red"}]}},
            "scenario": [{"assert": {"from": "a", "to": "b", "reach": False, "protocol": "icmp"}}],
        }
    )
    result = test(wanted, Options())
    folder = folder.parents[1] / "lab-test" / "past"
    [name] = files(folder)
    [finding] = result.findings
    assert finding.text.endswith(f"(what was before is in {folder / name})")
    assert run("tshark", "-r", folder / name, "-Y", 'icmp && frame.comment == "to b.0"')


async def test_a_folder_that_cannot_be_written_to_is_told_and_harms_nobody(
    autojump_clock: Any, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(folder)
    async with dumping({"on": "drop"}) as fabric:
        await forged(fabric)
        await send(fabric, "b", b"\xff" * 6)
    assert "a.0: drop: the past could not be written: " in caplog.text


def test_what_is_written_down_is_told_to_another_process_as_it_is() -> None:
    dump = [{"on": "drop"}, {"on": "drop", "reason": "guard", "over": "3 /s"}, {"on": "carrier-loss"}]
    wanted = Topology.from_dict({**LAB, "recorder": {"dump": [*dump, {"on": "expect"}]}})
    assert Topology.from_dict(wanted.to_dict()).recorder == wanted.recorder


def test_keys_that_do_not_go_together_are_refused() -> None:
    wrong = {"dump": [{"on": "expect", "over": "10 /s"}, {"on": "drop", "reason": "gaurd"}]}
    with pytest.raises(BadInput) as caught:
        Topology.from_dict({**LAB, "recorder": wrong})
    assert "did you mean guard?" in str(caught.value)
    wrong["dump"].pop()
    with pytest.raises(BadInput, match="over with on: expect, expected on: drop"):
        Topology.from_dict({**LAB, "recorder": wrong})
