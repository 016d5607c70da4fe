"""Plans lead from one topology to another, undo, change no more than needed, and mix no tenants."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs
import pytest
from hypothesis import given, settings

from nics.errors import BadInput
from nics.pipe import Pipe
from tests.vnet.topology.strategies import documents
from vnet.topology import Resolved, Topology
from vnet.topology.actions import (
    Action,
    AddPort,
    ChangePort,
    ChangeRules,
    ChangeSwitch,
    HandOver,
    RemovePort,
)
from vnet.topology.plan import plan


def carry_out(model: Resolved, actions: Iterable[Action]) -> list[Resolved]:
    """The models along the way, the first one included."""
    models = [model]
    for action in actions:
        models.append(action.on(models[-1]))
    return models


def nothing_of(resolved: Resolved) -> Resolved:
    return attrs.evolve(resolved, switches={}, networks={}, guests={}, ports={}, groups={})


def assert_apart(model: Resolved) -> None:
    """No VLAN holds ports that are up of two networks."""
    held: dict[int, set[str]] = {}
    for port in model.ports.values():
        if port.settings.up:
            vlans = dict(port.trunk).values() if port.trunk else port.vlans
            for name, vlan in zip(port.networks, vlans, strict=True):
                held.setdefault(vlan, set()).add(name)
    assert all(len(names) == 1 for names in held.values()), held


def assert_room(model: Resolved) -> None:
    """Static addresses fit into their switch's database."""
    for name, switch in model.switches.items():
        ports = [port for port in model.ports.values() if port.switch == name and port.settings.static]
        assert sum(len(port.vlans) for port in ports) <= switch.fdb_limit


def assert_left(model: Resolved, vlans: Iterable[int]) -> None:
    """Nobody who is up is in one of these VLANs."""
    ports = [port for port in (*model.ports.values(), *model.uplinks.values()) if port.settings.up]
    for carried in [*(port.vlans for port in ports), *(link.vlans for link in model.links.values())]:
        assert set(vlans).isdisjoint(carried)


def lab(**guests: Any) -> Topology:
    topology = (
        Topology("lab").network("red", subnets=["10.0.0.0/24"]).network("blue", subnets=["10.0.1.0/24"])
    )
    for name, keys in guests.items():
        topology.guest(name, **keys)
    return topology


def steps(before: Topology, after: Topology) -> list[Action]:
    running = before.resolve()
    return plan(running, after.resolve(keep=running))


@given(documents())
def test_nothing_to_do(document: dict[str, Any]) -> None:
    resolved = Topology.from_dict(document).resolve()
    assert plan(resolved, resolved) == []
    assert plan(resolved, Topology.from_dict(document).resolve(keep=resolved)) == []


@given(documents(), documents())
@settings(max_examples=150)
def test_a_plan_leads_there_and_back_and_mixes_nobody(one: dict[str, Any], two: dict[str, Any]) -> None:
    before = Topology.from_dict(one).resolve()
    after = Topology.from_dict(two).resolve(keep=before)
    actions = plan(before, after)
    models = carry_out(before, actions)
    assert models[-1] == after
    for model in models:
        assert_apart(model)
        assert_room(model)
    for model, action in zip(models, actions, strict=False):
        if isinstance(action, HandOver):
            assert_left(model, action.becomes)
            assert_left(model, action.inverse().becomes)
    # When a step fails, those before it are undone.
    for done in range(len(actions) + 1):
        undone = carry_out(models[done], [action.inverse() for action in reversed(actions[:done])])
        assert undone[-1] == before
        for model in undone:
            assert_apart(model)
            assert_room(model)


@given(documents())
def test_from_nothing(document: dict[str, Any]) -> None:
    wanted = Topology.from_dict(document).resolve()
    assert carry_out(nothing_of(wanted), plan(None, wanted))[-1] == wanted


@given(documents(), documents())
def test_each_step_is_possible_when_its_turn_comes(one: dict[str, Any], two: dict[str, Any]) -> None:
    before = Topology.from_dict(one).resolve()
    model = before
    for action in plan(before, Topology.from_dict(two).resolve(keep=before)):
        match action:
            case AddPort(part=port):
                assert port.name not in model.ports
                assert port.guest in model.guests
                assert port.switch in model.switches
                assert set(port.networks) <= set(model.networks)
                assert port.mac not in {other.mac for other in model.ports.values()}
            case RemovePort(part=port):
                assert model.ports[port.name] == port
            case ChangePort(before=was, after=becomes):
                assert model.ports[was.name] == was
                assert becomes.nic == was.nic
                assert becomes.mac == was.mac
        model = action.on(model)
        assert {port.guest for port in model.ports.values()} <= set(model.guests)


