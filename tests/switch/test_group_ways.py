"""Security groups where one address is at several ports: gateways, NICs that stand in for each other, and
guests that send in the name of others.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, ICMPv6PacketTooBig, IPv6
from scapy.layers.l2 import ARP
from scapy.packet import Packet, Raw

from switch.policy import Allow, Policy
from tests.switch.grouped import (
    GUEST,
    IP4,
    IP6,
    MACS,
    OPEN,
    OUT,
    PEER,
    STRANGER,
    TCP_80,
    Bench,
    Talk,
    comes,
    with_an_uplink,
)  # fmt: skip
from vnet._native import Guard, PortConfig
from vnet.port import groups

GATEWAY = 2
"""Or whoever else may send from any address."""


def bench_of_three(guest: Policy | None, peer: Policy | None, third: Policy | None) -> Bench:
    """The third may send from all addresses, as a gateway may, and everybody in a network without subnets."""
    bench = Bench(guest, peer)
    guard = Guard(MACS[GATEWAY], addresses=[("10.0.0.0/24", None, None), ("fd00::/64", None, None)])
    bench.switch.set_port(GATEWAY, PortConfig(vlan=1, guard=guard, groups=groups(third)))
    here = ARP(hwsrc=MACS[GATEWAY], psrc=IP4[GATEWAY], pdst="10.0.0.99")
    bench.send(GATEWAY, here, to="ff:ff:ff:ff:ff:ff")
    return bench


class Forwarded:
    """What guest and peer say to each other over the gateway."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    def say(self, sender: int, packet: Packet) -> str | None:
        """Why a packet does not arrive by both legs of its way."""
        to = MACS[PEER - sender]
        return self.bench.send(sender, packet, to=MACS[GATEWAY]) or self.bench.send(GATEWAY, packet, to=to)


def ends(sender: int, v6: bool) -> Packet:
    return (IPv6 if v6 else IP)(src=(IP6 if v6 else IP4)[sender], dst=(IP6 if v6 else IP4)[PEER - sender])


def tcp(sender: int, flags: str, seq: int, ack: int = 0, data: bytes = b"", v6: bool = False) -> Packet:
    """The guest is the client."""
    ports = (5555, 80) if sender == GUEST else (80, 5555)
    segment = TCP(sport=ports[0], dport=ports[1], flags=flags, seq=seq, ack=ack, window=8192)
    return ends(sender, v6) / segment / Raw(data)


def talk_of_tcp(v6: bool) -> Iterator[tuple[int, Packet]]:
    """A handshake, and a request with an answer of several segments, before any of which is acknowledged."""
    yield GUEST, tcp(GUEST, "S", 100, v6=v6)
    yield PEER, tcp(PEER, "SA", 900, 101, v6=v6)
    yield GUEST, tcp(GUEST, "A", 101, 901, v6=v6)
    yield GUEST, tcp(GUEST, "PA", 101, 901, b"hello", v6=v6)
    for at in (901, 1001, 1101):
        yield PEER, tcp(PEER, "A", at, 106, bytes(100), v6=v6)
    yield GUEST, tcp(GUEST, "A", 106, 1201, v6=v6)


# -- gateways --------------------------------------------------------------------------------------


@pytest.mark.parametrize("v6", [False, True])
def test_a_gateway_forwards_within_a_network(v6: bool) -> None:
    """As in a private network with `proxy_arp`: each packet passes four gates, those of the gateway twice."""
    bench = bench_of_three(OUT, TCP_80, OPEN)
    over = Forwarded(bench)
    assert [over.say(*said) for said in talk_of_tcp(v6)] == [None] * 8
    assert bench.states() == ["established"]
    bench.rules(Policy(ingress=(Allow(6, (80, 80)), Allow(17))), PEER)
    bench.rules(Policy(egress=(Allow(6),)), GUEST)
    assert over.say(GUEST, tcp(GUEST, "PA", 106, 1201, b"more", v6=v6)) is None, "rules that still allow it"
    assert over.say(PEER, tcp(PEER, "PA", 1201, 110, b"and more", v6=v6)) is None
    bench.rules(OUT, PEER)
    assert over.say(GUEST, tcp(GUEST, "PA", 110, 1209, b"x", v6=v6)) == "group-ingress"


