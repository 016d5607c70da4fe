"""Whether long work lets others have their turns."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable

import trio


@contextlib.asynccontextmanager
async def counted() -> AsyncIterator[Callable[[], int]]:
    """While the block runs, another task has turns: how many so far."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        yield lambda: turns
        nursery.cancel_scope.cancel()
