"""Every key of the topology file wrong in turn: one line, at the right place, with the right words.

The cases are made from the table itself, so a new key is tested when it is added; the texts are in
`golden/every_key.txt`, to be read by a person when they change.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from nics import kinds
from nics.errors import BadInput
from nics.keys import Choice, Count, Flag, Key, Number, Type
from nics.kinds import Handed
from nics.quantity import Quantity
from tests.vnet.topology import golden
from tests.vnet.topology.every_key import BASE, IMPAIRED, INSTEAD, NICS, PARTS, RULES, STEPS, Path
from vnet.topology import Topology, machine, values
from vnet.topology.flows import Collector
from vnet.topology.rules import Place, PortRange, Protocol
from vnet.topology.shape import ListOf, MapOf, NicShape, OrOff, Table, Value
from vnet.topology.table import TOPOLOGY
from vnet.topology.table_switches import IMPAIR, NIC_IMPAIR, ONE_WAY
from vnet.topology.values import (
    Family,
    IpAddress,
    IpPrefix,
    IpSubnet,
    Mac,
    Name,
    Reference,
)


def put(document: dict[str, Any], path: Path, value: Any) -> dict[str, Any]:
    changed: Any = copy.deepcopy(document)
    place = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return changed  # type: ignore[no-any-return]


def take(document: dict[str, Any], path: Path) -> dict[str, Any]:
    changed: Any = copy.deepcopy(document)
    place = changed
    for step in path[:-1]:
        place = place[step]
    del place[path[-1]]
    return changed  # type: ignore[no-any-return]


def look(document: Any, path: Path) -> Any:
    for step in path:
        document = document[step]
    return document


def wrong_scalars(kind: Type) -> Iterator[Any]:
    match kind:
        case Choice():
            yield from (kind.words[0] + "s", 5)
        case Flag():
            yield from ("yes", 2, "perhaps")
        case Count():
            yield from (kind.lowest - 1, kind.highest + 1, "ten", 1.5, True)
        case Number():
            yield from (kind.lowest - 1, "fast", True)
        case Quantity():
            yield from ("10", "10 parsecs", -1, "fast")
        case Name():
            yield from ("Web Server", "-a", 7, "x" * 64)
        case Reference():
            yield from ("reed", 7)
        case Mac():
            yield from ("02:00:00:00:00", "03:00:00:00:00:01", "00:00:00:00:00:00", 7)
        case Collector():
            yield from ("127.0.0.1", "somewhere:4739", 4739)
        case values.MIRROR_PORT:
            yield from ("Web", "wbe", "web.x", 7)
        case Family():
            yield from (5, "4", True)
        case values.PATTERN:
            yield from ("Web", "wbe", "v*", 7)
        case IpAddress():
            yield from ("10.0.10.256", "10.0.10", "fe80::1%eth0", "224.0.0.1", 7)
        case IpPrefix():
            yield from ("10.0.10.256", "10.0.10.1/24", "fe80::1%eth0", "::/129", 7)
            if not kind.multicast:
                yield "224.0.0.0/4"
        case IpSubnet():
            yield from ("10.0.10.1/24", "10.0.10.0", "10.0.10.0/33", "fe80::/64", "224.0.0.0/4", 7)
        case Protocol():
            yield from ("tpc", "ICMPv6", "any", 256, -1, True)
        case PortRange():
            yield from ("ssh", "90-80", "80-65536", 65536, -1, True)
        case Handed():
            yield from (2, 1 << 20, "7", "", "a:b", True)
        case Place():
            yield from ("isolate", "community", "community Two", 7)
        case _:
            yield from (7, "")


def cases(shape: Any, path: Path, key: Key | None) -> Iterator[tuple[Path, Any]]:
    """(place, a wrong value for it): "(gone)" and "(misspelt)" are told apart by `make`."""
    if isinstance(shape, Type):
        shape = Value(shape)
    if key is not None:
        if key.required:
            yield path, "(gone)"
        yield path, "(misspelt)"
    match shape:
        case Value():
            for value in wrong_scalars(shape.type):
                yield path, value
            yield from ((path, {}), (path, []), (path, None))
        case ListOf():
            yield from ((path, {}), (path, None)) if shape.or_one else ((path, {}), (path, "x"))
            if shape.fewest:
                yield path, []
            yield from cases(shape.item, (*path, 0), None)
        case Table():
            yield from ((path, "x"), (path, []))
            if (shape in (IMPAIR, NIC_IMPAIR) and path != IMPAIRED) or (
                shape is ONE_WAY and path != (*IMPAIRED, "a_to_b")
            ):
                return  # the same table once more: one place of it is enough
            for inner in shape.keys:
                place: Path = (*path, inner.name)
                if inner.name in ("trunk", "native", "native_tagged") and path[0] == "guests":
                    place = ("guests", "router", *place[2:])
                if path and path[0] == "groups" and inner.name in RULES:
                    place = (*path[:-1], RULES[inner.name], inner.name)
                if path == ("mirrors", "watch") and inner.name == "erspan":
                    place = ("mirrors", "far", "erspan")
                if path == ("uplinks", "wan") and inner.name in ("nics", "bond"):
                    place = ("uplinks", "pair", inner.name)
                if path == ("uplinks", "pair", "bond") and inner.name == "primary":
                    place = ("uplinks", "spare", "bond", "primary")
                if path == ("guests", "web", "nics", 0) and inner.name == "mirrors":
                    place = ("guests", "ids", "nics", 0, "mirrors")
                if path == ("guests", "web") and inner.name in machine.NAMES:
                    place = ("guests", "box", inner.name)
                if path == ("scenario", 0):
                    place = ("scenario", STEPS.get(inner.name, 0), inner.name)
                yield from cases(inner.type, place, inner)
        case MapOf():
            yield from ((path, "x"), (path, []))
            name = next(iter(look(BASE, path)))
            yield (*path, "Not A Name"), {}
            yield from cases(shape.item, (*path, name), None)
        case NicShape():
            yield from ((path, "tap"), (path, {}), (path, {"kind": "tun"}), (path, {"kind": 5}))
            if path[0] == "uplinks":
                return
            for kind in kinds.KINDS.values():
                if kind.any_of:
                    yield path, {"kind": kind.name}
                yield path, {**NICS[kind.name], "colour": 5}
                for inner in kind.keys:
                    usual = INSTEAD.get((kind.name, inner.name), NICS[kind.name])
                    assert inner.name in usual, "add the new key to NICS"
                    if inner.required:
                        yield path, {k: v for k, v in usual.items() if k != inner.name}
                    for value in (*wrong_scalars(inner.type), {}, None):
                        yield path, {**usual, inner.name: value}
        case OrOff():
            yield from ((path, "on"), (path, False))
            yield from cases(shape.on, path, None)
        case _:
            raise AssertionError(shape)


def base(path: Path) -> dict[str, Any]:
    """As much of the base as a section needs."""
    if not path or path[0] not in PARTS:
        return BASE
    return {key: BASE[key] for key in BASE if key in ("name", path[0], *PARTS[str(path[0])])}


def make(path: Path, value: Any) -> dict[str, Any]:
    document = base(path)
    if value == "(gone)":
        return take(document, path)
    if value == "(misspelt)":
        name = str(path[-1])
        misspelt = name[:-2] + name[-1] + name[-2] if name[-1] != name[-2] else name[:-1]
        return put(take(document, path), (*path[:-1], misspelt), look(document, path))
    return put(document, path, value)


def lines(text: str) -> list[str]:
    with pytest.raises(BadInput) as error:
        Topology.from_text(text, "t.yaml")
    return str(error.value).split("\n")


ALL = list(cases(TOPOLOGY, (), None))[2:]


def test_the_base_is_right_and_complete() -> None:
    for section in ("", *PARTS):
        assert Topology.from_text(yaml.safe_dump(base((section,)))).name == "tenants"
    for path, _ in ALL:
        if path[-1] != "Not A Name":
            look(BASE, path)


@pytest.mark.deadline(240)
def test_every_key_wrong_in_turn() -> None:
    told = []
    for path, value in ALL:
        # By libyaml: there are thousands.
        text = yaml.dump(make(path, value), Dumper=yaml.CSafeDumper, sort_keys=False, width=200)
        found = lines(text)
        assert len(found) == 1, (path, value, found)
        (line,) = found
        assert_place(line, text)
        shown = yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("\n...\n").strip()
        told.append(f"{'.'.join(map(str, path))} = {shown}\n    {line}\n")
    golden.check("every_key.txt", "".join(told))


def assert_place(line: str, text: str) -> None:
    """Where the line points is the key that it names, or its value."""
    file, row, column, path, _ = line.split(":", 4)
    assert file == "t.yaml"
    at = text.split("\n")[int(row) - 1][int(column) - 1 :]
    assert at, line
    last = path.strip().split(".")[-1].partition("[")[0].strip('"')
    before = text.split("\n")[int(row) - 1][: int(column) - 1]
    assert at.startswith((last, f'"{last}')) or before.rstrip(" -").endswith((last + ":", "")), line
