"""Who is meant by the names and patterns of expectations."""

from __future__ import annotations

import fnmatch

import pytest

from vnet.errors import BadInput
from vnet.topology import Topology
from vnet.topology.expect import Stations
from vnet.topology.problems import MOST

NAMES = ["web-2", "db", "web-1", "app"]


@pytest.mark.parametrize(
    ("patterns", "meant"),
    [
        (["db"], ["db"]),
        (["app", "web-*", "web-1"], ["web-2", "web-1", "app"]),
        (["web-?", "*2"], ["web-2", "web-1"]),
        (["*"], NAMES),
        (["web", "b"], []),
    ],
)
def test_in_the_order_of_the_file(patterns: list[str], meant: list[str]) -> None:
    stations = Stations(NAMES)
    assert stations.meant(patterns) == meant
    assert any(stations.knows(pattern) for pattern in patterns) == bool(meant)


def test_each_pattern_is_tried_once_whoever_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def translate(pattern: str, real: object = fnmatch.translate) -> str:
        tried.append(pattern)
        return real(pattern)  # type: ignore[operator,no-any-return]

    monkeypatch.setattr(fnmatch, "translate", translate)
    document = {
        "name": "lab",
        "networks": {"red": {}},
        "guests": {name: {"nics": [{"network": "red"}]} for name in NAMES},
        "expect": [{"from": "web-*", "to": ["db", "a*"], "reach": True}] * 50,
    }
    Topology.from_dict(document)
    assert sorted(tried) == ["a*", "web-*"]


def test_of_many_wrong_names_as_many_are_told_as_anybody_reads() -> None:
    document = {
        "name": "lab",
        "networks": {"red": {}},
        "guests": {name: {"nics": [{"network": "red"}]} for name in NAMES},
        "expect": [{"from": f"web-1{index}", "to": "db", "reach": True} for index in range(2 * MOST)],
    }
    with pytest.raises(BadInput) as raised:
        Topology.from_dict(document)
    assert str(raised.value).count("did you mean") == MOST
