"""What plays the guests of socket doors in `check_nic`."""

from __future__ import annotations

import os
import socket
import struct
from collections import deque
from pathlib import Path

import attrs
import trio

from nics.door import Opened, Place
from nics.errors import BadInput
from nics.stack import Host, Stack
from nics.stack_sockets import PacketSocket
from vnet._native import PipeHandle
from vnet.testing import Peer


def _remove(path: str | tuple[str, int]) -> None:
    if isinstance(path, str) and not path.startswith("\0"):
        Path(path).unlink(missing_ok=True)


class StreamPeer(Peer):
    """A guest that speaks 4-byte lengths, as QEMU does."""

    def __init__(self, address: str | tuple[str, int], family: int, *, listens: bool) -> None:
        self._address = address
        self._family = family
        self._listens = listens
        self._listener: trio.socket.SocketType | None = None
        self._socket: trio.socket.SocketType | None = None
        self._bytes = bytearray()

    async def connect(self) -> None:
        if not self._listens:
            self._socket = trio.socket.socket(self._family)
            await self._socket.connect(self._address)
            return
        if self._listener is None:
            self._listener = trio.socket.socket(self._family)
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            _remove(self._address)
            await self._listener.bind(self._address)
            self._listener.listen(1)
        self._socket, _ = await self._listener.accept()

    async def disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._bytes.clear()
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        await self.disconnect()
        if self._listener is not None:
            self._listener.close()
            _remove(self._address)

    def _connected(self) -> trio.socket.SocketType:
        assert self._socket is not None
        return self._socket

    async def send(self, frame: bytes) -> None:
        data = memoryview(len(frame).to_bytes(4) + frame)
        while data:
            data = data[await self._connected().send(data) :]

    async def receive(self) -> bytes:
        while len(self._bytes) < 4 or len(self._bytes) < 4 + int.from_bytes(self._bytes[:4]):
            data = await self._connected().recv(65_536)
            if not data:
                raise EOFError("the NIC closed the connection")
            self._bytes += data
        end = 4 + int.from_bytes(self._bytes[:4])
        frame = bytes(self._bytes[4:end])
        del self._bytes[:end]
        return frame


QUESTION = bytes.fromhex("0180c200000e02766e6574") + b"\x00\x88\xb5"
"""By this a UDP door asks whether somebody is there."""


class DgramPeer(Peer):
    """A guest with a datagram socket, which makes its unix socket anew each time, as QEMU does."""

    def __init__(self, own: str | tuple[str, int], nic: str | tuple[str, int], family: int) -> None:
        self._own = own
        self._nic = nic
        self._family = family
        self._socket: trio.socket.SocketType | None = None
        self._was_gone = False
        self.notices_by_sending = True
        if family != socket.AF_UNIX:
            # A kernel drops what does not fit into a receiver's buffer, and tells nobody.
            self.max_frame = 65_507
            self.stalls = self.reliable = False

    async def connect(self) -> None:
        self._socket = trio.socket.socket(self._family, socket.SOCK_DGRAM)
        _remove(self._own)
        if self._family != socket.AF_UNIX:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        await self._socket.bind(self._own)
        if self._family != socket.AF_UNIX and self._was_gone:
            # Without a word it is only known when the door's question was not refused for a second.
            await self._socket.sendto(b"", self._nic)

    async def disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._was_gone = True
        _remove(self._own)
        await trio.lowlevel.checkpoint()

    async def send(self, frame: bytes) -> None:
        assert self._socket is not None
        await self._socket.sendto(frame, self._nic)

    async def receive(self) -> bytes:
        assert self._socket is not None
        while (frame := await self._socket.recv(70_000)).startswith(QUESTION):
            pass
        return frame


class PipePeer(Peer):
    """The far end of a pipe; also its `far`."""

    carrier = False
    """Its end is in this process, and goes only with the port."""

    def __init__(self, handle: PipeHandle) -> None:
        self._handle = handle
        self._news = trio.Event()
        self._frames: deque[bytes] = deque()

    def event(self, _a: int, _b: int) -> None:
        """The engine has news."""
        self._news.set()
        self._news = trio.Event()

    def look(self) -> None:
        """Perhaps it had some."""
        self.event(0, 0)

    async def connect(self) -> None:
        await trio.lowlevel.checkpoint()

    async def disconnect(self) -> None:
        raise BadInput("a pipe can't be cut")

    async def send(self, frame: bytes) -> None:
        while True:
            news = self._news
            try:
                self._handle.send(frame)
            except BlockingIOError:
                await news.wait()
            else:
                return await trio.lowlevel.checkpoint()

    async def receive(self) -> bytes:
        while True:
            news = self._news
            try:
                return self._handle.receive()
            except BlockingIOError:
                await news.wait()


