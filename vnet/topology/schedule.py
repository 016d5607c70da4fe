"""What a link is like when: its impairments and its schedule as a list of moments. Pure."""

from __future__ import annotations

from typing import Any

import attrs

from vnet.topology.model import Change, Impair, Keys


@attrs.frozen
class Moment:
    """From a time on, a link is like this."""

    at: int
    """Nanoseconds after the fabric came up."""
    a_to_b: Impair
    b_to_a: Impair
    up: bool
    """Whether the cable is whole."""


def moments(a_to_b: Impair, b_to_a: Impair, schedule: tuple[Change, ...]) -> list[Moment]:
    """All moments at which something changes, ascending, the first at 0."""
    times = {0}
    for change in schedule:
        times.add(change.start)
        if change.stop is not None:
            times.add(change.stop)
    found: list[Moment] = []
    for at in sorted(times):
        holding = [c for c in schedule if c.start <= at and (c.stop is None or at < c.stop)]
        ups = [change.up for change in holding if change.up is not None]
        moment = Moment(
            at,
            _with(a_to_b, [change.a_to_b for change in holding]),
            _with(b_to_a, [change.b_to_a for change in holding]),
            ups[-1] if ups else True,
        )
        if not found or attrs.evolve(moment, at=found[-1].at) != found[-1]:
            found.append(moment)
    return found


def _with(impair: Impair, changes: list[Keys]) -> Impair:
    differs: dict[str, Any] = {}
    for keys in changes:
        differs.update(keys)
    return attrs.evolve(impair, **differs)
