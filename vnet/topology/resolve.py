"""A topology worked out: every port with its MAC, addresses, VLANs, gateways and MTU.

What is wanted (`Topology`) leaves out what follows; the fabric, the plan and the command line work
with what it comes to. Resolving is pure. With `keep`, what an earlier result gave to ports and
networks that are still there stays as long as it is legal: so `apply` and `attach` never renumber
a guest that runs.
"""

from __future__ import annotations

import functools
import ipaddress
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

from nics.door import Nic
from switch.policy import Policy
from switch.storm import Storm
from vnet.topology import address as addresses
from vnet.topology.check_groups import is_confined
from vnet.topology.model import (
    DEFAULT_SWITCH,
    Bond,
    Change,
    Cord,
    Engine,
    Flows,
    Group,
    Guard,
    Guest,
    GuestKind,
    Impair,
    Limits,
    Link,
    Machine,
    Multicast,
    NicPort,
    PortSettings,
    Recorder,
    Switch,
    TreePort,
)
from vnet.topology.problems import Problem
from vnet.topology.rules import COMMUNITY
from vnet.topology.values import Address, Interface, Subnet

if TYPE_CHECKING:
    from vnet.topology.mirrors import ResolvedMirror
    from vnet.topology.topology import Topology


@attrs.frozen
class ResolvedNetwork:
    """A network with its VLAN and gateways."""

    name: str
    vlan: int
    subnets: tuple[Subnet, ...]
    gateways: tuple[Address, ...]
    mtu: int
    private: bool = False
    proxy_arp: bool = False
    multicast: Multicast | None = None
    """None: multicast is flooded."""


@attrs.frozen
class ProxiedSubnet:
    """A subnet of a network with `proxy_arp`."""

    subnet: Subnet
    gateway: Address
    mac: str | None
    """The gateway's; None: it is behind an uplink."""


@attrs.frozen
class ProxiedStation:
    """An address in such a network, and whose it is."""

    address: Address
    mac: str
    """The NIC's."""
    confined: bool
    """Less than promiscuous."""
    community: str | None


@attrs.frozen
class ProxiedRoute:
    """A prefix behind a guest."""

    prefix: Subnet
    mac: str


@attrs.frozen(cache_hash=True)
class ProxiedNetwork:
    """A network with `proxy_arp`, or of an uplink with it, as the switch has to know it."""

    vlan: int
    subnets: tuple[ProxiedSubnet, ...]
    stations: tuple[ProxiedStation, ...]
    routes: tuple[ProxiedRoute, ...] = ()


@attrs.frozen
class ResolvedGuest:
    """A guest; its ports are in `Resolved.ports`."""

    name: str
    kind: GuestKind
    machine: Machine | None = None
    """Of kind `qemu`, and there never None."""


@attrs.frozen
class Port:
    """A guest's NIC and its switch port, or an uplink's, everything known."""

    name: str
    """`GUEST.INDEX`, or an uplink's name."""
    guest: str
    """"" for an uplink."""
    index: int
    guest_kind: GuestKind
    switch: str
    nic: Nic
    mac: str
    """`02:00:00:00:00:0a`: lower case, colons."""
    addresses: tuple[Interface, ...]
    """With their subnet's prefix length, in the order written, then in that of the subnets."""
    gateways: tuple[Address, ...]
    """Of the subnets that it has addresses in."""
    network: str | None
    """The network of untagged frames: an access port's, or a trunk's native one."""
    vlan: int | None
    """Its VLAN."""
    trunk: tuple[tuple[str, int], ...]
    """A trunk's networks with their VLANs; () for an access port."""
    native_tagged: bool
    mtu: int
    settings: PortSettings
    guard: Guard | None = attrs.field(factory=Guard)
    """None: it is off."""
    unknown: tuple[int, ...] = ()
    """VLANs without subnets, in which nobody knows what addresses are right."""
    dhcp: bool = False
    """Its addresses are what DHCP servers give it."""
    limits: Limits | None = None
    translate: tuple[tuple[int, int], ...] = ()
    """Of an uplink on whose wire VLANs have other numbers: every (VLAN, VLAN id there)."""
    stp: TreePort = attrs.field(factory=TreePort)
    groups: tuple[str, ...] = ()
    """Security groups, by name."""
    policy: Policy | None = attrs.field(default=None, repr=False)
    """What they come to; None: there are none, everything passes."""
    private: tuple[int, ...] = ()
    """VLANs in which it is not promiscuous: it reaches promiscuous ports and its community."""
    proxied: tuple[ProxiedNetwork, ...] = attrs.field(default=(), repr=False)
    """Those of them in which the switch answers for others that it doesn't reach; of an uplink, those in
    which it answers for what is behind guests.
    """
    community: str | None = None
    """In those; None: it is isolated."""
    storm: Storm | None = None
    cord: Cord = attrs.field(factory=Cord)
    """What its cable does to frames."""
    direct: str = ""
    """The link whose other end is another guest's NIC; "": its cable leads to a switch."""

    @property
    def is_uplink(self) -> bool:
        """Whether it is nobody's: the physical network is behind it."""
        return not self.guest

    @property
    def is_trunk(self) -> bool:
        """Whether frames are tagged."""
        return bool(self.trunk)

    @property
    def tagged(self) -> tuple[int, ...]:
        """The VLANs of a trunk, ascending, the native one too only if it leaves tagged."""
        return tuple(sorted(vlan for _, vlan in self.trunk if vlan != self.vlan or self.native_tagged))

    @property
    def vlans(self) -> tuple[int, ...]:
        """Every VLAN that it is in, ascending."""
        if self.trunk:
            return tuple(sorted(vlan for _, vlan in self.trunk))
        return () if self.vlan is None else (self.vlan,)

    @property
    def networks(self) -> tuple[str, ...]:
        """Every network that it is in."""
        if self.trunk:
            return tuple(name for name, _ in self.trunk)
        return () if self.network is None else (self.network,)

    @functools.cached_property
    def ip(self) -> tuple[Address, ...]:
        """Its addresses without prefix length."""
        return tuple(interface.ip for interface in self.addresses)


