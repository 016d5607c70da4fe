"""Three opinions on random fabrics: the proof, the native switch, and the reference.

Hypothesis makes fabrics of networks, trunks, guards with what they allow, security groups and private
networks. What the proof says of honest and hostile frames has to come true in the native switch, one
frame after the other. Then frames come that were made to get past a guard: wherever the native switch
lets one out, the proof has to let it, and the reference has to say the same.
"""

from __future__ import annotations

import ipaddress
import itertools
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether

from nics.errors import BadInput
from switch import Access, Port, Trunk
from switch.private import Private
from tests.model.guard import IGMP, ReferenceGuard
from tests.model.hall import Hall, native
from tests.model.reference import ReferenceSwitch
from tests.model.test_guard import frames
from tests.switch import test_guard_cases as cases
from vnet.check import Proof, voice
from vnet.check.packets import OTHERS
from vnet.check.wire import Ear
from vnet.probe import build
from vnet.probe.frames import compare, hellos
from vnet.probe.honest import Maker, honest
from vnet.probe.hostile import hostile
from vnet.topology import Topology
from vnet.topology.resolve import Port as Wanted

pytestmark = pytest.mark.deadline(240)

MACS = {"a": cases.OWN, "b": cases.OTHER, "c": "02:00:00:00:00:0d", "d": "02:00:00:00:00:0e"}
IPS = {
    "a": [cases.IP4, cases.IP6],
    "b": [cases.VICTIM4, cases.VICTIM6],
    "c": ["10.0.0.13", "fd00::d"],
    "d": ["10.0.0.14"],
}
"""Those of the cases of the guard, so that frames made of them are about these guests."""
ALLOWANCES: list[dict[str, Any]] = [
    {"ip": cases.PAIR4, "mac": cases.PAIRED},
    {"ip": cases.VICTIM4},
    {"ip": "10.0.0.0/28"},
    {"ip": "fd00::/64"},
    {"ip": "10.9.0.0/16"},
]
ROLES = ["dhcp_server", "router_advertisements", "promiscuous", "querier", "forged_transmits", "mac_changes"]
RULES: list[dict[str, Any]] = [
    {},
    {"protocol": "udp"},
    {"protocol": "tcp", "ports": [7, "80-90"]},
    {"protocol": "icmp", "type": 8},
    {"protocol": "icmp6"},
    {"prefix": "10.0.0.8/30"},
    {"protocol": "tcp", "group": "g"},
    {"group": "h"},
    {"protocol": "udp", "ports": 7, "prefix": "fd00::b"},
]

rules = st.lists(st.sampled_from(RULES), max_size=3)
groups = st.fixed_dictionaries({"ingress": rules}, optional={"egress": rules})
guards = st.one_of(
    st.none(),
    st.none(),
    st.just("off"),
    st.builds(
        lambda allow, roles: {"allow": allow, **dict.fromkeys(roles, "allow")},
        st.lists(st.sampled_from(ALLOWANCES), max_size=2),
        st.lists(st.sampled_from(ROLES), max_size=2),
    ),
)


@st.composite
def nics(draw: st.DrawFn, name: str) -> dict[str, Any]:
    """The one NIC of a guest."""
    keys: dict[str, Any] = {"mac": MACS[name]}
    if draw(st.integers(0, 3)):
        keys["network"] = draw(st.sampled_from(["red", "red", "blue"]))
    else:
        keys["trunk"] = draw(st.sampled_from([["red"], ["red", "blue"], ["blue", "red", "bare"]]))
        native = draw(st.sampled_from([None, *keys["trunk"]]))
        if native:
            keys["native"] = native
    home = keys.get("network") or keys.get("native")
    if home and home != "bare":
        keys["ip"] = IPS[name] if draw(st.integers(0, 5)) else []
    if (guard := draw(guards)) is not None:
        keys["guard"] = guard
    if draw(st.booleans()):
        keys["groups"] = draw(st.lists(st.sampled_from(["g", "h"]), unique=True))
    if (
        place := draw(st.sampled_from([None, None, None, "isolated", "community x", "promiscuous"]))
    ) is not None:
        keys["private"] = place
    for key in draw(st.lists(st.sampled_from(["unknown", "multicast", "broadcast"]), max_size=1)):
        keys["flood"] = {key: False}
    if not draw(st.integers(0, 9)):
        keys["up"] = False
    return keys


