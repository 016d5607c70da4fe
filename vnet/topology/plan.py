"""From what runs to what is wanted, in small steps. Pure: nothing is touched here.

    actions = plan(running, wanted)         # both resolved; running None: nothing runs yet

What is the same in both yields no action. Each action can be done and undone by itself, and each
is also a function on the model, so that tests can say what a plan comes to without a fabric.

The order is what keeps tenants apart on the way, for actions are carried out one by one while
frames flow. Ports that go are removed first, so that sockets, interfaces and VLANs are free for
what comes. Then ports change. When a VLAN passes from one network to another, the ports that are
in it are first parked (administratively down), and only then anybody moves: there is no moment at
which two networks meet in one VLAN. New ports come last.
"""

# ruff: noqa: D102 - what `inverse` and `on` do is said once, at Action

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from nics.errors import BadInput
from switch.policy import Policy
from vnet.topology.mirrors import ResolvedMirror
from vnet.topology.model import Flows, Group, Recorder, Switch
from vnet.topology.problems import Path, Problem, bad_input
from vnet.topology.resolve import Port, Resolved, ResolvedGuest, ResolvedLink, ResolvedNetwork
from vnet.topology.shape import Table
from vnet.topology.table import ENGINE
from vnet.topology.table_switches import SWITCH_TABLE
from vnet.topology.write import value_words

LIVE = tuple(key.name for key in SWITCH_TABLE.keys)
"""Keys of a switch that change while it runs."""


@attrs.frozen
class Action:
    """One step. `str()` is a line for a person."""

    def inverse(self) -> Action:
        """The step that takes this one back."""
        raise NotImplementedError

    def on(self, model: Resolved) -> Resolved:
        """What `model` is after this step. The order of mappings is not kept."""
        raise NotImplementedError


def _with(things: Mapping[str, Any], name: str, thing: Any) -> dict[str, Any]:
    return {**things, name: thing}


def _without(things: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in things.items() if key != name}


def _with_port(model: Resolved, port: Port) -> Resolved:
    if port.is_uplink:
        return attrs.evolve(model, uplinks=_with(model.uplinks, port.name, port))
    return attrs.evolve(model, ports=_with(model.ports, port.name, port))


@attrs.frozen
class ChangeSeed(Action):
    """The seed of choices to come; what was chosen stays chosen."""

    before: int
    after: int

    def inverse(self) -> ChangeSeed:
        return ChangeSeed(self.after, self.before)

    def on(self, model: Resolved) -> Resolved:
        return attrs.evolve(model, seed=self.after)

    def __str__(self) -> str:
        return f"seed {self.before} becomes {self.after}"


@attrs.frozen
class ChangeRecorder(Action):
    """Another part of the past is kept, or written down for other reasons."""

    before: Recorder | None
    after: Recorder | None

    def inverse(self) -> ChangeRecorder:
        return ChangeRecorder(self.after, self.before)

    def on(self, model: Resolved) -> Resolved:
        return attrs.evolve(model, recorder=self.after)

    def __str__(self) -> str:
        if self.before is None or self.after is None:
            return f"turn the recorder {'on' if self.after else 'off'}"
        return f"change the recorder: {_differences(self.before, self.after)}"


@attrs.frozen
class ChangeFlows(Action):
    """Other flows are counted, for another collector, or none."""

    before: Flows | None
    after: Flows | None

    def inverse(self) -> ChangeFlows:
        return ChangeFlows(self.after, self.before)

    def on(self, model: Resolved) -> Resolved:
        return attrs.evolve(model, flows=self.after)

    def __str__(self) -> str:
        if self.after is None:
            return "export no flows any more"
        if self.before is None:
            return f"export flows to {self.after.collector}"
        return f"change the export of flows: {_differences(self.before, self.after)}"


@attrs.frozen
class AddSwitch(Action):
    """A switch is new."""

    switch: Switch

    def inverse(self) -> RemoveSwitch:
        return RemoveSwitch(self.switch)

    def on(self, model: Resolved) -> Resolved:
        return attrs.evolve(model, switches=_with(model.switches, self.switch.name, self.switch))

    def __str__(self) -> str:
        return f"add switch {self.switch.name}"


@attrs.frozen
class RemoveSwitch(Action):
    """A switch goes; no port is on it any more."""

    switch: Switch

    def inverse(self) -> AddSwitch:
        return AddSwitch(self.switch)

    def on(self, model: Resolved) -> Resolved:
        return attrs.evolve(model, switches=_without(model.switches, self.switch.name))

    def __str__(self) -> str:
        return f"remove switch {self.switch.name}"


