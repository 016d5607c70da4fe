"""The results, for people (tables of 80 columns) and for programs (JSON)."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import attrs

from vnet.bench.course import Results, Spread

Cells = Sequence[str]
DISTURBED = 0.05
"""Share of the time that other programs may take before a word is said."""


@contextmanager
def progress(*, quiet: bool) -> Iterator[Callable[[str], None]]:
    """A line that says what is being measured, while it is, on a terminal; nothing elsewhere."""
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console

    with Console(stderr=True).status("") as status:
        yield lambda what: status.update(f"measuring {what}")


def print_json(results: Results) -> None:
    """One document."""
    json.dump(attrs.asdict(results), sys.stdout, indent=2)
    print()


def print_tables(results: Results) -> None:
    """Tables that fit 80 columns."""
    for line in lines(results):
        print(line)


def lines(results: Results) -> Iterator[str]:
    """What `print_tables` prints."""
    machine = results.machine
    yield f"vnet {results.vnet}, {machine['cores']} cores of {machine['cpu']}"
    yield f"Linux {machine['kernel']}, Python {machine['python']}, load {machine['load']:.1f} when it began"
    if results.forwarding:
        yield ""
        yield "Forwarding, one engine thread, from one guest to another"
        rows = [
            (
                row.kind,
                f"{row.frame_bytes} B",
                amount(row.frames_per_s.median) + (" " if row.engine_limited else "*"),
                apart(row.frames_per_s),
                f"{row.gbit_per_s.median:.2f}",
                f"{row.cpu_ns_per_frame.median:.0f} ns",
                f"{row.engine_busy:.0%}",
                f"{row.lost}",
            )
            for row in results.forwarding
        ]
        yield from table(("kind", "frame", "frames/s ", "", "Gbit/s", "CPU/frame", "busy", "lost"), rows)
        if not all(row.engine_limited for row in results.forwarding):
            yield "* the engine had time left: the far sides were the slower ones"
    if results.latency:
        yield ""
        yield "Round trips of a frame of 60 bytes"
        rows2 = [
            (row.kind, duration(row.p50_s), duration(row.p99_s), f"{row.samples}") for row in results.latency
        ]
        yield from table(("kind", "p50", "p99", "samples"), rows2)
    if results.tcp:
        yield ""
        yield "One TCP connection"
        rows3 = [(row.kind, f"{row.gbit_per_s.median:.2f}", apart(row.gbit_per_s)) for row in results.tcp]
        yield from table(("kind", "Gbit/s", ""), rows3)
    if results.guests:
        yield ""
        yield "Guests of one fabric"
        rows4 = [
            (
                row.kind,
                f"{row.guests}",
                duration(row.seconds.median),
                apart(row.seconds),
                "-" if row.memory_bytes_per_guest is None else f"{row.memory_bytes_per_guest / 1024:.1f} KiB",
            )
            for row in results.guests
        ]
        yield from table(("kind", "guests", "up in", "", "memory/guest"), rows4)
    if results.disturbed > DISTURBED:
        yield ""
        yield f"Other programs ran on the engine's core for up to {results.disturbed:.0%} of the time:"
        yield "all rates are too low. Measure again on an idle machine."
    for skipped in results.skipped:
        yield ""
        yield f"{skipped.kind} was not measured: {skipped.why}"


def table(head: Cells, rows: Sequence[Cells]) -> Iterator[str]:
    """Columns as wide as what is in them; the first to the left, the others to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(head, *rows, strict=True)]
    for cells in (head, *rows):
        first, *others = (
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        yield "  " + "  ".join((first, *others)).rstrip()


def apart(spread: Spread) -> str:
    """How far the repeats lie apart."""
    return f"±{spread.apart:.0%}"


def amount(number: float) -> str:
    """`2.31 M`, three digits."""
    for unit in ("", " k", " M", " G"):
        if number < 999.5 or unit == " G":
            return f"{number:.3g}{unit}"
        number /= 1000
    return ""


def duration(seconds: float) -> str:
    """`12.3 us`, three digits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.0f} ns"