@pytest.mark.parametrize("v6", [False, True])
def test_a_gateway_forwards_what_is_no_tcp(v6: bool) -> None:
    bench = bench_of_three(OUT, OPEN, OPEN)
    over = Forwarded(bench)
    ask, answer = (ICMPv6EchoRequest, ICMPv6EchoReply) if v6 else (ICMP, lambda **keys: ICMP(type=0, **keys))
    for there, back in (
        (UDP(sport=5, dport=53), UDP(sport=53, dport=5)),
        (ask(id=7), answer(id=7)),
    ):
        said = [(GUEST, there), (PEER, back), (PEER, back), (GUEST, there), (PEER, back)]
        assert [over.say(who, ends(who, v6) / packet) for who, packet in said] == [None] * 5
    assert over.say(PEER, ends(PEER, v6) / UDP(sport=9, dport=9)) == "group-ingress", "nobody asked"


def test_who_is_asked_over_a_gateway_has_a_say() -> None:
    bench = bench_of_three(OUT, TCP_80, OUT)
    assert Forwarded(bench).say(GUEST, tcp(GUEST, "S", 100)) == "group-ingress", "the gateway's"
    bench.rules(OPEN, GATEWAY)
    bench.rules(OUT, PEER)
    assert Forwarded(bench).say(GUEST, tcp(GUEST, "S", 100)) == "group-ingress", "the peer's"
    assert bench.send(PEER, tcp(PEER, "SA", 900, 101), to=MACS[GUEST]) == "group-egress", "by another way"


# -- in the name of others -------------------------------------------------------------------------


@pytest.mark.parametrize("door", [GUEST, PEER])
def test_nobody_begins_in_the_name_of_a_guest(door: int) -> None:
    """What seems to come from the guest came in from outside, by a rule for something else: so what follows
    are no answers.
    """
    bench = with_an_uplink(TCP_80 if door == GUEST else OUT, TCP_80)
    there, guest = "192.0.2.66", IP4[GUEST]
    for v in (TCP(sport=80, dport=22, flags="S", seq=5000), TCP(sport=80, dport=22, flags="SA", ack=1000)):
        assert comes(bench, IP(src=there, dst=guest) / v) in ("group-ingress", "group-invalid")
        assert (
            comes(bench, IP(src=guest, dst=there) / TCP(sport=22, dport=80, flags="S", seq=999), door) is None
        )
        assert comes(bench, IP(src=there, dst=guest) / v) in ("group-ingress", "group-invalid")


def test_who_is_named_can_still_begin() -> None:
    """A forged first packet stands in nobody's way: not in the guest's, and not in that of who is let in."""
    bench = with_an_uplink(Policy(ingress=(Allow(17),)))
    out = IP(src=IP4[GUEST], dst="192.0.2.66") / UDP(sport=53, dport=9)
    back = IP(src="192.0.2.66", dst=IP4[GUEST]) / UDP(sport=9, dport=53)
    assert comes(bench, out) is None
    assert comes(bench, back) is None, "by the rule"
    assert comes(bench, out) is None
    bench.rules(OUT)
    assert comes(bench, back) == "group-ingress"
    assert bench.send(GUEST, out, to=STRANGER) is None
    assert comes(bench, back) is None, "an answer"


def test_an_answer_goes_to_whom_it_answers() -> None:
    """The address is of who began; the NIC is another guest's, who did not."""
    bench = Bench(OUT, Policy(ingress=(Allow(),)))
    assert bench.send(2, IP(src=IP4[2], dst=IP4[PEER]) / UDP(sport=9, dport=5)) is None
    answer = IP(src=IP4[PEER], dst=IP4[2]) / UDP(sport=5, dport=9)
    assert bench.send(PEER, answer, to=MACS[GUEST]) == "group-ingress"
    assert bench.send(PEER, answer) is None