@attrs.frozen
class ChangeSwitch(Action):
    """A switch gets other limits or another ageing time; its ports and what it learned stay."""

    before: Switch
    after: Switch

    def inverse(self) -> ChangeSwitch:
        return ChangeSwitch(self.after, self.before)

    def on(self, model: Resolved) -> Resolved:
        return attrs.evolve(model, switches=_with(model.switches, self.after.name, self.after))

    def __str__(self) -> str:
        return f"change switch {self.after.name}: {_differences(self.before, self.after)}"


@attrs.frozen
class AddNetwork(Action):
    """A network is new."""

    network: ResolvedNetwork

    def inverse(self) -> RemoveNetwork:
        return RemoveNetwork(self.network)

    def on(self, model: Resolved) -> Resolved:
        return attrs.evolve(model, networks=_with(model.networks, self.network.name, self.network))

    def __str__(self) -> str:
        return f"add network {self.network.name}, VLAN {self.network.vlan}"


@attrs.frozen
class RemoveNetwork(Action):
    """A network goes; no port is in it any more."""

    network: ResolvedNetwork

    def inverse(self) -> AddNetwork:
        return AddNetwork(self.network)

    def on(self, model: Resolved) -> Resolved:
        return attrs.evolve(model, networks=_without(model.networks, self.network.name))

    def __str__(self) -> str:
        return f"remove network {self.network.name}"


@attrs.frozen
class ChangeNetwork(Action):
    """What is known of a network changes; what it means for ports is in actions of their own."""

    before: ResolvedNetwork
    after: ResolvedNetwork

    def inverse(self) -> ChangeNetwork:
        return ChangeNetwork(self.after, self.before)

    def on(self, model: Resolved) -> Resolved:
        return attrs.evolve(model, networks=_with(model.networks, self.after.name, self.after))

    def __str__(self) -> str:
        return f"change network {self.after.name}: {_differences(self.before, self.after)}"


@attrs.frozen
class ChangeRules(Action):
    """The rules of running ports change, all at once: between two frames, for all of them.

    What is in `before` and `after` are the groups by name, and the groups and policies of ports. The
    ports of a step are those that stay in their VLANs; who moves takes its rules along (ChangePort).
    """

    before: Mapping[str, Group]
    after: Mapping[str, Group]
    ports_before: Mapping[str, tuple[tuple[str, ...], Policy | None]]
    ports: Mapping[str, tuple[tuple[str, ...], Policy | None]]

    def inverse(self) -> ChangeRules:
        return ChangeRules(self.after, self.before, self.ports, self.ports_before)

    def on(self, model: Resolved) -> Resolved:
        changed = {
            name: attrs.evolve(model.ports[name], groups=groups, policy=policy)
            for name, (groups, policy) in self.ports.items()
        }
        return attrs.evolve(model, groups=dict(self.after), ports={**model.ports, **changed})

    def __str__(self) -> str:
        told = [f"add group {name}" for name in self.after if name not in self.before]
        told += [f"remove group {name}" for name in self.before if name not in self.after]
        told += [
            f"change group {name}"
            for name, group in self.after.items()
            if name in self.before and self.before[name] != group
        ]
        if self.ports:
            count = len(self.ports)
            told.append(f"change the rules of {count} port{'' if count == 1 else 's'}: {_few(self.ports)}")
        return ", ".join(told)


def _few(names: Iterable[str], most: int = 5) -> str:
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


@attrs.frozen
class AddGuest(Action):
    """A guest is new; its ports are added by actions of their own."""

    guest: ResolvedGuest

    def inverse(self) -> RemoveGuest:
        return RemoveGuest(self.guest)

    def on(self, model: Resolved) -> Resolved:
        return attrs.evolve(model, guests=_with(model.guests, self.guest.name, self.guest))

    def __str__(self) -> str:
        return f"add guest {self.guest.name} ({self.guest.kind})"


@attrs.frozen
class RemoveGuest(Action):
    """A guest goes; its ports went before."""

    guest: ResolvedGuest

    def inverse(self) -> AddGuest:
        return AddGuest(self.guest)

    def on(self, model: Resolved) -> Resolved:
        return attrs.evolve(model, guests=_without(model.guests, self.guest.name))

    def __str__(self) -> str:
        return f"remove guest {self.guest.name}"


