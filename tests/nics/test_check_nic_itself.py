"""The conformance kit finds what it is there to find."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from nics.door import Opened, Place
from tests.nics.peers import PipePeer
from vnet._native import PipeHandle, pipe_door
from vnet.testing import check_nic


class Swapping(PipePeer):
    """Its frames overtake each other."""

    def __init__(self, handle: PipeHandle) -> None:
        super().__init__(handle)
        self._held: list[bytes] = []

    async def receive(self) -> bytes:
        if len(self._held) == 1:
            return self._held.pop()
        frame = await super().receive()
        if frame[14:18] == (40).to_bytes(4):
            self._held.append(frame)
            return await super().receive()
        return frame


class Flipping(PipePeer):
    """Its long frames are damaged."""

    async def send(self, frame: bytes) -> None:
        await super().send(frame if len(frame) < 2000 else frame[:-1] + bytes([frame[-1] ^ 1]))


class Echoing(PipePeer):
    """It hears itself."""

    async def send(self, frame: bytes) -> None:
        await super().send(frame)
        if frame[:6] == b"\xff" * 6 and frame[14:18] != bytes(4):
            self._frames.append(frame)

    async def receive(self) -> bytes:
        return self._frames.popleft() if self._frames else await super().receive()


class Doubling(PipePeer):
    """What it can't send is sent twice later."""

    async def receive(self) -> bytes:
        if self._frames:
            return self._frames.popleft()
        frame = await super().receive()
        if len(frame) == 9014:
            self._frames.append(frame)
        return frame


@pytest.mark.parametrize(
    ("peer", "line"),
    [
        (Flipping, "4096 bytes from the peer: 4096 bytes"),
        (Swapping, "the order of frames out: 41 instead of 40"),
        (Echoing, r"what the peer heard: \[6, 11, 13, 14\] instead of"),
        (Doubling, "frame 0 came behind frame 0"),
    ],
)
async def test_a_broken_nic_fails(peer: type[PipePeer], line: str) -> None:
    @asynccontextmanager
    async def maker(_place: Place) -> AsyncIterator[tuple[Opened, PipePeer]]:
        door, handle = pipe_door(256, 65_557)
        made = peer(handle)
        yield Opened(door, far=made), made

    with pytest.raises(AssertionError, match=line):
        await check_nic(maker, drivers=["trio"])


@pytest.mark.parametrize("what", ["file", "descriptor"])
async def test_what_is_left_behind_is_found(what: str) -> None:
    opened: list[int] = []

    @asynccontextmanager
    async def maker(place: Place) -> AsyncIterator[tuple[Opened, PipePeer]]:
        door, handle = pipe_door(256, 65_557)
        made = PipePeer(handle)
        if what == "file":
            (place.runtime / "vm.sock").touch()
        else:
            opened.append(os.open("/dev/zero", os.O_RDONLY))
        yield Opened(door, far=made), made

    line = (
        r"in the runtime folder: \['vm.sock'\]"
        if what == "file"
        else r"descriptors left open: \['/dev/zero'\]"
    )
    try:
        with pytest.raises(AssertionError, match=line):
            await check_nic(maker, drivers=["trio"])
    finally:
        for descriptor in opened:
            os.close(descriptor)
