"""No packet gets where the proof says that none arrives: random fabrics, and guests that know all about them.

Its guests have several NICs, trunks, addresses by DHCP, and guards that let them take other MAC addresses;
two networks share their subnets. Each packet is made from what some guest has, comes from any of them, and
goes to an address of another or to everybody; where it comes out, that guest may forward it. Whatever gets
to one of its target's addresses, or to everybody there, by one hop or by several, has to be in `arrives`.
"""

from __future__ import annotations

import ipaddress
import random
from types import SimpleNamespace
from typing import Any, cast

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nics.errors import BadInput
from tests.model.hall import Hall, native
from tests.model.test_proof import TESTED
from vnet.check import Proof, voice
from vnet.check.packets import ECHO, ICMP, ICMP6, TCP, UDP
from vnet.check.wire import Ear
from vnet.probe import build
from vnet.topology import Topology
from vnet.topology.model import Allow
from vnet.topology.values import Address, Subnet

pytestmark = pytest.mark.deadline(240)

STRANGER = "02:00:00:00:00:99"
POOL4 = [f"10.0.0.{last}" for last in (9, 10, 20)]
POOL6 = ["fd00::a", "fd00::b"]
EVERYBODY = [ipaddress.ip_address(each) for each in ("224.0.0.251", "255.255.255.255", "ff02::1", "ff05::9")]
NETWORKS = {
    "red": {"vlan": 10, "subnets": ["10.0.0.0/24", "fd00::/64"]},
    "blue": {"vlan": 20, "subnets": ["10.0.0.0/24", "fd00::/64"]},
    "green": {"vlan": 30, "subnets": ["10.0.9.0/24"]},
    "bare": {"vlan": 40},
}
RULES: list[dict[str, Any]] = [
    {},
    {"protocol": "udp", "ports": 53},
    {"prefix": "10.0.0.8/30"},
    {"prefix": ["10.0.9.0/24", "fd00::b"]},
    {"prefix": str(voice.link_local(STRANGER))},
    {"prefix": ["224.0.0.0/4", "ff02::1"]},
    {"prefix": ["10.0.0.255", "255.255.255.255", "ff05::/16"]},
    {"group": "h"},
    {"group": "h"},
    {"protocol": "udp", "ports": 53, "group": "g"},
]
ALLOWANCES: list[dict[str, Any]] = [
    {"ip": "10.0.0.0/28"},
    {"ip": "fd00::/64"},
    {"ip": "10.0.9.0/24"},
    {"mac": STRANGER},
    {"ip": "10.0.0.20", "mac": STRANGER},
]
LEASES = [*(f"{address}/32" for address in POOL4), "10.0.9.20/32", "fd00::b/128", "fd00::/120", "fd00:1::/64"]
PACKETS = 150
HOPS = 3
"""That a packet takes at most, with a guest between each two that forwards it."""

rules = st.lists(st.sampled_from(RULES), min_size=1, max_size=2)
groups = st.one_of(
    st.fixed_dictionaries({"ingress": rules}),
    st.fixed_dictionaries({"ingress": st.just([{}]), "egress": rules}),
)
allowed = st.builds(
    lambda allow, roles: {"allow": allow, **dict.fromkeys(roles, "allow")},
    st.lists(st.sampled_from(ALLOWANCES), min_size=1, max_size=1),
    st.lists(st.sampled_from(["forged_transmits", "mac_changes", "promiscuous"]), max_size=1),
)
guards = st.one_of(st.none(), st.none(), allowed, st.just("off"))