@st.composite
def fabrics(draw: st.DrawFn) -> Topology:
    """A fabric of one switch, or of two or three in a row."""
    subnets = ["10.0.0.0/24", "fd00::/64"]
    names = draw(st.sampled_from(["ab", "abc", "abcd"]))
    document = {
        "name": "lab",
        "networks": {
            "red": {"vlan": 10, "subnets": subnets, "private": draw(st.booleans()) and draw(st.booleans())},
            "blue": {"vlan": 20, "subnets": subnets},
            "bare": {"vlan": 30},
        },
        "groups": {name: draw(groups) for name in ("g", "h")},
        "guests": {name: {"kind": "external", "nics": [draw(nics(name))]} for name in names},
    }
    if row := draw(st.sampled_from([[], ["s1", "s2"], ["s1", "s2", "s3"]])):
        document["switches"] = {name: {} for name in row}
        document["links"] = [{"ends": list(ends)} for ends in itertools.pairwise(row)]
        for guest in document["guests"].values():
            guest["nics"][0]["switch"] = draw(st.sampled_from(row))
    try:
        return Topology.from_dict(document)
    except BadInput:
        assume(False)
        raise


def ears(proof: Proof) -> list[Ear]:
    return [ear for each in proof.ground.ears.values() for ear in each]


TESTED = settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)


@given(fabrics())
@settings(TESTED, max_examples=150)
def test_what_is_proved_comes_true(topology: Topology) -> None:
    proof = Proof(topology)
    switches, maker = native(proof), Maker(proof)
    names = list(proof.resolved.ports)
    good = list(honest(maker))
    for probe in hellos(good):  # every station is heard once, as in `vnet test`
        switches.forward(names.index(probe.source.name), probe.frame)
    for probe in (*good, *hostile(maker)):
        made = switches.forward(names.index(probe.source.name), probe.frame)
        heard = Counter(names[port] for port, _, _ in switches.out(made))
        findings = [str(finding) for finding in compare(proof, probe, heard)]
        assert not findings, (findings, [(each.reason, each.lost) for each in made], probe.frame.hex(" "))


@given(fabrics(), st.lists(frames(), min_size=1, max_size=6), st.integers(0, 3))
@settings(TESTED, max_examples=300)
def test_nothing_arrives_that_is_proved_not_to(topology: Topology, burst: list[bytes], at: int) -> None:
    proof = Proof(topology)
    sources = ears(proof)
    source = sources[at % len(sources)]
    for data in burst:
        # A switch that has heard nothing yet: no frame is an answer to another.
        switches = native(proof)
        copies = switches.out(switches.forward(at % len(sources), data))
        got = {port for port, _, _ in copies}
        for port, copy, vlan in copies:
            allowed(proof, source, sources[port], vlan, copy)
        assert got <= reference(proof, at % len(sources), data), data.hex(" ")


def allowed(proof: Proof, a: Ear, b: Ear, vlan: int, data: bytes) -> None:
    """What came out at `b` is what the proof lets pass from `a`."""
    assert a.port is not None
    assert b.port is not None
    assert proof.ground.obstacle(a, b, vlan) is None, "in another network, or private"
    assert proof.pair(a.owner, b.owner).ethernet
    guard, frame = a.port.guard, Ether(data)
    forging = guard is None or "allow" in (guard.mac_changes, guard.forged_transmits)
    paired = {allowance.mac for allowance in guard.allow} if guard else set()
    assert forging or frame.src == a.port.mac or frame.src in paired, "a foreign MAC address"
    inner = frame
    while isinstance(inner, Ether | Dot1Q | Dot1AD) and inner.payload:
        inner = inner.payload
    if isinstance(inner, ARP) and guard is not None:
        claimed = inner.psrc if inner.psrc != "0.0.0.0" else inner.pdst
        assert voice.may_claim(a.port, vlan, ipaddress.ip_network(claimed))
    if isinstance(inner, IP | IPv6):
        address = ipaddress.ip_address(inner.src)
        link_local = address.version == 6 and address in ipaddress.ip_network("fe80::/10")
        mine = any(voice.touch(claim, voice.host(address)) for claim in voice.claims(a.port, vlan))
        assert mine or int(address) == 0, "a foreign IP address"
        if int(address) and mine and not link_local:
            packet_passes(proof, a, b, vlan, inner)


