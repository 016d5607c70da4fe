"""Who reaches whom, proved from topologies that are small enough to know the answer by heart."""

from __future__ import annotations

from typing import Any

import pytest

from vnet.check import Pair, Proof, judge
from vnet.check.openings import openings
from vnet.check.packets import ALL, OTHERS, TCP, UDP, Packets, common, union, within
from vnet.check.verdict import summary
from vnet.topology import Topology
from vnet.topology.problems import dotted

NETWORKS = {
    "red": {"vlan": 10, "subnets": ["10.0.10.0/24", "fd00:10::/64"]},
    "blue": {"vlan": 20, "subnets": ["10.0.10.0/24"]},
    "bare": {"vlan": 30},
    "closed": {"vlan": 40, "subnets": ["10.0.40.0/24"], "private": True},
}


def proof(**parts: Any) -> Proof:
    return Proof(Topology.from_dict({"name": "lab", "networks": NETWORKS, **parts}))


def guests(**nics: dict[str, Any] | list[dict[str, Any]]) -> dict[str, Any]:
    return {
        name: {"kind": "external", "nics": keys if isinstance(keys, list) else [keys]}
        for name, keys in nics.items()
    }


def of(nics: dict[str, Any], source: str = "a", target: str = "b", **parts: Any) -> Pair:
    return proof(guests=guests(**nics), **parts).pair(source, target)


def why(pair: Pair) -> str:
    return "\n".join(f"{reason.text} [{dotted(reason.path)}]" for reason in pair.reasons)


RED = {"network": "red"}


def test_one_network() -> None:
    pair = of({"a": RED, "b": RED})
    assert (pair.reach, pair.ethernet, summary(pair)) == ("yes", True, "reaches")
    assert why(pair) == "a.0 and b.0 are both in network red (VLAN 10) [guests.b.nics[0].network]"


def test_two_networks_with_one_subnet() -> None:
    pair = of({"a": RED, "b": {"network": "blue"}})
    assert (pair.reach, pair.ethernet, summary(pair)) == ("no", False, "isolated")
    assert "a.0 is in red (VLAN 10), b.0 in blue (VLAN 20): no VLAN in common" in why(pair)


def test_a_trunk_talks_in_its_native_network_and_may_in_the_others() -> None:
    trunk = {"trunk": ["red", "blue"], "native": "red"}
    assert of({"a": RED, "b": trunk}).reach == "yes"
    tagged = of({"a": {"network": "blue"}, "b": trunk})
    assert (tagged.reach, tagged.ethernet) == ("may", True)
    assert not tagged.talks[4], "no IPv4 address of it is known there"
    assert tagged.arrives[4], "a guest takes what is for any address that it has"
    assert of({"a": trunk, "b": {"network": "bare"}}).reach == "no"


def test_ports_that_are_down() -> None:
    pair = of({"a": RED, "b": {**RED, "up": False}})
    assert pair.reach == "no"
    assert why(pair) == "the port b.0 is down [guests.b.nics[0].up]"


@pytest.mark.parametrize(
    ("one", "other", "reach"),
    [
        ({}, {}, "no"),
        ({"private": "community x"}, {"private": "community x"}, "yes"),
        ({"private": "community x"}, {"private": "community y"}, "no"),
        ({"private": "promiscuous"}, {}, "yes"),
        ({}, {"guard": {"allow": [{"ip": "10.0.40.1"}]}}, "yes"),
        ({}, {"guard": "off"}, "no"),
    ],
)
def test_private(one: dict[str, Any], other: dict[str, Any], reach: str) -> None:
    nics = {"a": {"network": "closed", **one}, "b": {"network": "closed", **other}}
    assert of(nics).reach == of(nics, "b", "a").reach == reach


def test_private_says_which_key() -> None:
    text = "closed is private: a.0 is isolated there, b.0 isolated [networks.closed.private]"
    assert why(of({"a": {"network": "closed"}, "b": {"network": "closed"}})) == text
    pair = of({"a": {**RED, "private": "isolated"}, "b": {**RED, "private": "community x"}})
    assert why(pair).endswith("a.0 is isolated there, b.0 of community x [guests.b.nics[0].private]")


