"""What bad guests send: as others, in roles that they don't have, into VLANs that aren't theirs.

What a guard in the file allows is expected to arrive, all else nowhere. Guests without a guard could
move other stations to their port, so they take no other's MAC address here, but a stranger's.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from vnet.check import voice
from vnet.check.packets import UDP
from vnet.check.wire import Ear
from vnet.probe import build
from vnet.probe.honest import USUAL_PORT, Maker, Probe, grouped
from vnet.topology.values import Address

STRANGER = "02:76:6e:65:74:01"
ALL_NODES = ipaddress.IPv6Address("ff02::1")
NODES = "33:33:00:00:00:01"
STP = "01:80:c2:00:00:00"
VICTIMS = 6
"""Of one attacker in one VLAN."""


def hostile(maker: Maker) -> Iterator[Probe]:
    """All of them; those from others' MAC addresses last, since a station may move by them."""
    sources = [
        ear
        for ears in maker.proof.ground.ears.values()
        for ear in ears
        if ear.port is not None and ear.up
    ]  # fmt: skip
    for source in sources:
        yield from _tags(maker, source)
        for vlan in source.networks:
            yield from _roles(maker, source, vlan)
            yield from _claims(maker, source, vlan)
    for source in sources:
        for vlan in source.networks:
            yield from _stations(maker, source, vlan)


def _allowed(source: Ear, role: str) -> bool:
    assert source.port is not None
    return source.port.guard is None or getattr(source.port.guard, role) == "allow"


def _tags(maker: Maker, source: Ear) -> Iterator[Probe]:
    """Tags of VLANs that the port is not in, alone and behind one of its own."""
    assert source.port is not None
    own, nobody = source.port.mac, frozenset[str]()
    foreign = [
        network for network in maker.proof.resolved.networks.values() if network.vlan not in source.networks
    ]
    for network in foreign:
        at = f"VLAN {network.vlan} ({network.name})"
        frame = build.ethernet(build.BROADCAST, own, build.EXPERIMENTAL, b"", network.vlan)
        yield maker.probe(f"tag of {at}", source, frame, nobody, nobody)
        for outer in source.networks:
            first = 0 if not source.port.trunk else outer
            frame = build.ethernet(build.BROADCAST, own, build.EXPERIMENTAL, b"", first, network.vlan)
            # On a trunk it is the trunk's own frame, whatever it carries; it stays in that VLAN.
            inside = (
                frozenset(ear.name for ear in maker.others(source, outer)) if source.port.trunk else nobody
            )
            yield maker.probe(f"tag of {at} behind {first}", source, frame, nobody, inside)


def _roles(maker: Maker, source: Ear, vlan: int) -> Iterator[Probe]:
    """What only servers, routers and switches send."""
    assert source.port is not None
    own, vids = source.port.mac, maker.vids(source, vlan)
    local = voice.link_local(own)

    def played(what: str, role: str, kind: str, packet: bytes, to: str) -> Probe:
        frame = build.ip(to, own, packet, *vids)
        near = maker.others(source, vlan) if _allowed(source, role) else []
        heard = frozenset(ear.name for ear in near if ear.hears(kind))
        # Where groups are, their rules are asked about it, too.
        sure = frozenset(ear.name for ear in near if ear.hears(kind) and not grouped(source) | grouped(ear))
        return maker.probe(what, source, frame, sure, heard)

    ra = build.packet(local, ALL_NODES, build.ICMP6, build.router_advertisement(own), 255)
    yield played("router advertisement", "router_advertisements", "multicast", ra, NODES)
    mine = [address for address in voice.own(source.port, vlan) if address.version == 4]
    if mine or voice.unguarded(source.port, vlan):
        address = mine[0] if mine else ipaddress.IPv4Address("192.0.2.1")
        offer = build.packet(address, ipaddress.IPv4Address("255.255.255.255"), UDP, build.dhcp_offer())
        yield played("DHCP offer", "dhcp_server", "broadcast", offer, build.BROADCAST)
    reply = build.packet(local, ALL_NODES, UDP, build.dhcp6_reply())
    yield played("DHCPv6 reply", "dhcp_server", "multicast", reply, NODES)
    if mine and not _allowed(source, "querier"):
        query = build.packet(mine[0], ipaddress.IPv4Address("224.0.0.1"), 2, build.IGMP_QUERY)
        yield played("IGMP query", "querier", "multicast", query, "01:00:5e:00:00:01")
    if source.port.guard is not None and not source.port.settings.transparent:
        frame = build.llc(STP, own, build.BPDU)
        yield maker.to_group("spanning tree BPDU", source, vlan, frame, "multicast", passes=False)