@pytest.mark.parametrize("third", [OPEN, None])
@pytest.mark.parametrize("there", [UDP(sport=5, dport=80), TCP(sport=5, dport=80, flags="S", seq=99)])
def test_a_guest_begins_nothing_in_the_name_of_another(third: Policy | None, there: Packet) -> None:
    """Whether who forges has groups or none: what then comes from the peer is no answer to the guest until it
    has itself begun.
    """
    bench = bench_of_three(OUT, OPEN, third)
    out = ends(GUEST, False) / there
    back = UDP(sport=80, dport=5) if UDP in there else TCP(sport=80, dport=5, flags="SA", seq=9, ack=100)
    answer = ends(PEER, False) / back
    for _ in range(2):
        assert bench.send(GATEWAY, out, to=MACS[PEER]) is None
        assert bench.send(PEER, answer, to=MACS[GUEST]) == "group-ingress"
    assert bench.send(GUEST, out) is None, "it may begin"
    assert bench.send(PEER, answer) is None
    assert bench.send(GATEWAY, out, to=MACS[PEER]) is None
    assert bench.send(PEER, answer) is None, "and goes on"


def test_who_is_let_in_begins_in_spite_of_one_who_forged_before() -> None:
    bench = bench_of_three(TCP_80, OPEN, OPEN)
    forged = IP(src=IP4[GUEST], dst=IP4[PEER]) / TCP(sport=80, dport=5555, flags="S", seq=77)
    assert bench.send(GATEWAY, forged, to=MACS[PEER]) is None
    assert Talk(bench, port=80).say(PEER, "A") == "group-invalid", "no beginning"
    assert Talk(bench, port=80).open() is None


@pytest.mark.parametrize("third", [OPEN, OUT])
def test_one_packet_in_the_name_of_another_cuts_nothing(third: Policy) -> None:
    """Who knows the ports of a connection, and no more of it."""
    bench = bench_of_three(OUT, TCP_80, third)
    talk = Talk(bench, client=GUEST)
    assert talk.open() is None
    for flags, fate in (("A", "group-invalid"), ("FA", "group-invalid"), ("R", "group-invalid"), ("S", None)):
        there, back = (
            tcp(sender, flags, 1 << 31, 1 << 30 if "A" in flags else 0) for sender in (GUEST, PEER)
        )
        assert bench.send(GATEWAY, there, to=MACS[PEER]) == fate
        assert talk.both() == [None, None]
        # In the peer's name the rules are asked of what its own guest lets in.
        wanted = fate if third is OPEN else "group-egress"
        assert bench.send(GATEWAY, back, to=MACS[GUEST]) == wanted
        assert talk.both() == [None, None]
    assert bench.states() == ["established"]


def test_what_replaces_a_connection_has_to_be_allowed() -> None:
    """One that is over, and another that would begin in its place."""
    bench = with_an_uplink(OUT, OPEN)
    talk = Talk(bench, client=GUEST)
    assert talk.open() is None
    assert [talk.say(GUEST, "FA"), talk.say(PEER, "FA"), talk.say(GUEST, "A")] == [None] * 3
    assert bench.states() == ["time-wait"]
    back = IP(src=IP4[PEER], dst=IP4[GUEST]) / TCP(sport=80, dport=5555, flags="S", seq=1)
    assert comes(bench, back) == "group-ingress"
    assert bench.states() == ["time-wait"]


def test_who_has_lost_a_connection_begins_it_anew() -> None:
    """The server's state is gone, and the client takes the same ports once more; no other may for it."""
    bench = bench_of_three(OUT, TCP_80, OPEN)
    talk = Talk(bench, client=GUEST)
    assert talk.open() is None
    assert talk.both() == [None, None]
    for who, fate in ((GATEWAY, "group-invalid"), (GUEST, None)):
        assert bench.send(who, tcp(GUEST, "S", 1 << 31), to=MACS[PEER]) is None
        assert bench.send(PEER, tcp(PEER, "SA", 1 << 30, (1 << 31) + 1)) == fate
    assert bench.send(GUEST, tcp(GUEST, "A", (1 << 31) + 1, (1 << 30) + 1)) is None
    assert bench.states() == ["established"]
    assert talk.say(GUEST, "PA", b"old") == "group-invalid"


