"""What a guest may send and hear: each rule of the guard from both sides, with frames made by scapy.

The cases are those that firewalls of clouds are tested with: MAC and IP spoofing, allowed pairs, DHCP
servers, router advertisements, ARP and neighbour poisoning, and ways to hide them from a filter.
"""

from __future__ import annotations

import pytest
from scapy.layers.dhcp import BOOTP
from scapy.layers.dhcp6 import DHCP6_Advertise, DHCP6_Solicit
from scapy.layers.igmp import IGMP
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_LSRR, IPOption_Router_Alert
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6MLQuery,
    ICMPv6MLReport,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_Redirect,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import ARP, LLC, SNAP, STP, Dot1AD, Dot1Q, Dot3
from scapy.packet import Raw

from tests.switch.guarded import (
    IP4,
    IP6,
    LOCAL,
    LOCAL_VICTIM,
    OTHER,
    OWN,
    PAIR4,
    PAIRED,
    VICTIM4,
    VICTIM6,
    arp,
    dhcp,
    ether,
    fate,
    fragment,
    guard,
    ip,
    ip6,
    lease4,
    lease6,
    switch,
)
from vnet._native import Guard, PortConfig, Switch


def own_mac(kind, mac: str = OWN):
    return kind(lladdr=mac)


OWN_MAC = bytes.fromhex(OWN.replace(":", ""))
OWN_ADDRESS, THEIR_ADDRESS = b"\x32\4\x0a\0\0\x0a", b"\x32\4\x0a\0\0\x0b"
SNAPPED = LLC(dsap=0xAA, ssap=0xAA, ctrl=3) / SNAP(OUI=0, code=0x0800) / IP(src=VICTIM4)
ND_NS = ICMPv6ND_NS(tgt=VICTIM6) / own_mac(ICMPv6NDOptSrcLLAddr)
RA = ICMPv6ND_RA() / own_mac(ICMPv6NDOptSrcLLAddr)

ACCEPTED = {
    "tcp": ip() / TCP(),
    "udp": ip() / UDP(sport=5000, dport=53),
    "icmp": ip() / ICMP(),
    "don't fragment": ip(flags="DF") / TCP(),
    "another protocol of its own": ether(type=0x88B5) / Raw(bytes(46)),
    "the paired address from the paired MAC": ether(src=PAIRED) / IP(src=PAIR4, dst=VICTIM4) / UDP(),
    "router alert": ip(options=[IPOption_Router_Alert()]) / ICMP(),
    "arp request": arp(),
    "arp probe for its own": arp(psrc="0.0.0.0", pdst=IP4),
    "arp announcement": arp(op=2, pdst=IP4, hwdst=OWN),
    "arp reply": ether(dst=OTHER) / ARP(op=2, hwsrc=OWN, psrc=IP4, hwdst=OTHER, pdst=VICTIM4),
    "rarp announcement": ether(type=0x8035) / ARP(op=3, hwsrc=OWN, hwdst=OWN, psrc="0.0.0.0"),
    "dhcp discover": dhcp(),
    "dhcp renewal": dhcp(src=IP4),
    "dhcp request for its own": lease4(3, OWN_ADDRESS, src="0.0.0.0"),
    "dhcp release": lease4(7, has=IP4),
    "dhcp decline": lease4(4, OWN_ADDRESS, src="0.0.0.0"),
    "bootp": ether()
    / IP(src="0.0.0.0")
    / UDP(sport=68, dport=67)
    / BOOTP(op=1, chaddr=OWN_MAC, options=bytes(64)),
    "dhcpv6 solicit": ip6(LOCAL) / UDP(sport=546, dport=547) / DHCP6_Solicit(),
    "dhcpv6 release": lease6(8, IP6),
    "dhcpv6 decline": lease6(9, IP6),
    "dhcpv6 renewal": lease6(5, VICTIM6),
    "igmp report": ip() / IGMP(type=0x16, gaddr="224.1.1.1"),
    "igmp report without address": ip("0.0.0.0") / IGMP(type=0x16, gaddr="224.1.1.1"),
    "icmpv6": ip6() / ICMPv6EchoRequest(),
    "link-local": ip6(LOCAL) / ICMPv6EchoRequest(),
    "destination options": ip6() / IPv6ExtHdrDestOpt() / UDP(),
    "router solicitation": ip6(LOCAL) / ICMPv6ND_RS() / own_mac(ICMPv6NDOptSrcLLAddr),
    "router solicitation without address": ip6("::") / ICMPv6ND_RS(),
    "neighbour solicitation": ip6() / ND_NS,
    "duplicate address detection": ip6("::") / ICMPv6ND_NS(tgt=IP6),
    "the same for link-local": ip6("::") / ICMPv6ND_NS(tgt=LOCAL),
    "neighbour advertisement": ip6() / ICMPv6ND_NA(tgt=IP6) / own_mac(ICMPv6NDOptDstLLAddr),
    "mld report": ip6("::") / IPv6ExtHdrHopByHop() / ICMPv6MLReport(),
    "first fragment": fragment(ip() / UDP(sport=5, dport=6) / Raw(bytes(64))),
    "later fragment": fragment(ip(proto=17) / Raw(bytes(64)), offset=9),
    "ipv6 fragment": ip6() / IPv6ExtHdrFragment(m=1) / UDP(sport=5, dport=6) / Raw(bytes(64)),
    "later ipv6 fragment": ip6() / IPv6ExtHdrFragment(offset=9, nh=17) / Raw(bytes(64)),
}