def test_addresses() -> None:
    four = of({"a": {**RED, "ip": []}, "b": RED})
    assert str(four.talks[4]) == "nothing"
    assert not four.arrives[4]
    assert four.talks[6], "link-local addresses are there in any case"
    assert "a.0 and b.0 share no IPv4 subnet" in why(four)
    assert of({"a": {"network": "bare"}, "b": {"network": "bare"}}).talks[4], "they bring their own"


def test_who_does_not_hear_broadcasts_is_not_found() -> None:
    pair = of({"a": RED, "b": {**RED, "flood": {"broadcast": False}}})
    assert not pair.talks[4]
    assert pair.talks[6]
    assert pair.arrives[4], "a guest that knows the MAC address gets there all the same"
    assert "b.0 does not hear broadcast, so ARP does not find it [guests.b.nics[0].flood" in why(pair)
    unheard = {**RED, "learning": False, "flood": {"unknown": False}}
    assert not of({"a": unheard, "b": RED}).talks[4]


# -- groups --------------------------------------------------------------------------------------

GROUPS = {
    "web": {"ingress": [{"protocol": "tcp", "ports": [80, "8000-8080"]}, {"protocol": "icmp", "type": 8}]},
    "db": {"ingress": [{"protocol": "tcp", "ports": 5432, "group": "web"}], "egress": []},
    "any": {"ingress": [{}]},
    "near": {"ingress": [{"prefix": "10.0.10.0/25"}], "egress": [{"prefix": "fd00:10::/64"}]},
}


def grouped(one: str | list[str], other: str | list[str], **more: Any) -> Pair:
    nics = {"a": {**RED, "groups": one}, "b": {**RED, "groups": other}, **more}
    return of(nics, groups=GROUPS)


def test_nothing_comes_in() -> None:
    pair = grouped([], "db")
    assert (pair.reach, pair.ethernet) == ("no", True)
    assert summary(pair) == "only frames such as ARP pass, no packets"
    assert "no rule of the groups of b.0 (db) lets anything pass from " in why(pair)
    assert "[guests.b.nics[0].groups]" in why(pair)


def test_what_a_rule_lets_in() -> None:
    pair = grouped([], "web")
    assert str(pair.talks[4]) == "icmp type 8, tcp 80+8000-8080"
    assert str(pair.talks[6]) == "tcp 80+8000-8080"
    assert pair.talks[4].has(TCP, 8050)
    assert not pair.talks[4].has(TCP, 8081)
    assert "[groups.web.ingress[0]]" in why(pair)


def test_a_remote_group() -> None:
    assert str(grouped("web", "db").talks[4]) == "tcp 5432"
    assert grouped("db", "web").reach == "no", "db may not begin to talk to anybody"
    assert grouped("any", ["db", "web"]).talks[4].has(TCP, 80)
    assert not grouped("any", ["db", "web"]).talks[4].has(TCP, 5432)


def test_who_may_pass_for_a_member_is_one() -> None:
    allowed = {"guard": {"allow": [{"ip": "10.0.10.77"}]}}
    nics = {
        "a": {**RED, **allowed},
        "b": {**RED, "groups": "db"},
        "c": {**RED, "ip": "10.0.10.77", "groups": "web"},
    }
    pair = of(nics, groups=GROUPS)
    assert not pair.talks[4]
    assert str(pair.arrives[4]) == "tcp 5432"
    assert pair.reach == "may"
    unguarded = of({**nics, "a": {**RED, "guard": "off"}}, groups=GROUPS)
    assert unguarded.arrives[4].has(TCP, 5432)


def test_prefixes() -> None:
    low, high = {**RED, "ip": "10.0.10.5"}, {**RED, "ip": "10.0.10.205"}
    near = {**RED, "groups": "near", "ip": "10.0.10.9"}
    assert of({"a": low, "b": near}, groups=GROUPS).talks[4].has(UDP, 1)
    assert not of({"a": high, "b": near}, groups=GROUPS).arrives[4]
    out = of({"a": near, "b": low}, groups=GROUPS)
    assert not out.talks[4]
    assert out.talks[6]


