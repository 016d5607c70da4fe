"""The small steps that changes of a topology are made of.

Each can be done and undone by itself, and each is also a function on the model, so that tests can say what a
plan (`plan.py`) comes to without a fabric.
"""

# ruff: noqa: D102 - what `inverse` and `on` do is said once, at Action

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, Self, TypeVar

import attrs

from switch.policy import Policy
from vnet.topology.differences import differences
from vnet.topology.mirrors import ResolvedMirror
from vnet.topology.model import Flows, Group, Recorder, Switch
from vnet.topology.resolve import Port, Resolved, ResolvedGuest, ResolvedLink, ResolvedNetwork

T = TypeVar("T")
Part = TypeVar("Part", Switch, ResolvedNetwork, ResolvedGuest, Port, ResolvedLink, ResolvedMirror)
"""What the model has by name."""


@attrs.frozen
class Action:
    """One step. `str()` is a line for a person."""

    def inverse(self) -> Action:
        """The step that takes this one back."""
        raise NotImplementedError

    def on(self, model: Resolved) -> Resolved:
        """What `model` is after this step. The order of mappings is not kept."""
        raise NotImplementedError


# -- what most of them have in common ------------------------------------------------------------


@attrs.frozen
class Add(Action, Generic[Part]):
    """There is a part more."""

    part: Part

    def inverse(self) -> Action:
        return _OPPOSITE[type(self)](self.part)

    def on(self, model: Resolved) -> Resolved:
        return _with(model, self.part)

    def __str__(self) -> str:
        return f"add {_called(self.part)}"


@attrs.frozen
class Remove(Action, Generic[Part]):
    """There is a part less; what needed it went before."""

    part: Part

    def inverse(self) -> Action:
        return _OPPOSITE[type(self)](self.part)

    def on(self, model: Resolved) -> Resolved:
        _, place = _noun(self.part)
        left = {name: part for name, part in getattr(model, place).items() if name != self.part.name}
        return _evolved(model, place, left)

    def __str__(self) -> str:
        return f"remove {_called(self.part)}"


@attrs.frozen
class Change(Action, Generic[T]):
    """Something is another."""

    before: T
    after: T

    def inverse(self) -> Self:
        return type(self)(self.after, self.before)


@attrs.frozen
class ChangePart(Change[Part]):
    """A part is another of the same name."""

    def on(self, model: Resolved) -> Resolved:
        return _with(model, self.after)

    def __str__(self) -> str:
        return f"change {_called(self.after)}: {differences(self.before, self.after)}"


_NOUNS: Mapping[type, tuple[str, str]] = {
    Switch: ("switch", "switches"),
    ResolvedNetwork: ("network", "networks"),
    ResolvedGuest: ("guest", "guests"),
    Port: ("port", "ports"),
    ResolvedLink: ("link", "links"),
    ResolvedMirror: ("mirror", "mirrors"),
}


def _noun(part: Any) -> tuple[str, str]:
    """What a part is called, and the mapping of the model that has it."""
    return ("uplink", "uplinks") if isinstance(part, Port) and part.is_uplink else _NOUNS[type(part)]


def _called(part: Any) -> str:
    return f"{_noun(part)[0]} {part.name}"


def _with(model: Resolved, part: Any) -> Resolved:
    _, place = _noun(part)
    return _evolved(model, place, {**getattr(model, place), part.name: part})


def _evolved(model: Resolved, place: str, parts: Any) -> Resolved:
    return attrs.evolve(model, **{place: parts})


# -- the whole -----------------------------------------------------------------------------------


class ChangeSeed(Change[int]):
    """The seed of choices to come; what was chosen stays chosen."""

    def on(self, model: Resolved) -> Resolved:
        return attrs.evolve(model, seed=self.after)

    def __str__(self) -> str:
        return f"seed {self.before} becomes {self.after}"


class ChangeRecorder(Change[Recorder | None]):
    """Another part of the past is kept, or written down for other reasons."""

    def on(self, model: Resolved) -> Resolved:
        return attrs.evolve(model, recorder=self.after)

    def __str__(self) -> str:
        if self.before is None or self.after is None:
            return f"turn the recorder {'on' if self.after else 'off'}"
        return f"change the recorder: {differences(self.before, self.after)}"


