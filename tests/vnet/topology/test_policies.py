"""What the groups of a NIC come to, and who is whose neighbour in a private network."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

from switch.policy import ICMP, ICMP6, TCP, UDP, Allow, Policy, Remote
from vnet.topology import Port, Topology


def resolved(groups: dict[str, Any], **guests: Any) -> dict[str, Port]:
    topology = (
        Topology("lab")
        .network("red", vlan=10, subnets=["10.0.0.0/24", "fd00::/64"])
        .network("blue", vlan=20, subnets=["10.0.0.0/24", "10.9.0.0/24"])
        .network("green", vlan=30, subnets=["10.7.0.0/24"])
    )
    for name, keys in groups.items():
        topology.group(name, **keys)
    for name, keys in guests.items():
        topology.guest(name, kind="external", **keys)
    return dict(topology.resolve().ports)


def policy(**group: Any) -> Policy:
    found = resolved({"g": group}, a={"network": "red", "groups": "g"})["a.0"].policy
    assert found is not None
    return found


def asks(policy: Policy | None, protocol: int, number: int, remote: str, vlan: int = 10) -> str | None:
    assert policy is not None
    found = policy.allows("ingress", protocol, number, ip_address(remote), vlan)
    return found.because if found else None


def test_no_groups_no_policy() -> None:
    assert resolved({"g": {}}, a={"network": "red"})["a.0"].policy is None


def test_nothing_comes_in_and_everything_goes_out() -> None:
    found = policy()
    assert found == Policy()
    assert asks(found, TCP, 80, "10.0.0.9") is None
    assert found.allows("egress", TCP, 80, ip_address("::1"), 10) == Allow()
    assert policy(egress=[]).egress == ()


def test_ports_and_types() -> None:
    found = policy(
        ingress=[
            {"protocol": "tcp", "ports": [22, "8000-8080"]},
            {"protocol": "icmp", "type": 8},
            {"protocol": "icmp6", "type": 1, "code": 4},
            {"protocol": 47},
        ]
    )
    assert asks(found, TCP, 22, "10.0.0.9") == asks(found, TCP, 8080, "fd00::1") == "groups.g.ingress[0]"
    assert asks(found, TCP, 8081, "10.0.0.9") is None
    assert asks(found, UDP, 22, "10.0.0.9") is None
    assert asks(found, ICMP, 8 << 8 | 3, "10.0.0.9") == "groups.g.ingress[1]"
    assert asks(found, ICMP, 0, "10.0.0.9") is None
    assert asks(found, ICMP6, 1 << 8 | 4, "fd00::1") == "groups.g.ingress[2]"
    assert asks(found, ICMP6, 1 << 8, "fd00::1") is None
    assert asks(found, 47, 0, "10.0.0.9") == "groups.g.ingress[3]"


def test_protocols_of_one_family() -> None:
    found = policy(ingress=[{"protocol": "icmp"}])
    assert asks(found, ICMP, 0, "10.0.0.9")
    assert asks(found, ICMP, 0, "fd00::1") is None
    assert asks(policy(ingress=[{"protocol": "icmp6"}]), ICMP6, 0, "10.0.0.9") is None


def test_prefixes() -> None:
    found = policy(ingress=[{"prefix": ["10.0.0.0/30", "fd00::/64"]}])
    assert asks(found, UDP, 53, "10.0.0.3")
    assert asks(found, UDP, 53, "fd00::3")
    assert asks(found, UDP, 53, "10.0.0.4") is None


def test_groups_add_up() -> None:
    ports = resolved(
        {"web": {"ingress": [{"protocol": "tcp", "ports": 80}], "egress": []}, "ssh": {}},
        a={"network": "red", "groups": ["web", "ssh"]},
        b={"network": "red", "groups": ["web"]},
    )
    one, other = ports["a.0"].policy, ports["b.0"].policy
    assert one
    assert other
    assert one.ingress == other.ingress
    assert one.egress == (Allow(),)
    assert other.egress == ()


def test_members_by_their_addresses_in_their_network() -> None:
    web = {"web": {"ingress": [{"group": "web"}]}}
    ports = resolved(
        web,
        a={"network": "red", "ip": ["10.0.0.11"], "mac": "02:00:00:00:00:0a", "groups": "web"},
        b={"network": "blue", "ip": ["10.0.0.2", "10.9.0.2"], "groups": "web"},
        c={"network": "green", "ip": ["10.7.0.3"], "groups": "web"},
        d={"network": "red", "ip": ["10.0.0.4"]},
    )
    red, blue, green = (ports[f"{name}.0"].policy for name in "abc")
    assert asks(red, TCP, 1, "10.0.0.11")
    assert asks(red, TCP, 1, "fe80::ff:fe00:a")
    assert asks(red, TCP, 1, "fd00::ff:fe00:a")
    assert asks(red, TCP, 1, "10.7.0.3"), "routed"
    assert asks(red, TCP, 1, "10.9.0.2"), "routed"
    assert asks(red, TCP, 1, "10.0.0.4") is None, "no member"
    assert asks(red, TCP, 1, "10.0.0.2") is None, "another tenant's address is somebody else here"
    assert asks(green, TCP, 1, "10.0.0.11", 30)
    assert asks(green, TCP, 1, "fe80::ff:fe00:a", 30) is None
    assert asks(blue, TCP, 1, "10.0.0.11", 20) is None
    assert asks(red, TCP, 1, "10.0.0.11", 11) is None, "another VLAN"


def test_allowed_addresses_make_members_within_their_subnet() -> None:
    allow = [{"ip": "10.0.0.200"}, {"ip": "0.0.0.0/0"}, {"ip": "10.7.0.0/24"}]
    ports = resolved(
        {"web": {"ingress": [{"group": "web"}]}},
        a={"network": "red", "ip": ["10.0.0.11"], "groups": "web", "guard": {"allow": allow}},
    )
    found = ports["a.0"].policy
    assert found
    prefixes = {remote.prefix for remote in found.ingress[0].remotes or ()}
    assert ip_network("10.0.0.200/32") in prefixes
    assert not prefixes & {ip_network("0.0.0.0/0"), ip_network("10.7.0.0/24")}


def test_alike_ports_share_a_policy() -> None:
    ports = resolved(
        {"web": {"ingress": [{"group": "web"}]}},
        **{f"g{n}": {"network": "red", "groups": "web"} for n in range(3)},
    )
    assert len({id(port.policy) for port in ports.values()}) == 1
    assert Remote(ip_network("10.0.0.0/8")).has(ip_address("10.1.1.1"), 5)


def places(network: dict[str, Any], **nics: Any) -> dict[str, tuple[tuple[int, ...], str | None]]:
    topology = Topology("lab").network("red", vlan=10, subnets=["10.0.0.0/24"], **network)
    topology.network("blue", vlan=20)
    for name, keys in nics.items():
        topology.guest(name, **({"network": "red"} if "trunk" not in keys else {}), **keys)
    return {port.guest: (port.private, port.community) for port in topology.resolve().ports.values()}


def test_places_in_a_private_network() -> None:
    assert places(
        {"private": True},
        a={},
        b={"private": "community db"},
        c={"private": "promiscuous"},
        gateway={"guard": {"allow": [{"ip": "10.0.0.1"}]}},
        router={"guard": {"allow": [{"ip": "0.0.0.0/0"}]}},
        both={"trunk": ["red", "blue"]},
    ) == {
        "a": ((10,), None),
        "b": ((10,), "db"),
        "c": ((), None),
        "gateway": ((), None),
        "router": ((10,), None),
        "both": ((10,), None),
    }


def test_places_elsewhere() -> None:
    assert places({}, a={}, b={"private": "isolated"}) == {"a": ((), None), "b": ((10,), None)}
