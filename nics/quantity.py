"""Quantities with units: `10 ms`, `1 Gbit/s`, `256 KiB`, `0.1 %`, `200 k/s`.

A quantity is kept as a whole number of its grain: nanoseconds, bits per second, bytes, millionths
(of a share), packets per second. Reading is exact (decimal, never by way of a float's binary
digits) and refuses what is finer than the grain; `read(write(x)) == x` for every x in range. A
bare number counts in SI base units: seconds, bit/s, bytes, a share of 1, packets/s.
"""

# ruff: noqa: D102 - what `expected`, `read`, `write` and `schema` do is said once, at Type

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation, localcontext
from typing import Any

import attrs

from nics.keys import Type, Wrong, did_you_mean

_NUMBER = r"[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?"
_LONGEST = 64
"""Characters that are looked at; no sensible quantity is longer."""


@attrs.frozen
class Quantity(Type):
    """A value with a unit. `units` maps each unit to how many grains it is."""

    what: str
    """What it is, with its article: "a time"."""
    units: dict[str, Decimal] = attrs.field(repr=False)
    base: Decimal
    """Grains in the SI base unit, which a bare number counts in."""
    lowest: int
    highest: int
    written: tuple[str, ...]
    """Units to write values in, largest first; every value is a finite decimal of the last."""
    examples: tuple[str, ...]
    grain: str
    aliases: dict[str, str] = attrs.field(factory=dict, repr=False)
    """What people write by mistake -> the unit they mean."""

    @property
    def expected(self) -> str:
        span = f"{self.write(self.lowest)} to {self.write(self.highest)}"
        return f"{self.what} from {span}, such as {self.examples[0]}"

    def read(self, value: object) -> int:
        """Grains. Raises Wrong."""
        if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
            raise Wrong(self.expected)
        if isinstance(value, str):
            amount, unit = self._split(value)
        else:
            # repr() is the shortest decimal that gives this float: what the person wrote.
            amount, unit = Decimal(repr(value) if isinstance(value, float) else value), self.base
        if not amount.is_finite():
            raise Wrong(self.expected)
        # Exponents are bounded before anything is multiplied out, so 1e999999 costs nothing.
        if amount.adjusted() > 40 or amount.adjusted() < -40:
            if amount != 0:
                raise Wrong(self.expected)
            amount = Decimal(0)
        with localcontext(prec=200):  # 64 digits times a unit of 15 are exact in it
            grains = amount * unit
        if grains != grains.to_integral_value():
            raise Wrong(self.expected, f"the finest step is {self.grain}")
        if not self.lowest <= grains <= self.highest:
            raise Wrong(self.expected)
        return int(grains)

    def _split(self, text: str) -> tuple[Decimal, Decimal]:
        match = re.fullmatch(rf"({_NUMBER}) ?([^\s0-9.][^\s]*)?", text[: _LONGEST + 1].strip())
        if match is None or len(text) > _LONGEST:
            raise Wrong(self.expected)
        number, unit = match.groups()
        if unit is None:
            # A quoted bare number is most likely a forgotten unit.
            raise Wrong(self.expected, f'add a unit, such as "{number} {self.examples[0].split()[1]}"')
        if unit not in self.units:
            meant = self.aliases.get(unit)
            raise Wrong(self.expected, f"did you mean {meant}?" if meant else did_you_mean(unit, self.units))
        try:
            return Decimal(number), self.units[unit]
        except InvalidOperation:  # an exponent beyond decimal's range
            raise Wrong(self.expected) from None

    def write(self, value: Any) -> str:
        """`value` grains in the largest unit that needs at most three decimals, or in the last one."""
        if value == 0:
            return f"0 {next((u for u in self.written if self.units[u] == self.base), self.written[0])}"
        for unit in self.written:
            amount = Decimal(value) / self.units[unit]
            if amount >= 1 and amount == round(amount, 3):
                break
        text = f"{amount:f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
        return f"{text} {unit}"

    def schema(self) -> dict[str, Any]:
        units = "|".join(re.escape(unit).replace(r"\%", "%") for unit in sorted(self.units))
        return {
            "anyOf": [
                {
                    "type": "number",
                    "minimum": _plain(Decimal(self.lowest) / self.base),
                    "maximum": _plain(Decimal(self.highest) / self.base),
                },
                {"type": "string", "pattern": f"^{_NUMBER} ?(?:{units})$"},
            ]
        }


def _plain(number: Decimal) -> int | float:
    return int(number) if number == number.to_integral_value() else float(number)