REFUSED = {
    # MAC
    "another's MAC": ("guard-mac", ether(src=OTHER) / IP(src=IP4) / UDP()),
    "an unknown MAC": ("guard-mac", ether(src="02:00:00:00:00:99") / ARP(hwsrc=OWN, psrc=IP4)),
    # Links and bridges
    "lldp to anybody": ("guard-control", ether(type=0x88CC) / Raw(bytes(46))),
    "lacp to a station": ("guard-control", ether(dst=OTHER, type=0x8809) / Raw(bytes(46))),
    "spanning tree": ("guard-control", Dot3(src=OWN, dst=OTHER) / LLC() / STP()),
    "pvst, cdp": ("guard-control", Dot3(src=OWN, dst="01:00:0c:cc:cc:cd") / SNAPPED),
    "ip in snap": ("guard-control", Dot3(src=OWN, dst=OTHER) / SNAPPED),
    "stp to its group": ("link-local", Dot3(src=OWN, dst="01:80:c2:00:00:00") / LLC() / STP()),
    "a tag": ("tag-not-allowed", ether() / Dot1Q(vlan=5) / IP(src=IP4) / UDP()),
    "double tags": ("tag-not-allowed", ether() / Dot1Q(vlan=0) / Dot1Q(vlan=5) / IP(src=IP4) / UDP()),
    "tags of the old kind": ("guard-headers", ether(type=0x9100) / Raw(bytes(46))),
    # IPv4
    "another's address": ("guard-ip4", ip(VICTIM4) / UDP()),
    "the paired address from its own MAC": ("guard-ip4", ip(PAIR4) / UDP()),
    "its own address from the paired MAC": ("guard-ip4", ether(src=PAIRED) / IP(src=IP4) / UDP()),
    "no address": ("guard-ip4", ip("0.0.0.0") / UDP(sport=5, dport=6)),
    "no address, in tcp": ("guard-ip4", ip("0.0.0.0") / TCP(sport=68, dport=67)),
    "a later fragment": ("guard-ip4", fragment(ip(VICTIM4, proto=17) / Raw(bytes(64)), offset=9)),
    "an S-tag": ("tag-not-allowed", ether() / Dot1AD(vlan=5) / IP(src=IP4, dst=VICTIM4) / UDP()),
    "behind a priority tag": ("guard-ip4", ether() / Dot1Q(vlan=0) / IP(src=VICTIM4) / UDP()),
    "source routing": ("guard-source-route", ip(options=[IPOption_LSRR(routers=[VICTIM4])]) / UDP()),
    "ipv6 in an ipv4 frame": ("guard-headers", ether(type=0x0800) / IPv6(src=IP6) / UDP()),
    "icmp redirect": ("guard-redirect", ip() / ICMP(type=5, code=1, gw=IP4)),
    "icmp router advertisement": ("guard-ra", ip() / ICMP(type=9)),
    "igmp query": ("guard-querier", ip() / IGMP(type=0x11)),
    "tcp flags cut off": ("guard-fragment", fragment(ip(proto=6) / Raw(bytes(8)))),
    "tcp flags overwritten": ("guard-fragment", fragment(ip(proto=6) / Raw(bytes(64)), offset=1)),
    "ping of death": ("guard-fragment", fragment(ip(proto=1) / Raw(bytes(64)), offset=8189, more=False)),
    # DHCP
    "dhcp offer": ("guard-dhcp-server", dhcp(src=IP4, sport=67, dport=68, op=2)),
    "dhcp offer from another port": ("guard-dhcp-server", dhcp(src=IP4, sport=6767, dport=68, op=2)),
    "dhcp relay": ("guard-dhcp-server", dhcp(src=IP4, sport=67, dport=67)),
    "dhcp for another": ("guard-dhcp-client", dhcp(mac=OTHER)),
    "dhcp in fragments": ("guard-fragment", fragment(dhcp(src=IP4, sport=67, dport=68, op=2))),
    "dhcp release of another's": ("guard-dhcp-client", lease4(7, THEIR_ADDRESS, has=IP4)),
    "dhcp release of nothing": ("guard-dhcp-client", lease4(7)),
    "dhcp decline of another's": ("guard-dhcp-client", lease4(4, THEIR_ADDRESS, src="0.0.0.0")),
    "dhcp decline of nothing": ("guard-dhcp-client", lease4(4, has=IP4)),
    "dhcp options cut off": ("guard-dhcp-client", lease4(1, b"\x3d\x09\0")),
    "dhcp in other fields": ("guard-dhcp-client", lease4(1, b"\x34\1\3")),
    "dhcp of two types": ("guard-dhcp-client", lease4(1, b"\x35\1\4" + THEIR_ADDRESS)),
    "dhcp about two addresses": ("guard-dhcp-client", lease4(4, OWN_ADDRESS + THEIR_ADDRESS)),
    "dhcpv6 release of another's": ("guard-dhcp-client", lease6(8, VICTIM6)),
    "dhcpv6 decline of another's": ("guard-dhcp-client", lease6(9, VICTIM6)),
    "dhcpv6 release of a prefix": ("guard-dhcp-client", lease6(8, "fd00::", 64)),
    "dhcpv6 release cut off": ("guard-dhcp-client", lease6(8, IP6, tail=b"\0\x03\0")),
    "dhcpv6 advertise": ("guard-dhcp-server", ip6(LOCAL) / UDP(sport=547, dport=546) / DHCP6_Advertise()),
    "dhcpv6 from another port": ("guard-dhcp-server", ip6(LOCAL) / UDP(sport=99, dport=546)),
    # ARP
    "arp of another's address": ("guard-arp", arp(psrc=VICTIM4)),
    "arp with another's MAC": ("guard-arp", arp(hwsrc=OTHER)),
    "arp reply for another": ("guard-arp", arp(op=2, psrc=VICTIM4)),
    "arp reply from nobody": ("guard-arp", arp(op=2, psrc="0.0.0.0")),
    "arp announcement of another's": ("guard-arp", arp(psrc=VICTIM4, pdst=VICTIM4)),
    "arp probe for another's": ("guard-arp", arp(psrc="0.0.0.0", pdst=VICTIM4)),
    "arp reply to a third": ("guard-arp", ether(dst=OTHER) / ARP(op=2, hwsrc=OWN, psrc=IP4, hwdst=PAIRED)),
    "arp of another kind": ("guard-arp", arp(op=8)),
    "rarp for another": ("guard-arp", ether(type=0x8035) / ARP(op=3, hwsrc=OWN, hwdst=OTHER)),
    # IPv6
    "another's ipv6 address": ("guard-ip6", ip6(VICTIM6) / ICMPv6EchoRequest()),
    "another's link-local address": ("guard-ip6", ip6(LOCAL_VICTIM) / ICMPv6EchoRequest()),
    "a link-local address of its choice": ("guard-ip6", ip6("fe80::1") / ICMPv6EchoRequest()),
    "no ipv6 address": ("guard-ip6", ip6("::") / UDP(sport=5, dport=6)),
    "a later ipv6 fragment": (
        "guard-ip6",
        ip6(VICTIM6) / IPv6ExtHdrFragment(offset=9, nh=17) / Raw(bytes(64)),
    ),
    "router advertisement": ("guard-ra", ip6(LOCAL) / RA),
    "behind options": ("guard-ra", ip6(LOCAL) / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / RA),
    "in an atomic fragment": ("guard-fragment", ip6(LOCAL) / IPv6ExtHdrFragment() / RA),
    "options in a fragment": (
        "guard-fragment",
        ip6(LOCAL) / IPv6ExtHdrFragment(m=1) / IPv6ExtHdrDestOpt() / RA,
    ),
    "beyond what is seen": (
        "guard-headers",
        ip6(LOCAL, nh=60) / Raw(b"\x3a\x09" + bytes(78)) / Raw(bytes(RA)),
    ),
    "an endless chain": (
        "guard-headers",
        ip6(LOCAL, nh=60) / Raw(b"\x3c\0\x01\x04\0\0\0\0" * 9),
    ),
    "redirect": ("guard-redirect", ip6(LOCAL) / ICMPv6ND_Redirect()),
    "mld query": ("guard-querier", ip6(LOCAL) / IPv6ExtHdrHopByHop() / ICMPv6MLQuery()),
    "routing header 0": (
        "guard-source-route",
        ip6() / IPv6ExtHdrRouting(type=0, addresses=[VICTIM6]) / UDP(),
    ),
    "solicitation with another's MAC": (
        "guard-nd",
        ip6() / ICMPv6ND_NS(tgt=VICTIM6) / own_mac(ICMPv6NDOptSrcLLAddr, OTHER),
    ),
    "advertisement of another's": ("guard-nd", ip6() / ICMPv6ND_NA(tgt=VICTIM6)),
    "advertisement with another's MAC": (
        "guard-nd",
        ip6() / ICMPv6ND_NA(tgt=IP6) / own_mac(ICMPv6NDOptDstLLAddr, OTHER),
    ),
    "claim of another's address": ("guard-nd", ip6("::") / ICMPv6ND_NS(tgt=VICTIM6)),
    "router solicitation with another's MAC": (
        "guard-nd",
        ip6() / ICMPv6ND_RS() / own_mac(ICMPv6NDOptSrcLLAddr, OTHER),
    ),
}


