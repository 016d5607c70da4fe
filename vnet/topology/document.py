"""The reference page of the topology file, `topologies/FORMAT.md`, from the table.

`python -m vnet.topology.document > topologies/FORMAT.md`; a test checks that they agree.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from nics import kinds
from nics.keys import Key, Type
from nics.quantity import PACKETS, RATE, SHARE, SIZE, TIME
from vnet.topology.shape import ListOf, MapOf, NicShape, OrOff, Table
from vnet.topology.table import TOPOLOGY

HEAD = """\
# The topology file, key by key

This page is made from the table that checks the file; `vnet schema` prints the same as a JSON Schema
for editors.

A file is YAML 1.2, or JSON, of at most 8 MiB. `yes`, `on` and `02:00:00:00:00:10` are text, a key
that is given twice is an error, and `<<` merges an alias. Top-level keys that begin with `x-` are
yours, for anchors and notes. What is wrong is told all at once, a line each:

    lab.yaml:4:11: networks.red.vlan: 4095, expected a VLAN id from 1 to 4094
    lab.yaml:9:26: guests.web.nics[0].network: no network "rde", expected blue or red (did you mean red?)

## Quantities

A number with a unit, or a bare number in SI base units.
"""

ADDRESSES = """\
## Addresses

A MAC address that is not given is `02:` and 40 bits that follow from the fabric's name, the NIC's and
the seed. An address that is not given is drawn from the subnet in the same way; in an IPv6 /64 it is
the one that a host makes of its MAC (EUI-64). The network's, the broadcast and the gateway's address
are left out, in IPv6 also those reserved for anycast. So addresses stay when guests are added or
removed, but that of two NICs which draw the same one has to take its next. What you write down wins,
and while a fabric runs, `vnet apply` and `vnet attach` leave every address that is in use as it is.
"""


def page() -> str:
    """The page, in Markdown."""
    lines = [HEAD]
    lines += ["| what | units | example |", "| --- | --- | --- |"]
    for what, quantity in (
        ("time", TIME),
        ("bit rate", RATE),
        ("size", SIZE),
        ("share", SHARE),
        ("packet rate", PACKETS),
    ):
        units = ", ".join(f"`{unit}`" for unit in quantity.units if unit != "μs")
        lines.append(f"| {what} | {units} | `{quantity.examples[0]}` |")
    lines.append("")
    for title, table, _ in _sections(TOPOLOGY, ""):
        lines += [f"## {title}", "", *_table(table.keys), ""]
    lines += ["## NIC kinds", ""]
    for kind in kinds.KINDS.values():
        lines += [f"### `kind: {kind.name}`", "", kind.doc, ""]
        if kind.any_of:
            lines += [f"At least one of {' and '.join(f'`{key}`' for key in kind.any_of)} is required.", ""]
        if kind.keys:
            lines += [*_table(kind.keys), ""]
    return "\n".join(lines) + "\n" + ADDRESSES


def _inner(shape: Any, path: str) -> tuple[Any, str]:
    """The table inside of lists, mappings of names and what can be off, and its path."""
    while True:
        match shape:
            case ListOf(item=item):
                shape, path = item, f"{path}[]"
            case MapOf(item=item):
                shape, path = item, f"{path}.NAME"
            case OrOff(on=on):
                shape = on
            case _:
                return shape, path


def _sections(table: Table, path: str) -> Iterator[tuple[str, Table, str]]:
    yield (f"`{path}`" if path else "Top level"), table, path
    seen = []
    for key in table.keys:
        inner, place = _inner(key.type, f"{path}.{key.name}" if path else key.name)
        if isinstance(inner, Table):
            seen.append((inner, place))
    for number, (inner, place) in enumerate(seen):
        if any(inner is other for other, _ in seen[:number]):
            continue
        twins = [other for same, other in seen if same is inner]
        for title, found, where in _sections(inner, place):
            alike = "" if where != place else "".join(f", `{twin}`" for twin in twins[1:])
            yield title + alike, found, where


def _table(keys: tuple[Key, ...]) -> Iterator[str]:
    yield "| key | value | default | meaning | example |"
    yield "| --- | --- | --- | --- | --- |"
    for key in keys:
        name = f"`{key.name}`"
        if key.required:
            name += " (required)"
        example = f"`{key.name}: {_flow(key.example)}`"
        cells = (name, _expected(key.type), _default(key), key.doc, example)
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _expected(shape: Any) -> str:
    match shape:
        case NicShape():
            return "a mapping: see NIC kinds"
        case Table():
            return "a mapping"
        case OrOff(on=on, word=word):
            return f"{word}, or {_expected(on)}"
        case ListOf(or_one=True):
            return f"{shape.expected}, or one"
        case _:
            return str(shape.expected)


def _default(key: Key) -> str:
    if key.default is None:
        return ""
    plain = key.type.write(key.default) if isinstance(key.type, Type) else key.default
    return f"`{_flow(plain)}`"


def _flow(value: object) -> str:
    """`value` as YAML in one line."""
    match value:
        case dict():
            return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_flow, value)) + "]"
        case str():
            return value
        case float() if value.is_integer():
            return str(int(value))
        case _:
            return json.dumps(value)


if __name__ == "__main__":
    print(page(), end="")
