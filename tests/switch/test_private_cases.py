"""Private VLANs: the Linux kernel's `bridge_port_isolation`, VPP's split-horizon floods, communities."""

from __future__ import annotations

import pytest

from switch import Private, may_reach
from tests.switch.bench import BROADCAST, MULTICAST, NOBODY, A, B, C, D, c_tag, frame
from vnet._native import PortConfig, Switch

OPEN, ISOLATED, ONE, TWO = None, 0, 1, 2


def switch(*places: int | None, vlan: int = 1) -> Switch:
    """A port for each place: open to all, isolated, or in a community; its station is known."""
    made = Switch()
    for port, place in enumerate(places):
        private = [] if place is OPEN else [vlan]
        made.add_port(port, PortConfig(vlan=vlan, private=private, community=place or 0))
    return made


def ports(made: Switch, ingress: int, data: bytes) -> tuple[list[int], str | None]:
    (verdict,) = made.forward(0, ingress, [data])
    assert not verdict.lost
    return [port for port, _ in verdict.copies], verdict.reason


@pytest.mark.parametrize("destination", [BROADCAST, MULTICAST, NOBODY])
def test_floods_obey(destination: bytes) -> None:
    """Isolated to open and back, isolated to isolated not; a community to its own."""
    made = switch(ISOLATED, ISOLATED, OPEN, ONE, ONE, TWO)
    for ingress, expected in {0: [2], 1: [2], 2: [0, 1, 3, 4, 5], 3: [2, 4], 4: [2, 3], 5: [2]}.items():
        assert ports(made, ingress, frame(destination, bytes([2, 0, 0, 0, 1, ingress]))) == (expected, None)


def test_unicast_obeys() -> None:
    made = switch(ISOLATED, ISOLATED, OPEN, ONE, ONE)
    stations = [bytes([2, 0, 0, 0, 1, port]) for port in range(5)]
    for port, mac in enumerate(stations):
        made.forward(0, port, [frame(BROADCAST, mac)])
    reached = {(0, 2), (1, 2), (2, 0), (2, 1), (2, 3), (2, 4), (3, 2), (3, 4), (4, 2), (4, 3)}
    for one in range(5):
        for other in set(range(5)) - {one}:
            expected = ([other], None) if (one, other) in reached else ([], "private")
            # Twice: what is remembered of the last frame obeys too.
            for _ in range(2):
                assert ports(made, one, frame(stations[other], stations[one])) == expected
    assert made.counters(0)["drops"] == {"private": 6}


def test_nobody_to_talk_to() -> None:
    assert ports(switch(ISOLATED, ISOLATED), 0, frame(BROADCAST, A)) == ([], "private")
    assert ports(switch(ISOLATED), 0, frame(BROADCAST, A)) == ([], "no-member")


def test_places_change_while_it_runs() -> None:
    made = switch(ISOLATED, ISOLATED)
    for port, mac in ((0, A), (1, B)):
        made.forward(0, port, [frame(BROADCAST, mac)])
    assert ports(made, 0, frame(B, A)) == ([], "private")
    made.set_port(1, PortConfig(vlan=1))
    assert ports(made, 0, frame(B, A)) == ([1], None)
    made.set_port(1, PortConfig(vlan=1, private=[1]))
    assert ports(made, 0, frame(B, A)) == ([], "private")


def test_a_trunk_is_private_in_some_of_its_vlans() -> None:
    made = Switch()
    made.add_port(0, PortConfig(tagged=[1, 2], private=[1]))
    made.add_port(1, PortConfig(vlan=1, private=[1]))
    made.add_port(2, PortConfig(vlan=2, private=[2]))
    assert ports(made, 0, frame(BROADCAST, C, c_tag(1))) == ([], "private")
    assert ports(made, 0, frame(BROADCAST, D, c_tag(2))) == ([2], None)


def test_in_words_of_python() -> None:
    isolated, one = Private({1}), Private({1}, 1)
    assert may_reach(None, isolated, 1)
    assert may_reach(isolated, isolated, 2)
    assert not may_reach(isolated, isolated, 1)
    assert may_reach(one, Private({1, 2}, 1), 1)
    assert not may_reach(one, Private({1}, 2), 1)
    assert not may_reach(one, isolated, 1)