@st.composite
def nics(draw: st.DrawFn, mac: str) -> dict[str, Any]:
    keys: dict[str, Any] = {"mac": mac}
    if draw(st.integers(0, 3)):
        home = keys["network"] = draw(st.sampled_from(["red", "red", "red", "blue", "blue", "green", "bare"]))
    else:
        keys["trunk"] = draw(st.sampled_from([["red", "blue"], ["red", "green"], ["blue", "red", "bare"]]))
        home = keys["native"] = draw(st.sampled_from(keys["trunk"]))
    if (guard := draw(guards)) is not None:
        keys["guard"] = guard
    leased = guard != "off" and not draw(st.integers(0, 2))
    if leased:
        keys["ip"] = "dhcp"
    elif home in ("red", "blue"):
        keys["ip"] = draw(st.lists(st.sampled_from(POOL4 + POOL6), max_size=2, unique=True))
    if draw(st.booleans()):
        keys["groups"] = [draw(st.sampled_from(["g", "h"]))]
    if not draw(st.integers(0, 7)):
        keys["private"] = draw(st.sampled_from(["isolated", "community x"]))
    return keys


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    """One switch; three or four guests with a NIC or two, and perhaps one that may forward anything."""
    guests = {}
    for name in draw(st.sampled_from(["abc", "abcd"])):
        cards = [draw(nics(f"02:00:00:00:0{card}:0{name}")) for card in range(draw(st.integers(1, 2)))]
        guests[name] = {"kind": "external", "nics": cards}
    if draw(st.booleans()):
        both = [{"network": network, "guard": "off", "ip": []} for network in ("red", "blue")]
        guests["r"] = {"kind": "external", "nics": both}
    parts = {"networks": NETWORKS, "groups": {name: draw(groups) for name in ("g", "h")}}
    try:
        return Topology.from_dict({"name": "lab", "guests": guests, **parts})
    except BadInput:  # an address twice in a network
        for guest in guests.values():
            for nic in guest["nics"]:
                if nic.get("ip") != "dhcp":
                    nic.pop("ip", None)
        return Topology.from_dict({"name": "lab", "guests": guests, **parts})


Leases = dict[str, list[tuple[int, Subnet]]]
"""By port: (VLAN, address or prefix)."""


@attrs.define
class World:
    """A topology with leases, as its switches are told of it."""

    proof: Proof
    leases: Leases

    def switches(self) -> Hall:
        """Told so from the beginning."""
        resolved = self.proof.resolved
        names = {network.vlan: name for name, network in resolved.networks.items()}
        ports = dict(resolved.ports)
        for name, leases in self.leases.items():
            port = ports[name]
            assert port.guard is not None
            # A lease is good with the NIC's own MAC address, as what is allowed with that.
            given = [Allow(ip, port.mac, names[vlan]) for vlan, ip in leases]
            guard = attrs.evolve(port.guard, allow=(*port.guard.allow, *given))
            ports[name] = attrs.evolve(port, guard=guard)
        return native(cast("Any", SimpleNamespace(resolved=attrs.evolve(resolved, ports=ports))))

    def addresses(self, ear: Ear) -> list[Address]:
        """What a guest takes packets for that come to one of its NICs."""
        found: list[Address] = []
        for each in self.proof.ground.ears[ear.owner]:
            assert each.port is not None
            found += [*each.port.ip, *(ip.network_address for _, ip in self.leases.get(each.name, ()))]
        assert ear.port is not None
        return [*dict.fromkeys(found), voice.link_local(ear.port.mac)]

    def everybody(self, ear: Ear) -> list[Address]:
        """What it takes as for itself and others."""
        networks = self.proof.resolved.networks
        found = [
            subnet.broadcast_address
            for each in self.proof.ground.ears[ear.owner]
            for name in each.networks.values()
            for subnet in networks[name].subnets
            if subnet.version == 4
        ]
        return [*EVERYBODY, *dict.fromkeys(found)]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    proof = Proof(draw(topologies()))
    leases = {
        name: [
            (draw(st.sampled_from(port.vlans)), ipaddress.ip_network(prefix))
            for prefix in draw(st.lists(st.sampled_from(LEASES), max_size=3, unique=True))
        ]
        for name, port in proof.resolved.ports.items()
        if port.dhcp
    }
    return World(proof, leases)


@attrs.frozen
class Packet:
    """What is sent, whichever frames it is in."""

    source: Address
    target: Address
    protocol: int
    number: int
    count: int
    """Is its own: it is no answer to another."""

    def frame(self, to: str, by: str, *vids: int) -> bytes:
        """By MAC addresses."""
        upper = {
            TCP: build.syn(20000 + self.count, self.number),
            UDP: build.udp(20000 + self.count, self.number),
            ICMP: build.echo(4, self.count),
            ICMP6: build.echo(6, self.count),
        }[self.protocol]
        return build.ip(to, by, build.packet(self.source, self.target, self.protocol, upper), *vids)


