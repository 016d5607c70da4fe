"""Forwarding database cases that a switch is expected to pass.

After the FDB test plan of OCP SAI (doc/sai-ptf/fdb_test_plan.md) and the kernel's selftests
bridge_sticky_fdb and bridge_fdb_learning_limit.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from switch import Trunk
from tests.switch.bench import BROADCAST, MULTICAST, NOBODY, A, B, Bench, C, c_tag, frame


@pytest.fixture
def four(bench: Bench) -> Bench:
    """Ports 1 to 4 in VLAN 1."""
    for number in range(1, 5):
        bench.port(number)
    return bench


# -- who is learned, and where --------------------------------------------------------------------------


def test_learning_off_at_a_port(four: Bench) -> None:
    four.port(1, learning=False)
    four.hear(1, A)
    four.hear(2, B)
    assert (four.learned_at(A), four.learned_at(B)) == (None, 2)


def test_a_new_member_learns_and_a_removed_one_does_not(four: Bench) -> None:
    four.port(5)
    four.hear(5, A)
    assert four.learned_at(A) == 5
    four.remove(5)
    assert four.learned_at(A) is None
    assert four.learned() == 0


def test_no_learning_in_a_wrong_vlan(four: Bench) -> None:
    four.port(1, Trunk({1}))
    assert four.hear(1, A, c_tag(2)).reason == "vlan-not-member"
    assert four.hear(1, A).reason == "untagged-not-allowed"
    assert four.learned() == 0


@pytest.mark.parametrize("source", [BROADCAST, MULTICAST, bytes.fromhex("0180c2000000"), b"\x01" + bytes(5)])
def test_no_learning_of_group_addresses(four: Bench, source: bytes) -> None:
    result = four.send(1, frame(B, source))
    assert (result.reason, result.out, four.learned()) == ("source-multicast", {}, 0)
    assert four.entry(source) == (None, None)


def test_dropped_frames_teach_nothing(four: Bench) -> None:
    for data in (
        frame(BROADCAST, A, size=1501),
        frame(BROADCAST, A, c_tag(1)),
        frame(BROADCAST, A, b"\x81\x00\x00"),
        frame(bytes.fromhex("0180c2000000"), A),
    ):
        assert four.send(1, data[:1600]).out == {}
    assert four.learned() == 0


def test_a_frame_to_itself_teaches_all_the_same(four: Bench) -> None:
    """802.1Q 8.7 comes before 8.6.3: where the frame would go does not matter to learning."""
    assert four.send(1, frame(A, A)).reason == "same-port"
    assert four.learned_at(A) == 1


# -- moving ---------------------------------------------------------------------------------------------


def test_a_dynamic_entry_moves(four: Bench) -> None:
    four.hear(1, A)
    four.hear(2, A)
    assert four.learned_at(A) == 2
    assert (four.learned(port=1), four.learned(port=2)) == (0, 1)
    assert four.send(3, frame(A, C)).ports == [2]


def test_move_disabled(four: Bench) -> None:
    four.port(1, sticky=True)
    four.hear(1, A)
    result = four.hear(2, A)
    assert (result.reason, result.out, four.learned_at(A)) == ("station-sticky", {}, 1)
    assert four.counter(2, "station-sticky") == 1
    four.port(1, sticky=False)
    four.hear(2, A)
    assert four.learned_at(A) == 2


def test_a_static_entry_does_not_move(four: Bench) -> None:
    four.set_entry(A, 1)
    assert four.hear(2, A).ports == [1, 3, 4], "forwarded, but not learned there"
    assert four.entry(A) == (1, "static")
    assert four.send(3, frame(A, C)).ports == [1]


def test_sticky(four: Bench) -> None:
    """bridge_sticky_fdb: sticky entries do not move, and here their station can't be spoofed either."""
    four.set_entry(A, 1, sticky=True)
    assert four.hear(2, A).reason == "station-sticky"
    assert four.hear(1, A).ports == [2, 3, 4]
    assert four.entry(A) == (1, "sticky")


