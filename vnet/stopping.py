"""Signals that end a program which has a fabric of its own: the fabric is taken down first, as by Ctrl-C.

Of what ends at once, folders and namespaces would be left behind. The exit code is what a shell makes of the
signal.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Awaitable, Callable, Iterator
from types import FrameType
from typing import NoReturn

import trio

SIGNALED = 128


def endings() -> list[signal.Signals]:
    """Them, beside SIGINT. SIGHUP, of a terminal that was closed, is not among them where it was ignored when
    this process was started, as nohup does.
    """
    found = [signal.SIGTERM, signal.SIGHUP]
    return [one for one in found if one != signal.SIGHUP or signal.getsignal(one) != signal.SIG_IGN]


async def in_order(main: Callable[[], Awaitable[None]]) -> None:
    """Run `main`, in the main thread, until it ends or a signal comes. Raises SystemExit then."""
    came: list[int] = []
    failure: Exception | None = None
    with trio.open_signal_receiver(*endings()) as received:
        async with trio.open_nursery() as nursery:

            async def end() -> None:
                async for number in received:
                    came.append(number)
                    nursery.cancel_scope.cancel()

            nursery.start_soon(end)
            try:
                await main()
            except Exception as error:
                # Raised behind the nursery, which would make a group of it.
                failure = error
            nursery.cancel_scope.cancel()
    if came:
        raise SystemExit(SIGNALED + came[0])
    if failure is not None:
        raise failure


@contextlib.contextmanager
def exiting() -> Iterator[None]:
    """While the block runs, in a main thread that is not trio's, a signal raises SystemExit there."""

    def end(number: int, _: FrameType | None) -> NoReturn:
        raise SystemExit(SIGNALED + number)

    before = {number: signal.signal(number, end) for number in endings()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