WEIGHED = [
    case
    for case, (reason, frame) in REFUSED.items()
    if reason == "guard-dhcp-client" and case != "dhcp for another"
]
"""What is refused for what stands behind the first bytes of a message."""
GIVEN = [case for case in WEIGHED if "another's" in case or "prefix" in case]
"""Of these, what is refused for whose address it is."""


@pytest.mark.parametrize("case", ACCEPTED)
def test_normal_life(case: str) -> None:
    assert fate(ACCEPTED[case]) is None


@pytest.mark.parametrize("case", REFUSED)
def test_attack(case: str) -> None:
    reason, frame = REFUSED[case]
    assert fate(frame) == reason
    if reason.startswith("guard-"):
        made = switch(None)
        assert not made.forward(0, 0, [bytes(frame).ljust(60, b"\0")])[0].reason, "an open port takes it"


def test_after_a_good_frame_of_the_same_flow() -> None:
    """The header of a refused frame is that of the frame before: it is judged all the same."""
    made = switch(guard())
    good, bad = bytes(ACCEPTED["tcp"]).ljust(60, b"\0"), bytes(ip(VICTIM4) / TCP()).ljust(60, b"\0")
    reasons = [verdict.reason for verdict in made.forward(0, 0, [good, bad, good, good, bad])]
    assert reasons == [None, "guard-ip4", None, None, "guard-ip4"]
    assert made.counters(0)["drops"] == {"guard-ip4": 2}