def test_an_operator_moves_any_entry(four: Bench) -> None:
    four.hear(1, A)
    four.set_entry(A, 2)
    assert four.entry(A) == (2, "static")
    four.set_entry(A, 3, sticky=True)
    assert four.entry(A) == (3, "sticky")
    assert (four.learned(), four.learned(port=1)) == (0, 0)


def test_entries_that_can_not_be(four: Bench) -> None:
    for mac in (BROADCAST, MULTICAST, bytes(6)):
        with pytest.raises(ValueError):
            four.set_entry(mac, 1)
    with pytest.raises(ValueError):
        four.set_entry(A, 1, vlan=2)


# -- ageing ---------------------------------------------------------------------------------------------


def test_ageing(four: Bench) -> None:
    four.hear(1, A)
    four.wait(298)
    assert four.send(2, frame(A, B)).ports == [1]
    four.wait(4)
    assert (four.learned_at(A), four.learned_at(B)) == (None, 2)
    assert four.send(2, frame(A, B)).ports == [1, 3, 4]


def test_ageing_starts_again_when_heard(four: Bench) -> None:
    for _ in range(5):
        four.hear(1, A)
        four.wait(200)
    assert four.learned_at(A) == 1
    four.wait(102)
    assert four.learned_at(A) is None


def test_ageing_does_not_start_again_when_spoken_to(four: Bench) -> None:
    four.hear(1, A)
    for _ in range(3):
        four.wait(101)
        four.send(2, frame(A, B))
    assert four.learned_at(A) is None


def test_ageing_starts_again_after_a_move(four: Bench) -> None:
    four.hear(1, A)
    four.wait(200)
    four.hear(2, A)
    four.wait(200)
    assert four.learned_at(A) == 2


def test_ageing_off(new_bench: Callable[..., Bench]) -> None:
    bench = new_bench(ageing=0)
    bench.port(1)
    bench.port(2)
    bench.hear(1, A)
    bench.wait(10**9)
    assert bench.learned_at(A) == 1


# -- flushing -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("which", "left"),
    [
        ({}, ["static"]),
        ({"fixed": True}, []),
        ({"port": 1}, ["at 2", "static"]),
        ({"port": 1, "fixed": True}, ["at 2"]),
        ({"vlan": 2}, ["at 1", "static"]),
        ({"port": 2, "vlan": 1}, ["at 1", "at 2", "static"]),
    ],
)
def test_flush(bench: Bench, which: dict[str, int], left: list[str]) -> None:
    bench.port(1, Trunk({1, 2}))
    bench.port(2, Trunk({1, 2}))
    bench.hear(1, A, c_tag(1))
    bench.hear(2, B, c_tag(2))
    bench.set_entry(C, 1, vlan=1)
    assert bench.flush(**which) == 3 - len(left)
    found = {"at 1": bench.entry(A, 1), "at 2": bench.entry(B, 2), "static": bench.entry(C, 1)}
    assert [name for name, entry in found.items() if entry[0] is not None] == left


def test_a_port_that_goes_down_forgets_what_it_learned(four: Bench) -> None:
    four.hear(1, A)
    four.set_entry(B, 1)
    four.port(1, up=False)
    assert (four.entry(A), four.entry(B)) == ((None, None), (1, "static"))
    assert four.hear(1, A).reason == "port-down"
    result = four.send(2, frame(B, C))
    assert (result.out, result.lost) == ({}, {1: "tx-port-down"})
    assert four.send(2, frame(BROADCAST, C)).ports == [3, 4]
    four.port(1, up=True)
    assert four.send(2, frame(B, C)).ports == [1]


# -- misses ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("destination", "option"),
    [(NOBODY, "flood_unknown"), (MULTICAST, "flood_multicast"), (BROADCAST, "flood_broadcast")],
)
def test_miss_action(four: Bench, destination: bytes, option: str) -> None:
    """Forward or drop what is not in the database, by kind."""
    assert four.send(1, frame(destination, A)).ports == [2, 3, 4]
    for number in (2, 3, 4):
        four.port(number, **{option: False})
    assert four.send(1, frame(destination, A)).reason == "no-member"
    assert four.counter(1, "no-member") == 1


