"""What the parts of a topology have to do with one another: references, clashes, addresses.

One function for each part; each yields the problems it finds and looks at nothing else. Whether a
single value is right on its own, the table said before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import attrs

from nics.keys import one_of
from vnet.topology import (
    check_claims,
    check_groups,
    check_ports,
    direct,
    expect,
    machine,
    mirrors,
    recorder,
    scenario,
    uplinks,
)
from vnet.topology.address import gateways, not_a_host
from vnet.topology.check_ports import SMALLEST_IPV6_MTU, ports, refers
from vnet.topology.model import DEFAULT_SWITCH, Bond, Change, Impair, Link, Network
from vnet.topology.problems import Path, Problem, dotted
from vnet.topology.resolve import link_names
from vnet.topology.values import Address, Subnet

if TYPE_CHECKING:
    from vnet.topology.topology import Topology

Problems = Iterator[Problem]
RESERVED = ("all",)
"""`vnet capture all` means every port."""


def check(topology: Topology) -> list[Problem]:
    """Everything that is wrong between the parts of `topology`."""
    return [
        *_engine(topology),
        *recorder.check(topology.recorder),
        *_networks(topology),
        *check_groups.networks(topology),
        *check_groups.groups(topology),
        *_members(topology),
        *check_ports.guests(topology),
        *check_ports.stations(topology),
        *check_ports.static(topology),
        *check_ports.addresses(topology),
        *check_claims.claims(topology),
        *machine.check(topology),
        *_uplinks(topology),
        *_links(topology),
        *direct.check(topology),
        *_cords(topology),
        *_trees(topology),
        *mirrors.check(topology),
        *expect.check(topology),
        *scenario.check(topology),
    ]


def _engine(topology: Topology) -> Problems:
    engine = topology.engine
    if engine.driver == "trio":
        given = {
            "cpu": engine.cpu is not None,
            "poll": engine.poll != "adaptive",
            "wake": engine.wake is not None,
        }
        for key, there in given.items():
            if there:
                yield Problem(("engine", key), f"{key} with driver trio", "driver: thread")


# -- networks ------------------------------------------------------------------------------------


def _networks(topology: Topology) -> Problems:
    vlans: dict[int, str] = {}
    for name, network in topology.networks.items():
        path: Path = ("networks", name)
        if name in RESERVED:
            yield Problem(path, f"{name} means every network", "another name")
        if network.vlan is not None and (other := vlans.setdefault(network.vlan, name)) != name:
            found = f"{network.vlan} is network {other}'s already"
            yield Problem((*path, "vlan"), found, "a VLAN of its own")
        yield from _subnets(network, path)
        yield from _gateways(network, path)
        yield from _querier(topology, network, path)
        if network.mtu < SMALLEST_IPV6_MTU and any(subnet.version == 6 for subnet in network.subnets):
            expected = f"at least {SMALLEST_IPV6_MTU} in a network with an IPv6 subnet (RFC 8200)"
            yield Problem((*path, "mtu"), str(network.mtu), expected)


def _subnets(network: Network, path: Path) -> Problems:
    earlier: list[Subnet] = []
    for index, subnet in enumerate(network.subnets):
        for other in earlier:
            if subnet.version == other.version and subnet.overlaps(other):
                found = f"{subnet} overlaps with {other}"
                yield Problem((*path, "subnets", index), found, "subnets of one network apart")
                break
        earlier.append(subnet)


def _gateways(network: Network, path: Path) -> Problems:
    served: dict[Subnet, Address] = {}
    for index, gateway in enumerate(network.gateway or ()):
        place = (*path, "gateway", index)
        because = ((*path, "subnets"),)
        subnet = next((subnet for subnet in network.subnets if gateway in subnet), None)
        if subnet is None:
            expected = f"an address in {one_of(map(str, network.subnets))}" if network.subnets else (
                "a network with a subnet that it is in"
            )  # fmt: skip
            yield Problem(place, f"{gateway} is in no subnet of {network.name}", expected, because=because)
        elif (what := not_a_host(gateway, subnet)) is not None:
            yield Problem(place, f"{gateway} is {what} of {subnet}", "a host's address", because=because)
        elif subnet in served:
            found = f"{gateway} is a second gateway in {subnet}, after {served[subnet]}"
            yield Problem(place, found, "one for each subnet", because=because)
        else:
            served[subnet] = gateway


def _querier(topology: Topology, network: Network, path: Path) -> Problems:
    """The address that switches ask from."""
    address = network.multicast.address if network.multicast else None
    if address is None:
        return
    place = (*path, "multicast", "address")
    because: tuple[Path, ...] = ((*path, "subnets"),)
    subnets = [subnet for subnet in network.subnets if subnet.version == 4]
    subnet = next((subnet for subnet in subnets if address in subnet), None)
    if address.version != 4:
        yield Problem(place, str(address), "an IPv4 address; in IPv6 switches have link-local ones")
    elif subnets and subnet is None:
        found = f"{address} is in no subnet of {network.name}"
        yield Problem(
            place, found, f"an address in {one_of(map(str, subnets))}", because=((*path, "subnets"),)
        )
    elif subnet is not None and (what := not_a_host(address, subnet)) is not None:
        yield Problem(
            place, f"{address} is {what} of {subnet}", "a host's address", because=((*path, "subnets"),)
        )
    elif address in gateways(network).values():
        yield Problem(place, f"{address} is the gateway", "another address", because=((*path, "gateway"),))
    for nic, _, _, port in ports(topology):
        for index, own in enumerate(port.ip or ()):
            if port.home == network.name and own.ip == address:
                because = ((*nic, "ip", index),)
                yield Problem(place, f"{address} is {dotted(nic)}'s", "another address", because=because)


def _members(topology: Topology) -> Problems:
    """Security groups that are named somewhere."""
    for group in topology.groups.values():
        for path, rule in check_groups.rules(group):
            yield from refers(rule.group, (*path, "group"), "group", topology.groups)
    for path, _, _, port in ports(topology):
        for index, name in enumerate(port.groups):
            yield from refers(name, (*path, "groups", index), "group", topology.groups)


# -- what lies between switches ------------------------------------------------------------------


def _uplinks(topology: Topology) -> Problems:
    switches = list(topology.switches) or [DEFAULT_SWITCH]
    for name, uplink in topology.uplinks.items():
        path: Path = ("uplinks", name)
        if name in RESERVED or name in topology.networks:
            found = "means every port" if name in RESERVED else "is a network's name too"
            yield Problem(path, f"{name} {found}", "another name")
        yield from refers(uplink.native, (*path, "native"), "network", topology.networks)
        for index, network in enumerate(uplink.tagged):
            yield from refers(network, (*path, "tagged", index), "network", topology.networks)
            if network in (uplink.native, *uplink.tagged[:index]):
                yield Problem((*path, "tagged", index), f"{network} twice", "each network once")
        yield from refers(uplink.switch, (*path, "switch"), "switch", switches)
    yield from uplinks.check(topology)


def _trees(topology: Topology) -> Problems:
    for name, switch in topology.switches.items():
        path: Path = ("switches", name)
        if switch.priority % 4096:
            near = switch.priority // 4096 * 4096
            expected = f"a multiple of 4096 such as {near}"
            yield Problem((*path, "priority"), str(switch.priority), expected)
        for key in ("hello", "max_age", "forward_delay"):
            if getattr(switch, key) % 1_000_000_000:
                yield Problem((*path, key), "a part of a second", "whole seconds (802.1D-2004 17.14)")
        # 802.1D-2004 17.14: no bridge may forward by what others have long given up.
        if 2 * (switch.forward_delay - 1_000_000_000) < switch.max_age:
            because = ((*path, "forward_delay"),)
            expected = "at most twice (forward_delay - 1 s)"
            yield Problem((*path, "max_age"), "too long for forward_delay", expected, because=because)
        if switch.max_age < 2 * (switch.hello + 1_000_000_000):
            because = ((*path, "hello"),)
            expected = "at least twice (hello + 1 s)"
            yield Problem((*path, "max_age"), "too short for hello", expected, because=because)
    for path, _, _, port in ports(topology):
        if port.stp.priority % 16:
            yield Problem((*path, "stp", "priority"), str(port.stp.priority), "a multiple of 16")


def _cords(topology: Topology) -> Problems:
    """The cables of guests' NICs."""
    for path, _, _, port in ports(topology):
        yield from _impair((port.cord.egress, port.cord.ingress), port.cord.schedule, path)


