"""What a network is to be: the topology file, its model, and what it comes to."""

from __future__ import annotations

from vnet.topology.model import (
    Dump,
    Engine,
    Expect,
    Group,
    Guard,
    Guest,
    Impair,
    Limit,
    Limits,
    Link,
    Network,
    NicPort,
    PortSettings,
    Recorder,
    Rule,
    Switch,
    Uplink,
)
from vnet.topology.resolve import Port, Resolved, ResolvedGuest, ResolvedNetwork
from vnet.topology.topology import Topology

__all__ = [
    "Dump",
    "Engine",
    "Expect",
    "Group",
    "Guard",
    "Guest",
    "Impair",
    "Limit",
    "Limits",
    "Link",
    "Network",
    "NicPort",
    "Port",
    "PortSettings",
    "Recorder",
    "Resolved",
    "ResolvedGuest",
    "ResolvedNetwork",
    "Rule",
    "Switch",
    "Topology",
    "Uplink",
]
