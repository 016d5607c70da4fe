"""What security groups let a host say and hear in any case, and what only looks like it."""

from __future__ import annotations

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import (
    ICMPv6MLQuery,
    ICMPv6MLReport,
    ICMPv6MLReport2,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_RS,
    IPv6,
    IPv6ExtHdrHopByHop,
    RouterAlert,
)
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from switch.policy import Allow, Policy
from tests.switch.grouped import GUEST, IP4, IP6, MACS, NOTHING, OUT, OUTSIDE, PEER, STRANGER, Bench
from vnet._native import Guard, PortConfig
from vnet.port import groups

ALL = "ff:ff:ff:ff:ff:ff"
FAR = "8.8.8.8"
LINK4 = "fe80::ff:fe00:a"


def igmp(kind: int, to: str, ttl: int = 1, source: str = IP4[GUEST], options: bytes = b"") -> Packet:
    """A message of IGMP about 239.1.1.1 (RFC 2236)."""
    body = bytes([kind, 0, 0, 0, 239, 1, 1, 1])
    return IP(src=source, dst=to, proto=2, ttl=ttl, options=options) / Raw(body)  # type: ignore[arg-type]


def mld(above: Packet, to: str, hops: int = 1, source: str = LINK4) -> Packet:
    alert = IPv6ExtHdrHopByHop(options=[RouterAlert()])
    return IPv6(src=source, dst=to, hlim=hops) / alert / above


def mac_of(address: str) -> str:
    """Of a group (RFC 1112, 6.4; RFC 2464, 7), of everybody, or else the peer's."""
    if ":" in address and address.startswith("ff"):
        return "33:33:00:00:00:" + f"{int(address.rpartition(':')[2] or '0', 16) & 0xFF:02x}"
    if address.split(".")[0] in ("224", "239"):
        return "01:00:5e:" + ":".join(f"{int(part) & 127:02x}" for part in address.split(".")[1:])
    return ALL if address == "255.255.255.255" else MACS[PEER]


def bench(policy: Policy = NOTHING, *, leased: bool = False) -> Bench:
    """With an uplink beside the peer, and a guest that has its addresses by DHCP, or from the topology."""
    made = Bench(policy)
    if leased:
        addresses = [(f"{IP4[GUEST]}/32", None, None)]
        guard = Guard(MACS[GUEST], addresses=addresses, learns=True)
        made.switch.set_port(GUEST, PortConfig(vlan=1, guard=guard, groups=groups(policy)))
    made.switch.add_port(OUTSIDE, PortConfig(vlan=1, uplink=True))
    return made


def says(made: Bench, packet: Packet) -> str | None:
    return made.send(GUEST, packet, to=mac_of(packet.dst))


def hears(made: Bench, packet: Packet, to: str | None = None) -> str | None:
    """From outside: why the guest does not get it."""
    frame = bytes(Ether(src=STRANGER, dst=to or MACS[GUEST]) / packet).ljust(60, b"\0")
    (verdict,) = made.switch.forward(made.now, OUTSIDE, [frame])
    return verdict.reason or dict(verdict.lost).get(GUEST)


def test_what_a_host_needs() -> None:
    made = bench()
    assert made.send(GUEST, ARP(hwsrc=MACS[GUEST], psrc=IP4[GUEST], pdst=IP4[PEER]), to=ALL) is None
    reply = ARP(op=2, hwsrc=MACS[PEER], psrc=IP4[PEER], hwdst=MACS[GUEST], pdst=IP4[GUEST])
    assert made.send(PEER, reply) is None
    assert says(made, discover()) is None
    ns = IPv6(src=IP6[GUEST], dst=IP6[PEER], hlim=255) / ICMPv6ND_NS(tgt=IP6[PEER])
    na = IPv6(src=IP6[PEER], dst=IP6[GUEST], hlim=255) / ICMPv6ND_NA(tgt=IP6[PEER])
    assert made.send(GUEST, ns) is None
    assert made.send(PEER, na) is None
    assert says(made, IPv6(src=LINK4, dst="ff02::2", hlim=255) / ICMPv6ND_RS()) is None
    assert (
        hears(made, IPv6(src="fe80::1", dst="ff02::1", hlim=255) / ICMPv6ND_RA(), mac_of("ff02::1")) is None
    )
    for kind, to in ((0x12, "239.1.1.1"), (0x16, "239.1.1.1"), (0x17, "224.0.0.2"), (0x22, "224.0.0.22")):
        for alert in (b"", b"\x94\4\0\0"):
            assert says(made, igmp(kind, to, options=alert)) is None, "old hosts don't alert routers"
    for to in ("224.0.0.1", "239.1.1.1"):
        assert hears(made, igmp(0x11, to, source="10.0.0.1"), mac_of(to)) is None
    assert says(made, mld(ICMPv6MLReport(mladdr="ff05::9"), "ff05::9")) is None
    assert says(made, mld(ICMPv6MLReport2(), "ff02::16")) is None
    assert hears(made, mld(ICMPv6MLQuery(), "ff02::1", source="fe80::1"), mac_of("ff02::1")) is None
    assert made.states() == []