def test_a_refused_frame_teaches_nothing() -> None:
    made = switch(guard())
    refused = {case: bytes(frame).ljust(60, b"\0") for case, (_, frame) in REFUSED.items()}
    made.forward(0, 0, [frame for case, frame in refused.items() if case not in WEIGHED])
    assert made.fdb_count() == (0, 0)
    # When all of a message is looked at, its sender is known already, which is the guest itself.
    made.forward(0, 0, [refused[case] for case in WEIGHED])
    assert [(mac, port) for _, mac, port, *_ in made.fdb_page()[0]] == [(OWN, 0)]


ROLES = {
    "dhcp_server": ["dhcp offer", "dhcp offer from another port", "dhcp relay", "dhcp for another",
                    "dhcp in fragments", "dhcpv6 advertise", "dhcpv6 from another port", *WEIGHED],
    "router_advertisements": ["icmp router advertisement", "router advertisement", "behind options"],
    "querier": ["igmp query", "mld query"],
    "forged_transmits": ["another's MAC"],
    "mac_changes": ["another's MAC"],
    "promiscuous": [],
}  # fmt: skip


@pytest.mark.parametrize("role", ROLES)
def test_a_role_opens_what_it_names_and_nothing_else(role: str) -> None:
    opened = guard(**{role: True})
    for case, (reason, frame) in REFUSED.items():
        got = fate(frame, opened)
        if case in ROLES[role]:
            assert got is None, case
        elif case == "an unknown MAC" and role in ("forged_transmits", "mac_changes"):
            assert got == "guard-arp"
        else:
            assert got == reason, case


