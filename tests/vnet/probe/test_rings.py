"""What is said of rings of links beside what failed."""

from __future__ import annotations

from typing import Any

import pytest

from vnet.probe import rings
from vnet.probe.course import Options, run
from vnet.topology import Topology

RING: dict[str, Any] = {
    "name": "ring",
    "networks": {"red": {"subnets": ["10.0.0.0/24"]}, "blue": {"subnets": ["10.0.1.0/24"]}},
    "switches": {"s1": {}, "s2": {}, "s3": {}, "s4": {}},
    "links": [{"ends": ends} for ends in (["s1", "s2"], ["s2", "s3"], ["s3", "s1"], ["s3", "s4"])],
    "guests": {name: {"nics": [{"network": "red", "switch": f"s{n}"}]} for n, name in ((1, "a"), (2, "b"))},
}


def told(**changes: Any) -> list[str]:
    return rings.notes(Topology.from_dict(RING | changes).resolve())


def test_a_ring_is_told_with_its_links_alone() -> None:
    (line,) = told()
    assert line.startswith("a loop without spanning tree: s1-s2, s2-s3, s3-s1; ")


@pytest.mark.parametrize(
    "changes",
    [
        {"switches": {name: {"stp": "rstp"} for name in RING["switches"]}},
        {"links": RING["links"][:2]},
        {"links": [*RING["links"][:2], {"ends": ["s3", "s1"], "up": False}]},
        # No network goes all the way round.
        {
            "links": [
                {"ends": ["s1", "s2"], "networks": ["red"]},
                *({**link, "networks": ["blue"]} for link in RING["links"][1:]),
            ]
        },
    ],
)
def test_there_is_no_ring(changes: dict[str, Any]) -> None:
    assert told(**changes) == []


@pytest.mark.parametrize("stp", ["none", "rstp"])
def test_who_reads_what_failed_is_told(stp: str) -> None:
    switches = {name: {"stp": stp} for name in RING["switches"]}
    document = RING | {"switches": switches, "scenario": [{"apply": "nowhere.yaml"}]}
    part = run(Topology.from_dict(document), Options(probe=False)).parts[-1]
    assert len(part.findings) == 1
    assert part.notes == told(switches=switches)