SAID: dict[str, Packet] = {
    "a report to one host": igmp(0x16, IP4[PEER]),
    "a report far away": igmp(0x16, FAR),
    "a report for routers to pass on": igmp(0x16, "239.1.1.1", ttl=64),
    "a query": igmp(0x11, "224.0.0.1"),
    "igmp in ipv6": IPv6(src=IP6[GUEST], dst=IP6[PEER], nh=2, hlim=1) / Raw(b"\x16" + bytes(1400)),
    "igmp in ipv6 to a group": IPv6(src=IP6[GUEST], dst="ff02::1", nh=2, hlim=1) / Raw(b"\x16" + bytes(7)),
    "a report of mld to one host": mld(ICMPv6MLReport(), IP6[PEER]),
    "a report of mld for routers to pass on": mld(ICMPv6MLReport(), "ff05::9", hops=64),
    "a solicitation over routers": IPv6(src=IP6[GUEST], dst=IP6[PEER], hlim=64) / ICMPv6ND_NS(tgt=IP6[PEER]),
}  # fmt: skip
HEARD: dict[str, Packet] = {
    "a query for one host": igmp(0x11, IP4[GUEST], source="10.0.0.1"),
    "a query from far away": igmp(0x11, IP4[GUEST], ttl=50, source=FAR),
    "a query that routers passed on": igmp(0x11, "224.0.0.1", ttl=2, source=FAR),
    "a report": igmp(0x16, "239.1.1.1", source="10.0.0.1"),
    "igmp in ipv6": IPv6(src="2001:db8::1", dst=IP6[GUEST], nh=2, hlim=1) / Raw(b"\x11" + bytes(1400)),
    "a query of mld for one host": mld(ICMPv6MLQuery(), IP6[GUEST], source="fe80::1"),
    "an advertisement over routers": IPv6(src="fe80::1", dst=IP6[GUEST], hlim=9) / ICMPv6ND_NA(tgt="fe80::1"),
}  # fmt: skip


@pytest.mark.parametrize("packet", SAID.values(), ids=list(SAID))
def test_what_only_looks_like_it_is_not_said(packet: Packet) -> None:
    # The guard would refuse some of it before.
    made = bench()
    made.switch.set_port(GUEST, PortConfig(vlan=1, groups=groups(NOTHING)))
    assert says(made, packet) == "group-egress"
    made.rules(OUT)
    assert says(made, packet) is None, "by a rule"


@pytest.mark.parametrize("packet", HEARD.values(), ids=list(HEARD))
def test_what_only_looks_like_it_is_not_heard(packet: Packet) -> None:
    made = bench()
    to = mac_of(packet.dst) if packet.dst[:2] in ("22", "23", "ff") else None
    assert hears(made, packet, to) == "group-ingress"
    made.rules(Policy(ingress=(Allow(),)))
    assert hears(made, packet, to) is None, "by a rule"


def test_igmp_in_ipv6_is_a_protocol_like_any_other() -> None:
    made = bench(Policy(ingress=(Allow(2),), egress=()))
    assert hears(made, HEARD["igmp in ipv6"]) is None
    back = IPv6(src=IP6[GUEST], dst="2001:db8::1", nh=2) / Raw(b"\x16" + bytes(7))
    assert made.send(GUEST, back, to=STRANGER) is None, "an answer"


