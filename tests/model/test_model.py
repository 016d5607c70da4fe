"""The native switch and the reference must say the same about everything.

A Hypothesis state machine configures both alike, sends both the same bursts, lets the same time pass,
and compares every verdict, every byte that leaves, every counter, and the whole forwarding database.
Beside that, what must hold for any switch (`check_invariants`) is asserted on the native one's
answers alone, so that a mistake made twice is found too.
"""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from switch import Access, Port, Private, Storm, Trunk
from tests.model import frames
from tests.model.both import Both
from tests.switch.native import text

# A good run takes half a minute; to make a bad one small, Hypothesis may take five more.
pytestmark = pytest.mark.deadline(480)

STEP = 1 << 20
"""Nanoseconds: the native switch's time has this grain when ageing takes 256 of it."""
STEP_FOR_EVER = 1 << 30
"""And this one when nothing ages."""
AGEING = 256 * STEP

vlans = st.sampled_from([1, 1, 1, 2, 2, 3, 4094])
modes = st.one_of(
    st.builds(Access, vlans),
    st.builds(Access, vlans),
    st.builds(
        lambda tagged, native, native_tagged: Trunk(tagged, native, native_tagged and native is not None),
        st.frozensets(vlans, min_size=1),
        st.none() | vlans,
        st.booleans(),
    ),
)

mostly = st.sampled_from([True] * 6 + [False])
seldom = st.sampled_from([False] * 4 + [True])

privates = st.one_of(
    st.none(),
    st.none(),
    st.builds(Private, st.frozensets(vlans, min_size=1), st.sampled_from([0, 0, 1, 2])),
)

rates = st.sampled_from([None, 3, 3, 40, 997])
storms = st.one_of(st.none(), st.none(), st.builds(Storm, rates, rates, rates))

configs = st.builds(
    Port,
    mode=modes,
    mtu=st.sampled_from([1500, *frames.MTUS]),
    priority_tags=st.booleans(),
    mac_limit=st.sampled_from([1024, 1024, 1024, 3, 2, 1, 0]),
    mac_limit_drops=st.booleans(),
    learning=mostly,
    sticky=seldom,
    transparent=st.booleans(),
    flood_unknown=mostly,
    flood_multicast=mostly,
    flood_broadcast=mostly,
    up=mostly,
    private=privates,
    places=seldom,
    storm=storms,
)
places = st.sampled_from([0, 1, 1, 2, 2, 3, 4])
"""What may stand beside a frame: told or not, promiscuous, isolated, a community's."""


def a_vlan(port: Port, which: int) -> int:
    """One of the VLANs that a port carries."""
    mode = port.mode
    carried = (
        [mode.vlan] if isinstance(mode, Access) else sorted(mode.tagged | {mode.native or min(mode.tagged)})
    )
    return carried[which % len(carried)]


