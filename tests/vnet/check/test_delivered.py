"""What the proof says may arrive does, in a fabric: no expectation holds that the switch would break."""

from __future__ import annotations

import copy
from ipaddress import ip_address
from typing import Any

import attrs
import pytest
import trio
import trio.testing

import vnet
from nics.pipe import PipeEnd
from vnet.check import Proof, judge
from vnet.probe import build
from vnet.topology import Topology

PIPE = {"kind": "pipe"}
A, B, W, R = (f"02:00:00:00:00:0{digit}" for digit in "abcd")
RED = {"vlan": 10, "subnets": ["10.0.10.0/24", "fd00:10::/64"]}
BLUE = {"vlan": 20, "subnets": ["10.0.20.0/24"]}
FE80 = {mac: str(vnet.check.voice.link_local(mac)) for mac in (A, B, W, R)}


def udp(source: str, target: str, to: str, by: str, *vids: int, port: int = 53) -> bytes:
    """From IP address to IP address, to a MAC address by another."""
    packet = build.packet(ip_address(source), ip_address(target), build.UDP, build.udp(20000, port))
    return build.ip(to, by, packet, *vids)


@attrs.frozen
class Case:
    """A topology whose guest a gets a packet to b, or to x, although the file does not say its address."""

    guests: dict[str, Any]
    """By name: one NIC, or several."""
    hops: list[tuple[str, bytes, str]]
    """(from port, frame, to port), one after the other."""
    expect: dict[str, Any] = attrs.field(factory=dict)
    groups: dict[str, Any] = attrs.field(factory=dict)
    networks: dict[str, Any] = attrs.field(factory=lambda: {"red": RED, "blue": BLUE})
    via: tuple[str, ...] = ()
    uplinks: dict[str, Any] = attrs.field(factory=dict)

    def topology(self) -> Topology:
        guests = {
            name: {"kind": "external", "nics": [{"nic": PIPE, **nic} for nic in copy.deepcopy(nics)]}
            for name, nics in self.guests.items()
        }
        expect = [{"from": "a", "to": "b", "reach": False, **self.expect}]
        parts = {"networks": self.networks, "groups": self.groups, "uplinks": self.uplinks}
        return Topology.from_dict({"name": "lab", "guests": guests, "expect": expect, **parts})


IN_BLUE = {"in-blue": {"egress": [{"prefix": "10.0.20.0/24"}]}}

a, b = {"network": "red", "mac": A}, {"network": "red", "mac": B, "ip": ["10.0.10.2"]}
trunk = {"trunk": ["red", "blue"], "native": "red"}

CASES = {
    "an address of another NIC": Case(
        {
            "a": [{**a, "ip": ["10.0.10.11"], "groups": "in-blue"}],
            "b": [b, {"network": "blue", "ip": ["10.0.20.2"]}],
        },
        [("a.0", udp("10.0.10.11", "10.0.20.2", B, A), "b.0")],
        groups=IN_BLUE,
    ),
    "an address of another VLAN": Case(
        {
            "a": [{**a, "network": "blue", "ip": ["10.0.20.11"]}],
            "b": [{**trunk, "mac": B, "ip": ["10.0.10.2"]}],
        },
        [("a.0", udp("10.0.20.11", "10.0.10.2", B, A), "b.0")],
        {"family": 4},
    ),
    "who may be sent to in one network, forwarded into another": Case(
        {
            "a": [{**a, "ip": ["10.0.10.11"], "groups": "near"}],
            "c": [{"network": "red", "ip": ["10.0.10.22"], "groups": "dst"}],
            "b": [{**b, "network": "blue", "ip": ["10.0.10.22"]}],
            "r": [{"network": name, "mac": mac, "guard": "off"} for name, mac in (("red", R), ("blue", W))],
        },
        [
            ("a.0", udp("10.0.10.11", "10.0.10.22", R, A), "r.0"),
            ("r.1", udp("10.0.10.11", "10.0.10.22", B, W), "b.0"),
        ],
        groups={"near": {"egress": [{"group": "dst"}]}, "dst": {}},
        networks={"red": RED, "blue": {**RED, "vlan": 20}},
        via=("r",),
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
async def test_what_is_delivered_is_not_proved_away(
    case: Case, autojump_clock: trio.testing.MockClock
) -> None:
    topology = case.topology()
    proof = Proof(topology)
    assert not any(outcome.holds for outcome in judge(proof).outcomes)
    pair = proof.pair("a", "b")
    assert pair.via == case.via
    assert not pair.talks[case.expect.get("family", 4)], "it is not what the file says"
    async with vnet.Fabric(topology) as fabric:
        for number, (source, frame, target) in enumerate(case.hops):
            await arrives(fabric, source, build.marked(frame, number), target)


async def arrives(fabric: vnet.Fabric, source: str, frame: bytes, target: str) -> None:
    """What is sent at one port comes out at another."""
    ends = [fabric.ports[name].opened.far for name in (source, target)]
    near, far = ends
    assert isinstance(near, PipeEnd)
    assert isinstance(far, PipeEnd)
    await near.send(frame)
    with trio.fail_after(5):
        while build.number_of(await far.receive()) != build.number_of(frame):
            pass


# -- what can't be is not said to be possible ------------------------------------------------------


def isolated(guests: dict[str, Any], **parts: Any) -> bool:
    case = Case(guests, [], **parts)
    pair = Proof(case.topology()).pair("a", "b")
    return pair.reach == "no" and not pair.via


BETWEEN = [{"network": "red"}, {"network": "blue"}]


def test_what_is_forwarded_is_from_where_the_last_one_may_send() -> None:
    """What r may forward of what a router sends is one subnet's, and the rule is for another."""
    anybody = {**a, "guard": {"allow": [{"ip": "0.0.0.0/0"}]}}
    groups = {"far": {"ingress": [{"prefix": "192.168.0.0/16"}]}}
    router = [BETWEEN[0], {**BETWEEN[1], "guard": {"allow": [{"ip": "10.0.10.0/24"}]}}]
    blue = [{**b, "network": "blue", "ip": ["10.0.20.2"], "groups": "far"}]
    assert isolated({"a": [anybody], "b": blue, "r": router}, groups=groups)


def test_link_local_addresses_of_other_nics_mean_nothing() -> None:
    groups = {"there": {"egress": [{"prefix": FE80[W]}]}}
    two = [b, {"network": "blue", "mac": W}]
    assert isolated({"a": [{**a, "groups": "there"}], "b": two}, groups=groups)
