"""The `pcap` door from Python: files of other programs, files for other programs, and bad ones."""

from __future__ import annotations

import os
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from nics.door import Opened, Place
from nics.errors import BadInput, NicError
from nics.pcap import Pcap
from tests import books
from tests.needs import needs_tool
from vnet import drive
from vnet._native import Engine, PipeHandle, PortConfig, pipe_door


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({}, "read and write: both are missing, at least one is needed"),
        ({"read": "a", "write": "a"}, "read and write: both are 'a', which would be lost"),
        ({"read": ""}, "read: found '', expected a file's path"),
        ({"read": "a", "speed": -1}, "speed: found -1, expected a factor"),
        ({"read": "a", "speed": float("inf")}, "speed: found inf, expected a factor"),
    ],
)
def test_a_bad_description_is_refused_before_anything_is_touched(keys: dict[str, Any], line: str) -> None:
    with pytest.raises(BadInput) as caught:
        Pcap(**keys)
    assert str(caught.value).startswith(line)


async def test_what_can_not_be_opened_is_named_and_leaves_nothing(place: Place) -> None:
    folder = place.runtime
    (folder / "text").write_text("hello")
    (folder / "old.pcapng").write_text("precious")
    cases = [
        (
            Pcap(read=f"{folder}/none"),
            f"vm.0: can't play {folder}/none: No such file or directory: check the path",
        ),
        (Pcap(write=f"{folder}/none/x"), "No such file or directory: make its folder first"),
        (Pcap(write=f"{folder}"), "Is a directory: give a file's path"),
        (
            Pcap(read=f"{folder}/text"),
            "text: it can't be played: neither pcap nor pcapng, at byte 0: give a pcap",
        ),
        (Pcap(read=f"{folder}/text", write=f"{folder}/new"), "neither pcap nor pcapng"),
        (Pcap(read=f"{folder}/text", write=f"{folder}/old.pcapng"), "neither pcap nor pcapng"),
        (Pcap(read=f"{folder}/text", write=f"{folder}/./text"), "are the same file: record to another"),
    ]
    for nic, line in cases:
        with pytest.raises(NicError) as caught:
            await nic.open(place)
        assert line in str(caught.value)
    assert sorted(path.name for path in folder.iterdir()) == ["old.pcapng", "text"]
    assert (folder / "old.pcapng").read_text() == "precious"


class Beside:
    """A pipe next to the door, on a switch that trio turns."""

    def __init__(self, engine: Engine, switch: int) -> None:
        door, self._handle = pipe_door(1024, 65_557)
        self.port = engine.add_port(door, switch, PortConfig(vlan=1, mtu=65_521))
        self.news = trio.Event()

    @property
    def handle(self) -> PipeHandle:
        return self._handle

    async def receive(self) -> bytes:
        while True:
            news = self.news
            try:
                return self._handle.receive()
            except BlockingIOError:
                await news.wait()


@asynccontextmanager
async def running(opened: Opened) -> AsyncIterator[tuple[Beside, list[str]]]:
    """The door on an engine, next to a pipe, and what was logged. In the end it is closed."""
    engine = Engine()
    switch = engine.add_switch()
    pipe, log = Beside(engine, switch), list[str]()

    def event(event: drive.Event) -> None:
        if event[1] == "log":
            log.append(event[4])
        elif event[0] == pipe.port:
            pipe.news.set()
            pipe.news = trio.Event()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drive.drive, engine)
        nursery.start_soon(drive.dispatch, engine, event, lambda _: None)
        port = engine.add_port(opened.door, switch, PortConfig(vlan=1, mtu=65_521))
        yield pipe, log
        books.check_engine(engine, (port, pipe.port))
        engine.remove_port(port)
        if opened.close is not None:
            await opened.close()
        nursery.cancel_scope.cancel()


def frames(count: int) -> list[bytes]:
    return [
        b"\xff" * 6 + b"\x02\0\0\0\0\1\x88\xb5" + i.to_bytes(4) + bytes(i * 37 % 1400) for i in range(count)
    ]


async def recorded(path: Path, data: bytes) -> None:
    """Wait until a frame is in the file; nothing else tells from outside."""
    with trio.fail_after(30):
        while data not in path.read_bytes():  # noqa: ASYNC110, ASYNC240
            await trio.sleep(0.001)