class Model(RuleBasedStateMachine):
    """Everything that can happen to a switch, in any order."""

    ports = Bundle("ports")

    @initialize(
        fdb_limit=st.sampled_from([100, 100, 5, 3, 1, 0]),
        vlan_limit=st.sampled_from([100, 100, 3, 1]),
        ageing=st.sampled_from([AGEING, AGEING, 0]),
        seed=st.integers(0, (1 << 64) - 1),
        first=st.lists(configs, min_size=3, max_size=4),
        target=ports,
    )
    def start(self, fdb_limit: int, vlan_limit: int, ageing: int, seed: int, first: list[Port]):
        """Two ports at least, or nothing happens."""
        self.last: dict[int, list[bytes]] = {}
        self.both = Both(ageing=ageing, fdb_limit=fdb_limit, vlan_limit=vlan_limit, seed=seed)
        for number, config in enumerate(first):
            self.both.native.add_port(number, config)
            self.both.reference.add_port(number, config)
        return multiple(*range(len(first)))

    @rule(number=st.sampled_from([4, 5, 77, 4095]), config=configs, target=ports)
    def add_port(self, number: int, config: Port):
        """A number that is taken is refused."""
        if number in self.both.ports:
            with pytest.raises(ValueError, match="exists"):
                self.both.native.add_port(number, config)
            return multiple()
        self.both.native.add_port(number, config)
        self.both.reference.add_port(number, config)
        return number

    @precondition(lambda self: len(self.both.ports) > 2)
    @rule(number=consumes(ports))
    def remove_port(self, number: int) -> None:
        """Afterwards it is gone."""
        self.both.native.remove_port(number)
        self.both.reference.remove_port(number)
        with pytest.raises(KeyError):
            self.both.native.counters(number)
        assert self.both.native.forward(self.both.now, number, [bytes(60)])[0].reason == "port-down"

    @rule(number=ports, config=configs)
    def set_port(self, number: int, config: Port) -> None:
        """All of it changes."""
        self.both.native.set_port(number, config)
        self.both.reference.set_port(number, config)

    @rule(
        number=ports,
        change=st.one_of(
            st.builds(lambda mode: {"mode": mode}, modes),
            st.builds(
                lambda key, value: {key: value},
                st.sampled_from(
                    ["up", "learning", "sticky", "transparent", "mac_limit_drops", "flood_unknown"]
                ),
                st.booleans(),
            ),
            st.builds(lambda limit: {"mac_limit": limit}, st.integers(0, 3)),
            st.builds(lambda private: {"private": private}, privates),
            st.builds(lambda storm: {"storm": storm}, storms),
        ),
    )
    def change_port(self, number: int, change: dict[str, object]) -> None:
        """One thing changes."""
        self.set_port(number, self.both.ports[number].changed(**change))

    @rule(ingress=ports, burst=frames.bursts, gso=seldom, beside=places)
    def send(self, ingress: int, burst: list[frames.Shape], gso: bool, beside: int) -> None:
        """A burst."""
        self.both.sent += 1
        self.last[ingress] = [shape.build(self.both.sent << 32 | i) for i, shape in enumerate(burst)]
        self.both.send(ingress, self.last[ingress], gso, beside)

    @rule(ingress=ports, frames=st.sampled_from([1, 1, 3]), steps=st.sampled_from([0, 1, 100]), beside=places)
    def again(self, ingress: int, frames: int, steps: int, beside: int) -> None:
        """The end of a port's last burst once more: what was decided then may not hold any more."""
        self.wait(steps, tick=False)
        self.both.send(ingress, self.last.get(ingress, [])[-frames:], beside=beside)

    @rule(
        steps=st.lists(
            st.tuples(
                ports,
                st.sampled_from(frames.STATIONS),
                st.sampled_from([*frames.STATIONS, frames.GROUPS[0]]),
                st.integers(0, 3),
            ),
            min_size=4,
            max_size=40,
        )
    )
    def talk(self, steps: list[tuple[int, bytes, bytes, int]]) -> None:
        """Sound frames that alternate between ports: stations move, answers follow."""
        for ingress, source, destination, which in steps:
            port = self.both.ports[ingress]
            vlan = a_vlan(port, which)
            tags = b"" if port.mode.pvid == vlan else frames.c_tag(vlan)
            self.last[ingress] = [frames.Shape(destination, source, tags, 46).build(7)]
            self.both.send(ingress, self.last[ingress])

    @rule(steps=st.sampled_from([1, 2, 100, 128, 255, 256, 1000]), tick=st.booleans())
    def wait(self, steps: int, tick: bool) -> None:
        """Time passes; entries are due with or without a tick."""
        both = self.both
        deadline = both.native.deadline()
        heard = [entry.heard for entry in both.reference.fdb.values() if entry.kind == "learned"]
        assert deadline == (min(heard) + both.reference.ageing if heard and both.reference.ageing else None)
        both.now += steps * (STEP if both.reference.ageing else STEP_FOR_EVER)
        both.reference.tick(both.now)
        if tick:
            both.native.tick(both.now)
        elif steps:
            # Any burst moves time on, even one from nowhere.
            both.native.forward(both.now, 4000, [bytes(60)])

    @rule(
        which=st.integers(0, 3),
        member=mostly,
        mac=st.sampled_from([*frames.STATIONS, *frames.STATIONS, bytes(6), frames.GROUPS[1]]),
        port=ports,
        sticky=st.booleans(),
    )
    def fdb_set(self, which: int, member: bool, mac: bytes, port: int, sticky: bool) -> None:
        """Refused by both or by neither."""
        vlan = a_vlan(self.both.ports[port], which) if member else frames.VLANS[which]
        done = self.both.reference.fdb_set(vlan, mac, port, "sticky" if sticky else "static")
        try:
            self.both.native.fdb_set(vlan, text(mac), port, sticky=sticky)
        except ValueError:
            assert not done
        else:
            assert done

    @rule(
        fdb_limit=st.sampled_from([100, 5, 3, 1, 0]),
        vlan_limit=st.sampled_from([100, 3, 1, 0]),
        ageing=st.sampled_from([AGEING, AGEING // 2, AGEING + AGEING // 2]),
    )
    def configure(self, fdb_limit: int, vlan_limit: int, ageing: int) -> None:
        """Other limits and another ageing time, in which the native switch's time has the same grain."""
        both = self.both
        settings = {
            "fdb_limit": fdb_limit,
            "vlan_limit": vlan_limit,
            "ageing": ageing if both.reference.ageing else 0,
        }
        if both.reference.configure(both.now, **settings):
            both.native.configure(both.now, **settings)
            both.fdb_limit, both.vlan_limit = fdb_limit, vlan_limit
        else:
            with pytest.raises(ValueError, match="full"):
                both.native.configure(both.now, **settings)

    @rule(vlan=st.sampled_from(frames.VLANS), mac=st.sampled_from(frames.STATIONS))
    def fdb_remove(self, vlan: int, mac: bytes) -> None:
        """One entry, of any kind."""
        if self.both.reference.fdb.pop((vlan, mac), None) is None:
            with pytest.raises(KeyError):
                self.both.native.fdb_remove(vlan, text(mac))
        else:
            self.both.native.fdb_remove(vlan, text(mac))

    @rule(port=st.none() | ports, vlan=st.none() | st.sampled_from(frames.VLANS), fixed=st.booleans())
    def flush(self, port: int | None, vlan: int | None, fixed: bool) -> None:
        """Many entries."""
        flushed = self.both.native.fdb_flush(port=port, vlan=vlan, fixed=fixed)
        assert flushed == self.both.reference.flush(port, vlan, fixed)

    @invariant()
    def same(self) -> None:
        """After every step."""
        if hasattr(self, "both"):
            self.both.compare()
            self.both.check_invariants()


Model.TestCase.settings = settings(
    max_examples=250,
    stateful_step_count=40,
    print_blob=True,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    # All of them: a machine of many steps is large by nature, and slow on a busy computer.
    suppress_health_check=list(HealthCheck),
)
TestModel = Model.TestCase


@pytest.mark.parametrize("seed", range(3))
def test_long_run(seed: int) -> None:
    """Thousands of stations: the table grows, fills, ages and is flushed, and still agrees."""
    dice = random.Random(seed)
    both = Both(ageing=AGEING, fdb_limit=1000, vlan_limit=700, seed=seed)
    modes = [Access(1), Access(1), Access(2), Trunk({1, 2, 3}), Trunk({3}, native=1), Trunk({2}, 3, True)]
    for number, mode in enumerate(modes):
        config = Port(mode=mode, mac_limit=dice.choice([200, 500, 1024]), sticky=number == 4)
        both.native.add_port(number, config)
        both.reference.add_port(number, config)
    stations = [dice.randbytes(6) for _ in range(1600)]
    stations = [bytes([mac[0] & 0xFE | 2]) + mac[1:] for mac in stations]
    for turn in range(100):
        ingress = dice.randrange(len(modes))
        burst = []
        for _ in range(64):
            vid = dice.choice([0, 1, 2, 3])
            tags = b"" if dice.random() < 0.6 else frames.c_tag(vid, dice.choice([0, 6]))
            source, destination = dice.choice(stations), dice.choice(stations)
            burst.append(frames.Shape(destination, source, tags, 46).build(turn))
        both.send(ingress, burst)
        if turn % 10 == 0:
            both.now += dice.randrange(60) * STEP
            both.native.tick(both.now)
            both.reference.tick(both.now)
        if turn % 50 == 49:
            which = {"port": dice.randrange(len(modes)), "vlan": dice.choice([None, 1])}
            assert both.native.fdb_flush(**which) == both.reference.flush(**which)
        if turn % 25 == 0:
            both.compare()
            both.check_invariants()
    both.compare()
    both.check_invariants()