@attrs.frozen
class AddPort(Action):
    """A NIC is opened and plugged in."""

    port: Port

    @property
    def guest(self) -> str:
        """Whose it is."""
        return self.port.guest

    def inverse(self) -> RemovePort:
        return RemovePort(self.port)

    def on(self, model: Resolved) -> Resolved:
        return _with_port(model, self.port)

    def __str__(self) -> str:
        what = "uplink" if self.port.is_uplink else "port"
        where = ", ".join(self.port.networks) or "no network"
        return f"add {what} {self.port.name} ({self.port.nic.kind}) in {where}"


@attrs.frozen
class RemovePort(Action):
    """A NIC is unplugged and closed."""

    port: Port

    @property
    def guest(self) -> str:
        """Whose it is."""
        return self.port.guest

    def inverse(self) -> AddPort:
        return AddPort(self.port)

    def on(self, model: Resolved) -> Resolved:
        if self.port.is_uplink:
            return attrs.evolve(model, uplinks=_without(model.uplinks, self.port.name))
        return attrs.evolve(model, ports=_without(model.ports, self.port.name))

    def __str__(self) -> str:
        return f"remove {'uplink' if self.port.is_uplink else 'port'} {self.port.name}"


@attrs.frozen
class ChangePort(Action):
    """The switch's side of a port changes; its NIC stays open and its guest notices nothing else."""

    before: Port
    after: Port

    def inverse(self) -> ChangePort:
        return ChangePort(self.after, self.before)

    def on(self, model: Resolved) -> Resolved:
        return _with_port(model, self.after)

    def __str__(self) -> str:
        what = "uplink" if self.after.is_uplink else "port"
        return f"change {what} {self.after.name}: {_differences(self.before, self.after)}"


@attrs.frozen
class AddLink(Action):
    """Two switches are joined."""

    link: ResolvedLink

    def inverse(self) -> RemoveLink:
        return RemoveLink(self.link)

    def on(self, model: Resolved) -> Resolved:
        return attrs.evolve(model, links=_with(model.links, self.link.name, self.link))

    def __str__(self) -> str:
        return f"add link {self.link.name} between {' and '.join(self.link.ends)}"


@attrs.frozen
class RemoveLink(Action):
    """Two switches are parted."""

    link: ResolvedLink

    def inverse(self) -> AddLink:
        return AddLink(self.link)

    def on(self, model: Resolved) -> Resolved:
        return attrs.evolve(model, links=_without(model.links, self.link.name))

    def __str__(self) -> str:
        return f"remove link {self.link.name}"


@attrs.frozen
class ChangeLink(Action):
    """What a link carries, or does to it, changes; it is not cut unless that is the change."""

    before: ResolvedLink
    after: ResolvedLink

    def inverse(self) -> ChangeLink:
        return ChangeLink(self.after, self.before)

    def on(self, model: Resolved) -> Resolved:
        return attrs.evolve(model, links=_with(model.links, self.after.name, self.after))

    def __str__(self) -> str:
        return f"change link {self.after.name}: {_differences(self.before, self.after)}"


@attrs.frozen
class AddMirror(Action):
    """Frames are copied."""

    mirror: ResolvedMirror

    def inverse(self) -> RemoveMirror:
        return RemoveMirror(self.mirror)

    def on(self, model: Resolved) -> Resolved:
        return attrs.evolve(model, mirrors=_with(model.mirrors, self.mirror.name, self.mirror))

    def __str__(self) -> str:
        return f"add mirror {self.mirror.name} to {self.mirror.to}"


@attrs.frozen
class RemoveMirror(Action):
    """Frames are copied no longer."""

    mirror: ResolvedMirror

    def inverse(self) -> AddMirror:
        return AddMirror(self.mirror)

    def on(self, model: Resolved) -> Resolved:
        return attrs.evolve(model, mirrors=_without(model.mirrors, self.mirror.name))

    def __str__(self) -> str:
        return f"remove mirror {self.mirror.name}"


