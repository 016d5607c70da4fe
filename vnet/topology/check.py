"""What the parts of a topology have to do with one another: references, clashes, addresses.

One function for each part; each yields the problems it finds and looks at nothing else. Whether a
single value is right on its own, the table said before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from nics import kinds
from nics.door import Nic
from nics.keys import did_you_mean, one_of, shown
from vnet.topology import check_groups, expect, scenario, uplinks
from vnet.topology.address import gateways, not_a_host
from vnet.topology.model import DEFAULT_SWITCH, Guest, Link, Network, NicPort
from vnet.topology.problems import Path, Problem, dotted
from vnet.topology.resolve import link_names
from vnet.topology.table import MOST_PORTS
from vnet.topology.values import Address, Subnet

if TYPE_CHECKING:
    from vnet.topology.topology import Topology

Problems = Iterator[Problem]
SMALLEST_IPV6_MTU = 1280
"""RFC 8200, 5."""
RESERVED = ("all",)
"""`vnet capture all` means every port."""
GUEST_NICS: Mapping[str, tuple[str, ...]] = {"stack": ("stack",), "netns": ("tap",)}
"""The NIC kinds of a guest whose far end is ours."""
NOT_EXTERNAL = ("stack",)


def check(topology: Topology) -> list[Problem]:
    """Everything that is wrong between the parts of `topology`."""
    return [
        *_engine(topology),
        *_networks(topology),
        *check_groups.networks(topology),
        *check_groups.switches(topology),
        *check_groups.groups(topology),
        *_members(topology),
        *_guests(topology),
        *_stations(topology),
        *_static(topology),
        *_addresses(topology),
        *_claims(topology),
        *_uplinks(topology),
        *_links(topology),
        *_trees(topology),
        *expect.check(topology),
        *scenario.check(topology),
    ]


def _refers(name: str | None, path: Path, what: str, known: Iterable[str], among: str = "") -> Problems:
    """`name` must be among `known`; "" stands for one that could not be read."""
    names = list(known)
    if name and name not in names:
        expected = one_of(names) if names else f"the name of a {what}; there is none"
        because = ((f"{what}s" if what != "switch" else "switches", name),)
        found = f"no {what} {shown(name)}{among}"
        yield Problem(path, found, expected, did_you_mean(name, names), because=because)


def _engine(topology: Topology) -> Problems:
    engine = topology.engine
    if engine.driver == "trio":
        for key, given in (("cpu", engine.cpu is not None), ("poll", engine.poll != "adaptive")):
            if given:
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


# -- guests --------------------------------------------------------------------------------------


def _ports(topology: Topology) -> Iterator[tuple[Path, Guest, int, NicPort]]:
    for name, guest in topology.guests.items():
        for index, port in enumerate(guest.nics):
            yield ("guests", name, "nics", index), guest, index, port


def _guests(topology: Topology) -> Problems:
    switches = list(topology.switches) or [DEFAULT_SWITCH]
    for count, (path, guest, _, port) in enumerate(_ports(topology)):
        if count == MOST_PORTS:
            yield Problem(path, f"more than {MOST_PORTS} NICs", "fewer")
        yield from _mode(topology, port, path)
        yield from _refers(port.switch, (*path, "switch"), "switch", switches)
        yield from _kind(guest, port, path)
        yield from _guard(topology, port, path)
        yield from _limits(port, path)
        yield from _dhcp(guest, port, path)
        yield from _mtu(topology, port, path)


def _mode(topology: Topology, port: NicPort, path: Path) -> Problems:
    """Access port or trunk."""
    networks = topology.networks
    if port.network is None and not port.trunk:
        yield Problem(path, "a NIC without network", "network or trunk")
    if port.network is not None and port.trunk:
        yield Problem((*path, "trunk"), "network and trunk", "one of them")
    yield from _refers(port.network, (*path, "network"), "network", networks)
    for index, name in enumerate(port.trunk):
        yield from _refers(name, (*path, "trunk", index), "network", networks)
        if name in port.trunk[:index]:
            yield Problem((*path, "trunk", index), f"{name} twice", "each network once")
    if port.native is not None:
        if not port.trunk:
            because = ((*path, "trunk"),)
            yield Problem((*path, "native"), "native without trunk", "it in a trunk only", because=because)
        elif all(name in networks for name in port.trunk):
            yield from _refers(port.native, (*path, "native"), "network", port.trunk, " in the trunk")
    elif port.native_tagged:
        because = ((*path, "native"),)
        found = "native_tagged without native"
        yield Problem((*path, "native_tagged"), found, "native: a network", because=because)


def _kind(guest: Guest, port: NicPort, path: Path) -> Problems:
    kind = port.nic.kind
    if not kind:
        return
    because: tuple[Path, ...] = (("guests", guest.name, "kind"),)
    fitting = GUEST_NICS.get(guest.kind)
    if fitting is not None and kind not in fitting:
        found = f"{kind} for a guest of kind {guest.kind}"
        yield Problem((*path, "nic", "kind"), found, one_of(fitting), because=because)
    elif guest.kind == "external" and kind in NOT_EXTERNAL:
        expected = one_of(known for known in kinds.KINDS if known not in NOT_EXTERNAL)
        found = f"{kind} for a guest of kind external"
        yield Problem((*path, "nic", "kind"), found, expected, because=because)
    elif guest.kind == "netns" and getattr(port.nic, "netns", None) is not None:
        found = "netns for a guest that is a namespace itself"
        yield Problem((*path, "nic", "netns"), found, "kind: external, or no netns", because=because)


def _guard(topology: Topology, port: NicPort, path: Path) -> Problems:
    if port.guard is None or port.guard == "off":
        return
    for index, allow in enumerate(port.guard.allow):
        place: Path = (*path, "guard", "allow", index)
        if allow.ip is None and allow.mac is None:
            because = tuple((*place, key) for key in ("ip", "mac", "network"))
            yield Problem(place, "an allowance of nothing", "ip or mac", because=because)
        elif allow.ip is None and allow.network is not None:
            found = "network without ip"
            expected = "ip: an address or a prefix in it"
            yield Problem((*place, "network"), found, expected, because=((*place, "ip"),))
        known = bool(port.networks) and all(name in topology.networks for name in port.networks)
        if known and allow.network and allow.network not in port.networks:
            found = f"no network {shown(allow.network)} at this NIC"
            yield Problem((*place, "network"), found, one_of(port.networks))


def _members(topology: Topology) -> Problems:
    """Security groups that are named somewhere."""
    for group in topology.groups.values():
        for path, rule in check_groups.rules(group):
            yield from _refers(rule.group, (*path, "group"), "group", topology.groups)
    for path, _, _, port in _ports(topology):
        for index, name in enumerate(port.groups):
            yield from _refers(name, (*path, "groups", index), "group", topology.groups)


def _dhcp(guest: Guest, port: NicPort, path: Path) -> Problems:
    if not port.dhcp:
        return
    if guest.kind == "stack":
        expected = "addresses, or a guest of another kind"
        because: tuple[Path, ...] = (("guests", guest.name, "kind"),)
        yield Problem(
            (*path, "ip"), "dhcp for an in-process guest, which has no client", expected, because=because
        )
    elif port.home is None and port.trunk:
        because = ((*path, "native"),)
        yield Problem((*path, "ip"), "dhcp on a trunk without native", "native: its network", because=because)
    if port.guard == "off":
        because = ((*path, "guard"),)
        found = "dhcp with guard: off, which nothing is learned for"
        yield Problem((*path, "ip"), found, "[]", because=because)


def _limits(port: NicPort, path: Path) -> Problems:
    for way in ("egress", "ingress"):
        limit = getattr(port.limits, way, None)
        place: Path = (*path, "limits", way)
        if limit is None:
            continue
        if limit.rate is None and limit.packets is None:
            because = tuple((*place, key) for key in ("rate", "packets"))
            yield Problem(place, "a limit of nothing", "rate or packets", because=because)
            continue
        for key in ("burst", "one_time_burst"):
            if limit.rate is None and getattr(limit, key) is not None:
                found = f"{key} without rate"
                yield Problem((*place, key), found, "rate: bits per second", because=((*place, "rate"),))


def _mtu(topology: Topology, port: NicPort, path: Path) -> Problems:
    if port.mtu is None:
        return
    networks = [topology.networks[name] for name in port.networks if name in topology.networks]
    because = tuple(("networks", network.name, "mtu") for network in networks)
    widest = max((network.mtu for network in networks), default=port.mtu)
    if port.mtu > widest:
        expected = f"at most {widest}, the network's"
        yield Problem((*path, "mtu"), str(port.mtu), expected, because=because)
    home = topology.networks.get(port.home or "")
    if home and port.mtu < SMALLEST_IPV6_MTU and any(subnet.version == 6 for subnet in home.subnets):
        expected = f"at least {SMALLEST_IPV6_MTU} in a network with an IPv6 subnet (RFC 8200)"
        yield Problem((*path, "mtu"), str(port.mtu), expected, because=because)


# -- addresses -----------------------------------------------------------------------------------


def _stations(topology: Topology) -> Problems:
    macs: dict[str, Path] = {}
    for path, _, _, port in _ports(topology):
        if port.mac is not None and (first := macs.setdefault(port.mac, path)) != path:
            found = f"{port.mac} is {dotted(first)}'s already"
            yield Problem((*path, "mac"), found, "an address of its own")


def _static(topology: Topology) -> Problems:
    """There is room for what never ages."""
    names = list(topology.switches) or [DEFAULT_SWITCH]
    counts: Counter[str] = Counter()
    for _, _, _, port in _ports(topology):
        if port.settings.static:
            counts[port.switch or names[0]] += len(port.networks)
    for name, switch in topology.switches.items():
        if counts[name] > switch.fdb_limit:
            found = f"{switch.fdb_limit} for {counts[name]} static addresses"
            because: tuple[Path, ...] = (("guests",),)
            yield Problem(("switches", name, "fdb_limit"), found, f"at least {counts[name]}", because=because)


def _addresses(topology: Topology) -> Problems:
    taken: dict[tuple[str, Address], Path] = {}
    for path, _, _, port in _ports(topology):
        if not port.ip:
            continue
        if port.home is None:
            if port.trunk:
                found = "addresses on a trunk without native"
                because: tuple[Path, ...] = ((*path, "native"),)
                yield Problem((*path, "ip"), found, "native: their network", because=because)
            continue
        network = topology.networks.get(port.home)
        if network is None:
            continue
        reserved = {gateway: subnet for subnet, gateway in gateways(network).items()}
        for index, address in enumerate(port.ip):
            place: Path = (*path, "ip", index)
            because = (("networks", network.name),)
            subnet = next((subnet for subnet in network.subnets if address.ip in subnet), None)
            if subnet is None:
                found = f"{address.ip} is in no subnet of {network.name}"
                expected = (
                    f"an address in {one_of(map(str, network.subnets))}"
                    if network.subnets
                    else f"networks.{network.name}.subnets with one that it is in"
                )
                yield Problem(place, found, expected, because=because)
                continue
            prefix = address.network.prefixlen
            if prefix not in (address.max_prefixlen, subnet.prefixlen):
                found = f"{address} with another prefix length than {subnet}"
                yield Problem(place, found, f"{address.ip}/{subnet.prefixlen}", because=because)
            if (what := not_a_host(address.ip, subnet)) is not None:
                yield Problem(place, f"{address.ip} is {what} of {subnet}", "a host's", because=because)
            elif address.ip in reserved:
                yield Problem(
                    place,
                    f"{address.ip} is the gateway of {subnet}",
                    "another address",
                    f"networks.{network.name}.gateway chooses another gateway",
                    because=because,
                )
            elif (first := taken.setdefault((network.name, address.ip), place)) != place:
                found = f"{address.ip} is {dotted(first[:-2])}'s already"
                yield Problem(place, found, "an address of its own", because=because)


def _claims(topology: Topology) -> Problems:
    """Sockets, interfaces and files that two NICs would have at once."""
    taken: dict[tuple[str, str, str], Path] = {}
    nics: list[tuple[Path, Guest | None, Nic]] = [
        *((path, guest, port.nic) for path, guest, _, port in _ports(topology)),
        *((("uplinks", uplink.name), None, uplink.nic) for uplink in topology.uplinks.values()),
    ]
    for path, guest, nic in nics:
        for key, what, name in kinds.claims(nic):
            # Each namespace has interfaces of its own.
            own = guest is not None and guest.kind == "netns"
            where = f"guest {guest.name}" if guest and own else str(getattr(nic, "netns", ""))
            first = taken.setdefault((what, name, where), path)
            if first != path:
                found = f"{what} {name} is {dotted(first)}'s already"
                yield Problem((*path, "nic", key), found, "one of its own")


# -- what lies between switches ------------------------------------------------------------------


def _uplinks(topology: Topology) -> Problems:
    switches = list(topology.switches) or [DEFAULT_SWITCH]
    for name, uplink in topology.uplinks.items():
        path: Path = ("uplinks", name)
        if name in RESERVED or name in topology.networks:
            found = "means every port" if name in RESERVED else "is a network's name too"
            yield Problem(path, f"{name} {found}", "another name")
        yield from _refers(uplink.native, (*path, "native"), "network", topology.networks)
        for index, network in enumerate(uplink.tagged):
            yield from _refers(network, (*path, "tagged", index), "network", topology.networks)
            if network in (uplink.native, *uplink.tagged[:index]):
                yield Problem((*path, "tagged", index), f"{network} twice", "each network once")
        yield from _refers(uplink.switch, (*path, "switch"), "switch", switches)
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
    for path, _, _, port in _ports(topology):
        if port.stp.priority % 16:
            yield Problem((*path, "stp", "priority"), str(port.stp.priority), "a multiple of 16")


def _impair(link: Link, path: Path) -> Problems:
    for way in (link.a_to_b, link.b_to_a):
        if way.reorder and not way.delay and not way.jitter:
            because = ((*path, "impair"),)
            found = "reorder without delay, so there is nothing to overtake"
            yield Problem((*path, "impair"), found, "delay: a time", because=because)
            break
    for at, change in enumerate(link.schedule):
        place: Path = (*path, "schedule", at)
        if change.stop is not None and change.stop <= change.start:
            yield Problem((*place, "to"), "an end before its beginning", "a time after from")
        if change.up is None and not change.a_to_b and not change.b_to_a:
            yield Problem(place, "a change of nothing", "up or impair", because=((*place, "impair"),))


def _links(topology: Topology) -> Problems:
    switches = list(topology.switches) or [DEFAULT_SWITCH]
    for index, link in enumerate(topology.links):
        path: Path = ("links", index, "ends")
        for side, end in enumerate(link.ends):
            yield from _refers(end, (*path, side), "switch", switches)
        if link.ends[0] and link.ends[0] == link.ends[1]:
            yield Problem(path, f"{link.ends[0]} twice", "two switches")
        yield from _impair(link, ("links", index))
        if link.stp.priority % 16:
            yield Problem(("links", index, "stp", "priority"), str(link.stp.priority), "a multiple of 16")
        for at, network in enumerate(link.networks or ()):
            yield from _refers(network, ("links", index, "networks", at), "network", topology.networks)
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
