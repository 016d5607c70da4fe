"""Security groups, rule by rule, with packets made by scapy.

The cases are those that the firewalls of clouds are tested with (OpenStack Neutron's functional tests: what
begins, what is closed, established connections that are cut, related packets, groups as remotes, no
blink when rules change), and those of connection tracking: handshakes, windows, errors, fragments, limits.
"""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPerror, UDPerror, fragment
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    IPv6,
    IPv6ExtHdrFragment,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from switch.policy import Allow, Policy, Remote
from tests.switch.grouped import GUEST, IP4, IP6, MACS, NOTHING, OPEN, OUT, PEER, TCP_80, Bench, Talk, ip
from vnet._native import PortConfig


@pytest.mark.parametrize("v6", [False, True])
def test_nothing_comes_in_by_itself(v6: bool) -> None:
    bench = Bench(OUT)
    echo = ICMPv6EchoRequest(id=1) if v6 else ICMP(id=1)
    assert Talk(bench, v6=v6).open() == "group-ingress"
    assert bench.send(PEER, ip(PEER, v6) / UDP(sport=5, dport=53)) == "group-ingress"
    assert bench.send(PEER, ip(PEER, v6) / echo) == "group-ingress"
    other = Ether(src=MACS[PEER], dst=MACS[GUEST], type=0x88B5) / Raw(b"x" * 46)
    assert bench.raw(PEER, bytes(other)) == "group-ingress", "what is no IP"
    assert bench.switch.counters(GUEST)["drops"]["group-ingress"] >= 3
    assert bench.states() == []


@pytest.mark.parametrize("v6", [False, True])
def test_replies_need_no_rule(v6: bool) -> None:
    bench = Bench(OUT)
    talk = Talk(bench, client=GUEST, v6=v6)
    assert talk.open() is None
    assert talk.both() == [None, None]
    assert bench.send(GUEST, ip(GUEST, v6) / UDP(sport=5, dport=53)) is None
    assert bench.send(PEER, ip(PEER, v6) / UDP(sport=53, dport=5)) is None
    ask, answer = (ICMPv6EchoRequest, ICMPv6EchoReply) if v6 else (ICMP, lambda **k: ICMP(type=0, **k))
    assert bench.send(PEER, ip(PEER, v6) / answer(id=7)) == "group-ingress", "nobody asked"
    assert bench.send(GUEST, ip(GUEST, v6) / ask(id=7)) is None
    assert bench.send(PEER, ip(PEER, v6) / answer(id=7)) is None
    assert bench.send(PEER, ip(PEER, v6) / ask(id=7)) == "group-ingress", "that is a question of its own"
    assert bench.states() == ["answered", "established", "query"]


def test_nothing_goes_out_by_itself() -> None:
    bench = Bench(NOTHING)
    assert Talk(bench, client=GUEST).open() == "group-egress"
    assert bench.send(GUEST, ip(GUEST) / ICMP()) == "group-egress"
    assert (
        bench.raw(GUEST, bytes(Ether(src=MACS[GUEST], dst=MACS[PEER], type=0x88B5) / Raw(b"x")))
        == "group-egress"
    )


def test_the_next_port_is_closed() -> None:
    bench = Bench(Policy(ingress=(Allow(6, (80, 81)), Allow(17, (53, 53)))))
    assert [Talk(bench, port=port).say(PEER, "S") for port in (79, 80, 81, 82)] == [
        "group-ingress", None, None, "group-ingress",
    ]  # fmt: skip
    assert bench.send(PEER, ip(PEER) / UDP(dport=53)) is None
    assert bench.send(PEER, ip(PEER) / UDP(dport=54)) == "group-ingress"
    assert bench.send(PEER, ip(PEER) / UDP(sport=53, dport=99)) == "group-ingress"


def test_both_ends_are_asked() -> None:
    client = Policy(egress=(Allow(6, (80, 80)),))
    bench = Bench(Policy(ingress=(Allow(6, (80, 81)),)), peer=client)
    assert Talk(bench, port=80).open() is None
    assert Talk(bench, port=81).say(PEER, "S") == "group-egress"
    bench.rules(OUT, PEER)
    assert Talk(bench, port=81).say(PEER, "S") is None
    assert Talk(bench, port=82).say(PEER, "S") == "group-ingress"


