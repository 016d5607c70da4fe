"""See it work: two tenants with the same subnet on one switch, three in-process guests each.

Real TCP moves within each tenant, every pair across them is probed, and all of it is captured. Needs
no root and no file. Exit code 1 when anything that must hold does not.

Examples:
  vnet demo
  vnet demo --json
  vnet demo --size 256 -w demo.pcapng

"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vnet.cli import words
from vnet.errors import BadInput

if TYPE_CHECKING:
    from vnet.demo import Demo

WIDTH = 80
SIZE_MAX = 1_000_000
"""MiB: days of it."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """[--size MIB] [-w FILE] [--json]."""
    parser.add_argument("--size", type=int, default=64, metavar="MIB", help="data in each transfer (64)")
    parser.add_argument("-w", "--write", type=Path, metavar="FILE", help="where the capture goes")
    words.json_argument(parser)


def run(given: argparse.Namespace) -> int:
    """The command."""
    import trio

    from vnet import demo

    if not 1 <= given.size <= SIZE_MAX:
        raise BadInput(f"--size: found {given.size}, expected 1 to {SIZE_MAX} MiB")
    size = given.size << 20
    if given.json:
        result = trio.run(demo.run, size, given.write, lambda _demo: None)
        words.print_json(result.document())
    elif sys.stdout.isatty():
        from rich.console import Console
        from rich.live import Live

        with Live(console=Console(highlight=False, emoji=False), refresh_per_second=10) as live:
            result = trio.run(demo.run, size, given.write, lambda now: live.update(_table(now)))
        _tell(result)
    else:
        steps: list[str] = []
        result = trio.run(demo.run, size, given.write, lambda now: _step(now, steps))
        from rich.console import Console

        Console(width=WIDTH, highlight=False, emoji=False).print(_table(result))
        _tell(result)
    return 1 if result.failures() else 0


def _step(demo: Demo, told: list[str]) -> None:
    """Plain progress: each step once."""
    if demo.step not in told:
        told.append(demo.step)
        if demo.step != "done":
            print(f"... {demo.step}", flush=True)


def _table(demo: Demo) -> Any:
    """Ports and transfers as they are now."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    ports = Table(box=None, pad_edge=False, header_style="bold", collapse_padding=True)
    for column in ("port", "tenant", "vlan", "ip", "mac"):
        ports.add_column(column)
    for column in ("rx", "tx", "dropped"):
        ports.add_column(column, justify="right")
    for port in demo.ports or demo.fabric.status()["ports"]:
        ports.add_row(
            port["port"],
            Text(port["network"], style=port["network"]),
            str(port["vlan"]),
            " ".join(port["ip"]),
            port["mac"],
            words.size(port["rx"]["bytes"]),
            words.size(port["tx"]["bytes"]),
            str(sum(port["drops"].values())),
        )
    moves = Table(box=None, pad_edge=False, show_header=False, collapse_padding=True)
    for move in demo.transfers:
        share = move.moved / move.size
        state = "checksum matches" if move.intact else "" if share < 1 else "..."
        moves.add_row(
            f"{move.source} -> {move.target}",
            f"{'#' * int(20 * share):20}",
            words.size(move.moved),
            f"{move.gigabits:.2f} Gbit/s",
            state,
        )
    return Group(f"demo: two tenants, one subnet ({demo.step})", "", ports, "", moves)


def _tell(demo: Demo) -> None:
    """The end of the story."""
    reached = sum(pair.rtt is not None for pair in demo.inside)
    answered = sum(pair.rtt is not None for pair in demo.across)
    print()
    print(f"within the tenants:  {reached} of {len(demo.inside)} pairs reach each other")
    print(f"across the tenants:  {answered} of {len(demo.across)} pairs reach each other")
    print(f"                     {demo.leaked} of {demo.probed} frames to the other's MAC addresses arrived")
    print(f"captured:            {demo.frames} frames, {demo.lost} lost; to read them:")
    print(f"                     tshark -r {demo.capture} | head")
    print(f"                     wireshark {demo.capture}")
    print(f"took {demo.seconds:.1f} s. Next: vnet up FILE, with a topology file as in the README.")
    for failure in demo.failures():
        print(f"FAILED: {failure}", file=sys.stderr)
