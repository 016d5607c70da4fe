"""Captures: what outside readers say of the files, and what slow, full and vanished ones do."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio

from tests import books
from tests.needs import needs_module, needs_tool
from vnet import drive
from vnet._native import Engine, PipeHandle, PortConfig, describe_port, pipe_door
from vnet.capture import Capture, CaptureError, Clock, Selection, read
from vnet.errors import BadInput

ALL = Selection(None)
MILLISECOND = 1_000_000
A, B, C = (bytes([2, 0, 0, 0, 0, number]) for number in (1, 2, 3))
BROADCAST = b"\xff" * 6
INTO, OUT_OF = "0x00000001", "0x00000002"
"""Directions, as tshark shows them, seen from the switch."""


class Cable:
    """An engine with three pipes on one switch: 0 and 1 in VLAN 10, 2 a trunk of 10 and 20."""

    def __init__(self, *, virtual: bool = True) -> None:
        self.engine = Engine()
        switch = self.engine.add_switch(hash_seed=(1, 2))
        self.ports: list[int] = []
        self.pipes: list[PipeHandle] = []
        configs = (PortConfig(vlan=10), PortConfig(vlan=10), PortConfig(tagged=[10, 20]))
        for name, mac, config in zip(("a.0", "b.0", "trunk.0"), (A, B, C), configs, strict=True):
            door, pipe = pipe_door(64, 9018)
            port = self.engine.add_port(door, switch, config)
            describe_port(self.engine, port, name, f"pipe of {name}", mac, 10**10)
            self.ports.append(port)
            self.pipes.append(pipe)
        self.now = 0
        self.times: list[int] = []
        """When there were turns, by the engine's time."""
        self.virtual = virtual

    def turn(self) -> None:
        """A millisecond passes, and everything that waits is moved."""
        self.now = self.now + MILLISECOND if self.virtual else drive.now()
        self.times.append(self.now)
        while self.engine.turn(self.now) == 0:
            pass
        books.check_engine(self.engine, self.ports)

    def capture(self, target: Any, selection: Selection = ALL, **options: Any) -> Capture:
        clock: Clock = "virtual" if self.virtual else "trio"
        return Capture(self.engine, target, selection, clock=clock, **options)

    def empty(self) -> None:
        """Take what came out."""
        for pipe in self.pipes:
            with suppress(BlockingIOError):
                while True:
                    pipe.receive()

    def traffic(self) -> None:
        """A broadcast, an answer to it, a frame that is refused, and one to a full pipe's port."""
        self.pipes[0].send(frame(BROADCAST, A, b"who is there"))
        self.turn()
        self.pipes[1].send(frame(A, B, b"me"))
        self.turn()
        self.pipes[0].send(frame(B, A, b"tagged", tag=20))
        self.turn()


def frame(target: bytes, source: bytes, payload: bytes = b"", tag: int | None = None) -> bytes:
    tags = b"" if tag is None else b"\x81\x00" + tag.to_bytes(2)
    return (target + source + tags + b"\x88\xb5" + payload).ljust(60, b"\0")


def run(*argv: str | Path) -> str:
    done = subprocess.run(list(map(str, argv)), capture_output=True, text=True, check=True, timeout=60)
    complaints = [line for line in done.stderr.splitlines() if not line.startswith("Running as user")]
    assert not complaints, done.stderr
    return done.stdout


def fields(path: Path, *names: str) -> list[list[str]]:
    """tshark's words for each packet."""
    wanted = [argument for name in names for argument in ("-e", name)]
    lines = run("tshark", "-r", path, "-T", "fields", "-E", "separator=|", *wanted).splitlines()
    return [line.split("|") for line in lines]


@needs_tool("tshark")
async def test_tshark_shows_ports_directions_and_why_a_frame_was_dropped(tmp_path: Path) -> None:
    path = tmp_path / "all.pcapng"
    cable = Cable()
    async with cable.capture(path) as capture:
        cable.traffic()
    assert capture.stats() == {
        "received": 6,
        "accepted": 6,
        "lost": 0,
        "written": 6,
        "bytes": path.stat().st_size,
        "error": None,
    }
    rows = fields(
        path,
        "frame.interface_name",
        "frame.interface_description",
        "frame.packet_flags_direction",
        "frame.packet_flags_reception_type",
        "frame.packet_id",
        "frame.comment",
        "vlan.id",
        "frame.time_epoch",
    )
    why = "dropped: tag-not-allowed: a tagged frame on a port that takes untagged frames only"
    a, b, trunk = (f"{name}|pipe of {name}".split("|") for name in ("a.0", "b.0", "trunk.0"))
    ms = [f"0.00{n}000000" for n in range(4)]
    assert rows == [
        [*a, INTO, "3", "0", "", "", ms[1]],
        [*b, OUT_OF, "3", "0", "", "", ms[1]],
        [*trunk, OUT_OF, "3", "0", "", "10", ms[1]],
        [*b, INTO, "1", "1", "", "", ms[2]],
        [*a, OUT_OF, "1", "1", "", "", ms[2]],
        [*a, INTO, "1", "2", why, "20", ms[3]],
    ]
    # The verdict, in the switch's own words.
    assert run("tshark", "-r", path, "-Y", 'frame.verdict.hw contains "tag-not-allowed"').count("\n") == 1