@attrs.frozen
class ResolvedCable:
    """One cable of a link."""

    name: str
    """The link's, or `LINK.1` and so on of several."""
    a_to_b: Impair
    b_to_a: Impair
    schedule: tuple[Change, ...]
    up: bool
    priority: int


@attrs.frozen
class ResolvedLink:
    """A link, everything known."""

    name: str
    ends: tuple[str, str]
    a_to_b: Impair
    b_to_a: Impair
    transparent: bool
    vlans: tuple[int, ...]
    """The VLANs that it carries, ascending."""
    mtu: int
    """That of the widest network."""
    up: bool
    schedule: tuple[Change, ...] = ()
    stp: TreePort = attrs.field(factory=TreePort)
    several: tuple[ResolvedCable, ...] = ()
    """(): one cable."""
    bond: Bond = attrs.field(factory=Bond)

    @property
    def cables(self) -> tuple[ResolvedCable, ...]:
        """Its cable, or several that share the work."""
        alone = ResolvedCable(self.name, self.a_to_b, self.b_to_a, self.schedule, self.up, 0)
        return self.several or (alone,)

    @property
    def ports(self) -> tuple[str, str]:
        """The names of its ports, a's and b's."""
        return f"{self.name}.a", f"{self.name}.b"

    @property
    def whole(self) -> bool:
        """Whether it is up, and as many cables of it as it takes."""
        return self.up and sum(cable.up for cable in self.cables) >= (
            self.bond.min_links if self.several else 1
        )

    @property
    def known_as(self) -> tuple[str, ...]:
        """What a person may call it: by its own name, that of a port, or of one of several cables."""
        return (self.name, *self.ports, *(cable.name for cable in self.several))


@attrs.frozen
class Resolved:
    """A whole topology, worked out. Mappings are by name, in the order of the file."""

    name: str
    seed: int
    engine: Engine
    switches: Mapping[str, Switch]
    networks: Mapping[str, ResolvedNetwork]
    guests: Mapping[str, ResolvedGuest]
    ports: Mapping[str, Port]
    """The guests'."""
    groups: Mapping[str, Group] = attrs.field(factory=dict)
    links: Mapping[str, ResolvedLink] = attrs.field(factory=dict)
    uplinks: Mapping[str, Port] = attrs.field(factory=dict)
    mirrors: Mapping[str, ResolvedMirror] = attrs.field(factory=dict)
    recorder: Recorder | None = attrs.field(factory=Recorder)
    flows: Flows | None = None

    def cabled(self, name: str) -> list[Port]:
        """The two ports of a link between NICs, by its name or one of theirs; else none."""
        port = self.ports.get(name)
        link = port.direct if port is not None else name
        return [port for port in self.ports.values() if link and port.direct == link]

    def ports_of(self, guest: str) -> list[Port]:
        """A guest's ports, in order."""
        return [port for port in self.ports.values() if port.guest == guest]


