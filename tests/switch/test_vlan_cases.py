"""VLAN cases that a switch is expected to pass.

After the VLAN test plan of OCP SAI (doc/sai-ptf/vlan_test_plan.md) and the kernel's selftests
bridge_vlan_aware, bridge_vlan_unaware and no_forwarding; names kept where there was one.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from switch import Access, Trunk
from tests.switch.bench import (
    BROADCAST,
    LLDP,
    MULTICAST,
    NOBODY,
    A,
    B,
    Bench,
    C,
    c_tag,
    frame,
    s_tag,
)


@pytest.fixture
def access(bench: Bench) -> Bench:
    """Ports 1 to 3 in VLAN 10, 4 and 5 in VLAN 20."""
    for number, vlan in enumerate([10, 10, 10, 20, 20], start=1):
        bench.port(number, vlan)
    return bench


@pytest.fixture
def trunks(bench: Bench) -> Bench:
    """Trunks 1 to 3 with VLANs 10 and 20, and access port 4 in VLAN 10."""
    for number in (1, 2, 3):
        bench.port(number, Trunk({10, 20}))
    bench.port(4, 10)
    return bench


# -- SAI: forwarding, filtering, flooding, learning -----------------------------------------------------


def test_untagged_access_to_access(access: Bench) -> None:
    access.hear(2, B)
    for size in (0, 1, 46, 100, 1500):
        result = access.send(1, frame(B, A, size=size))
        assert result.out == {2: frame(B, A, size=size)}


def test_tagged_trunk_to_access_and_back(trunks: Bench) -> None:
    trunks.hear(4, B)
    assert trunks.send(1, frame(B, A, c_tag(10, 3))).out == {4: frame(B, A)}
    assert trunks.send(4, frame(A, B)).out == {1: frame(A, B, c_tag(10))}


def test_mismatch_drop(access: Bench) -> None:
    """A tag of another VLAN, of one that does not exist, or of the port's own."""
    for vid in (20, 30, 10):
        assert access.send(1, frame(BROADCAST, A, c_tag(vid))).reason == "tag-not-allowed"


@pytest.mark.parametrize("tags", [(), (c_tag(10),)])
def test_port_filter(bench: Bench, tags: tuple[bytes, ...]) -> None:
    """A frame whose destination is at its ingress port goes nowhere."""
    for number in (1, 2):
        bench.port(number, Trunk({10}) if tags else Access(10))
    bench.hear(1, B, *tags)
    assert bench.send(1, frame(B, A, *tags)).reason == "same-port"
    assert bench.counter(2, "tx_frames") == 1, "the hello alone"


@pytest.mark.parametrize("destination", [NOBODY, BROADCAST, MULTICAST])
def test_flood(access: Bench, trunks_factory: Callable[[], Bench], destination: bytes) -> None:
    assert access.send(1, frame(destination, A)).ports == [2, 3]
    assert access.send(4, frame(destination, A)).ports == [5]
    trunks = trunks_factory()
    data = frame(destination, A, c_tag(10))
    assert trunks.send(1, data).out == {2: data, 3: data, 4: frame(destination, A)}
    data = frame(destination, A, c_tag(20))
    assert trunks.send(1, data).out == {2: data, 3: data}


@pytest.fixture
def trunks_factory(new_bench: Callable[..., Bench]) -> Callable[[], Bench]:
    """A second bench."""

    def make() -> Bench:
        bench = new_bench()
        for number in (1, 2, 3):
            bench.port(number, Trunk({10, 20}))
        bench.port(4, 10)
        return bench

    return make


def test_mac_learning_untagged(access: Bench) -> None:
    assert access.send(1, frame(B, A)).ports == [2, 3]
    assert access.send(2, frame(A, B)).ports == [1]
    assert access.send(1, frame(B, A)).ports == [2]
    assert access.learned() == 2


def test_mac_learning_tagged(trunks: Bench) -> None:
    assert trunks.send(1, frame(B, A, c_tag(20))).ports == [2, 3]
    assert trunks.send(2, frame(A, B, c_tag(20))).ports == [1]
    assert trunks.send(2, frame(A, B, c_tag(10))).ports == [1, 3, 4], "VLANs learn for themselves"


def test_vlan_member_list(access: Bench) -> None:
    """Membership follows the configuration at once."""
    access.port(3, 20)
    assert access.send(1, frame(BROADCAST, A)).ports == [2]
    access.port(3, Trunk({10, 20}))
    assert access.send(1, frame(BROADCAST, A)).ports == [2, 3]
    access.remove(2)
    assert access.send(1, frame(BROADCAST, A)).ports == [3]


