"""Everybody against everybody, as small as it gets.

Guests that nobody can tell apart, because they reach the same others and are reached alike, share a row.
If that is still too wide for the terminal, each row says in words whom it reaches.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from vnet.check.packets import OTHERS
from vnet.check.pair import Pair
from vnet.check.prove import Proof

SIGNS = {"all": "#", "some": "+", "may": "?", "frames": "-", "no": "."}
LEGEND = {
    "all": "reaches",
    "some": "reaches, but not with everything",
    "may": "may reach: see --why",
    "frames": "frames such as ARP pass, no packets",
    "no": "isolated",
}


def sign(pair: Pair) -> str:
    """The word for what passes; a key of SIGNS."""
    if pair.reach == "yes":
        whole = any(OTHERS in packets.numbers for packets in pair.talks.values())
        return "all" if whole else "some"
    if pair.reach == "may":
        return "may"
    return "frames" if pair.ethernet else "no"


@attrs.frozen
class Row:
    """Guests that are alike."""

    names: tuple[str, ...]

    @property
    def title(self) -> str:
        """`web`, or `web-1 ... web-9 (9)`."""
        if len(self.names) <= 2:
            return ", ".join(self.names)
        return f"{self.names[0]} ... {self.names[-1]} ({len(self.names)})"


def fold(names: list[str], cell: Callable[[str, str], str]) -> list[Row]:
    """The guests of `names`, those together that are alike, in the order of their first."""
    rows: list[list[str]] = []
    columns = {name: {other: (cell(name, other), cell(other, name)) for other in names if other != name}
               for name in names}  # fmt: skip

    def alike(one: str, other: str) -> bool:
        return all(columns[one][x] == columns[other][x] for x in names if x not in (one, other))

    buckets: dict[object, list[list[str]]] = {}
    for name in names:
        key = tuple(sorted(columns[name].values()))
        for row in buckets.setdefault(key, []):
            same = columns[row[0]][name]
            inner = same if len(row) == 1 else columns[row[0]][row[1]]
            among = same[0] == same[1] and same == inner and all(columns[a][name] == same for a in row[1:])
            if among and alike(row[0], name):
                row.append(name)
                break
        else:
            buckets[key].append([name])
            rows.append(buckets[key][-1])
    return [Row(tuple(row)) for row in rows]


def lines(proof: Proof, width: int = 80, paint: Callable[[str, str], str] | None = None) -> list[str]:
    """The matrix, a line each; `paint(word, sign)` colours one sign."""
    names = proof.stations

    def cell(source: str, target: str) -> str:
        return sign(proof.pair(source, target))

    paint = paint or (lambda _word, text: text)
    rows = [Row((name,)) for name in names]
    title = max((len(row.title) for row in rows), default=0)
    if title + 3 * len(rows) + 6 > width:
        rows = fold(names, cell)
        title = max((len(row.title) for row in rows), default=0)
    if title + 3 * len(rows) + 6 > width:
        return _in_words(rows, cell, width)
    numbers = [f"{number:>3}" for number in range(1, len(rows) + 1)]
    told = [f"{'':{title + 5}}{''.join(numbers)}"]
    used = set()
    for number, row in enumerate(rows, 1):
        cells = ""
        for other in rows:
            if other is row and len(row.names) == 1:
                cells += "   "
                continue
            word = cell(row.names[0], other.names[-1])
            used.add(word)
            cells += "  " + paint(word, SIGNS[word])
        told.append(f"{number:>3}  {row.title:{title}}{cells}")
    told.append("")
    for word, text in SIGNS.items():
        if word in used:
            told.append(f"{paint(word, text)}  {LEGEND[word]}")
    return told


def _in_words(rows: list[Row], cell: Callable[[str, str], str], width: int) -> list[str]:
    import textwrap

    told = []
    for row in rows:
        told.append(row.title)
        by_word: dict[str, list[str]] = {}
        for other in rows:
            if other is not row or len(row.names) > 1:
                by_word.setdefault(cell(row.names[0], other.names[-1]), []).append(other.title)
        for word, titles in by_word.items():
            if word == "no":
                continue
            text = f"{SIGNS[word]} {LEGEND[word]}: {', '.join(titles)}"
            told += textwrap.wrap(text, width, initial_indent="  ", subsequent_indent="      ")
        if set(by_word) <= {"no"}:
            told.append("  . reaches nobody")
    return told