class ChangeFlows(Change[Flows | None]):
    """Other flows are counted, for another collector, or none."""

    def on(self, model: Resolved) -> Resolved:
        return attrs.evolve(model, flows=self.after)

    def __str__(self) -> str:
        if self.after is None:
            return "export no flows any more"
        if self.before is None:
            return f"export flows to {self.after.collector}"
        return f"change the export of flows: {differences(self.before, self.after)}"


# -- its parts -----------------------------------------------------------------------------------


class AddSwitch(Add[Switch]):
    """A switch is new."""


class RemoveSwitch(Remove[Switch]):
    """A switch goes; no port is on it any more."""


class ChangeSwitch(ChangePart[Switch]):
    """A switch gets other limits or another ageing time; its ports and what it learned stay."""


class AddNetwork(Add[ResolvedNetwork]):
    """A network is new."""

    def __str__(self) -> str:
        return f"{super().__str__()}, VLAN {self.part.vlan}"


class RemoveNetwork(Remove[ResolvedNetwork]):
    """A network goes; no port is in it any more."""


class ChangeNetwork(ChangePart[ResolvedNetwork]):
    """What is known of a network changes; what it means for ports is in actions of their own."""


class HandOver(Change[Mapping[int, str]]):
    """Networks give up VLANs, perhaps to others: what was learned in these stays with them, or is forgotten.
    Before and after: the network of each VLAN. No port that is up is in one that changes.
    """

    @property
    def becomes(self) -> dict[int, int | None]:
        """The VLANs that are given up, and what each network has instead; None: it goes."""
        has = {name: vlan for vlan, name in self.after.items()}
        return {vlan: has.get(name) for vlan, name in self.before.items() if self.after.get(vlan) != name}

    def on(self, model: Resolved) -> Resolved:
        return model

    def __str__(self) -> str:
        told = (
            f"VLAN {vlan} passes from {self.before[vlan]} to {self.after.get(vlan, 'nobody')}"
            for vlan in self.becomes
        )
        return _few(told)


class AddGuest(Add[ResolvedGuest]):
    """A guest is new; its ports are added by actions of their own."""

    def __str__(self) -> str:
        return f"{super().__str__()} ({self.part.kind})"


class RemoveGuest(Remove[ResolvedGuest]):
    """A guest goes; its ports went before."""


class ChangeGuest(ChangePart[ResolvedGuest]):
    """Another machine: it is started anew between this and the end, unless it notices nothing of it."""


class AddPort(Add[Port]):
    """A NIC is opened and plugged in."""

    def __str__(self) -> str:
        where = ", ".join(self.part.networks) or "no network"
        return f"{super().__str__()} ({self.part.nic.kind}) in {where}"


class RemovePort(Remove[Port]):
    """A NIC is unplugged and closed."""


class ChangePort(ChangePart[Port]):
    """The switch's side of a port changes; its NIC stays open and its guest notices nothing else."""


class AddLink(Add[ResolvedLink]):
    """Two switches are joined."""

    def __str__(self) -> str:
        return f"{super().__str__()} between {' and '.join(self.part.ends)}"


class RemoveLink(Remove[ResolvedLink]):
    """Two switches are parted."""


class ChangeLink(ChangePart[ResolvedLink]):
    """What a link carries, or does to it, changes; it is not cut unless that is the change."""


class AddMirror(Add[ResolvedMirror]):
    """Frames are copied."""

    def __str__(self) -> str:
        return f"{super().__str__()} to {self.part.to}"


class RemoveMirror(Remove[ResolvedMirror]):
    """Frames are copied no longer."""


_PAIRS: tuple[tuple[type[Add[Any]], type[Remove[Any]]], ...] = (
    (AddSwitch, RemoveSwitch),
    (AddNetwork, RemoveNetwork),
    (AddGuest, RemoveGuest),
    (AddPort, RemovePort),
    (AddLink, RemoveLink),
    (AddMirror, RemoveMirror),
)
_OPPOSITE: Mapping[type, Callable[[Any], Action]] = {
    **dict(_PAIRS),
    **{remove: add for add, remove in _PAIRS},
}


# -- several at once -----------------------------------------------------------------------------


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