@pytest.mark.parametrize("vlan", [0, 4095, -1])
def test_member_of_a_vlan_that_can_not_exist(vlan: int) -> None:
    with pytest.raises(ValueError, match=f"VLAN {vlan} is not in 1..4094"):
        Access(vlan)
    with pytest.raises(ValueError, match=f"VLAN {vlan} is not in 1..4094"):
        Trunk({1, vlan})
    with pytest.raises(ValueError, match=f"VLAN {vlan} is not in 1..4094"):
        Trunk({1}, native=vlan)


def test_learning_disabled(access: Bench) -> None:
    access.port(1, learning=False)
    access.hear(1, A)
    assert access.send(2, frame(A, B)).ports == [1, 3]
    access.port(1, learning=True)
    access.hear(1, A)
    assert access.send(2, frame(A, B)).ports == [1]


def test_arp_request_flood_and_response_learn(access: Bench) -> None:
    arp = b"\x08\x06" + bytes.fromhex("0001080006040001") + bytes(38)
    assert access.send(1, BROADCAST + A + arp).ports == [2, 3]
    assert access.send(2, A + B + arp).ports == [1]
    assert (access.learned_at(A, 10), access.learned_at(B, 10)) == (1, 2)


def test_counters(trunks: Bench) -> None:
    data = frame(BROADCAST, A, c_tag(10))
    trunks.send(1, data)
    trunks.send(1, frame(BROADCAST, A, c_tag(30)))
    assert trunks.counter(1, "rx_frames") == 2
    assert trunks.counter(1, "rx_bytes") == 2 * len(data)
    assert trunks.counter(1, "forwarded") == 1
    assert trunks.counter(1, "vlan-not-member") == 1
    assert trunks.counter(2, "tx_bytes") == len(data)
    assert trunks.counter(4, "tx_bytes") == len(data) - 4


# -- kernel: bridge_vlan_aware, bridge_vlan_unaware -----------------------------------------------------


def test_learning(bench: Bench) -> None:
    """Not delivered while unknown, delivered when learned, not when aged out, not with learning off."""
    bench.port(1)
    bench.port(2, flood_unknown=False)
    assert bench.send(1, frame(B, A)).reason == "no-member"
    bench.hear(2, B)
    assert bench.send(1, frame(B, A)).ports == [2]
    bench.wait(301)
    assert bench.send(1, frame(B, A)).reason == "no-member"
    bench.port(2, learning=False)
    bench.hear(2, B)
    assert bench.send(1, frame(B, A)).reason == "no-member"


@pytest.mark.parametrize(
    ("option", "destination"),
    [("flood_unknown", NOBODY), ("flood_multicast", MULTICAST), ("flood_broadcast", BROADCAST)],
)
def test_flooding(bench: Bench, option: str, destination: bytes) -> None:
    """Each switch of a port stops its own kind of flood and no other."""
    for number in (1, 2, 3):
        bench.port(number)
    assert bench.send(1, frame(destination, A)).ports == [2, 3]
    bench.port(2, **{option: False})
    for other in (NOBODY, MULTICAST, BROADCAST):
        assert bench.send(1, frame(other, A)).ports == ([3] if other == destination else [2, 3])
    bench.port(2, **{option: True})
    assert bench.send(1, frame(destination, A)).ports == [2, 3]


def test_vlan_deletion(bench: Bench) -> None:
    """A VLAN taken from a port and given back: nothing passes, nothing is remembered, all passes again."""
    bench.port(1, Trunk({10, 20}))
    bench.port(2, Trunk({10, 20}))
    bench.hear(2, B, c_tag(10))
    bench.port(2, Trunk({20}))
    assert bench.entry(B, 10) == (None, None)
    assert bench.send(1, frame(B, A, c_tag(10))).reason == "no-member"
    assert bench.send(2, frame(A, B, c_tag(10))).reason == "vlan-not-member"
    assert bench.send(1, frame(B, A, c_tag(20))).ports == [2]
    bench.port(2, Trunk({10, 20}))
    assert bench.send(1, frame(B, A, c_tag(10))).ports == [2]


def test_extern_learn(bench: Bench) -> None:
    """What the operator set does not age, and is not moved by traffic."""
    for number in (1, 2, 3):
        bench.port(number)
    bench.set_entry(B, 2)
    bench.wait(1000)
    assert bench.send(1, frame(B, A)).ports == [2]
    bench.hear(3, B)
    assert bench.send(1, frame(B, A)).ports == [2]


