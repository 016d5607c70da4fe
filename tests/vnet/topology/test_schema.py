"""The JSON Schema says what the reader says, for every place by itself."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest
from hypothesis import given

from nics.errors import BadInput
from nics.keys import Key
from tests.vnet.topology.strategies import documents
from tests.vnet.topology.test_every_key import ALL, BASE, make
from vnet.topology import Topology
from vnet.topology.schema import schema
from vnet.topology.shape import ListOf, MapOf, OrOff, Shape, Table
from vnet.topology.table import TOPOLOGY

VALIDATOR = jsonschema.Draft202012Validator(schema())
BEYOND = (
    # A schema can't tell these; the reader does.
    re.compile("no (network|switch|guest|group|mirror|uplink) |no guest is like|is not at wan|no port .wbe"),
    re.compile("(even first byte|not zero|without host bits|the address of one station|stations can have)"),
    re.compile('a subnet other than fe80|"90-80"|"80-65536"'),
    re.compile('"10.0.10.256"|"10.0.10"|/33|/129|given twice|expected at most|at least 1280|the finest step'),
)


def test_is_a_schema_and_plain_json() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    assert json.loads(json.dumps(schema())) == schema()


def test_takes_what_is_right() -> None:
    VALIDATOR.validate(BASE)


@given(documents())
def test_takes_every_topology_that_the_reader_takes(document: dict[str, Any]) -> None:
    Topology.from_dict(document)
    VALIDATOR.validate(document)


@given(documents())
def test_takes_every_topology_as_written(document: dict[str, Any]) -> None:
    VALIDATOR.validate(Topology.from_dict(document).to_dict())


@pytest.mark.deadline(240)
def test_refuses_what_the_reader_refuses() -> None:
    accepted = []
    for path, value in ALL:
        document = make(path, value)
        with pytest.raises(BadInput) as error:
            Topology.from_dict(document)
        (line,) = error.value.args
        told = any(beyond.search(line) for beyond in BEYOND)
        if VALIDATOR.is_valid(document) != told:
            accepted.append((path, value, line, told))
    assert not accepted


def keys(shape: Shape, path: str = "") -> list[tuple[str, Key]]:
    found: list[tuple[str, Key]] = []
    match shape:
        case Table():
            for key in shape.keys:
                found.append((f"{path}.{key.name}", key))
                if isinstance(key.type, Shape):
                    found += keys(key.type, f"{path}.{key.name}")
        case OrOff():
            found += keys(shape.on, path)
        case ListOf() | MapOf():
            found += keys(shape.item, f"{path}[]")
    return found


@pytest.mark.parametrize(
    ("path", "key"), keys(TOPOLOGY), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_key_is_described_and_its_example_is_right(path: str, key: Key) -> None:
    assert key.doc.endswith(".")
    assert key.example is not None
    described = schema()
    for step in path.split(".")[1:]:
        name, _, items = step.partition("[]")
        described = next(what for what in described.get("anyOf", [described]) if "properties" in what)
        described = described["properties"][name]
        assert described["description"]
        for _ in range(items.count("[]") + step.endswith("[]")):
            described = described.get("items") or described["additionalProperties"]
    jsonschema.Draft202012Validator(described).validate(key.example)


def test_the_base_uses_every_key() -> None:
    """So that the tests above see all of them."""
    text = json.dumps(BASE)
    for path, key in keys(TOPOLOGY):
        assert f'"{key.name}"' in text, path