# -- limits ---------------------------------------------------------------------------------------------


def stations(count: int) -> list[bytes]:
    """Addresses of `count` stations."""
    return [bytes([2, 1, 0, 0, n >> 8, n & 0xFF]) for n in range(count)]


def test_check_accounting(bench: Bench) -> None:
    """bridge_fdb_learning_limit: only learned entries count, and they count exactly."""
    bench.port(1)
    bench.port(2)
    for n, mac in enumerate(stations(16), start=1):
        bench.hear(1, mac)
        bench.hear(1, mac)
        assert bench.learned(port=1) == n
    bench.set_entry(A, 1)
    assert bench.learned(port=1) == 16
    bench.set_entry(stations(16)[3], 1)
    assert bench.learned(port=1) == 15
    bench.hear(2, stations(16)[4])
    assert (bench.learned(port=1), bench.learned(port=2)) == (14, 1)
    bench.wait(301)
    assert bench.learned() == 0


def test_check_limit(bench: Bench) -> None:
    """8 of 16: the first 8 are learned, and room that ageing or flushing makes is used."""
    bench.port(1, mac_limit=8)
    bench.port(2)
    for mac in stations(16):
        assert bench.hear(1, mac).ports == [2], "forwarded all the same"
    assert [bench.learned_at(mac) for mac in stations(16)] == [1] * 8 + [None] * 8
    bench.set_entry(stations(16)[12], 1)
    bench.set_entry(stations(16)[2], 1)
    assert bench.learned(port=1) == 7
    bench.hear(1, stations(16)[15])
    assert bench.learned_at(stations(16)[15]) == 1
    assert bench.flush(port=1) == 8
    bench.hear(1, stations(16)[14])
    assert bench.learned(port=1) == 1


def test_a_guest_at_its_limit_harms_nobody_else(bench: Bench) -> None:
    bench.port(1, mac_limit=8, mac_limit_drops=True)
    bench.port(2)
    bench.port(3)
    bench.hear(2, A)
    for mac in stations(300):
        bench.hear(1, mac)
    assert bench.counter(1, "mac-limit") == 292
    assert bench.hear(1, A).reason == "mac-limit", "nor can it take A away"
    bench.hear(3, B)
    assert bench.send(2, frame(B, A)).ports == [3]
    assert bench.send(3, frame(A, B)).ports == [2]


def test_a_vlan_at_its_limit_harms_no_other(new_bench: Callable[..., Bench]) -> None:
    bench = new_bench(vlan_limit=10, fdb_limit=100)
    for number, vlan in ((1, 1), (2, 1), (3, 2), (4, 2)):
        bench.port(number, vlan)
    for mac in stations(50):
        bench.hear(1, mac)
    assert (bench.learned(vlan=1), bench.learned(vlan=2)) == (10, 0)
    bench.hear(3, A)
    assert bench.send(4, frame(A, B)).ports == [3]


def test_the_operator_has_the_last_place(new_bench: Callable[..., Bench]) -> None:
    bench = new_bench(fdb_limit=3)
    bench.port(1)
    bench.port(2)
    first, second, third, fourth = stations(4)
    bench.hear(1, first)
    bench.wait(10)
    bench.hear(1, second)
    bench.hear(1, third)
    bench.wait(10)
    bench.hear(1, first)
    bench.hear(1, fourth)
    assert bench.learned_at(fourth) is None
    bench.set_entry(A, 2)
    assert [bench.learned_at(mac) for mac in (first, second, third)] == [1, None, 1]
    bench.set_entry(B, 2)
    bench.set_entry(C, 2)
    with pytest.raises(ValueError):
        bench.set_entry(fourth, 2)
    bench.set_entry(A, 1, sticky=True)
    assert bench.entry(A) == (1, "sticky"), "in the place that it has"