def plan(running: Resolved | None, wanted: Resolved) -> list[Action]:
    """The steps from `running` to `wanted`. Raises BadInput for what can't change while it runs."""
    if running is None:
        running = Resolved(wanted.name, wanted.seed, wanted.engine, {}, {}, {}, {})
    _check_fixed(running, wanted)
    actions: list[Action] = []
    if running.seed != wanted.seed:
        actions.append(ChangeSeed(running.seed, wanted.seed))
    if running.recorder != wanted.recorder:
        actions.append(ChangeRecorder(running.recorder, wanted.recorder))
    if running.flows != wanted.flows:
        actions.append(ChangeFlows(running.flows, wanted.flows))
    removed, changed, added = _ports(running, wanted)
    again = {
        name
        for name, guest in running.guests.items()
        if name in wanted.guests and wanted.guests[name] != guest
    }
    gone, altered, new = _links(running, wanted)
    # A mirror that changes stops before anything does: nobody shall see what becomes another's.
    actions += [RemoveMirror(m) for name, m in running.mirrors.items() if wanted.mirrors.get(name) != m]
    # What goes.
    actions += [RemovePort(port) for port in reversed(removed)]
    actions += [
        RemoveGuest(guest)
        for name, guest in reversed(list(running.guests.items()))
        if name not in wanted.guests or name in again
    ]
    actions += [RemoveLink(link) for link in gone]
    # What changes. A switch makes room before anything needs it, and gives it up afterwards.
    larger, smaller = _switches(running, wanted)
    actions += larger
    actions += [AddSwitch(s) for name, s in wanted.switches.items() if name not in running.switches]
    actions += [AddNetwork(n) for name, n in wanted.networks.items() if name not in running.networks]
    actions += [
        ChangeNetwork(running.networks[name], network)
        for name, network in wanted.networks.items()
        if name in running.networks and running.networks[name] != network
    ]
    changed = _rules(running, wanted, changed, actions)
    actions += _moves(running, wanted, changed, altered)
    actions += smaller
    actions += [RemoveNetwork(n) for name, n in running.networks.items() if name not in wanted.networks]
    actions += [RemoveSwitch(s) for name, s in running.switches.items() if name not in wanted.switches]
    # What comes.
    actions += [AddLink(link) for link in new]
    actions += [
        AddGuest(guest)
        for name, guest in wanted.guests.items()
        if name not in running.guests or name in again
    ]
    actions += [AddPort(port) for port in added]
    actions += [AddMirror(m) for name, m in wanted.mirrors.items() if running.mirrors.get(name) != m]
    return actions


def _check_fixed(running: Resolved, wanted: Resolved) -> None:
    """Raise BadInput for what is made once, when a fabric is brought up."""
    if running.name != wanted.name:
        raise BadInput(
            f"name: {wanted.name}, expected {running.name}, which runs (a fabric can't be renamed)"
        )
    fixed: list[tuple[Path, Any, Any, Table]] = [(("engine",), running.engine, wanted.engine, ENGINE)]
    fixed += [
        (("switches", name), running.switches[name], switch, SWITCH_TABLE)
        for name, switch in wanted.switches.items()
        if name in running.switches
    ]
    problems = []
    for path, before, after, table in fixed:
        for key in table.keys:
            if table is SWITCH_TABLE and key.name in LIVE:
                continue
            was, becomes = getattr(before, key.name), getattr(after, key.name)
            if was != becomes:
                found = "nothing" if becomes is None else value_words(key.type, becomes)
                expected = f"{'nothing' if was is None else value_words(key.type, was)}, which runs"
                hint = "this changes only when the fabric is brought down and up"
                problems.append(Problem((*path, key.name), str(found), expected, hint))
    if problems:
        raise bad_input(problems)


def _switches(running: Resolved, wanted: Resolved) -> tuple[list[Action], list[Action]]:
    """Changes of switches: those that give room, and those that take some."""
    larger: list[Action] = []
    smaller: list[Action] = []
    for name, after in wanted.switches.items():
        before = running.switches.get(name, after)
        if before != after:
            (smaller if after.fdb_limit < before.fdb_limit else larger).append(ChangeSwitch(before, after))
    return larger, smaller


def _ports(running: Resolved, wanted: Resolved) -> tuple[list[Port], list[tuple[Port, Port]], list[Port]]:
    """Ports to remove, to change (before, after) and to add."""
    removed, changed, added = [], [], []
    # Guests first: when an uplink comes, they are there.
    before, after = {**running.ports, **running.uplinks}, {**wanted.ports, **wanted.uplinks}
    for name, port in before.items():
        if name not in after or _replugged(port, after[name]):
            removed.append(port)
        elif port != after[name]:
            changed.append((port, after[name]))
    for name, port in after.items():
        if name not in before or _replugged(before[name], port):
            added.append(port)
    return removed, changed, added