def vids(ear: Ear, vlan: int) -> tuple[int, ...]:
    return () if vlan == ear.native else (vlan,)


def arrivals(
    world: World, switches: Hall, ear: Ear, vlan: int, mac: str, packet: Packet, to: Ear
) -> list[Ear]:
    """Where a packet comes out that is in a frame to the MAC address of `to`."""
    assert to.port is not None
    ports = list(world.proof.resolved.ports)
    made = switches.forward(ports.index(ear.name), packet.frame(to.port.mac, mac, *vids(ear, vlan)))
    # A MAC address that was forged is no longer known to be there.
    for switch in switches.switches.values():
        switch.fdb_flush()
    ears = {each.name: each for each in every(world)}
    return [ears[ports[port]] for port, _, _ in switches.out(made)]


def every(world: World) -> list[Ear]:
    return [ear for each in world.proof.ground.ears.values() for ear in each]


def drawn(world: World, rng: random.Random, count: int) -> tuple[Ear, int, str, Packet, Ear]:
    """(from, in which VLAN, by which MAC address, what, to) of a packet that may be a hostile one."""
    ears = every(world)
    ear = rng.choice(ears)
    assert ear.port is not None
    others = [other for other in ears if other.owner != ear.owner]
    near = [other for other in others if ear.networks.keys() & other.networks.keys()]
    to = rng.choice(near if near and rng.randrange(3) else others)
    vlan = rng.choice([vlan for vlan in ear.networks if vlan in to.networks] or list(ear.networks))
    target = rng.choice(world.addresses(to) if rng.randrange(4) else world.everybody(to))
    mac = rng.choice([ear.port.mac, ear.port.mac, STRANGER, rng.choice([o.port.mac for o in ears if o.port])])
    if target.version == 6 and rng.randrange(2):
        source: Address = voice.link_local(mac)
    else:
        leased = [ip.network_address for at, ip in world.leases.get(ear.name, ()) if at == vlan]
        pool = [*map(ipaddress.ip_address, POOL4 + POOL6), ipaddress.ip_address("10.0.9.11")]
        mine = [each for each in (*leased, *ear.port.ip) if each.version == target.version]
        source = rng.choice([each for each in pool if each.version == target.version])
        source = rng.choice(mine) if mine and rng.randrange(3) else source
    protocol, number = rng.choice([(UDP, 53), (TCP, 7), (TCP, 99), ECHO[target.version]])
    return ear, vlan, mac, Packet(source, target, protocol, number, count), to


@given(worlds(), st.integers(0, 1 << 32))
@settings(TESTED, max_examples=200)
def test_nothing_arrives_that_is_proved_not_to(world: World, seed: int) -> None:
    rng, switches = random.Random(seed), world.switches()
    for count in range(PACKETS):
        ear, vlan, mac, packet, to = drawn(world, rng, count)
        hop(world, switches, rng, (ear, vlan, mac), packet, to, [ear.owner])


def hop(
    world: World,
    switches: Hall,
    rng: random.Random,
    at: tuple[Ear, int, str],
    packet: Packet,
    to: Ear,
    by: list[str],
) -> None:
    """Send a packet, to the one that it is for or to one that forwards it."""
    ear, vlan, mac = at
    near = [each for each in every(world) if vlan in each.networks and each.owner not in by]
    if not near:
        return
    first = to if to in near and rng.randrange(3) else rng.choice(near)
    for heard in arrivals(world, switches, ear, vlan, mac, packet, first):
        takes = (*world.addresses(heard), *world.everybody(heard))
        if packet.target in takes and heard.owner not in by:
            pair = world.proof.pair(by[0], heard.owner)
            passes = pair.arrives[packet.target.version].has(packet.protocol, packet.number)
            assert passes, (world, by, heard.name, mac, packet)
            assert pair.ethernet or pair.via
        if heard.owner in by or len(by) == HOPS:
            continue
        out = rng.choice(world.proof.ground.ears[heard.owner])
        onward = rng.choice(list(out.networks))
        assert out.port is not None
        # From its own address it speaks for itself; else as a router does, or as a bridge.
        if packet.source not in voice.own(out.port, onward):
            sender = rng.choice([out.port.mac, mac])
            hop(world, switches, rng, (out, onward, sender), packet, to, [*by, heard.owner])
