"""What is wrong with a topology, where, and how it is told.

A place in a topology is a path of keys and list indexes, `("guests", "web", "nics", 0, "mac")`.
A file's reader adds line and column to it; a topology made in Python has the path alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable

import attrs

from nics.errors import BadInput

Path = tuple[str | int, ...]
MOST = 20
"""Problems that are told at once."""


@attrs.frozen
class Mark:
    """A place in a text, both counted from 1."""

    line: int
    column: int


@attrs.frozen
class Problem:
    """One thing that is wrong."""

    path: Path
    found: str
    expected: str = ""
    hint: str = ""
    mark: Mark | None = None
    """Where in the text; None: where the path leads."""
    because: tuple[Path, ...] = ()
    """Other places that it follows from: if one of them is wrong itself, this is not told."""
    meant: Path | None = None
    """The place of a misspelt key as it was probably meant, which therefore counts as wrong too."""

    def line(self, file: str, mark: Mark | None) -> str:
        """The problem as one line for a person."""
        parts = []
        if file:
            parts.append(f"{file}:{mark.line}:{mark.column}" if mark else file)
        if self.path:
            parts.append(dotted(self.path))
        text = self.found
        if self.expected:
            text += f", expected {self.expected}"
        if self.hint:
            text += f" ({self.hint})"
        parts.append(text)
        return ": ".join(parts)


def dotted(path: Path) -> str:
    """`guests.web.nics[0].mac`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            name = step if re.fullmatch(r"[A-Za-z0-9_<-]+", step) else json.dumps(step[:60])
            text += f".{name}" if text else name
    return text


def _related(a: Path, b: Path) -> bool:
    """Whether one of two places lies in the other."""
    shorter = min(len(a), len(b))
    return a[:shorter] == b[:shorter]


def told(read: list[Problem], checked: list[Problem]) -> list[Problem]:
    """All problems but those that follow from others.

    `read`: found where values were read; `checked`: found between values, and perhaps only because those
    could not be read.
    """
    wrong = [place for problem in read for place in (problem.path, problem.meant) if place is not None]
    return [
        *read,
        *(
            problem
            for problem in checked
            if not any(_related(place, path) for place in (problem.path, *problem.because) for path in wrong)
        ),
    ]


def bad_input(
    problems: Iterable[Problem], file: str = "", locate: Callable[[Path], Mark | None] = lambda _: None
) -> BadInput:
    """One error that tells all `problems` (up to MOST), in the order of the text."""
    marked = [(problem.mark or locate(problem.path), problem) for problem in problems]
    marked.sort(key=lambda pair: (pair[0].line, pair[0].column) if pair[0] else (0, 0))
    places = {problem.line(file, mark): problem.path or None for mark, problem in marked}
    lines = list(places)
    if len(lines) > MOST:
        left = len(lines) - MOST
        lines[MOST:] = [f"{file or 'topology'}: and {left} more problem{'s' if left > 1 else ''}"]
    error = BadInput(*lines)
    error.paths = [places.get(line) for line in lines]
    return error