def test_other_tpid(bench: Bench) -> None:
    """88-A8 VID 3, 81-00 VID 5 in front of a C-VLAN port: untagged, whatever the tags say."""
    bench.port(1, Trunk({3, 5}, native=1))
    bench.port(2, Trunk({3, 5}, native=1))
    bench.port(3, 3)
    bench.port(4, 5)
    data = frame(BROADCAST, A, s_tag(3), c_tag(5))
    result = bench.send(1, data)
    assert (result.vlan, result.out) == (1, {2: data})
    bench.port(1, Trunk({1, 3, 5}))
    assert bench.send(1, data).reason == "untagged-not-allowed"


def test_8021p(bench: Bench) -> None:
    """A tag with VID 0 is no VLAN tag: the frame belongs to the native VLAN."""
    bench.port(1, Trunk({10}, native=1))
    bench.port(2, Trunk({10}, native=1))
    for priority in range(8):
        result = bench.send(1, frame(BROADCAST, A, c_tag(0, priority)))
        assert (result.vlan, result.out) == (1, {2: frame(BROADCAST, A)})


def test_drop_untagged(bench: Bench) -> None:
    """Without a native VLAN, neither untagged nor priority-tagged frames are admitted."""
    bench.port(1, Trunk({1, 10}))
    bench.port(2, Trunk({1, 10}))
    for tags in ((), (c_tag(0),), (c_tag(0, 7),)):
        assert bench.send(1, frame(BROADCAST, A, *tags)).reason == "untagged-not-allowed"
    assert bench.send(1, frame(BROADCAST, A, c_tag(10))).ports == [2]


def test_pvid_change(bench: Bench) -> None:
    """Untagged frames follow the native VLAN, tagged ones do not."""
    bench.port(1, Trunk({10}, native=1))
    bench.port(2, 1)
    bench.port(3, 5)
    bench.port(4, 10)
    assert bench.send(1, frame(BROADCAST, A)).ports == [2]
    bench.port(1, Trunk({10}, native=5))
    assert bench.send(1, frame(BROADCAST, A)).ports == [3]
    assert bench.send(1, frame(BROADCAST, A, c_tag(10))).ports == [4]
    bench.port(1, Trunk({10}))
    assert bench.send(1, frame(BROADCAST, A)).reason == "untagged-not-allowed"


# -- kernel: no_forwarding ------------------------------------------------------------------------------

KINDS = [NOBODY, MULTICAST, BROADCAST, LLDP, bytes.fromhex("333300000001"), C]
VIDS = [0, 1, 2, 5, 10, 20, 100, 555, 1000, 2000, 3333, 4093, 4094, 4095]


def test_no_forwarding(bench: Bench) -> None:
    """Two tenants with the same addresses: whatever one sends, the other sees nothing of it."""
    for number, vlan in ((1, 10), (2, 20), (3, 20), (4, 10)):
        bench.port(number, vlan)
    bench.hear(2, C)
    bench.hear(3, B)
    tags = [(), *((c_tag(vid),) for vid in VIDS), *((s_tag(vid),) for vid in VIDS)]
    tags += [(outer(0), c_tag(vid)) for outer in (c_tag, s_tag) for vid in VIDS]
    before = [bench.counter(number, "tx_frames") for number in (2, 3)]
    for destination in KINDS:
        for stack in tags:
            assert bench.send(1, frame(destination, A, *stack)).ports in ([], [4])
    assert [bench.counter(number, "tx_frames") for number in (2, 3)] == before
    assert bench.learned(vlan=20) == 2


def test_no_forwarding_by_double_tags(bench: Bench) -> None:
    """Double tagging: a native VLAN or priority tag taken off must not show another tag."""
    bench.port(1, Trunk(set(), native=10))
    bench.port(2, Trunk({20}, native=10))
    bench.port(3, 10)
    bench.port(4, 20)
    bench.port(5, Trunk({10, 20}))
    for outer in (c_tag(10), c_tag(0), c_tag(0, 6)):
        result = bench.send(1, frame(BROADCAST, A, outer, c_tag(20)))
        assert result.lost == {2: "tx-double-tag", 3: "tx-double-tag"}
        assert result.ports == [5], "in its own VLAN's tag it is payload"
    assert bench.counter(3, "tx-double-tag") == 3
