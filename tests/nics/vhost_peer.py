"""A vhost-user front-end and its guest's driver, as small as they get: split rings, one queue pair.

The guest's memory is a memfd that both map. Where rings lie in it is told by the front-end's own
addresses, which here begin at `UVA`; what the guest's driver writes into descriptors, by the guest's,
which begin at `GPA` (https://qemu-project.gitlab.io/qemu/interop/vhost-user.html, virtio 1.2, 2.7).
"""

from __future__ import annotations

import contextlib
import mmap
import os
import socket
import struct

import attrs
import trio

from nics.door import Opened, Place
from nics.vhost_user import VhostUser
from vnet.testing import Peer

GPA, UVA = 0x4000_0000, 0x7000_0000_0000
SIZE = 32 << 20
ENTRIES = 128
BUFFER = 70_000
"""Bytes of each buffer: any frame and its header fit into one."""
RING = 0x4000
"""Bytes that a ring takes, its three parts a quarter of a page-aligned place each."""
HEADER = bytes(12)
"""virtio_net_hdr of virtio 1: nothing is left to be done."""
VERSION_1, PROTOCOL_FEATURES = 1 << 32, 1 << 30
GET_FEATURES, SET_FEATURES, SET_OWNER, SET_MEM_TABLE = 1, 2, 3, 5
SET_NUM, SET_ADDR, SET_BASE, SET_KICK, SET_CALL, SET_ENABLE = 8, 9, 10, 12, 13, 18
GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES = 15, 16
WRITE = 2
"""Flag of a descriptor: the device writes to it."""


class Ring:
    """A split ring, as its driver sees it."""

    def __init__(self, memory: mmap.mmap, index: int) -> None:
        self.memory = memory
        self.index = index
        self.desc = index * RING
        self.avail, self.used = self.desc + 0x1000, self.desc + 0x2000
        self.buffers = 4 * RING + index * ENTRIES * BUFFER
        self.kick, self.call = (os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(2))
        self.given = self.seen = 0
        self.free = list(range(ENTRIES))

    def close(self) -> None:
        os.close(self.kick)
        os.close(self.call)

    def give(self, frame: bytes | None) -> None:
        """A free buffer: with a frame to be sent, or to be filled."""
        at = self.free.pop()
        place = self.buffers + at * BUFFER
        data = b"" if frame is None else HEADER + frame
        self.memory[place : place + len(data)] = data
        length, flags = (BUFFER, WRITE) if frame is None else (len(data), 0)
        struct.pack_into("<QIHH", self.memory, self.desc + 16 * at, GPA + place, length, flags, 0)
        struct.pack_into("<H", self.memory, self.avail + 4 + 2 * (self.given % ENTRIES), at)
        self.given += 1
        # In one store: struct.pack_into would set it to 0 first, and the device sees that now and then.
        self.memory[self.avail + 2 : self.avail + 4] = (self.given & 0xFFFF).to_bytes(2, "little")
        os.eventfd_write(self.kick, 1)

    def take(self) -> bytes | None:
        """What the device gave back, if it did: its buffer is free again."""
        (index,) = struct.unpack_from("<H", self.memory, self.used + 2)
        if index == self.seen & 0xFFFF:
            return None
        at, length = struct.unpack_from("<II", self.memory, self.used + 4 + 8 * (self.seen % ENTRIES))
        self.seen += 1
        self.free.append(at)
        place = self.buffers + at * BUFFER
        return self.memory[place + len(HEADER) : place + length]

    async def news(self) -> None:
        """Wait until the device has done something."""
        await trio.lowlevel.wait_readable(self.call)
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.call)


class VhostPeer(Peer):
    """A guest that shares its memory; also the description of its NIC."""

    kind = "vhost-user"
    max_frame = 65_535

    def __init__(self, nic: VhostUser, path: str) -> None:
        self._nic = nic
        self._path = path
        # A link that is down can be shown to a front-end that listens, by hanging up.
        self.hung_up_by_link = nic.role == "client"
        self.sends_without_link = nic.role == "server"
        self._socket: trio.socket.SocketType | None = None
        self._memory: mmap.mmap | None = None
        self._rings: list[Ring] = []

    async def open(self, place: Place) -> Opened:
        return await self._nic.open(attrs.evolve(place, mtu=self.max_frame - 14))

    async def connect(self) -> None:
        made = trio.socket.socket(socket.AF_UNIX)
        if self._nic.role == "server":
            await made.connect(self._path)
        else:
            with made:
                await made.bind(self._path)
                made.listen()
                made, _ = await made.accept()
            await trio.Path(self._path).unlink()
        self._socket = made
        memfd = os.memfd_create("guest")
        os.ftruncate(memfd, SIZE)
        self._memory = mmap.mmap(memfd, SIZE)
        self._rings = [Ring(self._memory, index) for index in range(2)]
        await self._say(SET_OWNER)
        features = VERSION_1 | PROTOCOL_FEATURES
        assert await self._ask(GET_FEATURES) & features == features
        await self._ask(GET_PROTOCOL_FEATURES)
        await self._say(SET_PROTOCOL_FEATURES, struct.pack("<Q", 0))
        await self._say(SET_FEATURES, struct.pack("<Q", features))
        await self._say(SET_MEM_TABLE, struct.pack("<II4Q", 1, 0, GPA, SIZE, UVA, 0), memfd)
        os.close(memfd)
        for ring in self._rings:
            await self._start(ring)
        for _ in range(ENTRIES // 2):
            self._rings[0].give(None)

    async def _start(self, ring: Ring) -> None:
        index = ring.index
        await self._say(SET_NUM, struct.pack("<II", index, ENTRIES))
        await self._say(SET_BASE, struct.pack("<II", index, 0))
        places = UVA + ring.desc, UVA + ring.used, UVA + ring.avail, 0
        await self._say(SET_ADDR, struct.pack("<II4Q", index, 0, *places))
        await self._say(SET_CALL, struct.pack("<Q", index), ring.call)
        await self._say(SET_KICK, struct.pack("<Q", index), ring.kick)
        await self._say(SET_ENABLE, struct.pack("<II", index, 1))

    async def disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        for ring in self._rings:
            ring.close()
        self._rings = []
        if self._memory is not None:
            self._memory.close()
            self._memory = None
        await trio.lowlevel.checkpoint()

    async def send(self, frame: bytes) -> None:
        ring = self._rings[1]
        while True:
            while ring.take() is not None:
                pass
            if ring.free:
                return ring.give(frame)
            await ring.news()

    async def receive(self) -> bytes:
        ring = self._rings[0]
        while (frame := ring.take()) is None:
            await ring.news()
        ring.give(None)
        await trio.lowlevel.checkpoint()
        return frame

    async def _say(self, request: int, body: bytes = b"", *fds: int) -> None:
        assert self._socket is not None
        message = struct.pack("<III", request, 1, len(body)) + body
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))] if fds else []
        assert await self._socket.sendmsg([message], rights) == len(message)

    async def _ask(self, request: int) -> int:
        assert self._socket is not None
        await self._say(request)
        answer = await self._socket.recv(20, socket.MSG_WAITALL)
        return int.from_bytes(answer[12:], "little")