def test_remote_prefixes_and_groups() -> None:
    remotes = (Remote(ip_network("10.0.0.11/32"), 1), Remote(ip_network("fd00::/126")))
    bench = Bench(Policy(ingress=(Allow(remotes=remotes),)))
    assert bench.send(PEER, ip(PEER) / UDP(dport=1)) is None
    assert bench.send(2, IP(src=IP4[2], dst=IP4[GUEST]) / UDP(dport=1)) == "group-ingress"
    assert bench.send(PEER, ip(PEER, True) / UDP(dport=1)) == "group-ingress"
    elsewhere = (Remote(ip_network("10.0.0.11/32"), 2),)
    bench = Bench(Policy(ingress=(Allow(remotes=elsewhere),)))
    assert bench.send(PEER, ip(PEER) / UDP(dport=1)) == "group-ingress", "another VLAN's address"


def test_multicast_is_judged_packet_by_packet() -> None:
    mdns = UDP(sport=5353, dport=5353)
    to = "01:00:5e:00:00:fb"
    bench = Bench(OUT)
    assert bench.send(GUEST, IP(src=IP4[GUEST], dst="224.0.0.251") / mdns, to=to) is None
    verdict = bench.switch.forward(
        bench.now,
        PEER,
        [bytes(Ether(src=MACS[PEER], dst=to) / IP(src=IP4[PEER], dst="224.0.0.251") / mdns).ljust(60)],
    )[0]
    assert verdict.lost == [(GUEST, "group-ingress")]
    bench.rules(Policy(ingress=(Allow(17, (5353, 5353)),)))
    assert bench.send(PEER, IP(src=IP4[PEER], dst="224.0.0.251") / mdns, to=to) is None
    assert bench.states() == []


# -- rules that change -----------------------------------------------------------------------------


@pytest.mark.parametrize("v6", [False, True])
def test_an_established_connection_is_cut(v6: bool) -> None:
    bench = Bench(Policy(ingress=(Allow(6, (80, 80)), Allow(6, (22, 22)))))
    web, shell = Talk(bench, port=80, v6=v6), Talk(bench, port=22, v6=v6)
    assert web.open() is None
    assert shell.open() is None
    bench.rules(TCP_80)
    assert web.both() == [None, None], "what is still allowed goes on"
    assert shell.say(PEER, "PA", b"ls") == "group-ingress"
    assert shell.say(GUEST, "PA", b"$ ") == "group-invalid", "nor may the guest go on"
    bench.rules(Policy(ingress=(Allow(6, (22, 22)),)))
    assert shell.say(PEER, "PA", b"ls") == "tx-group-invalid", "what was cut stays cut"
    assert web.say(PEER, "PA", b"hello") == "group-ingress"


def test_a_reply_is_cut_too() -> None:
    bench = Bench(OUT)
    talk = Talk(bench, client=GUEST)
    assert talk.open() is None
    bench.rules(NOTHING)
    assert talk.say(PEER, "PA", b"x") == "group-ingress"
    assert talk.say(GUEST, "PA", b"x") == "group-egress"


def test_no_blink() -> None:
    """Rules set anew, over and over, in the middle of a connection and of an attack."""
    bench = Bench(TCP_80)
    talk = Talk(bench)
    assert talk.open() is None
    for n in range(50):
        bench.rules((TCP_80, Policy(ingress=(Allow(17), Allow(6, (80, 80)))))[n % 2])
        assert talk.both() == [None, None]
        assert Talk(bench, port=22).say(PEER, "S") == "group-ingress"


def test_groups_come_and_go() -> None:
    bench = Bench(None)
    assert Talk(bench, port=1).say(PEER, "A") is None, "nobody asks"
    bench.rules(TCP_80)
    assert Talk(bench, port=80).open() is None
    assert Talk(bench, port=1).say(PEER, "S") == "group-ingress"
    bench.rules(None)
    assert Talk(bench, port=1).say(PEER, "A") is None