def _rules(
    running: Resolved,
    wanted: Resolved,
    changed: list[tuple[Port, Port]],
    actions: list[Action],
) -> list[tuple[Port, Port]]:
    """Add the step that changes rules; what else of `changed` there is to do after it."""
    stay = [(before, after) for before, after in changed if before.vlans == after.vlans]
    rules = {
        after.name: ((before.groups, before.policy), (after.groups, after.policy))
        for before, after in stay
        if (before.groups, before.policy) != (after.groups, after.policy)
    }
    if rules or running.groups != wanted.groups:
        ports_before = {name: before for name, (before, _) in rules.items()}
        ports = {name: after for name, (_, after) in rules.items()}
        actions.append(ChangeRules(running.groups, wanted.groups, ports_before, ports))
    left = []
    for before, after in changed:
        if after.name in rules:
            before = attrs.evolve(before, groups=after.groups, policy=after.policy)
        if before != after:
            left.append((before, after))
    return left


def _replugged(before: Port, after: Port) -> bool:
    """Whether a port can't change in place, because its NIC was opened with something else."""
    if before.is_uplink and after.is_uplink:
        # The MTU of an interface is the host's business.
        return (before.nic, before.switch, before.mac) != (after.nic, after.switch, after.mac)
    if (before.guest_kind, before.nic, before.switch, before.mac, before.mtu) != (
        after.guest_kind,
        after.nic,
        after.switch,
        after.mac,
        after.mtu,
    ):
        return True
    # An external guest sets its addresses itself; the others got them when their NIC was opened.
    told = before.guest_kind != "external"
    return told and (before.addresses, before.gateways) != (after.addresses, after.gateways)


def _links(
    running: Resolved, wanted: Resolved
) -> tuple[list[ResolvedLink], list[tuple[ResolvedLink, ResolvedLink]], list[ResolvedLink]]:
    """Links to remove, to change (before, after; also those that stay as they are) and to add."""
    removed, changed = [], []
    for name, link in running.links.items():
        if name in wanted.links and _same_cables(link, wanted.links[name]):
            changed.append((link, wanted.links[name]))
        else:
            removed.append(link)
    kept = {link.name for link, _ in changed}
    return removed, changed, [link for name, link in wanted.links.items() if name not in kept]


def _same_cables(one: ResolvedLink, other: ResolvedLink) -> bool:
    """Whether one becomes the other without being taken away."""
    what = [
        (link.ends, link.bond if link.several else None, [(c.name, c.priority) for c in link.several])
        for link in (one, other)
    ]
    return what[0] == what[1]


def _owners(resolved: Resolved) -> dict[int, str]:
    return {network.vlan: network.name for network in resolved.networks.values()}


def _moves(
    running: Resolved,
    wanted: Resolved,
    changed: Iterable[tuple[Port, Port]],
    links: Iterable[tuple[ResolvedLink, ResolvedLink]],
) -> list[Action]:
    """Changes of ports and links, those in VLANs that pass to another network parked before any moves.

    A link that is parked loses what is on it: a slow one could deliver it to the wrong network.
    """
    owners = _owners(wanted)
    passing = {vlan for vlan, name in _owners(running).items() if owners.get(vlan, name) != name}
    parked: list[Action] = []
    moves: list[Action] = []
    for before, after in changed:
        start = before
        if before.settings.up and not passing.isdisjoint(before.vlans):
            start = attrs.evolve(before, settings=attrs.evolve(before.settings, up=False))
            parked.append(ChangePort(before, start))
        moves.append(ChangePort(start, after))
    for link, becomes in links:
        begin = link
        if link.up and not passing.isdisjoint(link.vlans):
            begin = attrs.evolve(link, up=False)
            parked.append(ChangeLink(link, begin))
        if begin != becomes:
            moves.append(ChangeLink(begin, becomes))
    return parked + moves


def _differences(before: Any, after: Any) -> str:
    """The attributes that differ, as `vlan 10 -> 20, mtu 1500 -> 9000`."""
    told = []
    for field in attrs.fields(type(after)):
        was, becomes = getattr(before, field.name), getattr(after, field.name)
        if was == becomes or field.name == "policy":
            continue
        if attrs.has(type(was)) and type(was) is type(becomes):
            told.append(_differences(was, becomes))
        else:
            told.append(f"{field.name} {_said(was)} -> {_said(becomes)}")
    return ", ".join(told)


def _said(value: object) -> str:
    match value:
        case None | () | "":
            return "none"
        case bool():
            return "true" if value else "false"
        case tuple():
            return " ".join(map(_said, value))
        case _:
            return str(value)