@needs_tool("capinfos")
async def test_capinfos_finds_every_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "all.pcapng"
    cable = Cable(virtual=False)
    # A wall clock that goes exactly as the engine's does, so long ahead of it.
    ahead = 1_700_000_000 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: ahead + drive.now())
    begins = drive.now()
    async with cable.capture(path, snaplen=40, filter="ether proto 0x88b5"):
        begun = drive.now()
        cable.traffic()
    told = run("capinfos", path)
    for line in (
        "File type:           Wireshark/... - pcapng",
        "File timestamp precision:  nanoseconds (9)",
        "Packet size limit:   inferred: 40 bytes",
        "Number of packets:   4",
        "Number of interfaces in file: 3",
        "Name = trunk.0",
        "Description = pipe of b.0",
        "Speed = 10000000000",
        "Filter string = ether proto 0x88b5",
        "Time precision = nanoseconds (9)",
        "Number of stat entries = 1",
        "Capture application: vnet ",
    ):
        assert line in told, told
    # The wall clock's time: of the broadcast at two ports, and of the answer.
    first, second, _ = cable.times
    stamps = [int(row[0].replace(".", "")) for row in fields(path, "frame.time_epoch")]
    (found,) = {stamp - now for stamp, now in zip(stamps, (first, first, second, second), strict=True)}
    # The two clocks are read one after the other, while the capture begins.
    assert ahead - (begun - begins) <= found <= ahead


@needs_module("scapy")
async def test_scapy_reads_it_too(tmp_path: Path) -> None:
    from scapy.utils import rdpcap

    path = tmp_path / "all.pcapng"
    cable = Cable()
    async with cable.capture(path):
        cable.traffic()
    packets = rdpcap(str(path))
    assert [packet.sniffed_on for packet in packets] == ["a.0", "b.0", "trunk.0", "b.0", "a.0", "a.0"]
    assert bytes(packets[0]) == frame(BROADCAST, A, b"who is there")


async def test_the_same_run_gives_the_same_file(tmp_path: Path) -> None:
    files = []
    for name in ("one", "two"):
        cable = Cable()
        async with cable.capture(tmp_path / name):
            for _ in range(20):
                cable.traffic()
        files.append((tmp_path / name).read_bytes())
    assert files[0] == files[1]
    assert len(files[0]) > 5000


async def test_in_virtual_time_a_frame_is_in_the_file_when_its_turn_is_over(tmp_path: Path) -> None:
    path = tmp_path / "now.pcapng"
    cable = Cable()
    async with cable.capture(path):
        size = path.stat().st_size
        cable.traffic()
        assert path.stat().st_size > size + 6 * 60


@pytest.mark.parametrize(
    ("selection", "options", "seen"),
    [
        (lambda ports: Selection((ports[0],)), {}, [("a.0", 0), ("a.0", 1), ("a.0", 2)]),
        (lambda ports: Selection((ports[0],)), {"drops": True}, [("a.0", 2)]),
        (
            lambda ports: Selection((), (10,)),
            {"count": 4},
            [("a.0", 0), ("b.0", 0), ("trunk.0", 0), ("b.0", 1)],
        ),
        (lambda ports: Selection((), (20,)), {}, []),
        (lambda ports: ALL, {"filter": "vlan 10"}, [("trunk.0", 0)]),
        (lambda ports: ALL, {"filter": "ether src 02:00:00:00:00:02"}, [("b.0", 1), ("a.0", 1)]),
        (lambda ports: ALL, {"count": 1}, [("a.0", 0)]),
        (lambda ports: ALL, {"direction": "in"}, [("a.0", 0), ("b.0", 1), ("a.0", 2)]),
        (lambda ports: ALL, {"direction": "out"}, [("b.0", 0), ("trunk.0", 0), ("a.0", 1)]),
    ],
)
@needs_tool("tshark")
async def test_what_is_asked_for_is_what_is_captured(
    tmp_path: Path,
    selection: Callable[[list[int]], Selection],
    options: dict[str, Any],
    seen: list[tuple[str, int]],
) -> None:
    path = tmp_path / "some.pcapng"
    cable = Cable()
    async with cable.capture(path, selection(cable.ports), **options) as capture:
        cable.traffic()
        if "count" in options:
            with trio.fail_after(30):
                await capture.wait()
    rows = [(name, int(number)) for name, number in fields(path, "frame.interface_name", "frame.packet_id")]
    assert rows == seen