class Unresolvable(Exception):
    """There are not enough addresses; `problems` says where."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(problems)
        self.problems = problems


def resolve(topology: Topology, keep: Resolved | None = None) -> Resolved:
    """Work out `topology`, which `check` found nothing wrong with. Raises Unresolvable."""
    from vnet.topology import direct, mirrors, neighbours, policies, uplinks

    written, topology = topology, direct.expand(topology)
    networks = _networks(topology, keep)
    ports = {f"{guest.name}.{index}": port for guest in topology.guests.values()
             for index, port in enumerate(guest.nics)}  # fmt: skip
    macs = _macs(topology, ports, keep)
    given = _addresses(topology, ports, networks, macs, keep)
    default = next(iter(topology.switches), DEFAULT_SWITCH)
    resolved_ports = {
        f"{guest.name}.{index}": _port(guest, index, networks, default, macs, given)
        for guest in topology.guests.values()
        for index in range(len(guest.nics))
    }
    for name, link in zip(link_names(written.links), written.links, strict=True):
        if direct.is_direct(link):
            ends = {end: attrs.evolve(resolved_ports[end], direct=name) for end in link.ends}
            resolved_ports |= ends
    shared = uplinks.resolve(topology, networks, default, set(macs.values()))
    return Resolved(
        name=topology.name,
        seed=topology.seed,
        engine=topology.engine,
        switches=dict(topology.switches) or {DEFAULT_SWITCH: Switch(DEFAULT_SWITCH)},
        networks=networks,
        guests={
            guest.name: ResolvedGuest(guest.name, guest.kind, guest.machine)
            for guest in topology.guests.values()
        },
        ports=neighbours.fill(policies.fill(topology.groups, resolved_ports, networks), networks),
        groups=dict(topology.groups),
        recorder=topology.recorder,
        flows=topology.flows,
        links={link.name: link for link in _links(topology, networks)},
        uplinks=neighbours.answer(shared, topology.uplinks, resolved_ports, networks),
        mirrors=mirrors.resolve(topology, networks, shared),
    )


def _links(topology: Topology, networks: Mapping[str, ResolvedNetwork]) -> Iterator[ResolvedLink]:
    mtu = max((network.mtu for network in networks.values()), default=1500)
    for name, link in zip(link_names(topology.links), topology.links, strict=True):
        carried = networks if link.networks is None else link.networks
        yield ResolvedLink(
            name=name,
            ends=link.ends,
            a_to_b=link.a_to_b,
            b_to_a=link.b_to_a,
            transparent=link.transparent,
            vlans=tuple(sorted(networks[network].vlan for network in carried)),
            mtu=mtu,
            up=link.up,
            schedule=link.schedule,
            stp=link.stp,
            several=_cables(name, link),
            bond=link.bond,
        )


def _cables(name: str, link: Link) -> tuple[ResolvedCable, ...]:
    return tuple(
        ResolvedCable(
            name=f"{name}.{number}",
            a_to_b=attrs.evolve(link.a_to_b, **dict(cable.a_to_b)),
            b_to_a=attrs.evolve(link.b_to_a, **dict(cable.b_to_a)),
            schedule=link.schedule + cable.schedule,
            up=cable.up,
            priority=cable.priority,
        )
        for number, cable in enumerate(link.cables, 1)
    )


def link_names(links: Sequence[Link]) -> list[str]:
    """The names of `links`, in order: their own, or made of their ends' names."""
    taken = {link.name for link in links if link.name is not None}
    names = []
    for link in links:
        name = link.name
        if name is None:
            base = "-".join(link.ends)
            tries = itertools.chain([base], (f"{base}-{number}" for number in itertools.count(2)))
            name = next(name for name in tries if name not in taken)
            taken.add(name)
        names.append(name)
    return names


def _networks(topology: Topology, keep: Resolved | None) -> dict[str, ResolvedNetwork]:
    wanted = topology.networks
    vlans = {name: network.vlan for name, network in wanted.items() if network.vlan is not None}
    taken = set(vlans.values())
    if keep is not None:
        for name, running in keep.networks.items():
            if name in wanted and name not in vlans and running.vlan not in taken:
                vlans[name] = running.vlan
                taken.add(running.vlan)
    free = (vlan for vlan in range(1, 4095) if vlan not in taken)
    resolved = {}
    for name, network in wanted.items():
        vlan = vlans[name] if name in vlans else next(free)
        found = tuple(addresses.gateways(network).values())
        resolved[name] = ResolvedNetwork(
            name,
            vlan,
            network.subnets,
            found,
            network.mtu,
            network.private,
            network.proxy_arp,
            network.multicast if network.multicast and network.multicast.snooping else None,
        )
    return resolved


def _macs(topology: Topology, ports: Mapping[str, NicPort], keep: Resolved | None) -> dict[str, str]:
    macs = {name: port.mac for name, port in ports.items() if port.mac is not None}
    taken = set(macs.values())
    if keep is not None and keep.seed == topology.seed:
        for name, running in keep.ports.items():
            if name in ports and name not in macs and running.mac not in taken:
                macs[name] = running.mac
                taken.add(running.mac)
    wishers = [name for name in ports if name not in macs]
    return macs | addresses.macs(wishers, taken, topology.name, topology.seed)


