"""Shapes: how the values of a topology are put together, declared once.

A shape reads a node into plain Python values, notes every problem on the way, and gives its own
JSON Schema. It looks at one place at a time; what places have to do with one another is checked
afterwards, in `check.py`. Reading goes as deep as the shape and never deeper, whatever was given.
"""

# ruff: noqa: D102 - what `expected`, `read`, `write` and `schema` do is said once, at Shape

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from nics import kinds
from nics.errors import VnetError
from nics.keys import Choice, Key, Type, Wrong, nearest, one_of, shown
from vnet.topology.nodes import Fields, Items, Node, Scalar
from vnet.topology.problems import Path, Problem


class _Missing:
    """The value of a place that could not be read; what is wrong is among the problems."""


MISSING = _Missing()
FEW = 8
"""Names that are listed in any case."""


def found(node: Node) -> str:
    """`node` as an error line shows it."""
    match node:
        case Fields():
            return "a mapping"
        case Items():
            return "a list"
        case Scalar(value):
            return shown(value)


class Shape:
    """What stands in one place."""

    @property
    def expected(self) -> str:
        """Completes "expected ...", for a person."""
        raise NotImplementedError

    def read(self, node: Node, path: Path, problems: list[Problem]) -> Any:
        """The value, or MISSING; what is wrong is added to `problems`."""
        raise NotImplementedError

    def schema(self) -> dict[str, Any]:
        """JSON Schema (draft 2020-12)."""
        raise NotImplementedError


@attrs.frozen
class Value(Shape):
    """A single value."""

    type: Type

    @property
    def expected(self) -> str:
        return self.type.expected

    def read(self, node: Node, path: Path, problems: list[Problem]) -> Any:
        if not isinstance(node, Scalar):
            problems.append(Problem(path, found(node), self.expected))
            return MISSING
        try:
            return self.type.read(node.value)
        except Wrong as wrong:
            problems.append(Problem(path, wrong.found or found(node), wrong.expected, wrong.hint))
            return MISSING

    def schema(self) -> dict[str, Any]:
        return self.type.schema()


def shape_of(what: Type | Shape) -> Shape:
    """The shape of a key's type."""
    return Value(what) if isinstance(what, Type) else what


@attrs.frozen
class ListOf(Shape):
    """A list; if any item is wrong, all of it is MISSING."""

    item: Shape = attrs.field(converter=shape_of)
    what: str
    """"a list of subnets"."""
    fewest: int = 0
    most: int = 4096
    or_one: bool = False
    """A single item may stand without the list around it."""

    @property
    def expected(self) -> str:
        return self.what

    def read(self, node: Node, path: Path, problems: list[Problem]) -> Any:
        if self.or_one and isinstance(node, Scalar) and node.value is not None:
            value = self.item.read(node, path, problems)
            return MISSING if value is MISSING else [value]
        if not isinstance(node, Items):
            problems.append(Problem(path, found(node), self.expected))
            return MISSING
        if not self.fewest <= len(node.items) <= self.most:
            count = f"a list of {len(node.items)}" if node.items else "an empty list"
            limit = f"at least {self.fewest}" if len(node.items) < self.fewest else f"at most {self.most}"
            problems.append(Problem(path, count, f"{self.what}, {limit}"))
            return MISSING
        values = [self.item.read(item, (*path, index), problems) for index, item in enumerate(node.items)]
        return MISSING if MISSING in values else values

    def schema(self) -> dict[str, Any]:
        item = self.item.schema()
        listed = {"type": "array", "items": item, "minItems": self.fewest, "maxItems": self.most}
        return {"anyOf": [listed, item]} if self.or_one else listed


def _twice(node: Fields, path: Path, problems: list[Problem]) -> None:
    for name, mark in node.twice:
        first = node.keys.get(name)
        where = f", first in line {first.line}" if first else ""
        problems.append(Problem((*path, name), f"given twice{where}", "it once", mark=mark))


def _unknown(name: str, node: Fields, path: Path, known: list[str], missing: list[str], what: str) -> Problem:
    meant = nearest(name, missing)
    near = meant or nearest(name, known)
    if not known:
        expected = f"no keys for {what}"
    elif near and len(known) > FEW:
        expected = f"a key of {what}"
    else:
        expected = one_of(known, 24)
    return Problem(
        (*path, name),
        "unknown key",
        expected,
        f"did you mean {near}?" if near else "",
        mark=node.keys.get(name),
        meant=(*path, meant) if meant else None,
    )


@attrs.frozen
class Table(Shape):
    """A mapping with known keys. Reads as a dict of what was given and is right."""

    what: str
    """"a network"."""
    keys: tuple[Key, ...]
    may_be_empty: bool = False
    """Nothing at all stands for a mapping without keys."""
    extensions: bool = False
    """Keys that begin with x- are the user's own (anchors for aliases, notes) and ignored."""

    @property
    def expected(self) -> str:
        return f"a mapping with {one_of([key.name for key in self.keys], FEW)}"

    def read(self, node: Node, path: Path, problems: list[Problem]) -> dict[str, Any]:
        if self.may_be_empty and isinstance(node, Scalar) and node.value is None:
            return {}
        if not isinstance(node, Fields):
            problems.append(Problem(path, found(node), self.expected))
            return {}
        _twice(node, path, problems)
        names = [key.name for key in self.keys]
        misspelt: set[str | int] = set()
        for name in node.fields:
            if name not in names and not (self.extensions and name.startswith("x-")):
                missing = [known for known in names if known not in node.fields]
                problem = _unknown(name, node, path, names, missing, self.what)
                misspelt.update((problem.meant or ())[-1:])
                problems.append(problem)
        values = {}
        for key in self.keys:
            if key.name in node.fields:
                value = shape_of(key.type).read(node.fields[key.name], (*path, key.name), problems)
                if value is not MISSING:
                    values[key.name] = value
            elif key.required and key.name not in misspelt:
                expected = shape_of(key.type).expected
                problems.append(Problem(path, f"{self.what} without {key.name}", f"{key.name}: {expected}"))
        return values

    def schema(self) -> dict[str, Any]:
        return mapping_schema(self.keys, may_be_empty=self.may_be_empty, extensions=self.extensions)


