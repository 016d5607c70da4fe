"""Rings of links whose switches run no spanning tree: what a test that fails may owe to them."""

from __future__ import annotations

from collections.abc import Iterator

from vnet.topology import Resolved

Edge = tuple[str, str, str]
"""A link's name, and the switches at its ends."""
TREES = ("stp", "rstp")
MOST = 5


def notes(topology: Resolved) -> list[str]:
    """A line if there are any."""
    found: set[str] = set()
    carried = {frozenset(_edges(topology, network.vlan)) for network in topology.networks.values()}
    for edges in carried:
        for edge in edges:
            bare = any(topology.switches[end].stp not in TREES for end in edge[1:])
            if bare and edge[0] not in found and _joined(edges - {edge}, *edge[1:]):
                found.add(edge[0])
    names = [name for name in topology.links if name in found]
    if not names:
        return []
    few = ", ".join(names[:MOST]) + (f" and {len(names) - MOST} more" if len(names) > MOST else "")
    return [f"a loop without spanning tree: {few}; frames go round there: run `stp: rstp` at the switches"]


def _edges(topology: Resolved, vlan: int) -> Iterator[Edge]:
    for link in topology.links.values():
        if link.up and (link.transparent or vlan in link.vlans):
            yield (link.name, *link.ends)


def _joined(edges: frozenset[Edge], one: str, other: str) -> bool:
    """Whether frames get from one switch to another by these links."""
    beside: dict[str, list[str]] = {}
    for _, a, b in edges:
        beside.setdefault(a, []).append(b)
        beside.setdefault(b, []).append(a)
    seen, ahead = {one}, [one]
    while ahead:
        for switch in beside.get(ahead.pop(), ()):
            if switch not in seen:
                seen.add(switch)
                ahead.append(switch)
    return other in seen
