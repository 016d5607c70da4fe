"""One network over switches without a loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vnet.topology import Topology

SUBNETS = ["10.0.0.0/16", "fd00:0:0:1::/64"]


def lan(topology: Topology) -> None:
    """One network."""
    topology.network("lan", subnets=SUBNETS)


def add_hosts(topology: Topology, count: int, kind: str, switch: str | None = None) -> None:
    """More guests in the network: h1, h2, ..., going on where others stopped. All have to reach all."""
    if count and not topology.expect:
        topology.expecting("*", "*")
    where: dict[str, Any] = {} if switch is None else {"switch": switch}
    for _ in range(count):
        topology.guest(f"h{len(topology.guests) + 1}", kind=kind, network="lan", **where)


def single(topology: Topology, hosts: int, kind: str) -> None:
    """Guests at one switch."""
    lan(topology)
    add_hosts(topology, hosts, kind)


def star(topology: Topology, arms: int, hosts: int, kind: str) -> None:
    """Switches around a hub."""
    lan(topology)
    topology.switch("hub")
    for number in range(1, arms + 1):
        topology.switch(f"s{number}").link("hub", f"s{number}")
        add_hosts(topology, hosts, kind, f"s{number}")


def linear(topology: Topology, switches: int, hosts: int, kind: str) -> None:
    """Switches in a row."""
    lan(topology)
    for number in range(1, switches + 1):
        topology.switch(f"s{number}")
        if number > 1:
            topology.link(f"s{number - 1}", f"s{number}")
        add_hosts(topology, hosts, kind, f"s{number}")


def tree(topology: Topology, depth: int, fanout: int, kind: str) -> None:
    """Switches s1, below it s2 and so on, level by level."""
    lan(topology)
    level = ["s1"]
    topology.switch("s1")
    for _ in range(depth - 1):
        below = []
        for parent in level:
            for _ in range(fanout):
                child = f"s{len(topology.switches) + 1}"
                topology.switch(child).link(parent, child)
                below.append(child)
        level = below
    for switch in level:
        add_hosts(topology, fanout, kind, switch)