def mapping_schema(
    keys: tuple[Key, ...],
    *,
    may_be_empty: bool = False,
    extensions: bool = False,
    tag: tuple[str, str] | None = None,
) -> dict[str, Any]:
    """The schema of a mapping with known keys, `tag` being one more with a fixed value."""
    properties: dict[str, Any] = {tag[0]: {"const": tag[1]}} if tag else {}
    for key in keys:
        described = {**shape_of(key.type).schema(), "description": key.doc.replace("`", "")}
        if key.default is not None:
            plain = key.type.write(key.default) if isinstance(key.type, Type) else key.default
            described["default"] = plain
        if key.example is not None:
            described["examples"] = [key.example]
        properties[key.name] = described
    schema: dict[str, Any] = {
        "type": ["object", "null"] if may_be_empty else "object",
        "properties": properties,
        "additionalProperties": False,
    }
    if extensions:
        schema["patternProperties"] = {"^x-": True}
    required = [key.name for key in keys if key.required]
    if tag:
        required.insert(0, tag[0])
    if required:
        schema["required"] = required
    return schema


@attrs.frozen
class MapOf(Shape):
    """A mapping from names that the user chooses to items of one shape."""

    name: Type
    item: Shape
    what: str
    """"a mapping of networks"."""
    fewest: int = 0
    most: int = 4096

    @property
    def expected(self) -> str:
        return self.what

    def read(self, node: Node, path: Path, problems: list[Problem]) -> Any:
        if not isinstance(node, Fields):
            problems.append(Problem(path, found(node), self.expected))
            return MISSING
        _twice(node, path, problems)
        if not self.fewest <= len(node.fields) <= self.most:
            limit = f"at least {self.fewest}" if len(node.fields) < self.fewest else f"at most {self.most}"
            problems.append(Problem(path, f"{len(node.fields)} of them", f"{self.what}, {limit}"))
        values = {}
        for name, item in node.fields.items():
            try:
                self.name.read(name)
            except Wrong as wrong:
                problems.append(
                    Problem((*path, name), "not a name", wrong.expected, wrong.hint, mark=node.keys.get(name))
                )
                continue
            value = self.item.read(item, (*path, name), problems)
            if value is not MISSING:
                values[name] = value
        return values

    def schema(self) -> dict[str, Any]:
        return {
            "type": "object",
            "propertyNames": self.name.schema(),
            "additionalProperties": self.item.schema(),
            "minProperties": self.fewest,
            "maxProperties": self.most,
        }


@attrs.frozen
class NicShape(Shape):
    """A NIC: a mapping whose `kind` says which other keys there are. Reads as its description."""

    @property
    def expected(self) -> str:
        return "a mapping with kind and the keys of that kind"

    def read(self, node: Node, path: Path, problems: list[Problem]) -> Any:
        if isinstance(node, Scalar) and isinstance(getattr(node.value, "kind", None), str):
            return node.value  # a description, made in Python
        if not isinstance(node, Fields):
            problems.append(Problem(path, found(node), self.expected))
            return MISSING
        _twice(node, path, problems)
        words = Choice(tuple(kinds.KINDS))
        if "kind" not in node.fields:
            problems.append(Problem(path, "a NIC without kind", f"kind: {words.expected}"))
            return MISSING
        name = Value(words).read(node.fields["kind"], (*path, "kind"), problems)
        if name is MISSING:
            return MISSING
        kind = kinds.KINDS[name]
        rest = attrs.evolve(node, fields={k: v for k, v in node.fields.items() if k != "kind"}, twice=[])
        before = len(problems)
        values = Table(f"a NIC of kind {name}", kind.keys).read(rest, path, problems)
        if len(problems) == before and kind.any_of and not any(key in values for key in kind.any_of):
            problems.append(Problem(path, f"a NIC of kind {name} without keys", one_of(kind.any_of)))
        if len(problems) > before:
            return MISSING
        return make_nic(name, values, path, problems)

    def schema(self) -> dict[str, Any]:
        variants = []
        for kind in kinds.KINDS.values():
            variant = mapping_schema(kind.keys, tag=("kind", kind.name))
            variant["description"] = kind.doc.replace("`", "")
            if kind.any_of:
                variant["anyOf"] = [{"required": [key]} for key in kind.any_of]
            variants.append(variant)
        return {"oneOf": variants}


def make_nic(kind: str, values: Mapping[str, Any], path: Path, problems: list[Problem]) -> Any:
    """The description of a NIC, or MISSING and a problem."""
    try:
        return kinds.make(kind, values)
    except (VnetError, ValueError, TypeError) as error:
        problems.append(Problem(path, str(error)))
    return MISSING


@attrs.frozen
class OrOff(Shape):
    """What `on` is, or the word `off` (or another) in its place, and then reads as that."""

    on: Shape
    word: str = "off"

    @property
    def expected(self) -> str:
        return f"{self.word} or {self.on.expected}"

    def read(self, node: Node, path: Path, problems: list[Problem]) -> Any:
        if isinstance(node, Scalar) and node.value == self.word:
            return self.word
        if not isinstance(node, Scalar) or (isinstance(self.on, ListOf) and self.on.or_one):
            return self.on.read(node, path, problems)
        problems.append(Problem(path, found(node), self.expected))
        return MISSING

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"const": self.word}, self.on.schema()]}
