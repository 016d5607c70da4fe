"""Keys of a topology file: their names, what a value of each may be, and what they mean.

One declaration does everything: it checks a value, words the error, and gives the JSON Schema and
the reference page. A type's `read` takes what a YAML or JSON reader produced and returns the value
that the program works with, or raises `Wrong`; `write` is its inverse; neither does any I/O.
"""

# ruff: noqa: D102 - what `expected`, `read`, `write` and `schema` do is said once, at Type

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from typing import Any

import attrs


class Wrong(Exception):
    """A value that its key does not take; `expected` completes "expected ..."."""

    def __init__(self, expected: str, hint: str = "", found: str = "") -> None:
        super().__init__(expected)
        self.expected = expected
        self.hint = hint
        self.found = found


def shown(value: object) -> str:
    """`value` as an error line shows it: short, in quotes if it is text, without control characters."""
    match value:
        case None:
            return "nothing"
        case bool() | int() | float():
            text = json.dumps(value)
        case str():
            text = json.dumps(value, ensure_ascii=not value.isprintable())
        case dict():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case _:
            text = json.dumps(str(value))
    return text if len(text) <= 60 else f'{text[:56]}..."'


def nearest(word: object, known: Iterable[str]) -> str:
    """The name among `known` that `word` probably stands for; "" if there is none."""
    names = {name.lower(): name for name in known}
    text = str(word).lower()[:100]
    # Letters that changed places weigh too much for difflib in short words.
    near = [name for name in names if len(name) == len(text) and sorted(name) == sorted(text)]
    near = near or difflib.get_close_matches(text, names, n=1, cutoff=0.6)
    return names[near[0]] if near else ""


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """A hint at the nearest of the `known` names, or ""."""
    near = nearest(word, known)
    return f"did you mean {near}?" if near else ""


def one_of(names: Iterable[str], most: int = 12) -> str:
    """`names` as "a, b or c", cut after `most`."""
    listed = list(names)
    if len(listed) > most:
        return f"{', '.join(listed[:most])} or {len(listed) - most} more"
    return " or ".join([", ".join(listed[:-1]), listed[-1]]) if len(listed) > 1 else "".join(listed)


class Type:
    """What a scalar value may be."""

    @property
    def expected(self) -> str:
        """Completes "expected ...", for a person."""
        raise NotImplementedError

    def read(self, value: object) -> Any:
        """The value the program works with. Raises Wrong."""
        raise NotImplementedError

    def write(self, value: Any) -> object:
        """What a topology file would say for `value`."""
        return value

    def schema(self) -> dict[str, Any]:
        """JSON Schema (draft 2020-12) of what `read` takes, as far as a schema can tell."""
        raise NotImplementedError


@attrs.frozen
class Text(Type):
    """A string."""

    what: str
    pattern: str = r".+"
    longest: int = 4096

    @property
    def expected(self) -> str:
        return self.what

    def read(self, value: object) -> str:
        if not isinstance(value, str):
            number = isinstance(value, int | float) and not isinstance(value, bool)
            raise Wrong(self.what, f'quote it: "{value}"' if number and self._fits(str(value)) else "")
        if not self._fits(value):
            raise Wrong(self.what)
        return value

    def _fits(self, text: str) -> bool:
        return len(text) <= self.longest and re.fullmatch(self.pattern, text) is not None

    def schema(self) -> dict[str, Any]:
        return {
            "type": "string",
            "pattern": f"^(?:{self.pattern})$",
            "maxLength": self.longest,
        }


@attrs.frozen
class Choice(Type):
    """One of a few words."""

    words: tuple[str, ...]

    @property
    def expected(self) -> str:
        return one_of(self.words)

    def read(self, value: object) -> str:
        if isinstance(value, str) and value in self.words:
            return value
        raise Wrong(self.expected, did_you_mean(value, self.words) if isinstance(value, str) else "")

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.words)}


@attrs.frozen
class Flag(Type):
    """true or false."""

    @property
    def expected(self) -> str:
        return "true or false"

    def read(self, value: object) -> bool:
        if isinstance(value, bool):
            return value
        word = value.lower() if isinstance(value, str) else value
        if word in ("yes", "on", "y", "true", 1):
            raise Wrong(self.expected, "did you mean true?")
        if word in ("no", "off", "n", "false", 0):
            raise Wrong(self.expected, "did you mean false?")
        raise Wrong(self.expected)

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


@attrs.frozen
class Count(Type):
    """A whole number."""

    lowest: int
    highest: int
    of: str = "a whole number"

    @property
    def expected(self) -> str:
        return f"{self.of} from {self.lowest} to {self.highest}"

    def read(self, value: object) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise Wrong(self.expected)
        if not self.lowest <= value <= self.highest:
            raise Wrong(self.expected)
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.lowest, "maximum": self.highest}


@attrs.frozen
class Number(Type):
    """A number that need not be whole."""

    lowest: float
    highest: float
    of: str = "a number"

    @property
    def expected(self) -> str:
        return f"{self.of} from {self.lowest:.15g} to {self.highest:.15g}"

    def read(self, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Wrong(self.expected)
        if not self.lowest <= value <= self.highest:
            raise Wrong(self.expected)
        return float(value)

    def schema(self) -> dict[str, Any]:
        return {"type": "number", "minimum": self.lowest, "maximum": self.highest}


@attrs.frozen
class Key:
    """One key of a mapping in the file."""

    name: str
    type: Any
    """A `Type`, or in `vnet.topology` a shape made of types."""
    doc: str
    """What it means, for the reference page and for editors: sentences with a full stop."""
    example: object = None
    required: bool = False
    default: Any = None
    """What it is when left out, as `read` would give it; None: see `doc`."""
