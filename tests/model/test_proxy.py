"""Local proxy ARP and ND: the native switch says what the reference says, and nothing else moves."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet6 import ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr, IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether

from switch.private import ISOLATED, PROMISCUOUS
from tests.model.proxy import Question, ReferenceProxy
from vnet._native import Groups, PortConfig, Proxy, Switch, Verdict

pytestmark = pytest.mark.deadline(240)

VLAN = 10
GATE = "02:00:00:00:00:fe"
MACS = [f"02:00:00:00:00:{number:02x}" for number in range(1, 5)]
V4 = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.99", "10.0.0.254", "10.1.0.1", "192.0.2.1"]
V6 = ["fd00::1", "fd00::2", "fd00::3", "fd00::99", "fd00::fe", "fe80::1", "fd01::1"]

places = st.sampled_from([PROMISCUOUS, ISOLATED, ISOLATED, ISOLATED + 1, ISOLATED + 2])
proxies = st.builds(
    ReferenceProxy,
    st.just(VLAN),
    st.fixed_dictionaries(
        {"10.0.0.0/24": st.just(("10.0.0.254", GATE))},
        optional={
            "fd00::/64": st.sampled_from([("fd00::fe", GATE), ("fd00::fe", None)]),
            "10.1.0.0/16": st.just(("10.1.0.9", "02:00:00:00:00:fd")),
        },
    ),
    st.lists(st.tuples(st.sampled_from([*V4, *V6]), places, st.sampled_from(MACS)), max_size=6).map(tuple),
)


@st.composite
def questions(draw: st.DrawFn) -> Question:
    """A question, or a probe."""
    pool = draw(st.sampled_from([V4, V4, V6]))
    target = ipaddress.ip_address(draw(st.sampled_from(pool)))
    sender = draw(st.none() | st.sampled_from(pool).map(ipaddress.ip_address))
    return Question(target, sender, draw(st.sampled_from(MACS)), draw(st.sampled_from([None, 7, VLAN])))


def frame(question: Question) -> bytes:
    """As a host asks it."""
    link: Any = Ether(
        src=question.mac, dst="ff:ff:ff:ff:ff:ff" if question.target.version == 4 else "33:33:ff:0:0:1"
    )
    if question.vid is not None:
        link /= Dot1Q(vlan=question.vid)
    if question.target.version == 4:
        return bytes(
            link
            / ARP(op=1, hwsrc=question.mac, psrc=str(question.sender or "0.0.0.0"), pdst=str(question.target))
        ).ljust(60, b"\0")
    packet = IPv6(src=str(question.sender or "::"), dst="ff02::1:ff00:1", hlim=255)
    packet /= ICMPv6ND_NS(tgt=str(question.target))
    if question.sender is not None:
        packet /= ICMPv6NDOptSrcLLAddr(lladdr=question.mac)
    return bytes(link / packet)


def switch(reference: ReferenceProxy, place: int, station: str, **keys: Any) -> Switch:
    """Port 0 asks; at 1 is a promiscuous port, at 2 another isolated one, at 3 an uplink."""
    proxy = Proxy(
        [
            (
                reference.vlan,
                [(prefix, gateway, mac) for prefix, (gateway, mac) in reference.subnets.items()],
                list(reference.stations),
            )
        ]
    )
    private: dict[str, Any] = (
        {} if place == PROMISCUOUS else {"private": [VLAN], "community": place - ISOLATED}
    )
    made = Switch()
    made.add_port(
        0, PortConfig(tagged=[7, VLAN], native=VLAN, proxy=proxy, station=station, **private, **keys)
    )
    made.add_port(1, PortConfig(tagged=[7, VLAN]))
    made.add_port(2, PortConfig(tagged=[7, VLAN], private=[7, VLAN]))
    made.add_port(3, PortConfig(tagged=[7, VLAN], uplink=True))
    return made


def ask(made: Switch, data: bytes, port: int = 0) -> Verdict:
    """What the switch makes of one frame."""
    (verdict,) = made.forward(0, port, [data])
    return verdict


def noise(question: Question) -> bytes:
    """A datagram that looks like a question as far as its type goes."""
    data = bytearray(frame(question))
    at = 12 if question.vid is None else 16
    if question.target.version == 6:
        data[at + 2 + 6] = 17
    return bytes(data)


@given(
    proxies,
    places,
    st.sampled_from(MACS),
    st.lists(questions(), min_size=1, max_size=6),
    st.sampled_from([{}, {}, {"groups": Groups([], [(None, (0, 0xFFFF), None)])}]),
)
def test_the_switch_says_what_the_reference_says(
    reference: ReferenceProxy, place: int, station: str, asked: list[Question], keys: dict[str, Any]
) -> None:
    made = switch(reference, place, station, **keys)
    for question in asked:
        # What was decided about a frame that is like it says nothing about this one.
        ask(made, noise(question))
        verdict = ask(made, frame(question))
        wanted = reference.answer(question, question.vid or VLAN, place, station)
        assert verdict.answer == wanted, question
        assert (verdict.action == "answer") == (wanted is not None)
        assert not (verdict.copies and wanted), "who is answered is asked for by nobody else"
        if wanted is None:
            assert verdict.action == "flood-broadcast" or question.target.version == 6


@given(proxies, st.lists(questions(), min_size=1, max_size=3), st.data())
def test_nothing_but_a_question_is_answered(
    reference: ReferenceProxy, asked: list[Question], data: st.DataObject
) -> None:
    """Frames with a byte changed: what is answered is still a question, and answered rightly."""
    made = switch(reference, ISOLATED, MACS[0])
    for question in asked:
        broken = bytearray(frame(question))
        at = data.draw(st.integers(12, len(broken) - 1))
        broken[at] ^= data.draw(st.integers(1, 255))
        cut = bytes(broken[: data.draw(st.sampled_from([len(broken), len(broken), 30, 41, 60]))])
        verdict = ask(made, cut)
        if verdict.answer is None:
            continue
        got = Ether(cut)
        assert ARP in got or ICMPv6ND_NS in got, cut.hex(" ")
        told = Ether(verdict.answer)
        if ARP in got:
            assert (got[ARP].op, got[ARP].hwtype, got[ARP].hwlen, got[ARP].plen) == (1, 1, 6, 4)
            assert (told[ARP].psrc, told[ARP].pdst) == (got[ARP].pdst, got[ARP].psrc)
        else:
            assert got[IPv6].hlim == 255


def test_a_gateway_behind_an_uplink_is_heard_first() -> None:
    reference = ReferenceProxy(
        VLAN, {"10.0.0.0/24": ("10.0.0.254", None), "fd00::/64": ("fd00::fe", None)}, ()
    )
    made = switch(reference, ISOLATED, MACS[0])
    asked = [
        Question(ipaddress.ip_address("10.0.0.3"), ipaddress.ip_address("10.0.0.2"), MACS[0], None),
        Question(ipaddress.ip_address("fd00::3"), ipaddress.ip_address("fd00::2"), MACS[0], None),
    ]
    for question in asked:
        assert ask(made, frame(question)).action.startswith("flood")
    for gateway, asks, port in (
        (GATE, "10.0.0.2", 3),
        ("02:00:00:00:00:fc", "10.0.0.9", 1),
        (MACS[3], "10.0.0.2", 3),
    ):
        address = "10.0.0.254" if gateway != MACS[3] else "10.0.0.77"
        request = Question(ipaddress.ip_address(asks), ipaddress.ip_address(address), gateway, VLAN)
        ask(made, frame(request), port)
    ask(
        made,
        frame(Question(ipaddress.ip_address("fd00::9"), ipaddress.ip_address("fd00::fe"), GATE, VLAN)),
        3,
    )
    # Only what an uplink said of the gateway's address counts.
    for question, field in zip(asked, ("hwsrc", "lladdr"), strict=True):
        answer = ask(made, frame(question)).answer
        assert answer is not None
        told = Ether(answer)
        assert told.src == GATE
        assert getattr(told.lastlayer(), field) == GATE
    # It moves: a spare router takes over the address.
    other = "02:00:00:00:00:fd"
    ask(
        made,
        frame(Question(ipaddress.ip_address("10.0.0.2"), ipaddress.ip_address("10.0.0.254"), other, VLAN)),
        3,
    )
    assert Ether(ask(made, frame(asked[0])).answer).src == other