async def test_a_live_reader_sees_frames_as_they_pass() -> None:
    cable = Cable(virtual=False)
    reader, writer = os.pipe()
    try:
        async with cable.capture(writer):
            os.close(writer)
            head = b""
            with trio.fail_after(30):
                while b"trunk.0" not in head:
                    head += await trio.to_thread.run_sync(os.read, reader, 65536)
                assert head[:4] == b"\x0a\x0d\x0d\x0a"
                cable.traffic()
                frames = b""
                while b"dropped: " not in frames:
                    frames += await trio.to_thread.run_sync(os.read, reader, 65536)
            assert b"who is there" in frames
        tail = os.read(reader, 65536)
        # The statistics, and then the end of the file.
        assert tail[:4] == b"\5\0\0\0"
        assert os.read(reader, 1) == b""
    finally:
        os.close(reader)


async def test_a_reader_that_goes_away_ends_the_capture_without_a_word() -> None:
    cable = Cable(virtual=False)
    reader, writer = os.pipe()
    async with cable.capture(writer) as capture:
        os.close(writer)
        os.close(reader)
        cable.traffic()
        with trio.fail_after(30):
            await capture.wait()
        cable.traffic()
    assert "Broken pipe" in capture.stats()["error"]


@pytest.mark.parametrize("by_descriptor", [False, True])
async def test_a_full_disk_is_told_once_and_harms_nobody(by_descriptor: bool) -> None:
    cable = Cable(virtual=False)
    descriptor = os.open("/dev/full", os.O_WRONLY | os.O_CLOEXEC)

    async def capture_it() -> None:
        async with cable.capture(descriptor if by_descriptor else "/dev/full") as capture:
            cable.traffic()
            with trio.fail_after(30):
                await capture.wait()
            cable.traffic()

    with pytest.raises(CaptureError, match="capture to /dev/full: No space left on device"):
        await capture_it()
    os.close(descriptor)
    assert cable.pipes[1].receive() == frame(BROADCAST, A, b"who is there")


async def test_a_slow_reader_loses_frames_and_the_engine_no_time() -> None:
    cable = Cable(virtual=False)
    reader, writer = os.pipe()
    chunks: list[bytes] = []

    def read_all() -> None:
        while data := os.read(reader, 1 << 20):
            chunks.append(data)

    async with trio.open_nursery() as nursery, cable.capture(writer, room=1 << 16) as capture:
        os.close(writer)
        for _ in range(200):
            for _ in range(10):
                cable.pipes[0].send(frame(C, A, bytes(1000)))
            cable.turn()
            cable.empty()
        stats = capture.stats()
        assert stats["received"] == 200 * 10 * 3
        assert stats["lost"] > 5000
        nursery.start_soon(trio.to_thread.run_sync, read_all)
    os.close(reader)
    stats = capture.stats()
    assert stats["error"] is None
    assert stats["lost"] + stats["written"] == stats["received"]
    assert sum(map(len, chunks)) == stats["bytes"]


async def test_a_fifo_may_wait_for_its_reader_and_be_given_up(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    cable = Cable(virtual=False)
    with trio.move_on_after(0.05) as scope:
        async with cable.capture(path):
            pytest.fail("nobody reads")
    assert scope.cancelled_caught
    # The thread that waits in open() is let go, and closes what it gets.
    with path.open("rb") as reader:
        assert reader.read() == b""


async def test_what_cannot_be_opened_is_told(tmp_path: Path) -> None:
    cable = Cable()
    with pytest.raises(CaptureError, match=r"capture to .*/missing/x.pcapng: No such file or directory"):
        async with cable.capture(tmp_path / "missing" / "x.pcapng"):
            pytest.fail("it can't start")
    with pytest.raises(BadInput, match="syntax error"):
        async with cable.capture(tmp_path / "x.pcapng", filter="tcp prot 80"):
            pytest.fail("it can't start")
    assert not (tmp_path / "x.pcapng").exists()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"direction": "up"}, "direction: found 'up', expected in or out"),
        ({"snaplen": 0}, "snaplen: found 0, expected 1 to 262144 bytes"),
        ({"snaplen": 1 << 40}, "snaplen: found 1099511627776, expected 1 to 262144 bytes"),
        ({"count": 0}, "count: found 0, expected 1 to 1000000000000000 frames"),
        ({"count": 1 << 80}, f"count: found {1 << 80}, expected 1 to 1000000000000000 frames"),
    ],
)
def test_options_without_sense_are_refused(options: dict[str, Any], line: str) -> None:
    with pytest.raises(BadInput) as caught:
        Cable().capture("x.pcapng", **options)
    assert str(caught.value) == line


