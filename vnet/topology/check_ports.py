"""What a guest's NIC has to do with the rest of its topology: references, clashes, addresses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from nics import kinds
from nics.bond import Bond
from nics.door import Nic
from nics.keys import did_you_mean, one_of, shown
from vnet.connect.qemu import PLUGGABLE
from vnet.topology.address import gateways, not_a_host
from vnet.topology.model import DEFAULT_SWITCH, Guest, NicPort
from vnet.topology.problems import Path, Problem, dotted
from vnet.topology.table import MOST_PORTS
from vnet.topology.values import Address

if TYPE_CHECKING:
    from vnet.topology.topology import Topology

Problems = Iterator[Problem]
SMALLEST_IPV6_MTU = 1280
"""RFC 8200, 5."""
GUEST_NICS: Mapping[str, tuple[str, ...]] = {"stack": ("stack",), "netns": ("tap",), "qemu": PLUGGABLE}
"""The NIC kinds of a guest whose far end is ours, or a machine that we start."""
NOT_EXTERNAL = ("stack",)


def refers(name: str | None, path: Path, what: str, known: Iterable[str], among: str = "") -> Problems:
    """`name` must be among `known`; "" stands for one that could not be read."""
    names = list(known)
    if name and name not in names:
        expected = one_of(names) if names else f"the name of a {what}; there is none"
        because = ((f"{what}s" if what != "switch" else "switches", name),)
        found = f"no {what} {shown(name)}{among}"
        yield Problem(path, found, expected, did_you_mean(name, names), because=because)


# -- guests --------------------------------------------------------------------------------------


def ports(topology: Topology) -> Iterator[tuple[Path, Guest, int, NicPort]]:
    """Every NIC of a guest: where it stands, the guest, its number and itself."""
    for name, guest in topology.guests.items():
        for index, port in enumerate(guest.nics):
            yield ("guests", name, "nics", index), guest, index, port


def guests(topology: Topology) -> Problems:
    """Each NIC by itself, and with what it names."""
    switches = list(topology.switches) or [DEFAULT_SWITCH]
    for count, (path, guest, _, port) in enumerate(ports(topology)):
        if count == MOST_PORTS:
            yield Problem(path, f"more than {MOST_PORTS} NICs", "fewer")
        yield from _mode(topology, port, path)
        yield from refers(port.switch, (*path, "switch"), "switch", switches)
        yield from _kind(guest, port, path)
        yield from _guard(topology, port, path)
        yield from _limits(port, path)
        yield from _dhcp(guest, port, path)
        yield from _mtu(topology, port, path)


def _mode(topology: Topology, port: NicPort, path: Path) -> Problems:
    """Access port or trunk."""
    networks = topology.networks
    if port.network is None and not port.trunk and not port.mirrors:
        yield Problem(path, "a NIC without network", "network or trunk")
    if port.network is not None and port.trunk:
        yield Problem((*path, "trunk"), "network and trunk", "one of them")
    yield from refers(port.network, (*path, "network"), "network", networks)
    for index, name in enumerate(port.trunk):
        yield from refers(name, (*path, "trunk", index), "network", networks)
        if name in port.trunk[:index]:
            yield Problem((*path, "trunk", index), f"{name} twice", "each network once")
    if port.native is not None:
        if not port.trunk:
            because = ((*path, "trunk"),)
            yield Problem((*path, "native"), "native without trunk", "it in a trunk only", because=because)
        elif all(name in networks for name in port.trunk):
            yield from refers(port.native, (*path, "native"), "network", port.trunk, " in the trunk")
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
    elif guest.kind == "netns" and getattr(port.nic, "fd", None) is not None:
        found = "fd for a guest that is a namespace of ours"
        yield Problem((*path, "nic", "fd"), found, "kind: external, or no fd", because=because)


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


def stations(topology: Topology) -> Problems:
    """No MAC address is two NICs'."""
    macs: dict[str, Path] = {}
    for path, _, _, port in ports(topology):
        if port.mac is not None and (first := macs.setdefault(port.mac, path)) != path:
            found = f"{port.mac} is {dotted(first)}'s already"
            yield Problem((*path, "mac"), found, "an address of its own")


def static(topology: Topology) -> Problems:
    """There is room for what never ages."""
    names = list(topology.switches) or [DEFAULT_SWITCH]
    counts: Counter[str] = Counter()
    for _, _, _, port in ports(topology):
        if port.settings.static:
            counts[port.switch or names[0]] += len(port.networks)
    for name, switch in topology.switches.items():
        if counts[name] > switch.fdb_limit:
            found = f"{switch.fdb_limit} for {counts[name]} static addresses"
            because: tuple[Path, ...] = (("guests",),)
            yield Problem(("switches", name, "fdb_limit"), found, f"at least {counts[name]}", because=because)


def addresses(topology: Topology) -> Problems:
    """IP addresses lie in a subnet, are a host's, and nobody else's."""
    taken: dict[tuple[str, Address], Path] = {}
    for path, _, _, port in ports(topology):
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


def nics(topology: Topology) -> Iterator[tuple[Path, Guest | None, Nic]]:
    """All NICs of guests and uplinks, those of a bond one by one, with their places."""
    for path, guest, _, port in ports(topology):
        yield (*path, "nic"), guest, port.nic
    for uplink in topology.uplinks.values():
        if isinstance(uplink.nic, Bond):
            for index, nic in enumerate(uplink.nic.nics):
                yield ("uplinks", uplink.name, "nics", index), None, nic
        else:
            yield ("uplinks", uplink.name, "nic"), None, uplink.nic
