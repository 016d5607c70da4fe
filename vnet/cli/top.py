"""Watch a fabric: each port's frames, bits and drops by the second, the busiest first.

On a terminal a live screen: b r t d p sort by bits, rx, tx, drops, port; j and k scroll; q ends. Into a
pipe or a file, one line a sample. `rx` is what the switch took in at a port, `tx` what it sent out.

Examples:
  vnet top
  vnet top lab --interval 0.5 --sort drops
  vnet top -c 10 > rates.txt
  vnet top --json -c 2

"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from typing import Any

from vnet.cli import words
from vnet.errors import BadInput


def arguments(parser: argparse.ArgumentParser) -> None:
    """[NAME] [-i SECONDS] [-c N] [--sort WHAT] [--plain] [--json]."""
    from vnet.top import ORDERS

    words.fabric_argument(parser)
    parser.add_argument(
        "-i", "--interval", type=float, default=1.0, metavar="SECONDS", help="between samples (1)"
    )
    parser.add_argument("-c", "--count", type=int, metavar="N", help="end after so many samples")
    parser.add_argument(
        "--sort", choices=[what for what, _ in ORDERS.values()], default="bits", help="what is first (bits)"
    )
    parser.add_argument("--plain", action="store_true", help="lines instead of a screen, on a terminal too")
    parser.add_argument("--json", action="store_true", help="one JSON document a sample, a line each")


def run(given: argparse.Namespace) -> int:
    """The command."""
    if not 0.1 <= given.interval <= 3600:
        raise BadInput(f"--interval: found {given.interval:g}, expected 0.1 to 3600 seconds")
    if given.count is not None and given.count < 1:
        raise BadInput(f"--count: found {given.count}, expected 1 or more samples")
    with words.client(given.name) as client:
        if given.json or given.plain or not (sys.stdout.isatty() and sys.stdin.isatty()):
            _lines(given, client)
        else:
            _live(given, client)
    return 0


def _samples(given: argparse.Namespace) -> Iterator[int]:
    """The numbers of the samples that were asked for; the first has no rates and is not one."""
    n = 0
    while given.count is None or n <= given.count:
        yield n
        n += 1


def _lines(given: argparse.Namespace, client: Any) -> None:
    import attrs

    from vnet.top import ORDERS, History, line

    history = History()
    order = next(sort for what, sort in ORDERS.values() if what == given.sort)
    for n in _samples(given):
        if n:
            time.sleep(given.interval)
        status = client.call("status")
        rates = history.add(time.monotonic(), status)
        if n == 0:
            continue
        if given.json:
            ports = [attrs.asdict(rate) for rate in sorted(rates, key=order)]
            print(json.dumps({"name": status["name"], "ports": ports}), flush=True)
        else:
            print(line(time.strftime("%H:%M:%S"), status["name"], rates), flush=True)


def _live(given: argparse.Namespace, client: Any) -> None:
    from rich.console import Console
    from rich.live import Live

    from vnet.top import ORDERS, History, screen

    console = Console(highlight=False, markup=False, emoji=False)
    history = History()
    order = next(key for key, (what, _) in ORDERS.items() if what == given.sort)
    top = 0
    with _keys() as descriptor, Live(console=console, screen=True, auto_refresh=False) as live:
        for n in _samples(given):
            status = client.call("status")
            rates = history.add(time.monotonic(), status)
            # The first rates come quickly, so that nobody looks at an empty screen for long.
            until = time.monotonic() + (given.interval if n else min(given.interval, 0.3))
            while True:
                top = max(min(top, len(rates) - 1), 0)
                width, height = console.size
                live.update(
                    screen(status["name"], rates, order=order, width=width, height=height, top=top),
                    refresh=True,
                )
                key = _key(descriptor, until - time.monotonic())
                if key is None:
                    break
                if key in ("q", "\x03", "\x04"):
                    return
                order = key if key in ORDERS else order
                top += {"j": 1, "k": -1, " ": height - 6}.get(key, 0)


@contextlib.contextmanager
def _keys() -> Iterator[int]:
    """Standard input, key by key."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield descriptor
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _key(descriptor: int, seconds: float) -> str | None:
    """A key pressed within `seconds`; None otherwise. The end of input is `q`."""
    if seconds <= 0 or not select.select([descriptor], [], [], seconds)[0]:
        return None
    pressed = os.read(descriptor, 16)
    return pressed[:1].decode("ascii", "replace") if pressed else "q"