# -- DHCP ------------------------------------------------------------------------------------------


def request(source: str, target: str) -> Packet:
    boot = BOOTP(chaddr=bytes.fromhex(MACS[GUEST].replace(":", "")))
    return IP(src=source, dst=target) / UDP(sport=68, dport=67) / boot / DHCP(options=["end"])


def discover() -> Packet:
    return request("0.0.0.0", "255.255.255.255")


def offer(source: str = "10.0.0.1", target: str = IP4[GUEST]) -> Packet:
    return IP(src=source, dst=target) / UDP(sport=67, dport=68) / BOOTP(op=2) / DHCP(options=["end"])


def test_who_asked_by_dhcp_is_told() -> None:
    """By a server or a relay, at its new address or at everybody's; who did not ask is not."""
    made = bench()
    assert hears(made, offer()) == "group-ingress"
    assert hears(made, offer(FAR)) == "group-ingress"
    assert says(made, discover()) is None
    for source in ("10.0.0.1", "192.0.2.1"):
        for target, to in ((IP4[GUEST], None), ("255.255.255.255", ALL)):
            assert hears(made, offer(source, target), to) is None
    assert hears(made, told6()) == "group-ingress", "that it did not ask"
    made.wait(29)
    assert hears(made, offer()) is None
    made.wait(2)
    assert hears(made, offer()) == "group-ingress"
    assert hears(made, offer(target="255.255.255.255"), ALL) == "group-ingress"


def test_who_has_asked_and_goes_is_not_told() -> None:
    made = bench()
    assert says(made, discover()) is None
    config = made.config(GUEST, NOTHING)
    made.switch.remove_port(GUEST)
    made.switch.add_port(GUEST, config)
    assert hears(made, offer()) == "group-ingress"


def test_a_lease_is_renewed_at_its_server() -> None:
    """Which may be beyond a router. Who has no lease by the topology asks whom its rules let it."""
    made = bench(leased=True)
    renewal = request(IP4[GUEST], FAR)
    assert made.send(GUEST, renewal, to=STRANGER) is None
    assert hears(made, offer(FAR)) is None
    fixed = bench()
    assert fixed.send(GUEST, renewal, to=STRANGER) == "group-egress"
    assert hears(fixed, offer(FAR)) == "group-ingress"
    assert says(fixed, request(IP4[GUEST], "255.255.255.255")) is None, "it asks everybody anew"
    fixed.rules(OUT)
    assert fixed.send(GUEST, renewal, to=STRANGER) is None
    assert hears(fixed, offer(FAR)) is None


SERVERS = "ff02::1:2"


def asks6(target: str) -> Packet:
    return IPv6(src=LINK4, dst=target) / UDP(sport=546, dport=547) / Raw(b"\x01\0\0\1")


def told6() -> Packet:
    return IPv6(src="fe80::1", dst=LINK4) / UDP(sport=547, dport=546) / Raw(b"\x02\0\0\1")


def test_dhcp_of_ipv6() -> None:
    made = bench()
    assert hears(made, told6()) == "group-ingress"
    assert says(made, asks6(SERVERS)) is None
    assert hears(made, told6()) is None
    assert hears(made, offer()) == "group-ingress", "that it did not ask"
    for target in (IP6[PEER], "ff05::1:3"):
        assert made.send(GUEST, asks6(target), to=MACS[PEER]) == "group-egress", "not on its link"
    leased = bench(leased=True)
    assert leased.send(GUEST, asks6(IP6[PEER]), to=MACS[PEER]) is None
    assert hears(leased, told6()) is None


def test_a_server_needs_rules() -> None:
    made = bench()
    made.switch.set_port(2, PortConfig(vlan=1, groups=groups(NOTHING)))
    answer = Ether(src=MACS[2], dst=MACS[GUEST]) / offer(IP4[2])
    assert says(made, discover()) is None
    assert made.raw(2, bytes(answer)) == "group-egress"
    made.rules(OUT, 2)
    assert made.raw(2, bytes(answer)) is None
