"""Ways around a guard that others have written down, each tried.

Router advertisements that hide (RFC 7113), neighbour discovery in fragments (RFC 6980), header chains
cut in two (RFC 7112), overlapping fragments (RFC 5722), what the attack tools for IPv6 send, and other
ways to write the same thing on an Ethernet: tags of all kinds, LLC and SNAP, odd forms of ARP, DHCP that
speaks for somebody else. Helpers are in `guarded.py`.
"""

from __future__ import annotations

import struct

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.dhcp6 import (
    DHCP6_Advertise,
    DHCP6_Reconf,
    DHCP6_RelayForward,
    DHCP6_RelayReply,
    DHCP6_Release,
    DHCP6_Reply,
    DHCP6_Solicit,
)
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_LSRR, IPOption_SSRR
from scapy.layers.inet6 import (
    HAO,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6MLQuery,
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
    Jumbo,
    PadN,
)
from scapy.layers.l2 import ARP, LLC, SNAP, STP, Dot1AD, Dot1Q, Dot3, Ether
from scapy.packet import Packet, Raw

from tests.switch.guarded import (
    ALL_NODES,
    IP4,
    IP6,
    LOCAL,
    LOCAL_VICTIM,
    OTHER,
    OWN,
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
from tests.switch.test_guard_cases import RA

POISON = ARP(op=2, hwsrc=OWN, psrc=VICTIM4, hwdst=OTHER, pdst=IP4)
SPOOF = IP(src=VICTIM4, dst=IP4) / UDP()
DISCOVERY = {
    "RS": ICMPv6ND_RS(),
    "RA": ICMPv6ND_RA(),
    "NS": ICMPv6ND_NS(tgt=VICTIM6),
    "NA": ICMPv6ND_NA(tgt=IP6),
    "redirect": ICMPv6ND_Redirect(),
    "MLD query": ICMPv6MLQuery(),
    "a certification path": Raw(b"\x95" + bytes(11)),
}


def kind(number: int, payload: Packet | bytes = b"") -> Ether:
    """A frame with another EtherType in front of something that is forged."""
    return ether(type=number) / Raw(bytes(payload) or bytes(46))


def discover(**keys: object) -> Packet:
    """A DHCP client's message, but for some fields."""
    return Ether(bytes(dhcp(**keys)))


def release(source: str, has: str) -> Packet:
    """A DHCP client's message from an address about one."""
    frame = discover(ciaddr=has)
    frame[IP].src = source
    return Ether(bytes(frame))


def cut_off(frame: Packet, count: int) -> bytes:
    """The frame as it was, and the packet in it shorter, as its header says."""
    data = bytearray(bytes(frame))
    data[16:18] = (int.from_bytes(data[16:18], "big") - count).to_bytes(2, "big")
    return bytes(data)


def client6(message: Packet, sport: int = 546) -> Packet:
    return ip6(LOCAL, dst="ff02::1:2") / UDP(sport=sport, dport=547) / message


def far(upper: Packet) -> Packet:
    """Behind so much that of a UDP header its ports are seen, and nothing that follows."""
    options = IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(60))])
    return ether(dst=ALL_NODES) / Dot1Q(vlan=0) / IPv6(src=LOCAL, dst="ff02::1:2") / options / upper


def chain(headers: int, upper: Packet) -> Packet:
    """Behind so many headers of destination options."""
    packet = ip6(LOCAL)
    for _ in range(headers):
        packet = packet / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0\0\0\0")])
    return packet / upper