def _addresses(
    topology: Topology,
    ports: Mapping[str, NicPort],
    networks: Mapping[str, ResolvedNetwork],
    macs: Mapping[str, str],
    keep: Resolved | None,
) -> dict[tuple[str, Subnet], list[Interface]]:
    """The addresses of each port in each subnet of its network."""
    problems = []
    given: dict[tuple[str, Subnet], list[Interface]] = {}
    for network in networks.values():
        homes = {name: port for name, port in ports.items() if port.home == network.name}
        for index, subnet in enumerate(network.subnets):
            taken: set[Address] = set(network.gateways)
            if network.multicast and network.multicast.address:
                taken.add(network.multicast.address)
            for name, port in homes.items():
                for wanted in port.ip or ():
                    if wanted.ip in subnet:
                        given.setdefault((name, subnet), []).append(_in(subnet, wanted.ip))
                        taken.add(wanted.ip)
            if keep is not None and keep.seed == topology.seed:
                _kept(homes, subnet, keep, given, taken)
            wishers = {
                name: macs[name]
                for name, port in homes.items()
                if port.ip != () and (name, subnet) not in given
            }
            try:
                found = addresses.ips(wishers, subnet, taken, topology.name, topology.seed)
            except addresses.Full as full:
                have = f"has {full.args[0]} address{'' if full.args[0] == 1 else 'es'} left"
                text = f"{subnet} {have} for {len(wishers)} NIC{'' if len(wishers) == 1 else 's'} without one"
                place = ("networks", network.name, "subnets", index)
                problems.append(Problem(place, text, "a larger subnet"))
                continue
            given |= {(name, subnet): [_in(subnet, ip)] for name, ip in found.items()}
    if problems:
        raise Unresolvable(problems)
    return given


def _kept(
    homes: Mapping[str, NicPort],
    subnet: Subnet,
    keep: Resolved,
    given: dict[tuple[str, Subnet], list[Interface]],
    taken: set[Address],
) -> None:
    """Give ports that run in `subnet` the address that they have."""
    for name, port in homes.items():
        running = keep.ports.get(name)
        if running is None or port.ip == () or (name, subnet) in given:
            continue
        had = [address.ip for address in running.addresses if address.network == subnet]
        if len(had) == 1 and had[0] not in taken:
            given[name, subnet] = [_in(subnet, had[0])]
            taken.add(had[0])


def _in(subnet: Subnet, ip: Address) -> Interface:
    return ipaddress.ip_interface(f"{ip}/{subnet.prefixlen}")


def _port(
    guest: Guest,
    index: int,
    networks: Mapping[str, ResolvedNetwork],
    default_switch: str,
    macs: Mapping[str, str],
    given: Mapping[tuple[str, Subnet], list[Interface]],
) -> Port:
    port = guest.nics[index]
    widest = max((network.mtu for network in networks.values()), default=1500)
    name = f"{guest.name}.{index}"
    home = networks[port.home] if port.home is not None else None
    found = [
        address for subnet in (home.subnets if home else ()) for address in given.get((name, subnet), [])
    ]
    order = {address.ip: position for position, address in enumerate(port.ip or ())}
    found.sort(key=lambda address: order.get(address.ip, len(order)))
    subnets = [address.network for address in found]
    return Port(
        name=name,
        guest=guest.name,
        index=index,
        guest_kind=guest.kind,
        switch=port.switch or default_switch,
        nic=port.nic,
        mac=macs[name],
        addresses=tuple(found),
        gateways=tuple(
            gateway for gateway in (home.gateways if home else ()) if any(gateway in s for s in subnets)
        ),
        network=home.name if home else None,
        vlan=home.vlan if home else None,
        trunk=tuple((member, networks[member].vlan) for member in port.trunk),
        native_tagged=port.native_tagged,
        # In no network it hears mirrors, of any.
        mtu=port.mtu or max((n.mtu for n in (networks[member] for member in port.networks)), default=widest),
        settings=port.settings,
        guard=None if port.guard == "off" else port.guard or Guard(),
        unknown=tuple(
            networks[member].vlan
            for member in port.networks
            if not networks[member].subnets and not (port.dhcp and member == port.home)
        ),
        dhcp=port.dhcp,
        limits=port.limits,
        stp=port.stp,
        groups=tuple(dict.fromkeys(port.groups)),
        private=tuple(
            sorted(
                networks[member].vlan
                for member in port.networks
                if is_confined(port, networks[member], networks[member].gateways)
            )
        ),
        community=(port.private or "").removeprefix(COMMUNITY)
        if (port.private or "").startswith(COMMUNITY)
        else None,
        storm=port.storm,
        cord=port.cord,
    )