def test_moving_to_another_network_keeps_an_external_guest_plugged_in() -> None:
    (change,) = steps(
        lab(vm={"kind": "external", "network": "red"}), lab(vm={"kind": "external", "network": "blue"})
    )
    assert isinstance(change, ChangePort)
    assert (change.before.vlan, change.after.vlan) == (1, 2)
    assert "vlan 1 -> 2" in str(change)
    assert "network red -> blue" in str(change)


def test_addresses_that_we_set_are_set_by_plugging_in_again() -> None:
    actions = steps(lab(a={"network": "red"}), lab(a={"network": "blue"}))
    assert [str(action) for action in actions] == ["remove port a.0", "add port a.0 (stack) in blue"]


@pytest.mark.parametrize(
    "keys",
    [
        {"nic": {"kind": "stream", "socket": "other.sock"}},
        {"nic": {"kind": "dgram", "local": "127.0.0.1:5000"}},
        {"mac": "02:00:00:00:00:01"},
        {"mtu": 1400},
    ],
    ids=str,
)
def test_another_nic_is_plugged_in_again(keys: dict[str, Any]) -> None:
    base = {"kind": "external", "network": "red"}
    assert [type(action) for action in steps(lab(vm=base), lab(vm=base | keys))] == [RemovePort, AddPort]


@pytest.mark.parametrize(
    "keys", [{"sticky": True}, {"mac_limit": 2}, {"up": False}, {"flood": {"unknown": False}}], ids=str
)
def test_settings_change_in_place(keys: dict[str, Any]) -> None:
    (change,) = steps(lab(a={"network": "red"}), lab(a={"network": "red", **keys}))
    assert isinstance(change, ChangePort)


def test_networks_that_swap_vlans_never_meet() -> None:
    def topology(red: int, blue: int) -> Topology:
        found = Topology("lab").network("red", vlan=red).network("blue", vlan=blue)
        for name in ("a", "b"):
            found.guest(f"red-{name}", network="red").guest(f"blue-{name}", network="blue")
        return found

    actions = steps(topology(10, 20), topology(20, 10))
    changes = [action for action in actions if isinstance(action, ChangePort)]
    assert [change.after.settings.up for change in changes] == [False] * 4 + [True] * 4
    assert not [action for action in actions if isinstance(action, AddPort | RemovePort)]


def test_links_and_uplinks_leave_what_passes_and_stay_in_the_rest() -> None:
    def topology(red: int, blue: int) -> Topology:
        found = Topology("lab").network("red", vlan=red).network("blue", vlan=blue).network("green", vlan=99)
        found.switch("s1").switch("s2").link("s1", "s2")
        for name in ("red", "blue", "green"):
            found.guest(f"{name}-1", network=name, switch="s1").guest(f"{name}-2", network=name, switch="s2")
        found.uplink("wan", nic=Pipe(), native="red", tagged=["blue", "green"], switch="s1")
        return found.uplink("own", nic=Pipe(), native="red", switch="s2")

    model = topology(10, 20).resolve()
    actions = steps(topology(10, 20), topology(20, 10))
    (at,) = [at for at, action in enumerate(actions) if isinstance(action, HandOver)]
    assert str(actions[at]) == "VLAN 10 passes from red to blue, VLAN 20 passes from blue to red"
    parked = carry_out(model, actions[:at])[-1]
    assert [link.vlans for link in parked.links.values()] == [(99,)]
    assert (parked.uplinks["wan"].vlans, parked.uplinks["wan"].settings.up) == ((99,), True)
    assert not parked.uplinks["own"].settings.up
    assert all(port.settings.up == (port.vlan == 99) for port in parked.ports.values())


def rules_of(**groups: Any) -> Topology:
    found = lab(
        a={"kind": "external", "network": "red", "groups": ["web"]},
        b={"kind": "external", "network": "red", "groups": ["web", "ssh"]},
        c={"kind": "external", "network": "red"},
    )
    for name, keys in {"web": {"ingress": [{"protocol": "tcp", "ports": 80}]}, "ssh": {}, **groups}.items():
        found.group(name, **keys)
    return found


def test_rules_change_in_one_step() -> None:
    before, after = rules_of(), rules_of(web={"ingress": [{"protocol": "tcp", "ports": 443}]})
    (change,) = steps(before, after)
    assert isinstance(change, ChangeRules)
    assert str(change) == "change group web, change the rules of 2 ports: a.0, b.0"
    assert set(change.ports) == {"a.0", "b.0"}
    (back,) = steps(after, before)
    assert change.inverse() == back


def test_a_member_more_changes_the_rules_that_speak_of_it() -> None:
    mesh = {"ingress": [{"group": "web"}]}
    after = rules_of(web=mesh).guest("d", kind="external", network="red", groups=["web"])
    actions = steps(rules_of(web=mesh), after)
    # Its neighbours know it before it comes.
    assert [str(action) for action in actions] == [
        "change the rules of 2 ports: a.0, b.0",
        "add guest d (external)",
        "add port d.0 (stream) in red",
    ]


