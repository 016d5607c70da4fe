"""What changes between two parts of a topology, for a person: values as the file says them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from nics.keys import Key
from vnet.topology import machine, table_ports, table_switches
from vnet.topology.flows import FLOWS
from vnet.topology.model import Change, Cord, Flows, Impair, Machine, PortSettings, Recorder, Switch
from vnet.topology.recorder import RECORDER
from vnet.topology.resolve import Port, ResolvedLink
from vnet.topology.rules import COMMUNITY
from vnet.topology.shape import OrOff
from vnet.topology.write import change_words, value_words

_AS_IN_FILES = ("guard", "limits", "storm")
"""Attributes of a resolved port that are what its key in the file is."""
_KEYS: Mapping[type, tuple[Key, ...]] = {
    Flows: FLOWS.keys,
    Impair: table_switches.ONE_WAY.keys,
    Machine: machine.KEYS,
    Port: tuple(key for key in table_ports.PORT.keys if key.name in _AS_IN_FILES),
    PortSettings: table_ports.PORT.keys,
    Recorder: RECORDER.keys,
    Switch: table_switches.SWITCH_TABLE.keys,
}


def differences(before: Any, after: Any) -> str:
    """The attributes that differ, as `vlan 10 -> 20, limits none -> {egress: {rate: 10 Mbit/s}}`."""
    return ", ".join(_differences(before, after))


def _differences(before: Any, after: Any, way: str = "") -> Iterator[str]:
    """One each. `way`: what the file calls the direction that they are of, and a blank."""
    kind = type(after)
    types = {key.name: key.type for key in _KEYS.get(kind, ())}
    told: tuple[str, ...] = ("policy",)
    if kind is Port and (place := _place(before)) != (other := _place(after)):
        yield f"private {place} -> {other}"
        told = ("policy", "private", "community")
    for field in attrs.fields(kind):
        was, becomes = getattr(before, field.name), getattr(after, field.name)
        if was == becomes or field.name in told:
            continue
        shape = types.get(field.name)
        if attrs.has(type(was)) and type(was) is type(becomes) and shape is None:
            yield from _differences(was, becomes, f"{field.name} " if kind in (Cord, ResolvedLink) else way)
        else:
            yield f"{way}{field.name} {_said(was, shape)} -> {_said(becomes, shape)}"


def _place(port: Port) -> str:
    """Where it stands in private networks, as the file says it."""
    if port.community is not None:
        return f"{COMMUNITY}{port.community}"
    return "isolated" if port.private else "promiscuous"


def _said(value: object, shape: Any = None) -> str:
    if value is None and isinstance(shape, OrOff):
        return shape.word
    if value is None or value in ((), ""):
        return "none"
    return flow(value if shape is None else value_words(shape, value))


def flow(value: Any) -> str:
    """Plain values, and what has no words of its own, as YAML in one line."""
    match value:
        case None:
            return "none"
        case bool():
            return "true" if value else "false"
        case Mapping():
            return "{" + ", ".join(f"{key}: {flow(item)}" for key, item in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(flow, value)) + "]"
        case tuple():
            return " ".join(map(flow, value))
        case float() if value.is_integer():
            return str(int(value))
        case Change():
            return flow(change_words(value))
        case _ if attrs.has(type(value)):
            said = {field.name: getattr(value, field.name) for field in attrs.fields(type(value))}
            return flow({name: own for name, own in said.items() if own not in (None, (), "")})
        case _:
            return str(value)
