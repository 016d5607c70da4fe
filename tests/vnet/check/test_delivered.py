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
    leases: list[tuple[str, int, str]] = attrs.field(factory=list)
    """(port, VLAN, prefix)."""
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


DNS = {"dns": {"ingress": [{"protocol": "udp", "ports": 53, "prefix": "10.0.10.0/24"}]}}
WEB = {"db": {"ingress": [{"group": "web"}]}, "web": {}}
IN_BLUE = {"in-blue": {"egress": [{"prefix": "10.0.20.0/24"}]}}
CLOSED = {"red": {**RED, "private": True, "proxy_arp": True}}

a, b = {"network": "red", "mac": A}, {"network": "red", "mac": B, "ip": ["10.0.10.2"]}
trunk = {"trunk": ["red", "blue"], "native": "red"}
web = [{"network": "red", "mac": W, "groups": "web"}]
as_web = [("a.0", udp(FE80[W], FE80[B], B, W), "b.0")]


def as_member(guard: dict[str, Any]) -> Case:
    return Case({"a": [{**a, "guard": guard}], "b": [{**b, "groups": "db"}], "w": web}, as_web, groups=WEB)


def out(to: str) -> dict[str, Any]:
    return {"out": {"egress": [{"prefix": to}]}}


def for_all(to: str, mac: str, by: str = "10.0.10.11") -> Case:
    """The rules of a allow it to send to everybody, and nothing to b."""
    grouped = {**a, "ip": ["10.0.10.11", "fd00:10::11"], "groups": "out"}
    family = {"family": 6} if ":" in to else {}
    return Case({"a": [grouped], "b": [b]}, [("a.0", udp(by, to, mac, A), "b.0")], family, out(to))