def _impair(ways: tuple[Impair, Impair], schedule: tuple[Change, ...], path: Path) -> Problems:
    for way in ways:
        if way.reorder and not way.delay and not way.jitter:
            because = ((*path, "impair"),)
            found = "reorder without delay, so there is nothing to overtake"
            yield Problem((*path, "impair"), found, "delay: a time", because=because)
            break
    for at, change in enumerate(schedule):
        place: Path = (*path, "schedule", at)
        if change.stop is not None and change.stop <= change.start:
            yield Problem((*place, "to"), "an end before its beginning", "a time after from")
        if change.up is None and not change.a_to_b and not change.b_to_a:
            yield Problem(place, "a change of nothing", "up or impair", because=((*place, "impair"),))


def _cables(link: Link, path: Path) -> Problems:
    """Several cables of one link, and how they share the work."""
    for number, cable in enumerate(link.cables):
        ways = (
            attrs.evolve(link.a_to_b, **dict(cable.a_to_b)),
            attrs.evolve(link.b_to_a, **dict(cable.b_to_a)),
        )
        yield from _impair(ways, cable.schedule, (*path, "cables", number))
    if link.bond != Bond() and not link.cables:
        because: tuple[Path, ...] = ((*path, "cables"),)
        yield Problem((*path, "bond"), "a bond of one cable", "cables: a list of cables", because=because)
    count = len(link.cables)
    if link.cables and link.bond.min_links > count:
        found = f"{link.bond.min_links} of {count} cable{'' if count == 1 else 's'}"
        yield Problem((*path, "bond", "min_links"), found, f"at most {count}")
    if link.bond.min_links > link.bond.max_links:
        found = f"{link.bond.min_links}, and at most {link.bond.max_links} are in use"
        yield Problem((*path, "bond", "min_links"), found, "at most max_links")
    if link.bond.mode != "lacp":
        for key in ("max_links", "timeout", "control", "passive"):
            if getattr(link.bond, key) != getattr(Bond(), key):
                yield Problem((*path, "bond", key), f"{key} with mode {link.bond.mode}", "mode: lacp")


