"""Addresses are legal, unique, and stay when others come and go."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vnet.topology import golden
from vnet.topology import Resolved, Topology
from vnet.topology.address import Full, assign, hosts, interface_id, ips, macs

NAMES = [f"guest-{n}.0" for n in range(200)]


def lab(guests: list[str], subnets: list[str], **keys: Any) -> Resolved:
    topology = Topology("lab", seed=keys.pop("seed", 0))
    topology.network("red", subnets=subnets, **keys)
    for name in guests:
        topology.guest(name, network="red")
    return topology.resolve()


def test_golden() -> None:
    """The addresses themselves: whoever changes them breaks what people wrote down."""
    topology = Topology("tenants", seed=1)
    for name in ("red", "blue"):
        topology.network(name, subnets=["10.0.10.0/24", "fd00:10::/64", "fd00:11::/96"])
        for guest in ("web", "db", "cache"):
            topology.guest(f"{name}-{guest}", network=name)
    lines = [
        f"{port.name} {port.network} {port.vlan} {port.mac} {' '.join(map(str, port.addresses))}"
        f" via {' '.join(map(str, port.gateways))}\n"
        for port in topology.resolve().ports.values()
    ]
    golden.check("addresses.txt", "".join(lines))


@given(st.integers(20, 32), st.integers(0, 40), st.integers(0, 5))
def test_every_ipv4_subnet_can_be_filled(prefix: int, wanted: int, seed: int) -> None:
    subnet = ipaddress.ip_network(f"10.20.0.0/{prefix}")
    wishers = dict.fromkeys(NAMES[:wanted], "02:00:00:00:00:01")
    room = hosts(subnet)[1]
    if wanted > room:
        with pytest.raises(Full) as full:
            ips(wishers, subnet, set(), "lab", seed)
        assert full.value.args[0] == room
        return
    found = ips(wishers, subnet, set(), "lab", seed)
    assert found.keys() == wishers.keys()
    assert len(set(found.values())) == wanted
    if prefix < 31:
        assert set(found.values()) <= set(subnet.hosts())
    else:
        assert all(address in subnet for address in found.values())


@pytest.mark.parametrize(
    ("subnet", "count"),
    [
        ("10.0.0.0/24", 254), ("10.0.0.0/30", 2), ("10.0.0.0/31", 2), ("10.0.0.0/32", 1),
        ("fd00::/64", 2**64 - 129), ("fd00::/120", 127), ("fd00::/126", 3), ("fd00::/127", 2),
        ("fd00::/128", 1),
        ("10.0.0.0/8", 2**24 - 2), ("fd00::/8", 2**120 - 129),
    ],
)  # fmt: skip
def test_how_many_hosts(subnet: str, count: int) -> None:
    network = ipaddress.ip_network(subnet)
    first, found = hosts(network)
    assert found == count
    assert int(network[0]) <= first <= first + found - 1 <= int(network[-1])


def test_a_subnet_filled_to_the_last_address() -> None:
    resolved = lab([f"g{n}" for n in range(253)], ["10.0.0.0/24"])
    found = {port.ip[0] for port in resolved.ports.values()}
    assert found == set(ipaddress.ip_network("10.0.0.0/24").hosts()) - {ipaddress.ip_address("10.0.0.1")}


@pytest.mark.parametrize("subnet", ["10.0.0.0/30", "10.0.0.0/31"])
def test_the_smallest_subnet_with_a_gateway(subnet: str) -> None:
    port = lab(["a"], [subnet]).ports["a.0"]
    assert {*port.ip, *port.gateways} <= set(ipaddress.ip_network(subnet).hosts())
    assert port.ip[0] not in port.gateways
    assert len(port.gateways) == 1


def test_a_single_address_has_no_gateway() -> None:
    port = lab(["a"], ["10.0.0.7/32"]).ports["a.0"]
    assert [str(address) for address in port.addresses] == ["10.0.0.7/32"]
    assert port.gateways == ()


def test_gateways_can_be_chosen_or_left_out() -> None:
    assert [str(g) for g in lab(["a"], ["10.0.0.0/24", "fd00::/64"]).ports["a.0"].gateways] == [
        "10.0.0.1",
        "fd00::1",
    ]
    chosen = lab(["a"], ["10.0.0.0/24", "fd00::/64"], gateway=["10.0.0.254"]).ports["a.0"]
    assert [str(gateway) for gateway in chosen.gateways] == ["10.0.0.254"]
    none = lab([f"g{n}" for n in range(254)], ["10.0.0.0/24"], gateway=[])
    assert "10.0.0.1" in {str(port.ip[0]) for port in none.ports.values()}


@given(st.lists(st.sampled_from(NAMES), unique=True, min_size=1), st.randoms(use_true_random=False))
def test_the_order_of_guests_does_not_matter(names: list[str], random: Any) -> None:
    subnet = ipaddress.ip_network("10.0.0.0/24")
    once = ips(dict.fromkeys(names, ""), subnet, set(), "lab", 0)
    shuffled = random.sample(names, len(names))
    assert ips(dict.fromkeys(shuffled, ""), subnet, set(), "lab", 0) == once
    assert macs(shuffled, set(), "lab", 0) == macs(names, set(), "lab", 0)


def test_a_newcomer_moves_hardly_anybody() -> None:
    """In a /24 with 100 guests, where every other newcomer wants somebody's address."""
    subnet = ipaddress.ip_network("10.0.0.0/24")
    moved = 0
    for newcomer in NAMES[100:]:
        before = ips(dict.fromkeys(NAMES[:100], ""), subnet, set(), "lab", 0)
        after = ips(dict.fromkeys([*NAMES[:100], newcomer], ""), subnet, set(), "lab", 0)
        moved += sum(before[name] != after[name] for name in before)
    assert moved < 100, "less than one for each newcomer"


