"""How far apart the two cores of a benchmark are: measured around each run, and told with the figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tools.bench import distance
from tools.bench.cases import VHOST
from tools.bench.results import Results


def told(*values: float | None) -> Callable[[], float | None]:
    """Each of these in turn."""
    return iter(values).__next__


def counted(runs: list[int]) -> Callable[[], dict[str, Any]]:
    """A run that says which it is."""

    def run() -> dict[str, Any]:
        runs.append(len(runs))
        return {"mpps": float(len(runs))}

    return run


@pytest.mark.parametrize(("value", "kind"), [(90.0, "near"), (400.0, "far")])
def test_a_run_notes_how_far_apart_the_cores_were(value: float, kind: str) -> None:
    result = distance.alike(counted([]), told(value, value + 10))
    assert result == {"mpps": 1.0, "cores": kind, "round_trip_ns": value + 5}


def test_a_run_is_made_again_when_the_cores_were_moved_meanwhile() -> None:
    runs: list[int] = []
    result = distance.alike(counted(runs), told(90, 400, 400, 90, 95, 95))
    assert (len(runs), result["mpps"], result["cores"]) == (3, 3.0, "near")


def test_a_run_in_which_they_are_always_moved_is_an_error() -> None:
    runs: list[int] = []
    result = distance.alike(counted(runs), told(*[90, 400] * 10))
    assert (len(runs), list(result)) == (5, ["error"])


def test_where_it_can_not_be_measured_a_run_is_as_it_was() -> None:
    assert distance.alike(counted([]), told(None, None)) == {"mpps": 1.0}


def test_runs_of_both_kinds_are_told_and_compared_apart() -> None:
    results = Results(VHOST)
    for kind, ours, theirs in (("near", 36.0, 18.0), ("far", 22.0, 10.0), ("near", 34.0, 17.0)):
        results.add("vnet", "64 B", {"mpps": ours, "cores": kind})
        results.add("ovs", "64 B", {"mpps": theirs, "cores": kind})
    parts = results.parts()
    assert {kind: round(part.better("64 B", "ovs") or 0, 2) for kind, part in parts.items()} == {
        "near": 2.0,
        "far": 2.2,
    }
    assert [VHOST.heading(kind) for kind in parts] == ["cores that share a cache", "cores far apart"]