# -- by way of others ----------------------------------------------------------------------------

ROUTER = [
    {**RED, "guard": {"allow": [{"ip": "10.0.0.0/16"}]}},
    {"network": "closed", "guard": {"allow": [{"ip": "10.0.0.0/16"}, {"ip": "10.0.40.1"}]}},
]


def test_a_router_may_forward_what_its_guard_allows() -> None:
    nics: dict[str, Any] = {"a": RED, "b": {"network": "closed"}, "r": ROUTER}
    found = proof(guests=guests(**nics))
    pair = found.pair("a", "b")
    assert (pair.reach, pair.ethernet, pair.via) == ("may", False, ("r",))
    text = "r would have to forward; r.1 may send as 10.0.0.0/16 [guests.r.nics[1].guard.allow[0]]"
    assert text in why(pair)
    assert found.by_way_of("a", "r", "b").talks[4]
    assert found.by_way_of("b", "r", "a").talks[4]


def test_a_guest_with_two_nics_and_nothing_more_forwards_nothing() -> None:
    both = [RED, {"network": "closed", "private": "promiscuous"}]
    nics: dict[str, Any] = {"a": RED, "b": {"network": "closed"}, "r": both}
    found = proof(guests=guests(**nics))
    assert found.pair("a", "b").reach == "no"
    assert not found.by_way_of("a", "r", "b").talks[4]
    assert "r.1 may not send as 10.0.10." in why(found.by_way_of("a", "r", "b"))


def test_isolated_guests_by_their_gateway() -> None:
    closed = {"network": "closed"}
    found = proof(guests=guests(a=closed, b=closed, r=[ROUTER[1]]))
    assert found.pair("a", "b").via == ("r",)
    assert found.by_way_of("a", "r", "b").talks[4]


def test_groups_hold_for_what_is_forwarded_too() -> None:
    nics: dict[str, Any] = {"a": RED, "b": {"network": "closed", "groups": "web"}, "r": ROUTER}
    pair = of(nics, groups=GROUPS)
    assert str(pair.arrives[4]) == "icmp type 8, tcp 80+8000-8080"


# -- expectations --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expect", "holds"),
    [
        ({"from": "a", "to": "b", "reach": True}, True),
        ({"from": "a", "to": "b", "reach": False}, False),
        ({"from": "b", "to": "a", "reach": True}, True),
        ({"from": "a", "to": "b", "reach": True, "protocol": "tcp", "port": 80}, True),
        ({"from": "a", "to": "b", "reach": True, "protocol": "tcp", "port": [80, "8000-8080"]}, True),
        ({"from": "a", "to": "b", "reach": True, "protocol": "tcp", "port": [80, 22]}, False),
        ({"from": "a", "to": "b", "reach": False, "protocol": "tcp", "port": [80, 22]}, False),
        ({"from": "a", "to": "b", "reach": False, "protocol": "tcp", "port": 22}, True),
        ({"from": "a", "to": "b", "reach": True, "protocol": "tcp"}, True),
        ({"from": "a", "to": "b", "reach": True, "protocol": "udp"}, False),
        ({"from": "a", "to": "b", "reach": True, "protocol": "icmp"}, True),
        ({"from": "a", "to": "b", "reach": True, "protocol": "icmp", "family": 6}, False),
        ({"from": "a", "to": "b", "reach": False, "protocol": "icmp", "family": 6}, True),
        ({"from": "a", "to": "b", "reach": True, "protocol": "ethernet"}, True),
        ({"from": "a", "to": "c", "reach": False, "protocol": "ethernet"}, True),
        ({"from": "a", "to": "b", "reach": True, "network": "red"}, True),
        ({"from": "a", "to": "b", "reach": True, "network": "blue"}, False),
        ({"from": "*", "to": "c", "reach": False}, True),
        ({"from": ["a", "b"], "to": "?", "reach": True}, False),
        ({"from": "a", "to": "c", "reach": True, "via": "b"}, False),
    ],
)
def test_expectations(expect: dict[str, Any], holds: bool) -> None:
    nics = {"a": RED, "b": {**RED, "groups": "web"}, "c": {"network": "blue"}}
    verdict = judge(proof(guests=guests(**nics), groups=GROUPS, expect=[expect]))
    assert verdict.outcomes
    assert (not verdict.failures) == holds, [(o.wanted, o.found) for o in verdict.outcomes]


