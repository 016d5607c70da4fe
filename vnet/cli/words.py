"""What several commands say in the same way: which fabric, tables, numbers with units."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Sequence
from typing import Any, Literal

from vnet import runtime
from vnet.control.client import PATIENCE, Client


def fabric_argument(parser: argparse.ArgumentParser, *, option: bool = False) -> None:
    """NAME, which may be left out while one fabric runs."""
    words = {"metavar": "NAME", "help": "the fabric; may be left out while one runs"}
    if option:
        parser.add_argument("-n", "--name", **words)  # type: ignore[arg-type]
    else:
        parser.add_argument("name", nargs="?", **words)  # type: ignore[arg-type]


def json_argument(parser: argparse.ArgumentParser) -> None:
    """--json."""
    parser.add_argument("--json", action="store_true", help="one JSON document with stable keys")


def client(name: str | None, patience: float = PATIENCE) -> Client:
    """A connection to the fabric called `name`, or to the only one."""
    return Client(runtime.base() / runtime.the_one(name) / runtime.CONTROL, patience)


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    json.dump(document, sys.stdout, indent=2)
    print()


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[str] = (),
    whole: Sequence[str] = (),
) -> None:
    """A table as wide as it needs to be and no wider than the terminal; colour on a terminal only. Columns
    that are to stay `whole` are not folded.
    """
    from rich.console import Console
    from rich.table import Table

    grid = Table(box=None, pad_edge=False, header_style="bold", collapse_padding=True)
    for column in columns:
        side: Literal["left", "right"] = "right" if column in right else "left"
        grid.add_column(column, justify=side, overflow="fold", no_wrap=column in whole)
    for row in rows:
        grid.add_row(*row)
    terminal, drawn = sys.stdout.isatty(), io.StringIO()
    # Without emoji: `:ab:` stands in many a MAC address, and is one.
    console = Console(
        file=None if terminal else drawn,
        width=None if terminal else 200,
        highlight=False,
        markup=False,
        emoji=False,
    )
    console.print(grid)
    for line in drawn.getvalue().splitlines():
        print(line.rstrip())


def coloured() -> bool:
    """Whether what is printed may have colours: on a terminal, unless its user wants none (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def several(number: int, what: str) -> str:
    """`1 port`, `2 ports`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def count(number: float) -> str:
    """`1234567` as `1.23 M`."""
    for unit in ("", " k", " M", " G", " T"):
        if number < 1000 or unit == " T":
            return f"{number:.0f}{unit}" if unit == "" else f"{number:.3g}{unit}"
        number /= 1000
    return ""


def size(number: float, unit: str = "B") -> str:
    """Bytes or something else, in powers of ten as networks count: `12 B`, `1.25 Gbit/s`."""
    return f"{count(number)}{unit}" if number >= 1000 else f"{number:.0f} {unit}"


def seconds(value: float) -> str:
    """A round-trip time: `0.213 ms`."""
    return f"{value * 1000:.3f} ms"


def ago(value: float) -> str:
    """How long ago something was: `0.213 ms`, `4.2 s`, `24 h`."""
    if value < 1:
        return seconds(value)
    return f"{value:.1f} s" if value < 120 else duration(value)


def duration(value: float) -> str:
    """Seconds as people say them: `42 s`, `3 min`, `24 h`."""
    for most, size, unit in ((120, 1, "s"), (7200, 60, "min")):
        if value < most:
            return f"{value / size:.0f} {unit}"
    return f"{value / 3600:.0f} h"


def port_of(name: str, ports: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The entry of the status document for a port's name, or a guest's for its first port. Raises
    BadInput.
    """
    from nics.keys import did_you_mean
    from vnet.errors import BadInput

    for key in ("port", "guest"):
        for port in ports:
            if port[key] == name:
                return port
    hint = did_you_mean(name, [known for port in ports for known in (port["port"], port["guest"]) if known])
    raise BadInput(f"there is no port {name!r}" + (f"; {hint}" if hint else ""))
