"""A proof as one JSON document, whose keys are stable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vnet.check.openings import openings
from vnet.check.pair import FAMILIES, Pair, Reason
from vnet.check.prove import Proof
from vnet.check.verdict import Outcome, Verdict, summary
from vnet.check.watched import watchers
from vnet.topology.problems import Path, dotted

Place = Callable[[Path], str]


def reason(found: Reason, place: Place) -> dict[str, str]:
    """One step of a proof."""
    return {"text": found.text, "key": dotted(found.path), "place": place(found.path)}


def pair(found: Pair, place: Place) -> dict[str, Any]:
    """One pair."""
    return {
        "from": found.source,
        "to": found.target,
        "reach": found.reach,
        "ethernet": found.ethernet,
        "talks": {f"ipv{family}": str(found.talks[family]) for family in FAMILIES},
        "arrives": {f"ipv{family}": str(found.arrives[family]) for family in FAMILIES},
        "via": list(found.via),
        "summary": summary(found),
        "why": [reason(step, place) for step in found.reasons],
    }


def outcome(found: Outcome, place: Place) -> dict[str, Any]:
    """One expectation for one pair."""
    return {
        "from": found.pair.source,
        "to": found.pair.target,
        "expected": found.wanted,
        "found": found.found,
        "holds": found.holds,
        "place": place(("expect", found.index)),
        "why": [reason(step, place) for step in found.pair.reasons],
    }


def document(proof: Proof, verdict: Verdict, place: Place) -> dict[str, Any]:
    """All of it."""
    return {
        "name": proof.topology.name,
        "ok": not verdict.failures,
        "expect": [outcome(found, place) for found in verdict.outcomes],
        "pairs": [pair(found, place) for found in proof.pairs()],
        "mirrors": [reason(found, place) for found in watchers(proof.ground)],
        "openings": [reason(found, place) for found in openings(proof)],
    }