TAGS = {
    "an S-tag": ("tag-not-allowed", ether() / Dot1AD(vlan=5) / SPOOF),
    "an S-tag in front of a C-tag": ("tag-not-allowed", ether() / Dot1AD(vlan=3) / Dot1Q(vlan=5) / SPOOF),
    "an S-tag behind a priority tag": ("tag-not-allowed", ether() / Dot1Q(vlan=0) / Dot1AD(vlan=5) / SPOOF),
    "two S-tags": ("tag-not-allowed", ether() / Dot1AD(vlan=0) / Dot1AD(vlan=5) / SPOOF),
    "a C-tag": ("tag-not-allowed", ether() / Dot1Q(vlan=1) / SPOOF),
    "a C-tag behind a priority tag": ("tag-not-allowed", ether() / Dot1Q(vlan=0) / Dot1Q(vlan=1) / SPOOF),
    "two priority tags": ("tag-not-allowed", ether() / Dot1Q(vlan=0) / Dot1Q(vlan=0) / SPOOF),
    "three tags": ("malformed-tag", ether() / Dot1Q(vlan=0) / Dot1Q(vlan=0) / Dot1Q(vlan=5) / SPOOF),
    "a tag and nothing": ("malformed-tag", bytes(ether(type=0x8100))[:14] + b"\0\0"),
    **{f"tag {number:#x}": ("guard-headers", kind(number, SPOOF)) for number in
       (0x9100, 0x9200, 0x9300, 0x88E7, 0x8926, 0x893F, 0x22E9, 0xF1C1, 0x892F, 0x8909)},
    "a foreign tag behind a priority tag": ("guard-headers", ether() / Dot1Q(vlan=0, type=0x9100) / SPOOF),
    "ip behind a priority tag": ("guard-ip4", ether() / Dot1Q(vlan=0, prio=7) / SPOOF),
    "arp behind a priority tag": ("guard-arp", ether(dst=OTHER) / Dot1Q(vlan=0) / POISON),
    "an advertisement behind a priority tag": (
        "guard-ra",
        ether(dst=ALL_NODES) / Dot1Q(vlan=0) / IPv6(src=LOCAL, dst="ff02::1") / RA,
    ),
}  # fmt: skip

LINKS = {
    "arp in snap": ("guard-control", Dot3(src=OWN, dst=OTHER) / LLC() / SNAP(code=0x0806) / POISON),
    "ip in snap": ("guard-control", Dot3(src=OWN, dst=OTHER) / LLC() / SNAP(code=0x0800) / SPOOF),
    "ipv6 in snap": (
        "guard-control",
        Dot3(src=OWN, dst=ALL_NODES) / LLC() / SNAP(code=0x86DD) / IPv6(src=LOCAL, dst="ff02::1") / RA,
    ),
    "snap of a bridge-tunnel": (
        "guard-control",
        Dot3(src=OWN, dst=OTHER) / LLC() / SNAP(OUI=0xF8, code=0x80F3) / Raw(bytes(20)),
    ),
    "ip by its own sap": ("guard-control", Dot3(src=OWN, dst=OTHER) / LLC(dsap=6, ssap=6, ctrl=3) / SPOOF),
    "llc behind a priority tag": (
        "guard-control",
        ether() / Dot1Q(vlan=0, type=60) / LLC(dsap=0xAA, ssap=0xAA, ctrl=3) / SNAP(code=0x0800) / SPOOF,
    ),
    "llc by an ethertype": ("guard-control", kind(0x8870, LLC(dsap=0x42, ssap=0x42, ctrl=3) / STP())),
    "snap by an ethertype": ("guard-control", kind(0x8870, LLC() / SNAP(code=0x0806) / POISON)),
    "a length of 0": ("guard-control", kind(0)),
    "neither length nor type": ("guard-control", kind(0x5FF)),
    **{f"protocol {number:#x}": ("guard-control", kind(number)) for number in
       (0x2000, 0x2003, 0x2004, 0x8808, 0x8809, 0x888E, 0x8899, 0x88CC, 0x88F5, 0x88F6, 0x8902, 0x22EA,
        0x22F3, 0x22F4, 0x893B, 0x8940, 0x8946, 0x9000, 0x9001, 0x9002, 0x88C7, 0x88E3, 0x88FB, 0x22E7)},
    "to a bridge's group": ("link-local", ether(dst="01:80:c2:00:00:0e", type=0x88CC) / Raw(bytes(46))),
    "a runt": ("runt", bytes(13)),
    "too long": ("giant", ip() / UDP() / Raw(bytes(1480))),
    "from a group": ("source-multicast", ether(src="03:00:00:00:00:0a") / SPOOF),
    "from nobody": ("source-zero", ether(src="00:00:00:00:00:00") / SPOOF),
}  # fmt: skip