@pytest.mark.parametrize("writer", ["RawPcapWriter", "RawPcapNgWriter"])
@pytest.mark.parametrize("nano", [False, True])
async def test_captures_of_scapy_are_played(
    place: Place, writer: str, nano: bool, autojump_clock: trio.testing.MockClock
) -> None:
    from scapy import utils

    path = str(place.runtime / "in")
    options = {"nano": nano, "linktype": 1} if writer == "RawPcapWriter" else {}
    wanted = frames(50)
    scapy_writer = getattr(utils, writer)(path, **options)
    scapy_writer.write_header(wanted[0])
    for i, data in enumerate(wanted):
        ticks = i * (1_000_000 if nano else 1_000)
        if writer == "RawPcapWriter":
            scapy_writer.write_packet(data, sec=1000, usec=ticks)
        else:
            scapy_writer.write_packet(data, sec=1000 + i * 0.001)
    scapy_writer.close()
    start = trio.current_time()
    async with running(await Pcap(read=path).open(place)) as (pipe, log):
        for i, data in enumerate(wanted):
            assert await pipe.receive() == data
            assert trio.current_time() - start == pytest.approx(i * 0.001, abs=2e-6)
        assert not log


async def test_a_recording_is_read_by_scapy(place: Place) -> None:
    from scapy.utils import RawPcapNgReader

    path = place.runtime / "out.pcapng"
    path.write_bytes(b"x" * 100_000)
    wanted = frames(300)
    async with running(await Pcap(write=str(path)).open(place)) as (pipe, log):
        for data in wanted:
            pipe.handle.send(data)
        await recorded(path, wanted[-1])
    assert not log
    with RawPcapNgReader(str(path)) as reader:
        assert [data for data, _ in reader] == wanted


@needs_tool("tshark")
async def test_tshark_reads_a_recording_without_a_warning(place: Place) -> None:
    path = place.runtime / "out.pcapng"
    opened = await Pcap(write=str(path)).open(place)
    async with running(opened) as (pipe, _):
        for data in frames(3):
            pipe.handle.send(data)
        await recorded(path, frames(3)[-1])
    fields = ["frame.interface_name", "frame.len", "frame.packet_flags_direction"]
    words = ["tshark", "-r", str(path), "-T", "fields", *(word for field in fields for word in ("-e", field))]
    done = await trio.run_process(words, capture_stdout=True, capture_stderr=True)
    assert done.stdout.decode().split("\n")[:3] == [f"vm.0\t{size}\t0x00000002" for size in (18, 55, 92)]
    assert b"appears to have been cut short" not in done.stderr


def test_the_same_run_in_virtual_time_gives_the_same_file(place: Place) -> None:
    first, second = place.runtime / "1.pcapng", place.runtime / "2.pcapng"

    async def record(path: Path) -> None:
        async with running(await Pcap(write=str(path)).open(place)) as (pipe, _):
            for data in frames(100):
                await trio.sleep(0.25)
                pipe.handle.send(data)
            await trio.sleep(0.1)

    async def play() -> None:
        start = trio.current_time()
        async with running(await Pcap(read=str(first), speed=100).open(place)) as (pipe, _):
            for i, data in enumerate(frames(100)):
                assert await pipe.receive() == data
                assert trio.current_time() - start == pytest.approx(i * 0.25 / 100, abs=1e-6)

    for path in (first, second):
        trio.run(record, path, clock=trio.testing.MockClock(autojump_threshold=0))
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_size > sum(map(len, frames(100)))
    trio.run(play, clock=trio.testing.MockClock(autojump_threshold=0))


def test_virtual_time_stands_still_while_files_are_opened(place: Place) -> None:
    async def open_many() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 3600)
            for n in range(50):
                opened = await Pcap(write=str(place.runtime / f"{n}.pcapng")).open(place)
                del opened
            assert trio.current_time() == began
            nursery.cancel_scope.cancel()

    clock = trio.testing.MockClock(autojump_threshold=0)
    began = clock.current_time()
    trio.run(open_many, clock=clock)


async def test_fifos_are_live_both_ways(place: Place) -> None:
    source, target = place.runtime / "in", place.runtime / "out"
    for path in (source, target):
        os.mkfifo(path)
    opened = await Pcap(read=str(source), write=str(target), speed=0).open(place)
    async with running(opened) as (pipe, log):
        writer = os.open(source, os.O_WRONLY | os.O_NONBLOCK)
        reader = os.open(target, os.O_RDONLY | os.O_NONBLOCK)
        os.write(writer, struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        got = b""
        with trio.fail_after(30):
            for data in frames(20):
                os.write(writer, struct.pack("<IIII", 0, 0, len(data), len(data)) + data)
                assert await pipe.receive() == data
                pipe.handle.send(data)
                while data not in got:
                    await trio.lowlevel.wait_readable(reader)
                    got += os.read(reader, 65_536)
        assert not log
        os.close(writer)
        os.close(reader)
