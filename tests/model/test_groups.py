"""The native security groups and the reference say the same, whatever is sent and however rules change."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from switch.policy import Allow, Policy, Remote
from tests.model.groups import SECOND, ReferenceGroups
from vnet._native import Guard, PortConfig, Switch
from vnet.port import groups

pytestmark = pytest.mark.deadline(240)

PORTS = 3
MACS = [f"02:00:00:00:00:0{port + 1}" for port in range(PORTS)]
NEAR = (Remote(ip_network("10.0.0.0/31"), 1), Remote(ip_network("fd00::/127")))

POLICIES = (
    None,
    Policy(),
    Policy(egress=()),
    Policy(ingress=(Allow(6, (80, 81)), Allow(17, (81, 90)))),
    Policy(ingress=(Allow(remotes=NEAR),), egress=(Allow(6), Allow(1, (8 << 8, 8 << 8 | 255)))),
    Policy(
        ingress=(Allow(58, (128 << 8, 128 << 8)), Allow(17, (80, 80), NEAR)),
        egress=(Allow(17, remotes=NEAR),),
    ),
    Policy(ingress=(Allow(17, (67, 68)), Allow(2)), egress=(Allow(2, remotes=NEAR),)),
)
BEYOND = 7_000_000
"""Nanoseconds by which a wait is longer: the switch forgets to about a millisecond, and no sum of waits must
be a lifetime to the millisecond."""
HEADERS = (
    *(("S", way) for way in (0, 0, 1)), ("SA", 1), ("SA", 1), ("SA", 0), ("A", 0), ("A", 0), ("A", 1),
    *(("udp", way) for way in (0, 0, 1)), *(("echo", way) for way in (0, 0, 1)),
)  # fmt: skip
NEEDS = ("report", "report", "query", "mld", "mld query", "ask", "ask", "ask all", "told", "told", "told")
"""What a host must be able to say and hear, and what looks like it."""


def need(sender: int, receiver: int, v6: bool, what: str, odd: bool) -> tuple[int, int, bytes]:
    """(sender, receiver, the frame) of such a packet; `odd`: it is not for a group, or was sent from afar."""
    four, six = f"10.0.0.{receiver}", f"fd00::{receiver}"
    kind = {"report": 0x16, "query": 0x11, "mld": 131, "mld query": 130}.get(what)
    if kind is not None:
        # Which of the two is odd, and IGMP in IPv6, the number of the port says as well as any other.
        to_one, hops = odd and receiver != 1, 64 if odd and receiver == 1 else 1
        body = Raw(bytes([kind]) + bytes(23))
        target = (six if to_one else "ff02::16") if v6 or kind > 100 else four if to_one else "224.0.0.22"
        number = 58 if kind > 100 else 2
        ip: Packet = (
            IPv6(src=f"fd00::{sender}", dst=target, nh=number, hlim=hops)
            if ":" in target
            else IP(src=f"10.0.0.{sender}", dst=target, proto=number, ttl=hops)
        )
    else:
        server, client, all_four, all_six = (547, 546, four, six) if v6 else (67, 68, four, six)
        if what == "ask all":
            all_four, all_six = "255.255.255.255", "ff02::1:2"
        ports = (server, client) if what == "told" else (client, server)
        ip = IPv6(src=f"fd00::{sender}", dst=all_six) if v6 else IP(src=f"10.0.0.{sender}", dst=all_four)
        body = UDP(sport=ports[0], dport=ports[1]) / Raw(bytes(8))
    data = bytes(Ether(src=MACS[sender], dst=MACS[receiver]) / ip / body)
    return sender, receiver, data.ljust(60, b"\0")


def frame(client: int, server: int, v6: bool, port: int, what: str, back: int) -> tuple[int, int, bytes]:
    """(sender, receiver, the frame) of a talk between a client and a server, `back` from the server."""
    sender, receiver = (server, client) if back else (client, server)
    ether = Ether(src=MACS[sender], dst=MACS[receiver])
    ip: Packet = (
        IPv6(src=f"fd00::{sender}", dst=f"fd00::{receiver}")
        if v6
        else IP(src=f"10.0.0.{sender}", dst=f"10.0.0.{receiver}")
    )
    ports = {"sport": port, "dport": 5000} if back else {"sport": 5000, "dport": port}
    if what == "udp":
        above: Packet = UDP(**ports)
    elif what == "echo":
        four, six = (
            ICMP(type=0 if back else 8, id=port),
            (ICMPv6EchoReply if back else ICMPv6EchoRequest)(id=port),
        )
        above = six if v6 else four
    else:
        own, other = (9000, 1000) if back else (1000, 9000)
        began = "S" not in what
        ack = other + 1 if "A" in what else 0
        above = TCP(flags=what, seq=own + began, ack=ack, window=1000, **ports)
    return sender, receiver, bytes(ether / ip / above).ljust(60, b"\0")


sends = st.tuples(
    st.just("send"),
    # The same again and again: what is remembered is what is tried.
    st.sampled_from([(0, 1), (0, 1), (0, 1), (0, 1), (1, 0), (2, 1), (1, 2)]),
    st.sampled_from([False, False, False, True]),
    st.sampled_from([80, 80, 80, 81]),
    st.lists(st.sampled_from(HEADERS), min_size=3, max_size=9),
)
needs = st.tuples(
    st.just("needs"),
    st.sampled_from([(0, 1), (0, 1), (1, 0), (1, 0), (2, 1), (1, 2)]),
    st.booleans(),
    st.booleans(),
    st.lists(st.sampled_from(NEEDS), min_size=1, max_size=4),
)
steps = st.one_of(
    sends,
    sends,
    sends,
    needs,
    needs,
    st.tuples(st.just("rules"), st.integers(0, PORTS - 1), st.sampled_from(POLICIES)),
    st.tuples(st.just("wait"), st.sampled_from([1, 29, 31, 59, 62, 185])),
)


@given(
    st.tuples(*[st.sampled_from(POLICIES)] * PORTS),
    st.frozensets(st.integers(0, PORTS - 1)),
    st.lists(steps, min_size=8, max_size=25),
)
@settings(max_examples=150)
def test_says_what_the_reference_says(
    policies: tuple[Policy | None, ...], leased: frozenset[int], steps: list[tuple]
) -> None:
    now = SECOND
    reference = ReferenceGroups(dict(enumerate(policies)), leased)
    switch = Switch(ageing=0)
    for port, policy in enumerate(policies):
        own = [(f"10.0.0.{port}/32", None, None), (f"fd00::{port}/128", None, None)]
        guard = Guard(MACS[port], addresses=own, learns=True, dhcp_server=True, querier=True)
        config = PortConfig(vlan=1, guard=guard if port in leased else None, groups=groups(policy))
        switch.add_port(port, config)
        switch.fdb_set(1, MACS[port], port)
    for step in steps:
        match step:
            case ("wait", seconds):
                now += seconds * SECOND + BEYOND
                switch.tick(now)
            case ("rules", port, policy):
                reference.policies[port] = policy
                switch.set_groups(port, groups(policy))
            case (kind, (client, server), v6, number, talk):
                for said in talk:
                    sender, receiver, data = (
                        need(client, server, v6, said, number)
                        if kind == "needs"
                        else frame(client, server, v6, number, *said)
                    )
                    (verdict,) = switch.forward(now, sender, [data])
                    got = verdict.reason or (verdict.lost[0][1] if verdict.lost else None)
                    wanted = reference.judge(now, sender, receiver, data)
                    assert got == wanted, (client, server, v6, number, said)