# -- TCP -------------------------------------------------------------------------------------------


def test_a_connection_begins_with_syn() -> None:
    bench = Bench(TCP_80)
    for flags in ("A", "SA", "R", "F", "FA", "SF", "SR", ""):
        assert Talk(bench).say(PEER, flags) == "tx-group-invalid", flags
    assert Talk(bench, client=GUEST).say(GUEST, "A") == "group-invalid"
    assert bench.states() == []


def test_a_handshake_must_fit() -> None:
    bench = Bench(TCP_80)
    talk = Talk(bench)
    assert talk.say(PEER, "S") is None
    talk.seq[PEER] += 5
    assert talk.say(GUEST, "SA") == "group-invalid"
    talk.seq[PEER] -= 5
    assert talk.say(GUEST, "SA") is None


def test_segments_outside_of_the_window() -> None:
    bench = Bench(TCP_80)
    talk = Talk(bench)
    assert talk.open() is None
    assert talk.both() == [None, None]
    assert talk.say(PEER, "PA", b"x", skip=1 << 20) == "tx-group-invalid"
    assert talk.say(PEER, "PA", b"x", skip=-(1 << 20)) == "tx-group-invalid"
    assert talk.say(PEER, "R", skip=1 << 20) == "tx-group-invalid"
    assert talk.both() == [None, None]


def test_it_ends_and_begins_anew() -> None:
    bench = Bench(TCP_80)
    talk = Talk(bench)
    assert talk.open() is None
    assert [talk.say(PEER, "FA"), talk.say(GUEST, "FA"), talk.say(PEER, "A")] == [None] * 3
    assert bench.states() == ["time-wait"]
    again = Talk(bench)
    again.seq[PEER] = 500_000
    assert again.open() is None
    assert again.say(GUEST, "R") is None
    assert bench.states() == ["closed"]
    assert again.say(PEER, "PA", b"x") == "tx-group-invalid"


def test_super_frames_are_judged_by_their_headers() -> None:
    bench = Bench(TCP_80)
    talk = Talk(bench)
    assert talk.open() is None
    segment = TCP(sport=5555, dport=80, flags="PA", seq=talk.seq[PEER], ack=talk.seq[GUEST], window=8192)
    big = bytes(Ether(src=MACS[PEER], dst=MACS[GUEST]) / ip(PEER) / segment / Raw(bytes(8000)))
    assert bench.raw(PEER, big, gso=True) is None
    talk.seq[PEER] += 8000
    assert talk.say(GUEST, "A") is None, "the acknowledgement of all of it"


# -- errors, fragments -----------------------------------------------------------------------------


def test_related_errors() -> None:
    bench = Bench(OUT)
    assert bench.send(GUEST, ip(GUEST) / UDP(sport=5, dport=53)) is None
    about = IPerror(src=IP4[GUEST], dst=IP4[PEER]) / UDPerror(sport=5, dport=53)
    assert bench.send(PEER, ip(PEER) / ICMP(type=3, code=3) / about) is None
    other = IPerror(src=IP4[GUEST], dst=IP4[PEER]) / UDPerror(sport=6, dport=53)
    assert bench.send(PEER, ip(PEER) / ICMP(type=3, code=3) / other) == "group-ingress"
    foreign = IPerror(src=IP4[2], dst=IP4[PEER]) / UDPerror(sport=5, dport=53)
    assert bench.send(PEER, ip(PEER) / ICMP(type=3, code=3) / foreign) == "group-ingress"


def test_related_errors_of_ipv6() -> None:
    bench = Bench(OUT)
    assert bench.send(GUEST, ip(GUEST, True) / UDP(sport=5, dport=53)) is None
    inner = IPv6(src=IP6[GUEST], dst=IP6[PEER]) / UDP(sport=5, dport=53)
    assert bench.send(PEER, ip(PEER, True) / ICMPv6DestUnreach(code=4) / inner) is None
    inner = IPv6(src=IP6[GUEST], dst=IP6[PEER]) / UDP(sport=5, dport=54)
    assert bench.send(PEER, ip(PEER, True) / ICMPv6DestUnreach(code=4) / inner) == "group-ingress"


