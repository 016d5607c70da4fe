"""Pairs of guests, tried again and again until they come out as they have to.

A short try finds out soon that somebody is there now; on a slow path it ends before the answer comes, every
time. So once a try of everybody failed there are two at work: short ones, one after the other, and beside
them some that each take twice as long as the one before.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

import trio

TRY = 0.5
"""Seconds for a short try."""
AT_ONCE, OF_ONE = 400, 16
"""Pairs, and what is asked of each, at the same time."""

Pair = tuple[str, str]
Ask = Callable[[str, str, float], Awaitable[bool]]
"""Whether a pair comes out as it has to, given so many seconds for each packet's answer."""


async def until(
    pairs: Iterable[Pair], ask: Ask, *, deadline: float, pause: float, patient: bool = True
) -> list[Pair]:
    """Ask about each pair until it holds; those that did not until `deadline`. Each is asked once at least.

    `pause`: seconds between tries. Without `patient` there are short ones only.
    """
    wrong = dict.fromkeys(pairs)

    async def each(seconds: float) -> None:
        # One of its own, or the long tries of many would keep the short ones out.
        limiter = trio.CapacityLimiter(AT_ONCE)

        async def one(pair: Pair) -> None:
            async with limiter:
                if pair in wrong and await ask(*pair, seconds):
                    wrong.pop(pair, None)

        async with trio.open_nursery() as nursery:
            for pair in wrong:
                nursery.start_soon(one, pair)

    async def tries(growth: float) -> None:
        seconds = TRY
        while wrong and (left := deadline - trio.current_time()) > 0:
            await trio.sleep(min(pause, left))
            seconds = min(max(TRY, growth * seconds), max(TRY, deadline - trio.current_time()))
            await each(seconds)

    await each(TRY)
    async with trio.open_nursery() as both:
        if patient:
            both.start_soon(tries, 2)
        await tries(1)
        both.cancel_scope.cancel()
    return list(wrong)


async def together(asks: Sequence[Callable[[], Awaitable[bool]]], *, each: bool) -> bool:
    """Ask all of them at once, some at a time: whether each holds, or else whether one does."""
    limiter = trio.CapacityLimiter(OF_ONE)
    found = each

    async with trio.open_nursery() as nursery:

        async def one(ask: Callable[[], Awaitable[bool]]) -> None:
            nonlocal found
            async with limiter:
                if await ask() != each:
                    found = not each
                    nursery.cancel_scope.cancel()

        for ask in asks:
            nursery.start_soon(one, ask)
    return found
