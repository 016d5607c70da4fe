"""`pipe`: Ethernet frames to and from Python, one at a time.

    nic = await fabric.attach("probe", network="red", nic=vnet.Pipe())
    await nic.send(bytes(frame))                # or anything with __bytes__: a scapy packet
    async for frame in nic: ...

For scapy's own way of working (`sr1`, `sniff`, answering machines), `nics/scapy_socket.py` makes a
scapy socket of a pipe's end.
"""

from __future__ import annotations

from typing import ClassVar, SupportsBytes

import attrs
import trio
from trio.lowlevel import ParkingLot, checkpoint

from nics.door import Opened, Place
from nics.errors import BadInput
from vnet._native import PipeHandle, pipe_door

HEADERS = 14 + 2 * 4
"""Bytes of a frame that do not count for the MTU: Ethernet and two VLAN tags."""


def _limit(_self: object, attribute: attrs.Attribute[int], value: int) -> None:
    if not isinstance(value, int) or not 1 <= value <= 1 << 20:
        raise BadInput(f"{attribute.name}: found {value!r}, expected a number of frames in 1..{1 << 20}")


@attrs.frozen
class Pipe:
    """A NIC whose guest is Python code in this process."""

    kind: ClassVar[str] = "pipe"

    limit: int = attrs.field(default=1024, validator=_limit)
    """Frames that wait at most, each way. What comes on top of that is dropped as `tx-full`."""

    async def open(self, place: Place) -> Opened:
        """Make the pipe. Never fails."""
        door, handle = pipe_door(self.limit, place.mtu + HEADERS)
        return Opened(door, far=PipeEnd(place.port, handle))


class PipeEnd(trio.abc.Channel[bytes]):
    """The far end of a pipe: a channel of frames, without FCS.

    Frames that were not received yet wait, up to the pipe's limit. Any number of tasks may send and
    receive; each frame goes to one of them.
    """

    def __init__(self, name: str, handle: PipeHandle) -> None:
        self.name = name
        self.handle = handle
        """The native end, for threads and for who wants to wait in another way."""
        self._tasks = ParkingLot()
        self._closed = False

    def __repr__(self) -> str:
        return f"<PipeEnd {self.name}{' closed' if self._closed else ''}>"

    def event(self, _a: int, _b: int) -> None:
        """There are frames, or there is room, or the port was removed: have everybody look."""
        self._tasks.unpark_all()

    def look(self) -> None:
        """The same, when nobody knows what there is."""
        self._tasks.unpark_all()

    def _check(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this end of the pipe was closed")

    async def send(self, value: bytes | bytearray | memoryview | SupportsBytes) -> None:
        """Send one frame: bytes, or anything that makes bytes of itself, as scapy packets do.

        Waits while the pipe is full. Raises BrokenResourceError when the port was removed.
        """
        await checkpoint()
        frame = as_bytes(value)
        while True:
            self._check()
            try:
                return self.handle.send(frame)
            except BlockingIOError:
                await self._tasks.park()
            except BrokenPipeError as error:
                self._check()
                raise trio.BrokenResourceError(f"{self.name} was removed") from error

    async def receive(self) -> bytes:
        """The next frame. Raises EndOfChannel when the port was removed."""
        await checkpoint()
        while True:
            try:
                return self.receive_nowait()
            except trio.WouldBlock:
                await self._tasks.park()

    def receive_nowait(self) -> bytes:
        """The next frame if there is one already; raises trio.WouldBlock if there is none."""
        self._check()
        try:
            return self.handle.receive()
        except BlockingIOError:
            raise trio.WouldBlock from None
        except BrokenPipeError as error:
            self._check()
            raise trio.EndOfChannel from error

    async def aclose(self) -> None:
        """Close this end: its port has no carrier from now on."""
        if not self._closed:
            self._closed = True
            self.handle.close()
            self._tasks.unpark_all()
        await checkpoint()


def as_bytes(frame: bytes | bytearray | memoryview | SupportsBytes) -> bytes:
    """A frame as bytes; a scapy packet is built."""
    if isinstance(frame, bytes):
        return frame
    if isinstance(frame, bytearray | memoryview | SupportsBytes):
        return bytes(frame)
    raise TypeError(f"a frame is bytes or makes bytes of itself, not {type(frame).__name__}")
