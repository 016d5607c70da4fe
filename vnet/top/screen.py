"""How `vnet top` looks: a screen for terminals from 80x24 up, and lines for everything else."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from vnet.cli.words import count, size
from vnet.top.rates import ORDERS, Rate, total

BARS = "▁▂▃▄▅▆▇█"
FRAME = 5
"""Lines that are not ports: title, blank, header, blank, keys."""
NARROW = 90
"""Below this width the kinds are left out ..."""
WIDE = 116
"""... and below this one the networks."""


def sparkline(values: Sequence[float], width: int) -> str:
    """The last `width` values as bars, the highest of them full; nothing where there is none."""
    shown = [0.0] * max(width - len(values), 0) + list(values)[-width:]
    most = max(shown, default=0.0)
    if most <= 0:
        return BARS[0] * width
    return "".join(BARS[min(int(value / most * len(BARS)), len(BARS) - 1)] for value in shown)


def bits(rate: float) -> str:
    """`1.25 Gbit/s`, without the words that every row would repeat."""
    return count(rate) if rate >= 0.5 else "·"


def frames(rate: float) -> str:
    """The same for frames."""
    return count(rate) if rate >= 0.5 else "·"


def screen(
    name: str, rates: Sequence[Rate], *, order: str, width: int, height: int, top: int = 0, note: str = ""
) -> RenderableType:
    """The whole screen: no more than `width` by `height` characters. `top` ports are scrolled away."""
    sums = total(list(rates))
    ordered = sorted(rates, key=ORDERS[order][1])
    room = max(height - FRAME, 1)
    shown = ordered[top : top + room]
    title = Text(no_wrap=True, overflow="ellipsis")
    title.append(name, "bold")
    title.append(f"  {sums.ports} ports")
    title.append(f", {sums.down} down" if sums.down else ", all up", "red" if sums.down else "green")
    title.append(f"   {size(sums.bits, 'bit/s')}  {frames(sums.frames)} frames/s  ")
    title.append(f"{frames(sums.drops)} drops/s", "yellow" if sums.drops >= 0.5 else "")
    keys = Text(no_wrap=True, overflow="ellipsis", style="dim")
    keys.append("sort: ")
    for key, (what, _) in ORDERS.items():
        keys.append(f"{key} {what}  ", "bold" if key == order else "")
    keys.append("q ends")
    if len(ordered) > room:
        keys.append(f"   j k scroll: {top + 1}-{top + len(shown)} of {len(ordered)}")
    if note:
        keys = Text(note, "yellow", no_wrap=True, overflow="ellipsis")
    return Group(title, Text(), _ports(shown, width), Text(), keys)


def _ports(rates: Sequence[Rate], width: int) -> Table:
    wide, narrow = width >= WIDE, width < NARROW
    grid = Table(box=None, pad_edge=False, header_style="bold", collapse_padding=True, expand=False)
    grid.add_column("port", no_wrap=True, max_width=18 if narrow else 20)
    if not narrow:
        grid.add_column("kind", no_wrap=True, max_width=10)
    if wide:
        grid.add_column("network", no_wrap=True, max_width=16)
    for name in ("rx fr/s", "rx bit/s", "tx fr/s", "tx bit/s", "drop/s"):
        grid.add_column(name, justify="right", no_wrap=True, min_width=7)
    grid.add_column("trend", no_wrap=True)
    grid.add_column("drops by", no_wrap=True, max_width=12 if narrow else 18)
    for rate in rates:
        style = "" if rate.up else "dim"
        cells: list[str | Text] = [Text(rate.port, "bold" if rate.up else "red dim")]
        if not narrow:
            cells.append(rate.kind)
        if wide:
            cells.append(rate.network)
        dropping = Text(frames(rate.drops), "yellow" if rate.drops >= 0.5 else style)
        cells += [frames(rate.rx_frames), bits(rate.rx_bits), frames(rate.tx_frames), bits(rate.tx_bits)]
        trend = sparkline(rate.trend, 6 if narrow else 12)
        cells += [dropping, Text(trend, "cyan"), rate.reason if rate.up else "no carrier"]
        grid.add_row(*cells, style=style)
    return grid


def line(clock: str, name: str, rates: Sequence[Rate]) -> str:
    """One sample as one line, for logs and pipes: the sums, and the busiest port."""
    sums = total(list(rates))
    busiest = max(rates, key=lambda rate: rate.bits, default=None)
    most = f"; most at {busiest.port}: {size(busiest.bits, 'bit/s')}" if busiest and busiest.bits else ""
    return (
        f"{clock} {name}: {sums.ports} ports, {sums.down} down, {count(sums.frames)} frames/s, "
        f"{size(sums.bits, 'bit/s')}, {count(sums.drops)} drops/s{most}"
    )
