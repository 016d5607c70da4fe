"""Values that were read by the table -> the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs

from nics.bond import Bond
from nics.door import Nic, Opened, Place
from nics.errors import NicError
from switch.storm import Storm
from vnet.topology import machine, model
from vnet.topology.problems import Path, Problem
from vnet.topology.shape import MISSING, make_nic

Values = Mapping[str, Any]
WAYS = ("a_to_b", "b_to_a")
NIC_WAYS = ("egress", "ingress")
FLOODS = ("unknown", "multicast", "broadcast")
SETTINGS = tuple(name for name in attrs.fields_dict(model.PortSettings) if not name.startswith("flood_"))


@attrs.frozen
class Unread:
    """Stands for a NIC that could not be read, so that the rest can be checked too."""

    kind: ClassVar[str] = ""

    async def open(self, place: Place) -> Opened:
        """It never is: a topology with problems is not given to anybody."""
        raise NicError(f"the NIC of {place.port} was never read")


def _tuples(values: Values) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


def engine(values: Values) -> model.Engine:
    """An engine."""
    return model.Engine(**_tuples(values))


def network(name: str, values: Values) -> model.Network:
    """A network."""
    given = _tuples(values)
    if "gateway" in given:
        given["gateway"] = tuple(interface.ip for interface in given["gateway"])
    if "multicast" in given:
        multicast = dict(given["multicast"])
        if "address" in multicast:
            multicast["address"] = multicast["address"].ip
        given["multicast"] = model.Multicast(**multicast)
    return model.Network(name, **given)


def group(name: str, values: Values) -> model.Group:
    """A security group."""
    given = dict(values)
    for way in ("ingress", "egress"):
        if way in given:
            given[way] = tuple(model.Rule(**_tuples(rule)) for rule in given[way])
    return model.Group(name, **given)


def switch(name: str, values: Values) -> model.Switch:
    """A switch."""
    return model.Switch(name, **values)


def default_nic(guest: str, kind: str, index: int) -> tuple[str, dict[str, Any]]:
    """The NIC that a guest of `kind` has when none is described: (kind, keys)."""
    if kind == "stack":
        return "stack", {}
    if kind == "netns":
        return "tap", {}
    if kind == "qemu":
        return "vhost-user", {"socket": f"{guest}.{index}.sock"}
    return "stream", {"socket": f"{guest}.{index}.sock"}


def guest(name: str, values: Values, path: Path, problems: list[Problem]) -> model.Guest:
    """A guest."""
    kind = values.get("kind", "stack")
    nics = tuple(
        _port(name, kind, index, port, (*path, "nics", index), problems)
        for index, port in enumerate(values.get("nics", []))
    )
    return model.Guest(name, kind, nics, machine.build(kind, values))


def _port(
    name: str, kind: str, index: int, values: Values, path: Path, problems: list[Problem]
) -> model.NicPort:
    given = _tuples(values)
    settings = {key: given.pop(key) for key in SETTINGS if key in given}
    settings |= {f"flood_{key}": value for key, value in given.pop("flood", {}).items()}
    nic: Any = given.pop("nic", MISSING)
    if nic is MISSING and not any(problem.path[: len(path) + 1] == (*path, "nic") for problem in problems):
        nic = make_nic(*default_nic(name, kind, index), path, problems)
    if given.get("ip") == "dhcp":
        given |= {"ip": (), "dhcp": True}
    if given.get("guard", "off") != "off":
        guard = _tuples(given["guard"])
        guard["allow"] = tuple(model.Allow(**allowance) for allowance in guard.get("allow", ()))
        given["guard"] = model.Guard(**guard)
    if "stp" in given:
        given["stp"] = model.TreePort(**given["stp"])
    if "limits" in given:
        limits = {way: model.Limit(**limit) for way, limit in given["limits"].items()}
        given["limits"] = model.Limits(**limits)
    if "storm" in given:
        given["storm"] = Storm(**given["storm"])
    egress, ingress = (model.Impair(**way) for way in _ways(given.pop("impair", {}), NIC_WAYS))
    schedule = tuple(_change(change, NIC_WAYS) for change in given.pop("schedule", ()))
    given["cord"] = model.Cord(egress, ingress, schedule)
    found: Nic = Unread() if nic is MISSING else nic
    return model.NicPort(found, settings=model.PortSettings(**settings), **given)


def uplink(name: str, values: Values) -> model.Uplink:
    """An uplink."""
    given = {"nic": Unread(), **_tuples(values)}
    bond = given.pop("bond", {})
    if "nics" in given:
        nics: tuple[Nic, ...] = given.pop("nics")
        given["nic"] = Bond(nics, **bond)
    if "storm" in given:
        given["storm"] = Storm(**given["storm"])
    if "vlans" in given:
        given["vlans"] = tuple(sorted(given["vlans"].items()))
    return model.Uplink(name, **given)


def mirror(name: str, values: Values) -> model.Mirror:
    """A mirror."""
    given = _tuples(values)
    if "erspan" in given:
        # What is required may be missing when something else was wrong there.
        blank = {"uplink": "", "session": 0, "source": None, "target": None, "next_hop": ""}
        session = {**blank, **given["erspan"]}
        for key in ("source", "target"):
            session[key] = getattr(session[key], "ip", None)
        given["erspan"] = model.Erspan(**session)
    return model.Mirror(name, **given)


def _impair(values: Values) -> dict[str, Any]:
    """Keys of an impairment, as attributes of `model.Impair`."""
    given = dict(values)
    if "bursts" in given:
        # What is required may be missing when something else was wrong there.
        given["bursts"] = model.Bursts(**{"begin": 0, "end": 0, **given["bursts"]})
    if "queue" in given:
        given["queue"] = model.Queue(**given["queue"])
    return given


def _ways(values: Values, ways: tuple[str, str] = WAYS) -> list[dict[str, Any]]:
    """An impairment's attributes one way, and the other."""
    both = {key: value for key, value in values.items() if key not in ways}
    return [_impair({**both, **values.get(way, {})}) for way in ways]


def link(values: Values) -> model.Link:
    """A link."""
    ends = tuple(values.get("ends", ("", "")))
    a_to_b, b_to_a = (model.Impair(**way) for way in _ways(values.get("impair", {})))
    keys = ("transparent", "name", "networks", "up")
    cables = tuple(_cable(cable) for cable in values.get("cables", ()))
    return model.Link(
        (ends[0], ends[1]),
        a_to_b,
        b_to_a,
        schedule=tuple(_change(change) for change in values.get("schedule", ())),
        stp=model.TreePort(**values.get("stp", {})),
        cables=cables,
        bond=model.Bond(**values.get("bond", {})),
        **_tuples({key: values[key] for key in keys if key in values}),
    )


def _cable(values: Values) -> model.Cable:
    a_to_b, b_to_a = (tuple(way.items()) for way in _ways(values.get("impair", {})))
    schedule = tuple(_change(change) for change in values.get("schedule", ()))
    rest = {key: values[key] for key in ("up", "priority") if key in values}
    return model.Cable(a_to_b, b_to_a, schedule, **rest)


def _change(values: Values, ways: tuple[str, str] = WAYS) -> model.Change:
    a_to_b, b_to_a = (tuple(way.items()) for way in _ways(values.get("impair", {}), ways))
    return model.Change(values.get("from", 0), values.get("to"), values.get("up"), a_to_b, b_to_a)
