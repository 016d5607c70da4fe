"""The small steps that changes of a topology are made of.

Each can be done and undone by itself, and each is also a function on the model, so that tests can say what a
plan (`plan.py`) comes to without a fabric.
"""

# ruff: noqa: D102 - what `inverse` and `on` do is said once, at Action

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from switch.policy import Policy
from vnet.topology.mirrors import ResolvedMirror
from vnet.topology.model import Flows, Group, Recorder, Switch
from vnet.topology.resolve import Port, Resolved, ResolvedGuest, ResolvedLink, ResolvedNetwork


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
class ChangeGuest(Action):
    """Another machine: it is started anew between this and the end, unless it notices nothing of it."""

    before: ResolvedGuest
    after: ResolvedGuest

    def inverse(self) -> ChangeGuest:
        return ChangeGuest(self.after, self.before)

    def on(self, model: Resolved) -> Resolved:
        return attrs.evolve(model, guests=_with(model.guests, self.after.name, self.after))

    def __str__(self) -> str:
        return f"change guest {self.after.name}: {_differences(self.before, self.after)}"


@attrs.frozen
class StartGuests(Action):
    """Machines are started, all at once. Their ports are there."""

    guests: tuple[str, ...]

    def inverse(self) -> StopGuests:
        return StopGuests(self.guests)

    def on(self, model: Resolved) -> Resolved:
        return model

    def __str__(self) -> str:
        return f"start {_few(self.guests)}"


@attrs.frozen
class StopGuests(Action):
    """Machines are asked to shut down, all at once, and ended when they don't."""

    guests: tuple[str, ...]
    anew: bool = False
    """To be started again, because of what changes."""

    def inverse(self) -> StartGuests:
        return StartGuests(self.guests)

    def on(self, model: Resolved) -> Resolved:
        return model

    def __str__(self) -> str:
        return f"stop {_few(self.guests)}{', to be started anew' if self.anew else ''}"


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