def test_errors_of_ipv6_about_fragments() -> None:
    """As that a packet is too big, which may be the first piece of one."""
    bench = Bench(OUT)
    assert bench.send(GUEST, ip(GUEST, True) / UDP(sport=5, dport=53)) is None
    for port, offset, fate in ((53, 0, None), (53, 1, "group-ingress"), (54, 0, "group-ingress")):
        piece = ip(GUEST, True) / IPv6ExtHdrFragment(nh=17, offset=offset, m=1) / UDP(sport=5, dport=port)
        assert bench.send(PEER, ip(PEER, True) / ICMPv6PacketTooBig() / piece) == fate


def test_errors_about_tcp_are_about_what_is_on_its_way() -> None:
    bench = Bench(OUT)
    talk = Talk(bench, client=GUEST)
    assert talk.open() is None
    for seq, fate in ((talk.seq[GUEST] - 1, None), (talk.seq[GUEST] + 100_000, "group-ingress")):
        about = bytes(ip(GUEST) / TCP(sport=5555, dport=80, seq=seq))[:28]
        assert bench.send(PEER, ip(PEER) / ICMP(type=3, code=4, nexthopmtu=1400) / Raw(about)) == fate


def test_an_error_needs_no_rule_to_leave() -> None:
    bench = Bench(Policy(ingress=(Allow(17),), egress=()))
    assert bench.send(PEER, ip(PEER) / UDP(sport=5, dport=53)) is None
    about = IPerror(src=IP4[PEER], dst=IP4[GUEST]) / UDPerror(sport=5, dport=53)
    assert bench.send(GUEST, ip(GUEST) / ICMP(type=3, code=3) / about) is None
    assert bench.send(GUEST, ip(GUEST) / ICMP(type=3, code=3)) == "group-egress"