CLAIMS = {
    "arp with long addresses": ("guard-arp", arp(hwlen=8)),
    "arp with no hardware address": ("guard-arp", arp(hwlen=0)),
    "arp for long protocol addresses": ("guard-arp", arp(plen=16)),
    "arp of another hardware": ("guard-arp", arp(hwtype=6)),
    "arp for another protocol": ("guard-arp", arp(ptype=0x86DD)),
    "arp cut off": ("guard-arp", bytes(arp(psrc=VICTIM4))[:41]),
    "inverse arp": ("guard-arp", arp(op=8)),
    "its reply": ("guard-arp", arp(op=9)),
    "arp that is no operation": ("guard-arp", arp(op=0)),
    "a reply without being asked": ("guard-arp", ether(dst=OTHER) / POISON),
    "ethernet says another sender": ("guard-arp", ether(dst=OTHER) / ARP(op=2, hwsrc=OTHER, psrc=IP4)),
    "reverse arp's reply": ("guard-arp", ether(type=0x8035) / ARP(op=4, hwsrc=OWN, hwdst=OWN)),
    "dhcp with a longer address": ("guard-dhcp-client", discover(hlen=16)),
    "dhcp of another hardware": ("guard-dhcp-client", discover(htype=6)),
    "dhcp by way of a relay": ("guard-dhcp-client", discover(giaddr=VICTIM4)),
    "dhcp with a relay's words": ("guard-dhcp-client", lease4(1, b"\x52\6\1\4port")),
    "dhcp gives back another's address": ("guard-dhcp-client", discover(ciaddr=VICTIM4)),
    "the same from its own": ("guard-dhcp-client", release(IP4, VICTIM4)),
    "the same from there": ("guard-ip4", release(VICTIM4, VICTIM4)),
    "dhcp from any port": ("guard-dhcp-client", discover(sport=9999)),
    "dhcp whose packet ends before its options do": ("guard-dhcp-client", cut_off(lease4(7, has=IP4), 2)),
    "dhcp whose packet ends before its options begin": ("guard-dhcp-client", cut_off(lease4(7, has=IP4), 9)),
    "a dhcp reply to servers": ("guard-dhcp-client", discover(op=2)),
    "dhcp cut off": ("guard-dhcp-client", bytes(dhcp())[:70]),
    **{f"dhcpv6 {type(message).__name__} from a client's port": ("guard-dhcp-server", client6(message))
       for message in (DHCP6_Advertise(), DHCP6_Reply(), DHCP6_Reconf(), DHCP6_RelayForward(),
                       DHCP6_RelayReply())},
    "dhcpv6 relay from any port": ("guard-dhcp-server", client6(DHCP6_RelayForward(), sport=9999)),
    "dhcpv6 from any port": ("guard-dhcp-client", client6(DHCP6_Solicit(), sport=9999)),
    "dhcpv6 release out of sight": ("guard-headers", far(lease6(8, VICTIM6)[UDP])),
    "dhcpv6 relay out of sight": ("guard-headers", far(client6(DHCP6_RelayForward())[UDP])),
    **{f"dhcpv6 release in a packet of {length} bytes": (
        "guard-headers", ip6(LOCAL, plen=length) / lease6(8, VICTIM6)[UDP])
       for length in (0, 4, 8)},
    "dhcpv6 from a server's port": ("guard-dhcp-server", client6(DHCP6_Solicit(), sport=547)),
    # Reconfigure-request, leasequeries, DHCPv4 inside, failover of servers, and what is yet to be invented.
    **{f"dhcpv6 message {kind}, which no client sends": (
        "guard-dhcp-server", client6(Raw(bytes([kind]) + bytes(20))))
       for kind in (0, 14, 15, 18, 20, 21, 24, 37, 255)},
}  # fmt: skip

