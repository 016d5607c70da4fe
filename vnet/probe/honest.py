"""What well-behaved guests send, and where the proof says that it arrives.

From every port, in every VLAN of it: a broadcast and a multicast; and to every port of the same VLANs a
frame, ARP or neighbour discovery, echo, UDP and TCP to every port that some rule tells apart.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import attrs

from vnet.check import Proof, voice
from vnet.check.packets import ECHO, TCP, UDP
from vnet.check.proxied import is_answered
from vnet.check.watched import may_see
from vnet.check.wire import Ear
from vnet.probe import build
from vnet.topology.resolve import Port
from vnet.topology.values import Address

USUAL_PORT = 7
"""Where probes knock when no rule says anything about ports: echo (RFC 862)."""
MOST_PORTS = 12


@attrs.frozen(eq=False)
class Probe:
    """A frame that is sent once, and whom it has to arrive at."""

    number: int
    what: str
    """`udp 80 from 10.0.0.1 to 10.0.0.2`."""
    source: Ear
    frame: bytes
    must: frozenset[str]
    """Ports where it has to arrive."""
    may: frozenset[str]
    """Ports where it may; nowhere else."""
    target: str = ""
    """The guest that it is for; "": everybody."""


def ports_of_interest(proof: Proof) -> list[int]:
    """TCP and UDP ports that rules and expectations tell apart: both sides of every border."""
    borders = {USUAL_PORT}
    for group in proof.resolved.groups.values():
        for rule in (*group.ingress, *(group.egress or ())):
            for low, high in rule.ports:
                borders |= {low - 1, low, high, high + 1}
    for expect in proof.topology.expect:
        for low, high in expect.ports:
            borders |= {low, high}
    sound = sorted(port for port in borders if 1 <= port <= 65535)
    # Too many would make a test of n times n pairs long; each is about a rule like the others.
    return sound if len(sound) <= MOST_PORTS else sound[:: len(sound) // MOST_PORTS + 1]


@attrs.define
class Maker:
    """Makes probes with numbers of their own."""

    proof: Proof
    leases: Mapping[str, tuple[Address, ...]] = attrs.field(factory=dict)
    """By port: what its guest has by DHCP in its home network."""
    numbers: Iterator[int] = attrs.field(factory=lambda: itertools.count(1))

    def own(self, port: Port, vlan: int) -> tuple[Address, ...]:
        """What the guest of a port has in `vlan`."""
        leased = self.leases.get(port.name, ()) if vlan == port.vlan else ()
        return (*leased, *voice.own(port, vlan))

    def others(self, source: Ear, vlan: int) -> list[Ear]:
        """Ports that frames from `source` get to."""
        ground = self.proof.ground
        return [
            ear
            for ear in ground.in_vlan[vlan]
            if ear is not source and not ground.obstacle(source, ear, vlan)
        ]

    def overhearing(self, source: Ear, vlan: int) -> frozenset[str]:
        """Ports that may hear frames for others, while their station is not known."""
        return frozenset(
            ear.name
            for ear in self.others(source, vlan)
            if ear.port is None
            or ear.port.guard is None
            or "allow" in (ear.port.guard.promiscuous, ear.port.guard.mac_changes)
        )

    def vids(self, source: Ear, vlan: int) -> tuple[int, ...]:
        """The tags by which a port says that a frame is of `vlan`."""
        return () if vlan == source.native or not (source.port and source.port.trunk) else (vlan,)

    def probe(
        self,
        what: str,
        source: Ear,
        frame: bytes,
        must: frozenset[str],
        may: frozenset[str],
        target: str = "",
    ) -> Probe:
        """A probe of `frame`, which gets its number."""
        number = next(self.numbers)
        may = may | must | may_see(self.proof.ground, source)
        return Probe(number, what, source, build.marked(frame, number), must, may, target)

    def to_group(
        self, what: str, source: Ear, vlan: int, frame: bytes, kind: str, *, passes: bool = True
    ) -> Probe:
        """A probe for everybody in a VLAN; not `passes`: for nobody."""
        heard = (
            frozenset(ear.name for ear in self.others(source, vlan) if ear.hears(kind))
            if passes
            else frozenset()
        )
        return self.probe(what, source, frame, heard, frozenset())

    def to_one(
        self,
        what: str,
        source: Ear,
        target: Ear,
        vlan: int,
        frame: bytes,
        *,
        passes: bool = True,
        caught: bool = False,
    ) -> Probe:
        """A probe for one port; not `passes`: not for that, and `caught` before it gets anywhere."""
        over = self.overhearing(source, vlan) - {target.name}
        if not passes:
            return self.probe(what, source, frame, frozenset(), frozenset() if caught else over, target.owner)
        return self.probe(what, source, frame, frozenset({target.name}), over, target.owner)


def honest(maker: Maker) -> Iterator[Probe]:
    """All of them."""
    ports = ports_of_interest(maker.proof)
    for ears in maker.proof.ground.ears.values():
        for source in ears:
            if source.port is None or not source.up:
                continue
            for vlan in source.networks:
                yield from _hello(maker, source, vlan)
                for target in maker.proof.ground.in_vlan[vlan]:
                    if target is not source and target.port is not None:
                        yield from _to(maker, source, target, vlan, ports)


def _hello(maker: Maker, source: Ear, vlan: int) -> Iterator[Probe]:
    assert source.port is not None
    own, vids = source.port.mac, maker.vids(source, vlan)
    for kind, group in (("broadcast", build.BROADCAST), ("multicast", "33:33:00:00:00:01")):
        frame = build.ethernet(group, own, build.EXPERIMENTAL, b"", *vids)
        near = [] if source.port.groups else maker.others(source, vlan)
        heard = frozenset(ear.name for ear in near if ear.hears(kind) and not grouped(ear))
        yield maker.probe(f"{kind} in VLAN {vlan}", source, frame, heard, frozenset())


def grouped(ear: Ear) -> bool:
    """Whether it has security groups, which know IP and what IP needs, and nothing else."""
    return ear.port is not None and bool(ear.port.groups)


def _to(maker: Maker, source: Ear, target: Ear, vlan: int, ports: list[int]) -> Iterator[Probe]:
    assert source.port is not None
    assert target.port is not None
    ground = maker.proof.ground
    own, other, vids = source.port.mac, target.port.mac, maker.vids(source, vlan)
    linked = target.up and not ground.obstacle(source, target, vlan)
    frame = build.ethernet(other, own, build.EXPERIMENTAL, b"", *vids)
    bare = linked and not source.port.groups and not target.port.groups
    yield maker.to_one(f"frame in VLAN {vlan}", source, target, vlan, frame, passes=bare)
    mine, theirs = maker.own(source.port, vlan), maker.own(target.port, vlan)
    arrives = maker.proof.pair(source.owner, target.owner).arrives
    for family in (4, 6):
        pairs = [(s, d) for s in mine for d in theirs if s.version == d.version == family]
        for s, d in _few(pairs):
            yield _ask(maker, source, target, vlan, s, d)
            passing = ground.passing(source, target, vlan, [voice.host(s)], [voice.host(d)], [])
            # What the two may say with these addresses is among what may arrive at all.
            passing &= arrives[family]
            number, kind = ECHO[family], f"from {s} to {d}"
            upper = build.echo(family, 1)
            packet = build.ip(other, own, build.packet(s, d, number[0], upper), *vids)
            yield maker.to_one(
                f"echo {kind}", source, target, vlan, packet, passes=linked and passing.has(*number)
            )
            for port in ports:
                # From a port of its own, so that it is no answer to another probe.
                away = 20000 + next(maker.numbers) % 40000
                for name, protocol, upper in (
                    ("udp", UDP, build.udp(away, port)),
                    ("tcp", TCP, build.syn(away, port)),
                ):
                    packet = build.ip(other, own, build.packet(s, d, protocol, upper), *vids)
                    through = linked and passing.has(protocol, port)
                    yield maker.to_one(f"{name} {port} {kind}", source, target, vlan, packet, passes=through)


def _few(pairs: list[tuple[Address, Address]]) -> list[tuple[Address, Address]]:
    """One pair of addresses, and one of link-local ones."""
    usual = [pair for pair in pairs if not pair[0].is_link_local and not pair[1].is_link_local]
    local = [pair for pair in pairs if pair[0].is_link_local and pair[1].is_link_local]
    return usual[:1] + local[:1]


def _ask(maker: Maker, source: Ear, target: Ear, vlan: int, s: Address, d: Address) -> Probe:
    """Who has the address?"""
    assert source.port is not None
    # What the switch answers goes no further.
    passes = not is_answered(source.port, vlan, d)
    own, vids = source.port.mac, maker.vids(source, vlan)
    if s.version == 4:
        request = build.arp(1, own, s, "00:00:00:00:00:00", d)
        frame = build.ethernet(build.BROADCAST, own, 0x0806, request, *vids)
        return maker.to_group(f"arp request of {s} for {d}", source, vlan, frame, "broadcast", passes=passes)
    group, address = build.solicited(d)
    frame = build.ip(
        address, own, build.packet(s, group, build.ICMP6, build.solicitation(d, own), 255), *vids
    )
    what = f"neighbour solicitation of {s} for {d}"
    return maker.to_group(what, source, vlan, frame, "multicast", passes=passes)