def test_in_a_roomy_subnet_nobody_moves() -> None:
    subnet = ipaddress.ip_network("10.0.0.0/8")
    many = ips(dict.fromkeys(NAMES, ""), subnet, set(), "lab", 0)
    for name in NAMES:
        assert ips({name: ""}, subnet, set(), "lab", 0) == {name: many[name]}
    all_macs = macs(NAMES, set(), "lab", 0)
    assert all(macs([name], set(), "lab", 0) == {name: all_macs[name]} for name in NAMES)


def test_what_is_written_down_wins() -> None:
    free = lab(["a", "b"], ["10.0.0.0/24"])
    wanted, mac = free.ports["a.0"].ip[0], free.ports["a.0"].mac
    topology = Topology("lab").network("red", subnets=["10.0.0.0/24"])
    topology.guest("a", network="red").guest("b", network="red", ip=str(wanted), mac=mac)
    resolved = topology.resolve()
    assert resolved.ports["b.0"].ip == (wanted,)
    assert resolved.ports["b.0"].mac == mac
    assert resolved.ports["a.0"].ip != (wanted,)
    assert resolved.ports["a.0"].mac != mac


def test_seed_and_fabric_choose() -> None:
    subnet = ipaddress.ip_network("10.0.0.0/8")
    found = {
        (name, seed): ips({"a.0": ""}, subnet, set(), name, seed)["a.0"] for name in "xy" for seed in (0, 1)
    }
    assert len(set(found.values())) == 4
    assert len({macs(["a.0"], set(), name, seed)["a.0"] for name, seed in found}) == 4


@given(st.sets(st.sampled_from(NAMES), min_size=1), st.integers(0, 2**64 - 1))
def test_macs_are_locally_administered_stations(names: set[str], seed: int) -> None:
    found = macs(names, set(), "lab", seed)
    assert len(set(found.values())) == len(names)
    for mac in found.values():
        assert mac.startswith("02:")
        assert len(mac) == 17


def test_ipv6_addresses_are_those_that_a_guest_makes_itself() -> None:
    # RFC 4291, appendix A, and 2.5.1's example: 34-56-78-9A-BC-DE
    assert interface_id("34:56:78:9a:bc:de") == 0x3656_78FF_FE9A_BCDE
    topology = Topology("lab").network("red", subnets=["fd00::/64"])
    topology.guest("a", network="red", mac="34:56:78:9a:bc:de")
    assert str(topology.resolve().ports["a.0"].ip[0]) == "fd00::3656:78ff:fe9a:bcde"


def test_moving_between_subnets_of_one_size_keeps_the_host_part() -> None:
    one = lab(["a"], ["10.0.1.0/24"]).ports["a.0"].ip[0]
    two = lab(["a"], ["10.0.2.0/24"]).ports["a.0"].ip[0]
    assert int(two) - int(one) == 256


def test_what_runs_keeps_its_addresses() -> None:
    """Also where a newcomer would take one over, or a network before it would take its VLAN."""
    subnets = ["10.0.0.0/28"]
    running = lab([f"g{n}" for n in range(12)], subnets)
    topology = Topology("lab").network("first").network("red", subnets=subnets)
    for n in range(13):
        topology.guest(f"g{n}", network="red")
    fresh, kept = topology.resolve(), topology.resolve(keep=running)
    assert fresh.networks["red"].vlan == 2
    assert kept.networks["red"].vlan == 1
    assert kept.networks["first"].vlan == 2
    assert all(kept.ports[name].addresses == port.addresses for name, port in running.ports.items())
    assert len({port.ip for port in kept.ports.values()}) == 13


def test_what_is_written_down_wins_over_what_runs() -> None:
    running = lab(["a"], ["10.0.0.0/24"])
    taken = running.ports["a.0"]
    topology = Topology("lab").network("blue", vlan=1).network("red", subnets=["10.0.0.0/24"])
    topology.guest("a", network="red")
    topology.guest("b", network="red", ip=str(taken.ip[0]), mac=taken.mac)
    kept = topology.resolve(keep=running)
    assert kept.ports["b.0"].ip == taken.ip
    assert kept.ports["a.0"].ip != taken.ip
    assert kept.ports["a.0"].mac != taken.mac
    assert kept.networks["red"].vlan == 2


@given(st.dictionaries(st.sampled_from("abcdef"), st.permutations(range(6)), min_size=1))
def test_assignment_is_stable(preferences: dict[str, list[int]]) -> None:
    """Nobody prefers an address that would prefer him to whom it has (Gale and Shapley)."""
    from vnet.topology.address import draw

    found = assign({name: iter(order) for name, order in preferences.items()}, 7)
    assert found.keys() == preferences.keys()
    holder = {choice: name for name, choice in found.items()}
    for name, order in preferences.items():
        for better in order[: order.index(found[name])]:
            assert draw(7, better, holder[better]) > draw(7, better, name)