# -- errors ----------------------------------------------------------------------------------------


def error(sender: int, v6: bool) -> Packet:
    """That a packet of guest's to peer is too big, says `sender`."""
    header = (IPv6 if v6 else IP)(src=(IP6 if v6 else IP4)[sender], dst=(IP6 if v6 else IP4)[GUEST])
    what = ICMPv6PacketTooBig(mtu=1280) if v6 else ICMP(type=3, code=4, nexthopmtu=1280)
    return header / what / ends(GUEST, v6) / UDP(sport=5, dport=53)


FOR_DNS = Policy(ingress=(Allow(17, (53, 53)),), egress=())


@pytest.mark.parametrize("v6", [False, True])
@pytest.mark.parametrize("third", [None, OUT, FOR_DNS])
def test_errors_are_of_an_end_or_of_a_router(third: Policy | None, v6: bool) -> None:
    """A neighbour that has nothing to do with a connection has no say in it, whatever its rules let in."""
    for is_router in (False, True):
        bench = bench_of_three(OUT, FOR_DNS, third) if is_router else Bench(OUT, FOR_DNS)
        if not is_router:
            bench.switch.set_groups(GATEWAY, groups(third))
        assert bench.send(GUEST, ends(GUEST, v6) / UDP(sport=5, dport=53)) is None
        wanted = None if is_router else "group-egress" if third is FOR_DNS else "group-ingress"
        assert bench.send(GATEWAY, error(GATEWAY, v6)) == wanted
        assert bench.send(PEER, error(PEER, v6)) is None


def test_a_router_speaks_of_what_it_is_a_router_for() -> None:
    for prefix, fate in (("fd01::/64", "group-ingress"), ("fd00::/64", None)):
        bench = Bench(OUT)
        guard = Guard(MACS[GATEWAY], addresses=[(f"{IP6[GATEWAY]}/128", None, None), (prefix, None, None)])
        bench.switch.set_port(GATEWAY, PortConfig(vlan=1, guard=guard))
        assert bench.send(GUEST, ends(GUEST, True) / UDP(sport=5, dport=53)) is None
        assert bench.send(GATEWAY, error(GATEWAY, True)) == fate


@pytest.mark.parametrize("v6", [False, True])
def test_routers_outside_send_errors(v6: bool) -> None:
    bench = with_an_uplink(OUT)
    assert bench.send(GUEST, ends(GUEST, v6) / UDP(sport=5, dport=53)) is None
    said = error(GUEST, v6)
    said.src = "2001:db8::1" if v6 else "192.0.2.1"
    assert comes(bench, said) is None


# -- NICs that stand in for each other -------------------------------------------------------------


def test_an_address_moves_to_another_nic() -> None:
    """A bond in a guest, whose NICs may both use its address: connections go on by the other one."""
    bench = bench_of_three(OUT, TCP_80, OUT)
    said = list(talk_of_tcp(False))
    for sender, packet in said[:5]:
        assert bench.send(sender, packet) is None
    acknowledged = tcp(GUEST, "A", 106, 1001)
    assert bench.send(GATEWAY, acknowledged, to=MACS[PEER]) is None
    for sender, packet in said[5:7]:
        assert sender == PEER
        assert bench.send(sender, packet, to=MACS[GATEWAY]) is None
    assert bench.send(GUEST, said[7][1]) is None, "and back"
    assert bench.send(PEER, tcp(PEER, "PA", 1201, 106, b"x")) is None


def test_a_connection_that_takes_anothers_place_needs_no_room() -> None:
    bench = Bench(OUT, connections=1)
    talk = Talk(bench, client=GUEST)
    assert talk.open() is None
    assert [talk.say(GUEST, "FA"), talk.say(PEER, "FA"), talk.say(GUEST, "A")] == [None] * 3
    talk.seq[GUEST] = 500_000
    assert talk.open() is None
    assert bench.states() == ["established"]
