"""Who turns the engine: a trio task, or the engine's own thread.

Both call the same `turn`. Under trio the engine's one descriptor is waited for and `now` is trio's
time, so that a fabric under `trio.testing.MockClock` lives in virtual time. The thread polls while
there is traffic and sleeps when there is none; trio then only hears of events, through a second
descriptor. Never is there a wake a frame: a turn takes everything that waits.
"""

from __future__ import annotations

import math
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Literal

import trio

from vnet._native import Engine

Poll = Literal["adaptive", "busy", "sleep"]
Event = tuple[int, str, int, int, str]
"""(port, kind, a, b, text), as `Engine.events` gives them."""

NANO = 1_000_000_000


def now() -> int:
    """Trio's time in nanoseconds."""
    return round(trio.current_time() * NANO)


def moment(nanoseconds: int) -> float:
    """Trio's time when it has come to `nanoseconds` for `now`, too.

    After three months a float can't tell nanoseconds apart: a quotient that was rounded down would be a
    deadline at which nothing is due yet, again and again.
    """
    seconds = nanoseconds / NANO
    while round(seconds * NANO) < nanoseconds:
        seconds = math.nextafter(seconds, math.inf)
    return seconds


class _Order:
    """How trio orders tasks that could run next: of the whole process, so however many fabrics live in
    virtual time, there is one.
    """

    users = 0
    before: tuple[bool, Any] = (False, None)
    lock = threading.Lock()
    """Runs of trio may begin in several threads."""


@contextmanager
def same_order(seed: int) -> Iterator[None]:
    """Have trio run its tasks in an order that follows from `seed` alone, while the block lasts.

    trio shuffles the tasks that could run next, so that nobody comes to rely on an order. For the
    same run to give the same frames, the shuffling has to be the same too. trio has no public
    switch for it; this is the one that it keeps for Hypothesis.

    Blocks may overlap in any way: the first one's seed holds until the last one ends, and only then is
    everything as it was.
    """
    from trio._core import _run

    with _Order.lock:
        if not _Order.users:
            _Order.before = _run._ALLOW_DETERMINISTIC_SCHEDULING, _run._r.getstate()
            _run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
            _run._r.seed(seed)
        _Order.users += 1
    try:
        yield
    finally:
        with _Order.lock:
            _Order.users -= 1
            if not _Order.users:
                _run._ALLOW_DETERMINISTIC_SCHEDULING = _Order.before[0]  # type: ignore[misc]
                _run._r.setstate(_Order.before[1])


async def drive(engine: Engine) -> None:
    """Turn `engine` from trio until cancelled."""
    descriptor = engine.fileno()
    while True:
        until = engine.turn(now())
        if until == 0:
            await trio.lowlevel.checkpoint()
            continue
        with trio.CancelScope(deadline=math.inf if until is None else moment(until)):
            await trio.lowlevel.wait_readable(descriptor)


async def dispatch(engine: Engine, handle: Callable[[Event], None], lost: Callable[[int], None]) -> None:
    """Hand every event of `engine` to `handle` until cancelled; `lost` hears of those that were lost."""
    descriptor = engine.events_fileno()
    while True:
        await trio.lowlevel.wait_readable(descriptor)
        events, missing = engine.events()
        for event in events:
            handle(event)
        if missing:
            lost(missing)


@asynccontextmanager
async def cancelled_nursery() -> AsyncIterator[trio.Nursery]:
    """A nursery whose tasks end with the block."""
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        try:
            yield nursery
        except Exception as error:
            # Kept out of the nursery, which would make a group of it.
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