def test_who_moves_takes_its_rules_along() -> None:
    before, after = rules_of(), rules_of()
    after.guest("a", kind="external", network="blue", groups=["ssh"])
    (change,) = steps(before, after)
    assert isinstance(change, ChangePort)
    assert "groups web -> ssh" in str(change)


def test_a_guest_more_touches_no_other() -> None:
    base = {"kind": "external", "network": "red"}
    actions = steps(lab(a=base, c=base), lab(a=base, b=base, c=base))
    assert [str(action) for action in actions] == ["add guest b (external)", "add port b.0 (stream) in red"]


@pytest.mark.parametrize(
    ("engine", "line"),
    [
        ({"driver": "trio"}, "engine.driver: trio, expected thread, which runs"),
        ({"driver": "thread", "cpu": 1}, "engine.cpu: 1, expected nothing, which runs"),
        ({"driver": "thread", "poll": "busy"}, "engine.poll: busy, expected adaptive, which runs"),
        ({"driver": "thread", "wake": "50 us"}, "engine.wake: 50 us, expected nothing, which runs"),
        ({"driver": "thread", "keep": ["tap"]}, "engine.keep: ['tap'], expected [], which runs"),
    ],
)
def test_the_engine_does_not_change_while_it_runs(engine: dict[str, Any], line: str) -> None:
    running = Topology.from_dict({"name": "lab", "engine": {"driver": "thread"}}).resolve()
    wanted = Topology.from_dict({"name": "lab", "engine": engine}).resolve()
    with pytest.raises(BadInput) as error:
        plan(running, wanted)
    assert str(error.value).startswith(line)
    assert plan(None, wanted), "when nothing runs it may be any"


def test_machines_start_last_and_stop_first() -> None:
    vm = {"kind": "qemu", "network": "red", "memory": "1 GiB", "kernel": "/k"}
    up = [str(step) for step in steps(lab(), lab(vm=vm))]
    assert up == ["add guest vm (qemu)", "add port vm.0 (vhost-user) in red", "start vm"]
    down = [str(step) for step in steps(lab(vm=vm), lab())]
    assert down == ["stop vm", "remove port vm.0", "remove guest vm"]
    # Another machine is a restart, with its NICs left where they are.
    other = [str(step) for step in steps(lab(vm=vm), lab(vm={**vm, "cpus": 2}))]
    assert other == ["stop vm, to be started anew", "change guest vm: cpus 1 -> 2", "start vm"]
    # What is vnet's own business is not.
    (quiet,) = steps(lab(vm=vm), lab(vm={**vm, "restart": "on-failure"}))
    assert str(quiet) == "change guest vm: restart never -> on-failure"
    # Nor are NICs; addresses are the guest's, and the guard's.
    nics = {**vm, "nics": [{"network": "red"}, {"network": "blue"}]}
    del nics["network"]
    assert [str(step) for step in steps(lab(vm=vm), lab(vm=nics))] == ["add port vm.1 (vhost-user) in blue"]
    moved = steps(lab(vm=vm), lab(vm={**vm, "ip": "10.0.0.99"}))
    assert [type(step) for step in moved] == [ChangePort]
    # Another kind of guest goes, and comes.
    kinds = [str(step) for step in steps(lab(vm=vm), lab(vm={"network": "red"}))]
    assert kinds[0] == "stop vm"
    assert "start vm" not in kinds


def test_a_switch_changes_while_it_runs_and_has_room_whenever_it_is_needed() -> None:
    def topology(limit: int, **static: bool) -> Topology:
        found = Topology("lab").network("red").switch("s1", fdb_limit=limit)
        for name, value in static.items():
            found.guest(name, network="red", static=value)
        return found

    few, many = topology(1, a=True, b=False), topology(2, a=True, b=True)
    assert [type(action) for action in steps(few, many)] == [ChangeSwitch, ChangePort]
    assert [type(action) for action in steps(many, few)] == [ChangePort, ChangeSwitch]
    (change,) = steps(Topology("lab").switch("s1", ageing="15 s"), Topology("lab").switch("s1"))
    assert str(change) == "change switch s1: ageing 15 s -> 5 min"


def test_the_name_does_not_change_while_it_runs() -> None:
    with pytest.raises(BadInput, match="name: other, expected lab, which runs"):
        plan(Topology("lab").resolve(), Topology("other").resolve())


def test_other_changes_are_told_in_words() -> None:
    before = Topology("lab", seed=1).network("red", vlan=10).network("old")
    after = Topology("lab", seed=2).network("red", vlan=10, mtu=9000).network("new").switch("core")
    assert [str(action) for action in steps(before, after)] == [
        "seed 1 becomes 2",
        "add switch core",
        "add network new, VLAN 1",
        "change network red: mtu 1500 -> 9000",
        "VLAN 1 passes from old to new",
        "remove network old",
        "remove switch s1",
    ]