def _switch(topology: Topology, end: str, path: Path, switches: list[str]) -> Problems:
    """An end that is a switch."""
    if end in topology.guests or end in direct.nics(topology):
        expected = f"switches: {one_of(switches)}; or two NICs"
        nic = end if "." in end else f"{end}.0"
        yield Problem(path, f"guest {end}", expected, f"a NIC is called {nic}; one at a switch needs no link")
    else:
        yield from refers(end, path, "switch", switches)


def _links(topology: Topology) -> Problems:
    switches = list(topology.switches) or [DEFAULT_SWITCH]
    for index, link in enumerate(topology.links):
        path: Path = ("links", index, "ends")
        if not direct.is_direct(link):
            for side, end in enumerate(link.ends):
                yield from _switch(topology, end, (*path, side), switches)
        if link.ends[0] and link.ends[0] == link.ends[1]:
            yield Problem(path, f"{link.ends[0]} twice", "two switches, or two NICs")
        yield from _impair((link.a_to_b, link.b_to_a), link.schedule, ("links", index))
        yield from _cables(link, ("links", index))
        if link.stp.priority % 16:
            yield Problem(("links", index, "stp", "priority"), str(link.stp.priority), "a multiple of 16")
        for at, network in enumerate(link.networks or ()):
            yield from refers(network, ("links", index, "networks", at), "network", topology.networks)
    names: dict[str, int] = {}
    for index, name in enumerate(link_names(topology.links)):
        path = ("links", index, "name") if topology.links[index].name else ("links", index)
        if name in names:
            yield Problem(path, f"{name} is links[{names[name]}]'s already", "a name of its own")
        elif name in RESERVED or name in topology.networks or name in topology.guests:
            what = (
                "every port" if name in RESERVED else "a network" if name in topology.networks else "a guest"
            )
            yield Problem(path, f"a link called {name}, which is {what}", "name: another")
        names.setdefault(name, index)