def _claims(maker: Maker, source: Ear, vlan: int) -> Iterator[Probe]:
    """As others, by their IP addresses."""
    neighbours = _next(source, maker.proof.ground.in_vlan[vlan])
    for target in neighbours:
        for victim in _addresses(maker, source, target, vlan):
            yield from _as(maker, source, target, vlan, victim)
        for other in neighbours[:3]:
            if other is not target:
                for victim in _addresses(maker, source, other, vlan)[:2]:
                    yield from _packet_as(maker, source, target, vlan, victim)


def _packet_as(maker: Maker, source: Ear, target: Ear, vlan: int, victim: Address) -> Iterator[Probe]:
    """A packet from another's address."""
    assert source.port is not None
    assert target.port is not None
    ground = maker.proof.ground
    for d in voice.own(target.port, vlan):
        if (d.version, d.is_link_local) != (victim.version, victim.is_link_local):
            continue
        upper = build.udp(20000 + next(maker.numbers) % 40000, USUAL_PORT)
        packet = build.packet(victim, d, UDP, upper)
        frame = build.ip(target.port.mac, source.port.mac, packet, *maker.vids(source, vlan))
        may = voice.says(source.port, vlan, victim)
        passing = ground.passing(source, target, vlan, [voice.host(victim)], [voice.host(d)], [])
        through = may and passing.has(UDP, USUAL_PORT) and not ground.obstacle(source, target, vlan)
        what = f"udp {USUAL_PORT} as {victim} to {d}"
        yield maker.to_one(what, source, target, vlan, frame, passes=through, caught=not may)
        return


def _stations(maker: Maker, source: Ear, vlan: int) -> Iterator[Probe]:
    """From others' MAC addresses."""
    assert source.port is not None
    forging = _allowed(source, "forged_transmits") or _allowed(source, "mac_changes")
    allowed = {allowance.mac for allowance in source.port.guard.allow} if source.port.guard else set()
    near = maker.others(source, vlan) if forging else []
    everybody = frozenset(ear.name for ear in near)
    for target in _next(source, maker.proof.ground.in_vlan[vlan]):
        assert target.port is not None
        whose = STRANGER if forging else target.port.mac
        if whose not in allowed:
            frame = build.ethernet(build.BROADCAST, whose, build.EXPERIMENTAL, b"", *maker.vids(source, vlan))
            yield maker.probe(f"frame as {whose}", source, frame, frozenset(), everybody)


def _next(source: Ear, ears: list[Ear]) -> list[Ear]:
    """Some that come after it: everybody is somebody's victim, and the test does not grow with n cubed."""
    guests = [ear for ear in ears if ear.port is not None]
    at = guests.index(source)
    return (guests[at + 1 :] + guests[:at])[:VICTIMS]


def _addresses(maker: Maker, source: Ear, whose: Ear, vlan: int) -> list[Address]:
    """Addresses of another guest and of its gateways, which a bad one would like to have."""
    assert whose.port is not None
    assert source.port is not None
    wanted: list[Address] = [*voice.own(whose.port, vlan)]
    if vlan == whose.port.vlan:
        wanted += whose.port.gateways
    mine = voice.own(source.port, vlan)
    return [address for address in wanted if address not in mine]


def _as(maker: Maker, source: Ear, target: Ear, vlan: int, victim: Address) -> Iterator[Probe]:
    """Claims to an address, to everybody."""
    assert source.port is not None
    own, vids = source.port.mac, maker.vids(source, vlan)
    may = voice.says(source.port, vlan, victim)
    if victim.version == 4:
        claim = build.arp(2, own, victim, build.BROADCAST, victim)
        frame = build.ethernet(build.BROADCAST, own, 0x0806, claim, *vids)
        yield maker.to_group(f"arp that claims {victim}", source, vlan, frame, "broadcast", passes=may)
        return
    mine = voice.link_local(own)
    claim = build.packet(mine, ALL_NODES, build.ICMP6, build.advertisement(victim, own), 255)
    frame = build.ip(NODES, own, claim, *vids)
    yield maker.to_group(
        f"neighbour advertisement that claims {victim}", source, vlan, frame, "multicast", passes=may
    )
