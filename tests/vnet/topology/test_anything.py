"""Whatever is given is read or refused in lines: nothing else, and nothing slow."""

from __future__ import annotations

import copy
import ipaddress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from nics import kinds
from nics.errors import BadInput
from tests.vnet.topology.test_every_key import BASE, NICS
from vnet.topology import Topology

WORDS = (
    "red", "web", "s1", "s9", "", "10.0.10.0/24", "10.0.10.1", "fd00:10::1", "02:00:00:00:00:0a", "tap",
    "netns",
    "10 ms", "1e400", "-1", "\x1b[2J", "x" * 300, "ä",
    "127.0.0.1:1", "[::1]:99999", "@", "<<", "/", "all",
)  # fmt: skip
KEYS = (
    "kind",
    "network",
    "trunk",
    "nics",
    "ip",
    "mac",
    "name",
    "vlan",
    "x-mine",
    "<<",
    "socket",
    "",
    "a.b",
    "0",
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-2, 70_000)
    | st.integers()
    | st.floats()
    | st.sampled_from(WORDS)
    | st.text(max_size=5)
    | st.builds(ipaddress.ip_address, st.integers(0, 2**32 - 1))
)
VALUES = st.recursive(
    SCALARS | st.sampled_from(sorted(NICS)).map(lambda kind: dict(NICS[kind])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def mutilated(draw: st.DrawFn) -> Any:
    """A right topology with a few things in it replaced, taken out or put in."""
    document: Any = copy.deepcopy(BASE)
    for _ in range(draw(st.integers(1, 4))):
        place = document
        while True:
            inner = [item for item in (place.values() if isinstance(place, dict) else place)
                     if isinstance(item, dict | list) and item]  # fmt: skip
            if not inner or draw(st.integers(0, 3)) == 0:
                break
            place = draw(st.sampled_from(inner))
        value = draw(VALUES)
        if isinstance(place, list):
            place[draw(st.integers(0, max(0, len(place) - 1))) :] = [value]
        elif draw(st.booleans()):
            place[draw(st.sampled_from(KEYS))] = value
        elif place:
            key = draw(st.sampled_from(sorted(place)))
            if draw(st.booleans()):
                place[key] = value
            else:
                del place[key]
    return document


def refused_or_right(call: Any, *args: Any) -> None:
    lines: tuple[Any, ...] = ("name: a line",)
    try:
        topology = call(*args)
    except BadInput as error:
        lines = error.args
    else:
        topology.resolve()
        topology.to_yaml()
    for line in lines:
        assert line.isprintable(), line
        assert len(line) < 2000


@given(mutilated())
@settings(max_examples=400)
def test_mutilated_topologies(document: Any) -> None:
    refused_or_right(Topology.from_dict, document)


@given(VALUES)
def test_values_of_all_kinds(value: Any) -> None:
    refused_or_right(Topology.from_dict, value)
    refused_or_right(Topology.from_dict, {"name": value, "networks": value, "guests": value})


@given(st.text(alphabet="ab:-[]{}&*<>!|%@#'\"\\\n\t ?,0~", max_size=60))
def test_text_of_all_kinds(text: str) -> None:
    refused_or_right(Topology.from_text, f"name: lab\nnetworks:\n  red: {text}\n")


@given(
    st.sampled_from(sorted(kinds.KINDS)),
    st.dictionaries(
        st.sampled_from([key.name for kind in kinds.KINDS.values() for key in kind.keys]), SCALARS, max_size=3
    ),
)
def test_nics_of_all_kinds(kind: str, keys: dict[str, Any]) -> None:
    guest = {"kind": "external", "nics": [{"network": "red", "nic": {"kind": kind, **keys}}]}
    refused_or_right(Topology.from_dict, {"name": "lab", "networks": {"red": {}}, "guests": {"vm": guest}})
