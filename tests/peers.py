"""Two ends of a transfer: whatever can open or take a TCP connection, in one shape for all tests.

The bytes are a block of random data, sent over and over: both ends can make the stream without
keeping it, and a lost, repeated, moved or damaged byte changes its SHA-256. The block's length is a
prime, so that no cut at a round number goes unseen.
"""

from __future__ import annotations

import functools
import hashlib
import random
from typing import Protocol

import trio

BLOCK = 999_983
MB = 1_000_000


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

    name: str

    async def ping(self, address: str, *, count: int = 3) -> bool:
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