@needs_tool("tshark")
async def test_a_port_that_comes_later_is_named(tmp_path: Path) -> None:
    path = tmp_path / "late.pcapng"
    cable = Cable()
    async with cable.capture(path):
        cable.traffic()
        door, pipe = pipe_door(64, 9018)
        port = cable.engine.add_port(door, 0, PortConfig(vlan=20))
        describe_port(cable.engine, port, "late.0")
        pipe.send(frame(BROADCAST, B))
        cable.turn()
        cable.engine.remove_port(port)
    rows = json.loads(run("tshark", "-r", path, "-T", "json", "-Y", "frame.packet_id == 3"))
    names = [
        row["_source"]["layers"]["frame"]["frame.interface_id_tree"]["frame.interface_name"] for row in rows
    ]
    assert names == ["late.0", "trunk.0"]


def test_words_are_ports_guests_networks_and_switches() -> None:
    names = {
        "port": {"web.0": [3], "web.1": [1], "db.0": [2]},
        "guest": {"web": [3, 1], "db": [2]},
        "network": {"red": [10], "blue": [20]},
        "switch": {"core": [7, 5]},
    }

    def what(*words: str) -> Selection:
        return read(words, names).selection(names)

    assert what() == what("all") == what("web", "all") == Selection(None)
    assert what("web") == Selection((1, 3))
    assert what("web.0", "red", "blue") == Selection((3,), (10, 20))
    assert what("red") == Selection((), (10,))
    assert what("core", "db") == Selection((2, 5, 7))
    with pytest.raises(
        BadInput, match=r"no port, guest, network or switch 'wbe' to capture; did you mean web\?"
    ):
        what("wbe")


def test_a_name_that_is_several_things_says_which() -> None:
    names = {
        "port": {"red.0": [3], "all.0": [1], "up": [2]},
        "guest": {"red": [3], "all": [1]},
        "network": {"red": [10]},
        "switch": {"red": [7], "up": [2, 4]},
    }

    def what(*words: str) -> Selection:
        return read(words, names).selection(names)

    with pytest.raises(BadInput, match="red is a guest and a network and a switch: say guest:red or network"):
        what("red")
    assert what("network:red") == Selection((), (10,))
    assert what("guest:red", "switch:up") == Selection((2, 3, 4))
    assert what("port:up") == Selection((2,))
    with pytest.raises(BadInput, match="all is every port and a guest: say guest:all, or no name"):
        what("all")
    assert what("guest:all") == Selection((1,))
    assert what() == Selection(None)
    with pytest.raises(BadInput, match="no port, guest, network or switch 'network:up'"):
        what("network:up")


def test_what_is_asked_for_stays_when_numbers_do_not() -> None:
    names = {"port": {"up": [2]}, "guest": {"web": [3]}, "network": {"red": [10]}, "switch": {}}
    asked = read(["web", "red", "up"], names)
    assert asked.selection(names) == Selection((2, 3), (10,))
    others = {"port": {}, "guest": {"red": [9]}, "network": {"red": [30], "web": [40]}, "switch": {}}
    assert asked.selection(others) == Selection((), (30,))
    assert str(asked) == "guest web or network red or port up"


async def test_a_capture_is_told_in_lines(tmp_path: Path) -> None:
    from vnet.capture.decoded import lines

    path = tmp_path / "told.pcapng"
    cable = Cable()
    async with cable.capture(path):
        cable.pipes[0].send(
            BROADCAST + A + b"\x08\x06" + bytes.fromhex("0001080006040001") + A + b"\n\0\0\1" + bytes(10)
        )
        cable.turn()
        cable.pipes[0].send(BROADCAST + A + b"\x81\x00\x00\x07\x88\xb5" + b"\x1b[31m")
        cable.turn()
    with path.open("rb") as stream:
        told = list(lines(stream))
    assert [line.split()[1:3] for line in told] == [
        ["a.0", ">"],
        ["b.0", "<"],
        ["trunk.0", "<"],
        ["a.0", ">"],
    ]
    assert "ARP who has" in told[0]
    assert told[3].endswith(
        "[dropped: tag-not-allowed: a tagged frame on a port that takes untagged frames only]"
    )
    assert all(line.isprintable() for line in told)
    with path.open("rb") as stream:
        assert "psrc" in next(lines(stream, details=True))


def test_what_ended_before_it_began_has_no_lines() -> None:
    import io

    from vnet.capture.decoded import lines

    assert list(lines(io.BytesIO())) == []