def test_what_may_be_neither_reaches_nor_does_not() -> None:
    nics: dict[str, Any] = {"a": RED, "b": {"network": "closed"}, "r": ROUTER}
    expect = [{"from": "a", "to": "b", "reach": reach, **via}
              for reach, via in ((True, {}), (False, {}), (True, {"via": "r"}))]  # fmt: skip
    verdict = judge(proof(guests=guests(**nics), expect=expect))
    assert [outcome.holds for outcome in verdict.outcomes] == [False, False, True]


def test_openings() -> None:
    nics = {
        "a": {**RED, "guard": {"allow": [{"ip": "10.0.10.0/24"}], "dhcp_server": "allow"}},
        "b": {**RED, "guard": "off"},
        "c": RED,
        "d": {"network": "bare"},
        "e": {**RED, "transparent": True},
        "f": {**RED, "ip": "dhcp", "groups": "near"},
        "g": {**RED, "ip": "dhcp", "groups": ["near", "web"]},
    }
    two = {"switches": {"s1": {}, "s2": {}}, "links": [{"ends": ["s1", "s2"], "transparent": True}]}
    found = openings(proof(guests=guests(**nics), groups=GROUPS, **two))
    assert [reason.text for reason in found] == [
        "network bare has no subnets: which IP addresses its guests take is not checked",
        "a.0 may serve DHCP",
        "a.0 may send as 10.0.10.0/24, among them addresses of b, c, e",
        "b.0 has no guard: it may pass for anybody in red",
        "e.0 exchanges link-local frames (STP, LACP, LLDP), which make it a part of others' links",
        "f.0 may ask any DHCP server, whatever its groups say",
        "members of web by DHCP are not meant by their leases: g.0",
        "link s1-s2 carries link-local frames (STP, LACP, LLDP)",
    ]
    assert found[-2].path == ("groups", "db", "ingress", 0)
    assert found[-1].path == ("links", 0, "transparent")


# -- sets of packets -----------------------------------------------------------------------------


def test_ranges() -> None:
    assert union([(5, 9), (1, 3), (4, 4), (20, 30), (25, 26)]) == ((1, 9), (20, 30))
    assert common(((1, 9), (20, 30)), ((5, 25),)) == ((5, 9), (20, 25))
    assert within(((5, 6),), ((1, 9),))
    assert not within(((5, 10),), ((1, 9),))


def test_packets() -> None:
    every = Packets.everything((1, 6, 17, 58, OTHERS), 4)
    assert str(every) == "anything"
    assert 58 not in every.numbers
    assert not every & Packets()
    assert every | Packets({TCP: ((1, 2),)}) == every
    assert every & Packets({TCP: ((1, 2),)}) == Packets({TCP: ((1, 2),)})
    assert str(Packets({TCP: ALL, 200: ALL})) == "tcp, protocol 200"


@pytest.mark.parametrize(
    ("cables", "least", "reach"),
    [([{}, {"up": False}], 1, "yes"), ([{}, {"up": False}], 2, "no"), ([{"up": False}] * 2, 1, "no")],
)
def test_a_link_of_several_cables_needs_as_many_as_it_says(
    cables: list[dict[str, Any]], least: int, reach: str
) -> None:
    link = {"ends": ["s1", "s2"], "cables": cables, "bond": {"min_links": least}}
    nics = {"a": {**RED, "switch": "s1"}, "b": {**RED, "switch": "s2"}}
    assert of(nics, switches={"s1": {}, "s2": {}}, links=[link]).reach == reach