def packet_passes(proof: Proof, a: Ear, b: Ear, vlan: int, packet: Any) -> None:
    """The security groups of both let a packet pass that is for one of the target's addresses."""
    assert b.port is not None
    target = ipaddress.ip_address(packet.dst)
    if target not in voice.own(b.port, vlan) or IPv6ExtHdrFragment in packet:
        return
    if isinstance(packet, IP) and (packet.frag or packet.flags.MF):
        return
    upper, protocol = packet.payload, packet.proto if isinstance(packet, IP) else packet.nh
    if isinstance(upper, TCP | UDP):
        number = upper.dport
    elif isinstance(packet, IP) and isinstance(upper, ICMP):
        number = upper.type << 8 | upper.code
    elif protocol == IGMP:
        number, protocol = 0, OTHERS
    else:
        return
    source = ipaddress.ip_address(packet.src)
    passing = proof.ground.passing(a, b, vlan, [voice.host(source)], [voice.host(target)], [])
    assert passing.has(protocol, number), "no rule lets it pass"


def reference(proof: Proof, ingress: int, data: bytes) -> set[int]:
    """Where the reference lets a frame out of switches that have heard nothing yet; groups apart."""
    hall = Hall(proof, lambda switch, port, data, place: switch.receive(0, port, data, beside=place))
    ports = list(proof.resolved.ports.values())
    hall.switches = {
        name: ReferenceSwitch(ageing=0, fdb_limit=100, vlan_limit=100) for name in proof.resolved.switches
    }
    for switch, number, link in hall.number():
        port = described(ports[number]) if link is None else Port(mode=Trunk(set(link.vlans)), places=True)
        hall.switches[switch].add_port(number, port)
        hall.homes[number] = switch
    sender = ports[ingress]
    made = hall.forward(ingress, data)
    if made[0].action == "drop" or refused(sender, made[0].vlan, data):
        return set()
    return {
        number
        for each in made
        for number, _ in each.copies
        if number not in hall.peers and hears(ports[number], data[:6], each.action)
    }


def described(port: Wanted) -> Port:
    mode = Access(port.vlan) if not port.trunk else Trunk(set(port.tagged), port.vlan, port.native_tagged)
    settings = port.settings
    return Port(
        mode=mode,
        private=place(port),
        up=settings.up,
        flood_unknown=settings.flood_unknown,
        flood_multicast=settings.flood_multicast,
        flood_broadcast=settings.flood_broadcast,
    )


def refused(port: Wanted, vlan: int, data: bytes) -> bool:
    """What the reference guard says; it knows one VLAN at a time."""
    if port.guard is None:
        return False
    pairs = [(str(prefix), None) for prefix in map(voice.host, port.ip)] if vlan == port.vlan else []
    allow = port.guard.allow
    pairs += [
        (str(prefix), build.mac(mac) if (mac := allow[index].mac) else None)
        for index, prefix in voice.allowed(port, vlan)
    ]
    roles = frozenset(role for role in ROLES if getattr(port.guard, role) == "allow")
    guard = ReferenceGuard(build.mac(port.mac), tuple(pairs), vlan in port.unknown, roles)
    return guard.judge(data) is not None


def place(port: Wanted) -> Private | None:
    """Its place in private networks."""
    if not port.private:
        return None
    return Private(frozenset(port.private), 0 if port.community is None else 1)


def hears(port: Wanted, target: bytes, action: str) -> bool:
    """Whether a guest hears a frame: groups, and what is for one of its MAC addresses."""
    if port.guard is None or port.guard.promiscuous == "allow" or action != "flood-unknown":
        return True
    own = {port.mac, *(allowance.mac for allowance in port.guard.allow if allowance.mac)}
    return target.hex(":") in own
