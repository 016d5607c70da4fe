"""Figures of all running fabrics, or of one, for Prometheus: printed once, or served until Ctrl-C.

One endpoint tells of every fabric of this user, those to come included, or of the one that is named; of
one that does not answer, that it does not. It listens on loopback or on a unix socket of its owner's
alone. The names are in vnet/README.md and stay.

Examples:
  vnet metrics
  vnet metrics lab
  vnet metrics --listen 127.0.0.1:9464
  vnet metrics --listen /run/user/1000/vnet-metrics.sock

"""

from __future__ import annotations

import argparse
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from vnet import runtime
from vnet.cli import words
from vnet.control.client import Silent
from vnet.errors import VnetError

PATIENCE = 2.0
"""Seconds in which a fabric says something, asked with others: all of them are told of in less time than
Prometheus waits, which is 10 s unless it was told otherwise.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """[NAME] [--listen ADDRESS]."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="this fabric only (all)")
    parser.add_argument("--listen", metavar="ADDRESS", help="serve GET /metrics at 127.0.0.1:PORT or a path")


def statuses(name: str | None, *, there: bool = True) -> tuple[list[dict[str, Any]], list[str]]:
    """What the fabrics say of themselves, and the names of those that don't answer; one that goes away
    meanwhile is left out. One that is asked for by its name has to be `there`, or may come later.
    """
    if name and there:
        with words.client(name) as client:
            return [client.call("status")], []
    names = [each for each in runtime.running() if name in (None, each)]
    found, silent = [], []
    with ThreadPoolExecutor(max(1, len(names))) as pool:
        for each, status in zip(names, pool.map(_status, names), strict=True):
            if isinstance(status, Silent):
                silent.append(each)
            elif status is not None:
                found.append(status)
    return found, silent


def _status(name: str) -> dict[str, Any] | Silent | None:
    """What a fabric says of itself; None when there is none any more."""
    try:
        with words.client(name, PATIENCE) as client:
            status: dict[str, Any] = client.call("status")
            return status
    except Silent as silent:
        return silent
    except VnetError:
        return None


def run(given: argparse.Namespace) -> int:
    """The command."""
    from vnet.metrics import exposition

    if given.listen is None:
        sys.stdout.write(exposition(*statuses(given.name)))
        return 0
    import trio

    from vnet.metrics import endpoint

    where = endpoint.parse(given.listen)

    async def text() -> str:
        return exposition(*await trio.to_thread.run_sync(partial(statuses, given.name, there=False)))

    async def until_signal() -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            listener = await endpoint.listen(where)
            host = where.text if where.ip is not None else "localhost"
            print(f"serving http://{host}/metrics at {where.text}; Ctrl-C ends it", file=sys.stderr)
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(endpoint.serve, listener, text)
                    async for _ in signals:
                        break
                    nursery.cancel_scope.cancel()
            finally:
                endpoint.remove(where)

    trio.run(until_signal)
    return 0
