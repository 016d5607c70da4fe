"""One network over switches with spare ways between them, which a spanning tree keeps shut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from topologies.flat import add_hosts, lan

if TYPE_CHECKING:
    from vnet.topology import Topology

ROOT = 4096
"""Priority of the switch that becomes the tree's root; the one that stands in for it has twice that."""


def ring(topology: Topology, switches: int, hosts: int, stp: str, kind: str) -> None:
    """Switches in a ring."""
    lan(topology)
    for number in range(1, switches + 1):
        topology.switch(f"s{number}", stp=stp)
        add_hosts(topology, hosts, kind, f"s{number}")
    for number in range(1, switches + 1):
        topology.link(f"s{number}", f"s{number % switches + 1}")


def leaf_spine(topology: Topology, spines: int, leaves: int, hosts: int, stp: str, kind: str) -> None:
    """Every leaf linked to every spine; the first spine is the root."""
    lan(topology)
    for spine in range(1, spines + 1):
        topology.switch(f"spine{spine}", stp=stp, priority=_priority(spine))
    for leaf in range(1, leaves + 1):
        topology.switch(f"leaf{leaf}", stp=stp)
        for spine in range(1, spines + 1):
            topology.link(f"spine{spine}", f"leaf{leaf}")
        add_hosts(topology, hosts, kind, f"leaf{leaf}")


def fat_tree(topology: Topology, k: int, hosts: int | None, stp: str, kind: str) -> None:
    """The k-ary fat tree of Al-Fares and others (2008), bridged; the first core is the root."""
    lan(topology)
    half = k // 2
    for core in range(1, half * half + 1):
        topology.switch(f"core{core}", stp=stp, priority=_priority(core))
    for pod in range(1, k + 1):
        for number in range(1, half + 1):
            above = f"pod{pod}-agg{number}"
            topology.switch(above, stp=stp)
            # The first of each pod has the first half of k cores, the second the next, and so on.
            for core in range((number - 1) * half + 1, number * half + 1):
                topology.link(f"core{core}", above)
        for below in range(1, half + 1):
            edge = f"pod{pod}-edge{below}"
            topology.switch(edge, stp=stp)
            for number in range(1, half + 1):
                topology.link(f"pod{pod}-agg{number}", edge)
            add_hosts(topology, half if hosts is None else hosts, kind, edge)


def _priority(number: int) -> int:
    """Of the first, the second and all other switches at the top."""
    return ROOT * number if number <= 2 else 4 * ROOT