def test_allowed_prefixes() -> None:
    allows = guard(addresses=[("10.1.0.0/16", None, None), ("fd01::/32", None, None)])
    for source, reason in (("10.1.0.0", None), ("10.1.255.255", None), ("10.2.0.0", "guard-ip4")):
        assert fate(ip(source) / UDP(), allows) == reason
        assert fate(arp(psrc=source), allows) == (reason and "guard-arp")
    for source, reason in (("fd01::1", None), ("fd01:0:ffff::", None), ("fd02::1", "guard-ip6")):
        assert fate(ip6(source) / ICMPv6EchoRequest(), allows) == reason
    everything = guard(addresses=[("0.0.0.0/0", None, None), ("::/0", None, None)])
    assert fate(ip(VICTIM4) / UDP(), everything) is None
    assert fate(ip6(VICTIM6) / UDP(), everything) is None
    assert fate(ip(VICTIM4) / UDP(sport=67, dport=68), everything) == "guard-dhcp-server"


def test_an_address_is_good_in_its_network_only() -> None:
    made = Switch()
    addresses = [(f"{IP4}/32", None, 1), (f"{VICTIM4}/32", None, 2)]
    made.add_port(0, PortConfig(tagged=[2], native=1, guard=guard(addresses=addresses)))
    made.add_port(1, PortConfig(tagged=[2], native=1))
    for vlan, source, reason in (
        (1, IP4, None),
        (2, VICTIM4, None),
        (1, VICTIM4, "guard-ip4"),
        (2, IP4, "guard-ip4"),
    ):
        frame = ether() / Dot1Q(vlan=vlan) / IP(src=source, dst="10.0.0.1") / UDP()
        assert made.forward(0, 0, [bytes(frame).ljust(60, b"\0")])[0].reason == reason


def test_where_no_addresses_are_known_the_rest_holds() -> None:
    unknown = guard(addresses=[], unknown=[1])
    free = {"guard-ip4", "guard-ip6"}
    for case in ("another's address", "another's ipv6 address", "arp of another's address",
                 "advertisement of another's", "no address"):  # fmt: skip
        assert fate(REFUSED[case][1], unknown) is None, case
    for case, (reason, frame) in REFUSED.items():
        if reason not in free | {"guard-arp", "guard-nd", "guard-mac"} and case not in GIVEN:
            assert fate(frame, unknown) == reason, case
    for case in ("arp with another's MAC", "solicitation with another's MAC"):
        assert fate(REFUSED[case][1], unknown) == REFUSED[case][0]
    assert fate(ip() / UDP(), guard(addresses=[])) == "guard-ip4", "known to have none"
    assert [fate(REFUSED[case][1], unknown) for case in GIVEN] == [None] * 5


def test_prefixes_are_given_back_as_a_whole() -> None:
    """What was delegated, or a part of it; never more than is the guest's."""
    of = guard(addresses=[("fd01:0:0:10::/60", None, None)])
    for prefix, length, reason in (
        ("fd01:0:0:10::", 60, None),
        ("fd01:0:0:1f::", 64, None),
        ("fd01:0:0:1f::1", 128, None),
        ("fd01::", 56, "guard-dhcp-client"),
        ("fd01:0:0:20::", 64, "guard-dhcp-client"),
        ("fd01:0:0:10::", 0, "guard-dhcp-client"),
        ("fd01:0:0:10::", 129, "guard-dhcp-client"),
    ):
        assert fate(lease6(8, prefix, length), of) == reason, (prefix, length)


def test_a_message_that_is_dropped_late_is_counted_once() -> None:
    made = switch(guard())
    burst = [bytes(REFUSED["dhcp decline of another's"][1]), bytes(ACCEPTED["dhcp decline"])] * 3
    assert [verdict.reason for verdict in made.forward(0, 0, burst)] == ["guard-dhcp-client", None] * 3
    counters = made.counters(0)
    assert (counters["rx_frames"], counters["forwarded"]) == (6, 3)
    assert counters["drops"] == {"guard-dhcp-client": 3}
    # A super-frame is several messages, of which the first alone could be seen; they will have another length
    # than its packet says.
    short = [bytes(ip6(LOCAL, plen=length) / lease6(8, VICTIM6)[UDP]) for length in (0, 8, 9)]
    verdicts = made.forward(0, 0, [burst[1], *short], gso=True)
    reasons = ["guard-dhcp-client", "guard-headers", "guard-headers", "guard-dhcp-client"]
    assert [verdict.reason for verdict in verdicts] == reasons


def test_what_is_no_address_is_refused() -> None:
    for prefix in ("10.0.0.1", "10.0.0.1/33", "fd00::/129", "10.0.0/8", "/", ""):
        with pytest.raises(ValueError, match="is not a prefix"):
            Guard(OWN, addresses=[(prefix, None, None)])
    with pytest.raises(ValueError, match="MAC"):
        Guard("02:00")