HIDDEN = {
    **{f"{name} in {which}": ("guard-fragment", ip6(LOCAL) / IPv6ExtHdrFragment(m=more, nh=58) / message)
       for name, message in DISCOVERY.items()
       for more, which in enumerate(("an atomic fragment", "a first fragment"))},
    "an advertisement behind one header": ("guard-ra", chain(1, RA)),
    "behind as many as are followed": ("guard-ra", chain(8, ICMPv6ND_RA())),
    "behind one more": ("guard-headers", chain(9, ICMPv6ND_RA())),
    "out of sight": (
        "guard-headers",
        ip6(LOCAL) / IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(200))]) / RA,
    ),
    "the chain goes on in the next fragment": (
        "guard-fragment",
        ip6(LOCAL) / IPv6ExtHdrFragment(m=1, nh=60) / Raw(b"\x3a\x01" + bytes(14)),
    ),
    "a fragment of a fragment": (
        "guard-fragment",
        ip6(LOCAL) / IPv6ExtHdrFragment(m=1) / IPv6ExtHdrFragment(m=1) / RA,
    ),
    "a first fragment of nearly nothing": (
        "guard-fragment",
        ip6(LOCAL) / IPv6ExtHdrFragment(m=1, nh=58) / Raw(b"\x86\0\0\0"),
    ),
    "a fragment over the first": (
        "guard-fragment",
        ip6() / IPv6ExtHdrFragment(offset=1, m=1, nh=6) / Raw(bytes(64)),
    ),
    "the same of ipv4": ("guard-fragment", fragment(ip(proto=6) / Raw(bytes(64)), offset=1)),
    "beyond the largest packet": (
        "guard-fragment",
        ip6() / IPv6ExtHdrFragment(offset=8190, nh=17) / Raw(bytes(64)),
    ),
    "an advertisement in a jumbogram": (
        "guard-headers",
        ip6(LOCAL, plen=0) / IPv6ExtHdrHopByHop(options=[Jumbo(jumboplen=70_000)]) / RA,
    ),
    "hop-by-hop options later on": (
        "guard-headers",
        ip6(LOCAL) / IPv6ExtHdrDestOpt() / IPv6ExtHdrHopByHop() / RA,
    ),
    "another home address": (
        "guard-source-route",
        ip6() / IPv6ExtHdrDestOpt(options=[HAO(hoa=VICTIM6)]) / UDP(),
    ),
    "options that lead out of their header": (
        "guard-headers",
        ip6(nh=60) / Raw(b"\x11\0\x04\x09" + bytes(12)),
    ),
    "routing header 0": (
        "guard-source-route",
        ip6() / IPv6ExtHdrRouting(type=0, addresses=[VICTIM6]) / UDP(),
    ),
    "segments left": ("guard-source-route", ip6() / IPv6ExtHdrRouting(type=4, segleft=1) / UDP()),
    "loose source routing": ("guard-source-route", ip(options=[IPOption_LSRR(routers=[VICTIM4])]) / UDP()),
    "strict source routing": ("guard-source-route", ip(options=[IPOption_SSRR(routers=[VICTIM4])]) / UDP()),
    "ipv4 as ipv6": ("guard-headers", kind(0x86DD, SPOOF)),
    "ipv6 as ipv4": ("guard-headers", kind(0x0800, IPv6(src=VICTIM6) / UDP())),
    "a header of 16 bytes": ("guard-headers", ip(ihl=4) / UDP()),
    "a header longer than the frame": ("guard-headers", bytes(ip(ihl=15) / TCP())[:60]),
}  # fmt: skip

HELLO = Raw(b"\x20\0\xde\xff\0\1\0\2\0\x69" + bytes(64))
PIM = {
    "ipv4": ip(proto=103) / HELLO,
    "ipv4 to its group": ether(dst="01:00:5e:00:00:0d")
    / IP(src=IP4, dst="224.0.0.13", ttl=1, proto=103)
    / HELLO,
    "a first fragment": fragment(ip(proto=103) / HELLO),
    "a later fragment": fragment(ip(proto=103) / HELLO, offset=9),
    "ipv6": ip6(LOCAL, nh=103) / HELLO,
    "behind options": ip6(LOCAL) / IPv6ExtHdrDestOpt(nh=103) / HELLO,
    "in a later ipv6 fragment": ip6(LOCAL) / IPv6ExtHdrFragment(nh=103, offset=9) / HELLO,
}

TOOLS = {
    "smurf": ("guard-ip6", ip6(VICTIM6) / ICMPv6EchoRequest()),
    "reverse smurf": ("guard-ip6", ip6("ff02::1", dst=VICTIM6) / ICMPv6EchoReply()),
    "smurf of ipv4": ("guard-ip4", ether() / IP(src=VICTIM4, dst="10.0.0.255") / ICMP()),
    "land": ("guard-ip4", ether() / IP(src=VICTIM4, dst=VICTIM4) / TCP(sport=80, dport=80)),
    "a router that is to go away": ("guard-ra", ip6(LOCAL_VICTIM) / ICMPv6ND_RA(routerlifetime=0)),
    "a false neighbour": (
        "guard-nd",
        ip6() / ICMPv6ND_NA(tgt=VICTIM6, R=0, S=1, O=1) / ICMPv6NDOptDstLLAddr(lladdr=OWN),
    ),
    "nobody gets a new address": ("guard-nd", ip6() / ICMPv6ND_NA(tgt="fd00::77", R=0, S=0, O=1)),
    "nor by asking for the same": ("guard-nd", ip6("::") / ICMPv6ND_NS(tgt="fd00::77")),
    "a solicitation that poisons": (
        "guard-nd",
        ip6() / ICMPv6ND_NS(tgt=VICTIM6) / ICMPv6NDOptSrcLLAddr(lladdr=OTHER),
    ),
    "the second of two options": (
        "guard-nd",
        ip6() / ICMPv6ND_NA(tgt=IP6) / ICMPv6NDOptDstLLAddr(lladdr=OWN) / ICMPv6NDOptDstLLAddr(lladdr=OTHER),
    ),
    "a redirect": ("guard-redirect", ip6(LOCAL) / ICMPv6ND_Redirect(tgt=LOCAL, dst=VICTIM6)),
    "a querier": ("guard-querier", ip6(LOCAL) / IPv6ExtHdrHopByHop() / ICMPv6MLQuery()),
    **{f"multicast router discovery {number}": (
        "guard-querier", ip6(LOCAL, nh=58) / Raw(struct.pack("!BBHI", number, 0, 0, 0)))
       for number in (151, 152, 153)},
    **{f"a multicast router, {name}": ("guard-querier", frame) for name, frame in PIM.items()},
    "renumbering a router": ("guard-redirect", ip6(LOCAL, nh=58) / Raw(b"\x8a" + bytes(15))),
}  # fmt: skip