CASES = {
    "a group": for_all("224.1.1.1", "01:00:5e:01:01:01"),
    "a group, by a frame to one": for_all("224.1.1.1", B),
    "a group of IPv6": for_all("ff02::1", "33:33:00:00:00:01", "fd00:10::11"),
    "everybody": for_all("255.255.255.255", "ff:ff:ff:ff:ff:ff"),
    "everybody in a subnet": for_all("10.0.10.255", "ff:ff:ff:ff:ff:ff"),
    "everybody in a subnet, as of old": for_all("10.0.10.0", "ff:ff:ff:ff:ff:ff"),
    "everybody, although it has no address": Case(
        {"a": [{**a, "ip": ["10.0.10.11"]}], "b": [{**b, "ip": []}]},
        [("a.0", udp("10.0.10.11", "255.255.255.255", B, A), "b.0")],
        {"family": 4},
    ),
    "a lease that the rules are for": Case(
        {"a": [{**a, "ip": "dhcp"}], "b": [{**b, "groups": "dns"}]},
        [("a.0", udp("10.0.10.77", "10.0.10.2", B, A), "b.0")],
        groups=DNS,
        leases=[("a.0", 10, "10.0.10.77/32")],
    ),
    "a lease": Case(
        {"a": [{**a, "ip": "dhcp"}], "b": [b]},
        [("a.0", udp("10.0.10.77", "10.0.10.2", B, A), "b.0")],
        {"family": 4},
        leases=[("a.0", 10, "10.0.10.77/32")],
    ),
    "a lease in a tagged network": Case(
        {"a": [{**trunk, "mac": A, "ip": "dhcp"}], "b": [{**b, "network": "blue", "ip": ["10.0.20.2"]}]},
        [("a.0", udp("10.0.20.77", "10.0.20.2", B, A, 20), "b.0")],
        {"family": 4},
        leases=[("a.0", 20, "10.0.20.77/32")],
    ),
    "a lease of the target": Case(
        {"a": [{**a, "ip": ["10.0.10.11"], "groups": "in-blue"}], "b": [{**b, "ip": "dhcp"}]},
        [("a.0", udp("10.0.10.11", "10.0.20.7", B, A), "b.0")],
        groups=IN_BLUE,
    ),
    "a delegated prefix, of one that forwards": Case(
        {
            "a": [{**a, "ip": ["fd00:10::11"]}],
            "r": [{"network": "red", "mac": R}, {"network": "blue", "mac": W, "ip": "dhcp"}],
            "b": [{**b, "network": "blue", "ip": ["fd00:20::2"]}],
        },
        [
            ("a.0", udp("fd00:10::11", "fd00:20::2", R, A), "r.0"),
            ("r.1", udp("fd00:10::11", "fd00:20::2", B, W), "b.0"),
        ],
        {"family": 6},
        leases=[("r.1", 20, "fd00:10::/64")],
        networks={"red": RED, "blue": {**BLUE, "subnets": ["fd00:20::/64"]}},
        via=("r",),
    ),
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
    "a forged MAC address": as_member({"forged_transmits": "allow"}),
    "a changed MAC address": as_member({"mac_changes": "allow"}),
    "an allowed MAC address": as_member({"allow": [{"mac": W}]}),
    "an allowed MAC address, for an address": as_member({"allow": [{"mac": W, "ip": "10.0.10.9"}]}),
    "one that bridges": Case(
        {
            "a": [a],
            "r": [{"network": name, "guard": {"forged_transmits": "allow"}} for name in ("red", "blue")],
            "b": [{**b, "network": "blue", "ip": []}],
        },
        # In red it gets to r as a flood, if that hears such; here it asks r.
        [("r.1", udp(FE80[A], FE80[B], B, A), "b.0")],
        via=("r",),
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
    "a gateway beyond an uplink": Case(
        {"a": [{**a, "ip": ["10.0.10.11"]}], "b": [b]},
        [
            ("a.0", udp("10.0.10.11", "10.0.10.2", R, A), "wan"),
            ("wan", udp("10.0.10.11", "10.0.10.2", B, R), "b.0"),
        ],
        networks=CLOSED,
        uplinks={"wan": {"nic": PIPE, "native": "red"}},
        via=("wan",),
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
        for port, vlan, prefix in case.leases:
            fabric.engine.bind(fabric.ports[port].number, vlan, prefix, None)
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


def test_a_lease_makes_nobody_a_router() -> None:
    blue = [{**b, "network": "blue", "ip": ["10.0.20.2"]}]
    assert isolated({"a": [{**a, "ip": "dhcp"}], "b": blue, "r": BETWEEN}), "r has its own addresses"
    forging = {**a, "guard": {"forged_transmits": "allow"}}
    assert isolated({"a": [forging], "b": blue, "r": BETWEEN})
    allowed = [BETWEEN[0], {**BETWEEN[1], "guard": {"allow": [{"ip": "10.0.10.0/24"}]}}]
    case = Case({"a": [{**a, "ip": "dhcp"}], "b": blue, "r": allowed}, [])
    pair = Proof(case.topology()).pair("a", "b")
    assert (pair.via, bool(pair.arrives[4]), bool(pair.arrives[6])) == (("r",), True, False)


def test_what_is_forwarded_is_from_where_the_last_one_may_send() -> None:
    """A lease is any address; what r may forward of that is one subnet's, and the rule is for another."""
    groups = {"far": {"ingress": [{"prefix": "192.168.0.0/16"}]}}
    router = [BETWEEN[0], {**BETWEEN[1], "guard": {"allow": [{"ip": "10.0.10.0/24"}]}}]
    blue = [{**b, "network": "blue", "ip": ["10.0.20.2"], "groups": "far"}]
    assert isolated({"a": [{**a, "ip": "dhcp"}], "b": blue, "r": router}, groups=groups)


def test_who_is_on_the_first_way_found_may_be_found_by_another() -> None:
    """b forwards into blue, where r gets to it by h too; its groups let in what comes from green alone."""
    off: dict[str, Any] = {"guard": "off", "ip": []}
    shut = {**off, "groups": "shut"}
    nics = {
        "a": [a],
        "b": [{"network": "red", **shut}, {"network": "blue", **shut}, {"network": "green", **off}],
        "r": [{"network": "red", **off}, {"network": "blue", **off}],
        "h": [{"network": "blue", **off}, {"network": "green", **off}],
    }
    networks = {"red": RED, "blue": BLUE, "green": {"vlan": 30, "subnets": ["10.0.30.0/24"]}}
    case = Case(nics, [], networks=networks, groups={"shut": {}})
    assert Proof(case.topology()).pair("a", "b").via == ("r", "h")


def test_what_only_others_take() -> None:
    """A broadcast in a subnet where b is not; two addresses of a subnet of two, which has none."""
    grouped = {**a, "ip": ["10.0.10.11"], "groups": "out"}
    assert isolated({"a": [grouped], "b": [b]}, groups=out("10.0.20.255"))
    networks = {"red": {**RED, "subnets": ["10.0.10.0/31"]}}
    router = {**grouped, "ip": [], "guard": {"allow": [{"ip": "10.0.9.9"}]}}
    nics = {"a": [router], "b": [{**b, "ip": ["10.0.10.1"]}]}
    assert isolated(nics, groups=out("10.0.10.0"), networks=networks), "the gateway's address"
    shut = {"in": {"ingress": [{"prefix": "10.0.20.0/24"}]}}
    assert isolated({"a": [{**grouped, "groups": []}], "b": [{**b, "groups": "in"}]}, groups=shut)


def test_link_local_addresses_of_other_nics_mean_nothing() -> None:
    groups = {"there": {"egress": [{"prefix": FE80[W]}]}}
    two = [b, {"network": "blue", "mac": W}]
    assert isolated({"a": [{**a, "groups": "there"}], "b": two}, groups=groups)


@pytest.mark.parametrize("guard", [{"promiscuous": "allow"}, {"allow": [{"ip": "10.0.10.99"}]}])
def test_who_has_one_mac_address_has_one_link_local_address(guard: dict[str, Any]) -> None:
    assert isolated({"a": [{**a, "guard": guard}], "b": [{**b, "groups": "db"}], "w": web}, groups=WEB)


def test_a_gateway_beyond_an_uplink_forwards_within_one_network() -> None:
    networks = {"red": CLOSED["red"], "blue": {**BLUE, "private": True, "proxy_arp": True}}
    blue = [{**b, "network": "blue", "ip": ["10.0.20.2"]}]
    wan = {"wan": {"nic": PIPE, "tagged": ["red", "blue"]}}
    assert isolated({"a": [a], "b": blue}, networks=networks, uplinks=wan)
    plain = {"red": {**RED, "private": True}}
    native = {"wan": {"nic": PIPE, "native": "red"}}
    assert isolated({"a": [a], "b": [b]}, networks=plain, uplinks=native), "nobody said that it may"


def test_a_gateway_beyond_an_uplink_and_its_keys() -> None:
    case = CASES["a gateway beyond an uplink"]
    pair = Proof(case.topology()).pair("a", "b")
    paths = [reason.path for reason in pair.reasons]
    assert ("uplinks", "wan") in paths
    assert ("networks", "red", "proxy_arp") in paths
    assert any("beyond wan would have to forward" in reason.text for reason in pair.reasons)