class PcapPeer(Peer):
    """What fills the FIFO that a door plays, and watches the one that it records to."""

    carrier = False
    """A file is always there."""

    def __init__(self, source: str, target: str) -> None:
        self._paths = source, target
        self._writer = self._reader = -1
        self._bytes = bytearray()

    async def connect(self) -> None:
        source, target = self._paths
        self._writer = os.open(source, os.O_WRONLY | os.O_NONBLOCK)
        self._reader = os.open(target, os.O_RDONLY | os.O_NONBLOCK)
        await self._write(struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 1))

    async def disconnect(self) -> None:
        if self._writer >= 0:
            os.close(self._writer)
            os.close(self._reader)
            self._writer = self._reader = -1
        self._bytes.clear()
        await trio.lowlevel.checkpoint()

    async def _write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._writer, data) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._writer)

    async def send(self, frame: bytes) -> None:
        await self._write(struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame)

    async def receive(self) -> bytes:
        while True:
            kind, length = struct.unpack("<II", self._bytes[:8].ljust(8, b"\0"))
            if not length or len(self._bytes) < length:
                await trio.lowlevel.wait_readable(self._reader)
                self._bytes += os.read(self._reader, 65_536)
                continue
            block = bytes(self._bytes[:length])
            del self._bytes[:length]
            if kind == 6:
                (kept,) = struct.unpack("<I", block[20:24])
                return block[28 : 28 + kept]


class HostPeer(Peer):
    """An in-process TCP/IP host, by a packet socket; also the description of its NIC."""

    kind = "stack"
    max_frame = 65_535
    min_sent = 14
    carrier = False
    """It is in this process, and goes only with the port."""
    sends_without_link = False
    stalls = reliable = False
    """Its socket loses what nobody receives, as a kernel's does."""

    def __init__(self) -> None:
        self._host: Host | None = None
        self._socket: PacketSocket | None = None

    async def open(self, place: Place) -> Opened:
        """Make the host."""
        opened = await Stack().open(attrs.evolve(place, mtu=self.max_frame - 14))
        assert isinstance(opened.far, Host)
        self._host = opened.far
        return opened

    async def connect(self) -> None:
        assert self._host is not None
        self._socket = await self._host.packet_socket()

    async def disconnect(self) -> None:
        if self._socket is not None:
            await self._socket.aclose()

    async def send(self, frame: bytes) -> None:
        assert self._socket is not None
        await self._socket.send(frame)

    async def receive(self) -> bytes:
        assert self._socket is not None
        return await self._socket.receive()


class VdePeer(Peer):
    """One side of a VDE plug: libvdeplug's, or, if it `listens`, that of a switch with one port."""

    _MAGIC = 0xFEEDFACE

    def __init__(self, folder: Path, *, listens: bool) -> None:
        self._folder = folder
        self._listener: trio.socket.SocketType | None = None
        self._listens = listens
        self._control: trio.socket.SocketType | None = None
        self._data: trio.socket.SocketType | None = None

    def _bind(self, name: str) -> bytes:
        """Make the data socket; its address as it is told."""
        path = self._folder / name
        path.unlink(missing_ok=True)
        data = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        data.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        data.bind(str(path))
        self._data = trio.socket.from_stdlib_socket(data)
        return struct.pack("=H108s", socket.AF_UNIX, str(path).encode())

    async def connect(self) -> None:
        if self._listens:
            await self._answer()
            return
        self._control = trio.socket.socket(socket.AF_UNIX)
        await self._control.connect(str(self._folder / "ctl"))
        request = struct.pack("=III", self._MAGIC, 3, 0) + self._bind(f".{os.getpid():05}-00000")
        await self._control.send(request + b"a test")
        await self._aim(await self._control.recv(256))

    async def _answer(self) -> None:
        if self._listener is None:
            self._folder.mkdir()
            self._listener = trio.socket.socket(socket.AF_UNIX)
            await self._listener.bind(str(self._folder / "ctl"))
            self._listener.listen(1)
        self._control, _ = await self._listener.accept()
        request = await self._control.recv(256)
        assert struct.unpack("=III", request[:12]) == (self._MAGIC, 3, 0)
        own = self._bind("001.5")
        await self._aim(request[12:122])
        await self._control.send(own)

    async def _aim(self, address: bytes) -> None:
        assert self._data is not None
        assert len(address) == 110
        await self._data.connect(address[2:].rstrip(b"\0").decode())

    async def disconnect(self) -> None:
        for one in (self._data, self._control):
            if one is not None:
                one.close()
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        await self.disconnect()
        if self._listener is not None:
            self._listener.close()
            for left in self._folder.iterdir():
                left.unlink()
            self._folder.rmdir()

    async def send(self, frame: bytes) -> None:
        assert self._data is not None
        await self._data.send(frame)

    async def receive(self) -> bytes:
        assert self._data is not None
        return await self._data.recv(70_000)