EVASIONS = {
    f"{group}, {name}": case
    for group, cases in (
        ("tags", TAGS), ("links", LINKS), ("claims", CLAIMS), ("hidden", HIDDEN), ("tools", TOOLS),
    )
    for name, case in cases.items()
}  # fmt: skip

NOBODYS = {
    "ipv4 under another type": kind(0x0801, SPOOF),
    "mpls": kind(0x8847, b"\0\1\x01\xff" + bytes(SPOOF)),
    "pppoe": kind(0x8864, b"\x11\0\0\1\0\x20\0\x21" + bytes(SPOOF)),
    "its own home address": ip6() / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0\0\0\0")]) / UDP(sport=1),
    "dhcpv6 release": client6(DHCP6_Release()),
    "later fragments": ip6() / IPv6ExtHdrFragment(offset=2, m=1, nh=6) / Raw(bytes(64)),
    "an address in a message of its own": discover(ciaddr=IP4),
    "an address given back": release(IP4, IP4),
}
"""What no host takes for another's, or what is a guest's good right."""


def fates(*frames: Packet | bytes) -> list[str | None]:
    """What becomes of a burst; what is given in bytes is not filled up to the least on an Ethernet."""
    burst = [frame if isinstance(frame, bytes) else bytes(frame).ljust(60, b"\0") for frame in frames]
    return [verdict.reason for verdict in switch(guard()).forward(0, 0, burst)]


@pytest.mark.parametrize("case", EVASIONS)
def test_an_evasion_is_refused(case: str) -> None:
    """Alone, and after good frames: what was decided about one like it is not taken for its."""
    reason, frame = EVASIONS[case]
    assert fates(frame) == [reason]
    for good in (ip() / UDP(sport=5, dport=6), ip6() / UDP(sport=5, dport=6)):
        assert fates(good, frame, good) == [None, reason, None]


@pytest.mark.parametrize("case", PIM)
def test_who_may_query_may_be_a_multicast_router(case: str) -> None:
    assert fate(PIM[case], guard(querier=True)) is None


@pytest.mark.parametrize("case", NOBODYS)
def test_what_is_nobody_elses_passes(case: str) -> None:
    assert fates(NOBODYS[case]) == [None]


def test_the_frames_are_what_their_names_say() -> None:
    """Helpers that build nothing but what was meant: a spoofed packet is one."""
    assert Ether(bytes(discover()))[BOOTP].chaddr[:6] == bytes.fromhex(OWN.replace(":", ""))
    assert fates(discover()) == [None]
    assert DHCP in discover()
    assert bytes(chain(2, RA)).count(b"\x01\x04") == 2


@pytest.mark.parametrize(
    ("reason", "address"),
    [
        *(("guard-ip4", address) for address in ("127.0.0.1", "224.0.0.1", "255.255.255.255")),
        *(("guard-ip6", address) for address in ("::1", "ff02::1", "::ffff:10.0.0.1")),
    ],
)
def test_what_is_no_hosts_is_nobodys(reason: str, address: str) -> None:
    """Not even a router's that may forward from everywhere, nor where no address is known to be right."""
    packet = (IPv6 if ":" in address else IP)(src=address) / UDP(sport=5, dport=6)
    frame = bytes(ether() / packet).ljust(60, b"\0")
    router = guard(addresses=[("0.0.0.0/0", None, None), ("::/0", None, None)])
    for known in (router, guard(unknown=[1])):
        (verdict,) = switch(known).forward(0, 0, [frame])
        assert verdict.reason == reason