def _scaled(unit: str, grain: Decimal, prefixes: str) -> dict[str, Decimal]:
    factors = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
    factors |= {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
    return {f"{p}{unit}": grain * factors[p] for p in ["", *prefixes.split()]}


_SECOND = Decimal(10**9)
TIME = Quantity(
    what="a time",
    units={
        "ns": Decimal(1),
        "us": Decimal(10**3),
        "µs": Decimal(10**3),
        "μs": Decimal(10**3),
        "ms": Decimal(10**6),
        "s": _SECOND,
        "min": 60 * _SECOND,
        "h": 3600 * _SECOND,
        "d": 86400 * _SECOND,
    },
    base=_SECOND,
    lowest=0,
    highest=86_400 * 365 * 10**9,
    written=("d", "h", "min", "s", "ms", "us", "ns"),
    examples=("10 ms", "300 s", "200 us"),
    grain="1 ns",
    aliases={
        "sec": "s", "secs": "s", "second": "s", "seconds": "s", "m": "ms or min", "msec": "ms",
        "usec": "us", "nsec": "ns", "minutes": "min", "minute": "min", "mins": "min", "hours": "h",
        "hour": "h", "hr": "h", "days": "d", "day": "d", "S": "s",
    },
)  # fmt: skip
"""Nanoseconds."""

RATE = Quantity(
    what="a bit rate",
    units=_scaled("bit/s", Decimal(1), "k M G T Ki Mi Gi") | _scaled("B/s", Decimal(8), "k M G T Ki Mi Gi"),
    base=Decimal(1),
    lowest=1,
    highest=10**13,
    written=("Tbit/s", "Gbit/s", "Mbit/s", "kbit/s", "bit/s"),
    examples=("1 Gbit/s", "100 Mbit/s"),
    grain="1 bit/s",
    aliases={
        "bps": "bit/s", "kbps": "kbit/s", "Kbps": "kbit/s", "Mbps": "Mbit/s", "mbps": "Mbit/s",
        "Gbps": "Gbit/s", "gbps": "Gbit/s", "Tbps": "Tbit/s", "kbit": "kbit/s", "mbit": "Mbit/s",
        "Mbit": "Mbit/s", "gbit": "Gbit/s", "Gbit": "Gbit/s", "Kbit/s": "kbit/s", "mbit/s": "Mbit/s",
        "gbit/s": "Gbit/s", "MB": "MB/s", "Mb/s": "Mbit/s", "Gb/s": "Gbit/s", "k": "kbit/s",
        "M": "Mbit/s", "G": "Gbit/s",
    },
)  # fmt: skip
"""Bits per second."""

SIZE = Quantity(
    what="a size",
    units=_scaled("B", Decimal(1), "k M G Ki Mi Gi"),
    base=Decimal(1),
    lowest=1,
    highest=2**40,
    written=("GiB", "MiB", "KiB", "B"),
    examples=("256 KiB", "1 MB"),
    grain="1 B",
    aliases={
        "KB": "kB or KiB", "K": "KiB", "k": "kB", "M": "MB or MiB", "G": "GB or GiB", "Kb": "kB",
        "kb": "kB", "mb": "MB", "Mb": "MB", "Gb": "GB", "gb": "GB", "bytes": "B", "b": "B",
        "kib": "KiB", "kiB": "KiB", "mib": "MiB", "gib": "GiB", "byte": "B",
    },
)  # fmt: skip
"""Bytes."""

SHARE = Quantity(
    what="a share",
    units={"%": Decimal(10_000), "ppm": Decimal(1)},
    base=Decimal(10**6),
    lowest=0,
    highest=10**6,
    written=("%",),
    examples=("0.1 %", "1 %"),
    grain="1 ppm",
    aliases={"percent": "%", "pct": "%", "‰": "%"},
)
"""Millionths."""

PACKETS = Quantity(
    what="a packet rate",
    units=_scaled("/s", Decimal(1), "")
    | {"k/s": Decimal(10**3), "M/s": Decimal(10**6), "G/s": Decimal(10**9)},
    base=Decimal(1),
    lowest=1,
    highest=10**10,
    written=("G/s", "M/s", "k/s", "/s"),
    examples=("200 k/s", "1 M/s"),
    grain="1 /s",
    aliases={
        "pps": "/s", "kpps": "k/s", "Kpps": "k/s", "Mpps": "M/s", "mpps": "M/s", "K/s": "k/s",
        "k": "k/s", "M": "M/s", "m/s": "M/s", "p/s": "/s", "packets/s": "/s",
    },
)  # fmt: skip
"""Packets per second."""