@pytest.mark.parametrize("v6", [False, True])
def test_fragments_follow_their_first(v6: bool) -> None:
    bench = Bench(Policy(ingress=(Allow(17, (53, 53)),)))

    def pieces(dport: int, number: int) -> list[Packet]:
        if not v6:
            return list(
                fragment(
                    IP(src=IP4[PEER], dst=IP4[GUEST], id=number)
                    / UDP(sport=5, dport=dport)
                    / Raw(bytes(200)),
                    120,
                )
            )
        data = bytes(UDP(sport=5, dport=dport, len=208, chksum=1) / Raw(bytes(200)))
        return [
            ip(PEER, True)
            / IPv6ExtHdrFragment(nh=17, id=number, offset=at // 8, m=at + 104 < 208)
            / Raw(data[at : at + 104])
            for at in (0, 104)
        ]

    assert [bench.send(PEER, piece) for piece in pieces(53, 1)] == [None, None]
    assert [bench.send(PEER, piece) for piece in pieces(54, 2)] == ["group-ingress", "tx-group-fragment"]
    assert bench.send(PEER, pieces(53, 3)[1]) == "tx-group-fragment", "nobody knows what it is part of"
    assert bench.send(PEER, pieces(53, 4)[0]) is None
    bench.wait(31)
    assert bench.send(PEER, pieces(53, 4)[1]) == "tx-group-fragment", "too late"


# -- time and limits -------------------------------------------------------------------------------


def test_connections_are_forgotten() -> None:
    bench = Bench(OUT)
    assert bench.send(GUEST, ip(GUEST) / UDP(sport=5, dport=53)) is None
    bench.wait(29)
    assert bench.send(PEER, ip(PEER) / UDP(sport=53, dport=5)) is None
    bench.wait(179)
    assert bench.send(PEER, ip(PEER) / UDP(sport=53, dport=5)) is None
    bench.wait(181)
    assert bench.send(PEER, ip(PEER) / UDP(sport=53, dport=5)) == "group-ingress"
    talk = Talk(bench, client=GUEST)
    assert talk.open() is None
    bench.wait(23 * 3600)
    assert talk.both() == [None, None]


def test_a_flood_takes_nobody_elses_place() -> None:
    """A guest that opens connections without end loses its own, those of its neighbours stay."""
    bench = Bench(Policy(ingress=(Allow(),)), peer=OUT, connections=100)
    bench.switch.set_port(2, bench.config(2, OUT))
    victim = Talk(bench)
    assert victim.open() is None
    asked = UDP(sport=5, dport=53)
    assert bench.send(PEER, ip(PEER) / asked) is None
    for port in range(1000):
        flood = IP(src=IP4[2], dst=IP4[GUEST]) / UDP(sport=6000 + port, dport=9)
        assert bench.send(2, flood) is None
    assert bench.switch.connection_count(2)[1] == 100
    assert victim.both() == [None, None]
    assert bench.send(GUEST, ip(GUEST) / UDP(sport=53, dport=5)) is None


def test_no_room_for_more() -> None:
    bench = Bench(OUT, connections=2)
    for port in (1, 2):
        assert bench.send(GUEST, ip(GUEST) / UDP(sport=port, dport=53)) is None
        assert bench.send(PEER, ip(PEER) / UDP(sport=53, dport=port)) is None
    assert bench.send(GUEST, ip(GUEST) / UDP(sport=3, dport=53)) == "group-full"
    bench.wait(61)
    assert bench.send(GUEST, ip(GUEST) / UDP(sport=3, dport=53)) is None, "one was quiet for a minute"


def test_who_has_most_of_a_full_table_makes_room() -> None:
    """Though all that it has is answered and busy; who has as many as anybody gets no more that way."""
    bench = Bench(OUT, OPEN, limit=10)
    bench.switch.set_port(2, bench.config(2, OPEN))

    def ask(sender: int, port: int) -> str | None:
        target = IP4[3 - sender]
        there = IP(src=IP4[sender], dst=target) / UDP(sport=port, dport=53)
        back = IP(src=target, dst=IP4[sender]) / UDP(sport=53, dport=port)
        return bench.send(sender, there) or bench.send(3 - sender, back)

    def owned() -> list[int]:
        return [bench.switch.connection_count(port)[1] for port in (PEER, 2)]

    assert [ask(PEER, port) for port in range(1000, 1010)] == [None] * 10
    assert ask(PEER, 1010) == "group-full"
    assert owned() == [10, 0]
    assert [ask(2, port) for port in range(2000, 2005)] == [None] * 5
    assert owned() == [5, 5]
    assert [ask(2, 2005), ask(PEER, 1010)] == ["group-full"] * 2
    assert bench.switch.connection_count(PEER)[0] == 10


def test_what_comes_from_outside_is_on_the_account_of_its_target() -> None:
    bench = Bench(OPEN, connections=10)
    bench.switch.set_port(PEER, PortConfig(vlan=1))
    for port in range(50):
        assert bench.send(PEER, ip(PEER) / UDP(sport=port, dport=9)) is None
    assert [bench.switch.connection_count(port)[1] for port in (GUEST, PEER)] == [10, 0]


def test_a_port_that_goes_takes_its_connections_along() -> None:
    bench = Bench(OUT)
    assert Talk(bench, client=GUEST).open() is None
    bench.switch.remove_port(GUEST)
    assert bench.states() == []


def test_denied_packets_are_told_of_at_a_bounded_rate() -> None:
    bench = Bench(OUT)
    lines = []
    for n in range(200):
        bench.send(PEER, ip(PEER) / UDP(sport=1000 + n, dport=9))
        lines += bench.switch.denied()
    assert len(lines) == 5
    assert lines[0] == (GUEST, "denied (group-ingress) udp 10.0.0.11:1000 -> 10.0.0.10:9")
    bench.wait(1)
    bench.send(PEER, ip(PEER) / UDP(sport=7, dport=9))
    assert bench.switch.denied()[0][1].endswith("; 195 more before it")
    bench.rules(Policy(log=False))
    bench.wait(10)
    bench.send(PEER, ip(PEER) / UDP(sport=7, dport=9))
    assert bench.switch.denied() == []
