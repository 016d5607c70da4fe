"""Two ends of a transfer: whatever can open or take a TCP connection, in one shape for all tests.

The bytes are a block of random data, sent over and over: both ends can make the stream without
keeping it, and a lost, repeated, moved or damaged byte changes its SHA-256. The block's length is a
prime, so that no cut at a round number goes unseen.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import random
import socket
from typing import Protocol

import attrs
import trio

import vnet

BLOCK = 999_983
MB = 1_000_000
TRIES = 10
"""Of a ping that is to be answered: so many times two seconds is for a machine that is very busy."""


@functools.cache
def block() -> bytes:
    return random.Random(7).randbytes(BLOCK)


@functools.cache
def digest(blocks: int) -> str:
    """SHA-256 of a stream of so many blocks."""
    told = hashlib.sha256()
    for _ in range(blocks):
        told.update(block())
    return told.hexdigest()


class Peer(Protocol):
    """A guest, for a transfer."""

    @property
    def name(self) -> str:
        """Whose it is."""

    async def ping(self, address: str, *, count: int = TRIES) -> bool:
        """Whether any of `count` echo requests was answered."""

    async def take(self, port: int, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> str:
        """Accept one connection, read it to its end; the SHA-256. Started once it listens, on IPv4 and 6."""

    async def give(self, address: str, port: int, blocks: int) -> None:
        """Connect, send so many blocks, and close."""


async def transfer(
    giver: Peer, taker: Peer, address: str, *, port: int = 5001, megabytes: int = 10, deadline: float = 60
) -> float:
    """Move bytes by TCP from one peer to the other, check them; the seconds it took."""
    blocks = -(-megabytes * MB // BLOCK)
    found = ""

    async def take(*, task_status: trio.TaskStatus[None]) -> None:
        nonlocal found
        found = await taker.take(port, task_status=task_status)

    start = trio.current_time()
    with trio.fail_after(deadline):
        async with trio.open_nursery() as nursery:
            await nursery.start(take)
            await giver.give(address, port, blocks)
    assert found == digest(blocks), f"{giver.name} -> {taker.name}: the bytes arrived changed"
    return trio.current_time() - start


async def _hash(stream: trio.abc.ReceiveStream) -> str:
    told = hashlib.sha256()
    async with stream:
        async for data in stream:
            told.update(data)
    return told.hexdigest()


@attrs.frozen
class NetnsPeer:
    """A network namespace of a fabric: the host's kernel, by sockets that belong to the namespace."""

    guest: vnet.NetnsGuest

    @property
    def name(self) -> str:
        return self.guest.name

    async def _socket(self, family: int) -> trio.socket.SocketType:
        assert self.guest.namespace is not None
        made = await self.guest.namespace.socket(family, socket.SOCK_STREAM)
        return trio.socket.from_stdlib_socket(made)

    async def ping(self, address: str, *, count: int = TRIES) -> bool:
        return await _answers(self.guest, address, count)

    async def take(self, port: int, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> str:
        with await self._socket(socket.AF_INET6) as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            await listening.bind(("::", port))
            listening.listen()
            task_status.started()
            connection, _ = await listening.accept()
        return await _hash(trio.SocketStream(connection))

    async def give(self, address: str, port: int, blocks: int) -> None:
        with await self._socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as connection:
            await connection.connect((address, port))
            stream = trio.SocketStream(connection)
            for _ in range(blocks):
                await stream.send_all(block())


@attrs.frozen
class StackPeer:
    """An in-process TCP/IP guest of a fabric."""

    guest: vnet.StackGuest

    @property
    def name(self) -> str:
        return self.guest.name

    async def ping(self, address: str, *, count: int = TRIES) -> bool:
        return await _answers(self.guest, address, count)

    async def take(self, port: int, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> str:
        async with await self.guest.listen_tcp(port) as listener:
            task_status.started()
            return await _hash(await listener.accept())

    async def give(self, address: str, port: int, blocks: int) -> None:
        async with await self.guest.open_tcp_stream(address, port) as stream:
            for _ in range(blocks):
                await stream.send_all(block())


async def _answers(guest: vnet.Guest, address: str, count: int) -> bool:
    for _ in range(count):
        with contextlib.suppress(vnet.Unreachable):
            await guest.ping(address)
            return True
    return False
