"""Topologies from YAML, JSON or dicts: read by the table, checked as a whole, refused with all that is wrong.

    text -> nodes (nodes.py) -> values by the table (shape.py) -> model (build.py) -> checks

All steps are gone through as far as they make sense, and everything found is told at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path as File
from typing import TYPE_CHECKING, Any

import attrs

import topologies
from nics.errors import BadInput
from vnet.topology import build, expect, flows, foreign, machine, model, recorder, scenario, table
from vnet.topology.check import check
from vnet.topology.nodes import MOST_BYTES, Node, Unreadable, from_object, locate
from vnet.topology.nodes import from_text as nodes_of
from vnet.topology.problems import Path, Problem, bad_input, told
from vnet.topology.resolve import Unresolvable, resolve
from vnet.topology.shape import ListOf, MapOf, Table

if TYPE_CHECKING:
    from vnet.topology.topology import Topology


READY = "topology:"
"""What the name of a ready topology begins with where a file's may stand."""


def from_file(path: str | os.PathLike[str]) -> Topology:
    """Read a file, `-` for standard input, `topology:NAME` for a ready one (`topology:ring?switches=6`).

    Raises BadInput.
    """
    name, data = _content(path)
    return from_text(data, name, folder=File(name).parent)


def _content(path: str | os.PathLike[str]) -> tuple[str, bytes]:
    """What errors call a file, and what is in it. Raises BadInput."""
    name = os.fspath(path)
    if name.startswith(READY):
        ready = name.removeprefix(READY)
        if topologies.is_made(ready):
            return name, topologies.load(ready).to_yaml().encode()
        name = str(topologies.path(ready))
    if foreign.is_foreign(name):
        return name, foreign.convert(name).topology.to_yaml().encode()
    if name == "-":
        return "<stdin>", sys.stdin.buffer.read(MOST_BYTES + 1)
    try:
        with File(name).open("rb") as file:
            return name, file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        raise BadInput(f"{name}: {getattr(error, 'strerror', None) or error}") from None


def from_text(text: str | bytes, file: str, folder: File = File()) -> Topology:
    """Read YAML or JSON that errors call `file`; paths start at `folder`. Raises BadInput."""
    data = text if isinstance(text, bytes) else text.encode(errors="surrogatepass")
    try:
        root = nodes_of(data)
    except Unreadable as error:
        raise bad_input([error.problem], file) from None
    return _read(root, file, folder)


def from_dict(topology: Mapping[str, Any]) -> Topology:
    """Read keys and values. Raises BadInput."""
    return _read(nodes_of_object(topology), "")


def nodes_of_object(value: object) -> Node:
    """Nodes of Python objects. Raises BadInput."""
    try:
        return from_object(value)
    except Unreadable as error:
        raise bad_input([error.problem]) from None


def with_places(path: str | os.PathLike[str]) -> tuple[Topology, Callable[[Path], str]]:
    """As `from_file`, and where a key stands: `tenants.yaml:12:5`. Raises BadInput."""
    name, data = _content(path)
    try:
        root = nodes_of(data)
    except Unreadable as error:
        raise bad_input([error.problem], name) from None

    def place(path: Path) -> str:
        mark = locate(root, path)
        return f"{name}:{mark.line}:{mark.column}" if mark else name

    return _read(root, name, File(name).parent), place


def _read(root: Node, file: str, folder: File = File()) -> Topology:
    problems: list[Problem] = []
    values = table.TOPOLOGY.read(root, (), problems)
    topology = _topology(values, problems)
    problems = told(problems, check(topology))
    if not problems:
        # The address plan is part of what a file can get wrong: a subnet may be too small.
        try:
            resolve(topology)
        except Unresolvable as error:
            problems = error.problems
    if problems:
        raise bad_input(problems, file, lambda path: locate(root, path))
    topology.guests = {name: _placed(guest, folder) for name, guest in topology.guests.items()}
    return topology


def _placed(guest: model.Guest, folder: File) -> model.Guest:
    """A guest whose files are where they are, whoever starts it, and from where."""
    if guest.machine is None:
        return guest
    return attrs.evolve(guest, machine=machine.placed(guest.machine, File.cwd() / folder))


def _topology(values: Mapping[str, Any], problems: list[Problem]) -> Topology:
    """The model of what could be read."""
    from vnet.topology.topology import Topology

    return Topology(
        name=values.get("name", ""),
        seed=values.get("seed", 0),
        engine=build.engine(values.get("engine", {})),
        recorder=recorder.build(values.get("recorder", {})),
        flows=flows.build(values.get("flows")),
        networks={name: build.network(name, part) for name, part in values.get("networks", {}).items()},
        groups={name: build.group(name, part) for name, part in values.get("groups", {}).items()},
        guests={
            name: build.guest(name, part, ("guests", name), problems)
            for name, part in values.get("guests", {}).items()
        },
        uplinks={name: build.uplink(name, part) for name, part in values.get("uplinks", {}).items()},
        switches={name: build.switch(name, part) for name, part in values.get("switches", {}).items()},
        links=[build.link(part) for part in values.get("links", [])],
        mirrors={name: build.mirror(name, part) for name, part in values.get("mirrors", {}).items()},
        expect=[expect.build(part) for part in values.get("expect", [])],
        scenario=[scenario.build(part) for part in values.get("scenario", [])],
    )


def read_part(whole: Table, section: str, name: str, keys: Mapping[str, Any]) -> dict[str, Any]:
    """One named part of a section, made in Python. Raises BadInput."""
    problems: list[Problem] = []
    shape = next(key.type for key in whole.keys if key.name == section)
    assert isinstance(shape, MapOf)
    values: dict[str, Any] = shape.read(nodes_of_object({name: keys}), (section,), problems)
    if problems:
        raise bad_input(problems)
    part: dict[str, Any] = values[name]
    return part


def read_item(whole: Table, section: str, keys: Mapping[str, Any]) -> dict[str, Any]:
    """One item of a section that is a list, made in Python. Raises BadInput."""
    problems: list[Problem] = []
    shape = next(key.type for key in whole.keys if key.name == section)
    assert isinstance(shape, ListOf)
    values = shape.read(nodes_of_object([keys]), (section,), problems)
    if problems:
        raise bad_input(problems)
    item: dict[str, Any] = values[0]
    return item


def read_guest(name: str, keys: Mapping[str, Any]) -> model.Guest:
    """A guest made in Python. Raises BadInput."""
    problems: list[Problem] = []
    path: Path = ("guests", name)
    guest = build.guest(name, read_part(table.TOPOLOGY, "guests", name, keys), path, problems)
    if problems:
        raise bad_input(problems)
    return _placed(guest, File())


def read_expectations(items: list[Mapping[str, Any]]) -> list[model.Expect]:
    """Expectations made in Python. Raises BadInput."""
    problems: list[Problem] = []
    shape = ListOf(expect.EXPECT, "a list of expectations")
    values = shape.read(nodes_of_object(items), ("expect",), problems)
    if problems:
        raise bad_input(problems)
    return [expect.build(part) for part in values]


def read_assertion(keys: Mapping[str, Any], topology: Topology) -> model.Expect:
    """An assertion made in Python, about guests of `topology`. Raises BadInput."""
    problems: list[Problem] = []
    path: Path = ("assert",)
    made = expect.build(scenario.ASSERT.read(nodes_of_object(keys), path, problems))
    problems = told(problems, list(scenario.check_assertion(topology, None, made, path)))
    if problems:
        raise bad_input(problems)
    return made
