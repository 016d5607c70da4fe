"""Uplinks of a topology: what is wrong with them, and what they come to.

An uplink is a port like a guest's, but nobody's: it has no address, no guard,
and of limits storm control alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from nics.bond import KINDS as BONDED
from nics.bond import Bond
from nics.keys import one_of, shown
from vnet.topology import address
from vnet.topology.model import PortSettings, Uplink
from vnet.topology.problems import Path, Problem
from vnet.topology.resolve import Port, ResolvedNetwork, Unresolvable

if TYPE_CHECKING:
    from vnet.topology.topology import Topology

KINDS = ("packet", "xdp", "tap", "stream", "dgram", "vhost-user", "vde", "pcap", "pipe")
"""NICs that can have a physical network behind them, or what stands for one."""
MAC_LIMIT = 1 << 20
"""Stations of the physical network that an uplink may learn; the switch has limits of its own."""


def check(topology: Topology) -> Iterator[Problem]:
    """What is wrong with uplinks by themselves, but for names of things that don't exist."""
    for name, uplink in topology.uplinks.items():
        path: Path = ("uplinks", name)
        if name in topology.guests:
            because: tuple[Path, ...] = (("guests", name),)
            yield Problem(path, f"{name} is a guest's name too", "another name", because=because)
        if isinstance(uplink.nic, Bond):
            yield from _bond(uplink.nic, path)
        elif uplink.nic.kind and uplink.nic.kind not in KINDS:
            yield Problem((*path, "nic", "kind"), f"{uplink.nic.kind} for an uplink", one_of(KINDS))
        if uplink.native is None and not uplink.tagged:
            yield Problem(path, "an uplink without networks", "native or tagged")
        taken: dict[int, str] = {}
        for network, vlan in uplink.vlans:
            place: Path = (*path, "vlans", network)
            known = all(member in topology.networks for member in uplink.tagged)
            if network not in uplink.tagged and known:
                expected = one_of(uplink.tagged) if uplink.tagged else "tagged: the network"
                because = ((*path, "tagged"),)
                yield Problem(place, f"{shown(network)} is not tagged there", expected, because=because)
            if (other := taken.setdefault(vlan, network)) != network:
                yield Problem(place, f"{vlan} is network {other}'s already", "a VLAN id of its own")


def _bond(bond: Bond, path: Path) -> Iterator[Problem]:
    count = len(bond.nics)
    many = f"of {count} NIC{'' if count == 1 else 's'}"
    for index, nic in enumerate(bond.nics):
        if nic.kind not in BONDED:
            yield Problem((*path, "nics", index, "kind"), f"{nic.kind} in a bond", one_of(BONDED))
    for key in ("min_links", "primary"):
        if (getattr(bond, key) or 1) > count:
            yield Problem((*path, "bond", key), f"{getattr(bond, key)} {many}", f"at most {count}")
    if bond.min_links > bond.max_links:
        found = f"{bond.min_links}, and at most {bond.max_links} are in use"
        yield Problem((*path, "bond", "min_links"), found, "at most max_links")
    usual = Bond(bond.nics)
    only = dict.fromkeys(("max_links", "timeout", "control", "lacp", "system_priority", "fallback"), "lacp")
    for key, mode in {**only, "primary": "active-backup"}.items():
        if mode != bond.mode and getattr(bond, key) != getattr(usual, key):
            yield Problem((*path, "bond", key), f"{key} with mode {bond.mode}", f"mode: {mode}")
    if bond.mode == "active-backup" and bond.min_links > 1:
        yield Problem((*path, "bond", "min_links"), "one is in use with mode active-backup", "1")


def resolve(
    topology: Topology, networks: Mapping[str, ResolvedNetwork], switch: str, taken: Collection[str]
) -> dict[str, Port]:
    """The ports of all uplinks. Raises Unresolvable when two networks have one number on a wire."""
    # A TAP's end is an interface of a host: it has an address.
    wishers = [f"uplink {name}" for name, uplink in topology.uplinks.items() if uplink.nic.kind == "tap"]
    macs = address.macs(wishers, taken, topology.name, topology.seed)
    problems: list[Problem] = []
    ports = {}
    for name, uplink in topology.uplinks.items():
        native = networks[uplink.native] if uplink.native is not None else None
        ports[name] = Port(
            name=name,
            guest="",
            index=0,
            guest_kind="external",
            switch=uplink.switch or switch,
            nic=uplink.nic,
            mac=macs.get(f"uplink {name}", ""),
            addresses=(),
            gateways=(),
            network=native.name if native else None,
            vlan=native.vlan if native else None,
            trunk=tuple((member, networks[member].vlan) for member in uplink.networks)
            if uplink.tagged
            else (),
            native_tagged=False,
            mtu=max(networks[member].mtu for member in uplink.networks),
            settings=PortSettings(mac_limit=MAC_LIMIT),
            guard=None,
            storm=uplink.storm,
            translate=_translate(uplink, networks, problems),
        )
    if problems:
        raise Unresolvable(problems)
    return ports


def _translate(
    uplink: Uplink, networks: Mapping[str, ResolvedNetwork], problems: list[Problem]
) -> tuple[tuple[int, int], ...]:
    """Every (VLAN, its number on the wire), if any differs. The native one has none there but its own,
    as long as nobody else has it.
    """
    given = dict(uplink.vlans)
    there: dict[int, str] = {}
    pairs = []
    for name in uplink.tagged:
        vlan = given.get(name, networks[name].vlan)
        if (other := there.setdefault(vlan, name)) != name:
            found = f"{name} and {other} both have VLAN {vlan} on the wire"
            place = ("uplinks", uplink.name, "vlans")
            problems.append(Problem(place, found, "a VLAN id of its own for each"))
        pairs.append((networks[name].vlan, vlan))
    if uplink.native is not None and networks[uplink.native].vlan not in there:
        pairs.append((networks[uplink.native].vlan,) * 2)
    return tuple(pairs) if any(ours != theirs for ours, theirs in pairs) else ()
