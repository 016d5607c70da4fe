"""The model -> what a topology file would say, without what is default anyway."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import attrs

from nics import kinds
from nics.bond import Bond
from nics.door import Nic
from nics.errors import BadInput
from nics.keys import Key, Type
from nics.quantity import TIME
from vnet.topology import machine, model, table, table_mirrors, table_ports, table_switches
from vnet.topology.build import FLOODS, NIC_WAYS, SETTINGS, WAYS, default_nic
from vnet.topology.flows import FLOWS
from vnet.topology.recorder import RECORDER
from vnet.topology.shape import ListOf, OrOff, Table, Value

NicWords = Callable[[Nic], dict[str, object]]


def value_words(shape: Any, value: Any) -> Any:
    """`value` as the file says it."""
    if isinstance(shape, Type):
        return shape.write(value)
    if isinstance(shape, Value):
        return shape.type.write(value)
    if isinstance(shape, ListOf):
        return [value_words(shape.item, item) for item in value]
    if isinstance(shape, OrOff):
        return value if value == shape.word else value_words(shape.on, value)
    if isinstance(shape, Table):
        return _keys(shape.keys, value)
    return value


def _keys(keys: Iterable[Key], thing: Any) -> dict[str, Any]:
    """The keys of `thing`, whose attributes have the keys' names, that are not default."""
    said = {}
    for key in keys:
        value = getattr(thing, key.name, None)
        if value is None or value == key.default:
            continue
        if value == () and key.name not in ("ip", "gateway", "egress"):  # there, nothing is a wish too
            continue
        words = value_words(key.type, value)
        if words == {} and isinstance(key.type, Table):
            continue
        said[key.name] = words
    return said


def nic_words(nic: Nic) -> dict[str, object]:
    """A NIC by its kind and keys. Raises BadInput for one that is not of this house."""
    if nic.kind not in kinds.KINDS:
        raise BadInput(f"a NIC of kind {nic.kind} has no words in a topology file")
    return kinds.words(nic)


def port_words(guest: model.Guest, index: int, nic: NicWords) -> dict[str, Any]:
    """A guest's NIC."""
    port = guest.nics[index]
    said = _keys((key for key in table_ports.PORT.keys if key.name != "nic"), port)
    kind, keys = default_nic(guest.name, guest.kind, index)
    words = nic(port.nic)
    if words != {"kind": kind, **keys}:
        said["nic"] = words
    if port.dhcp:
        said["ip"] = "dhcp"
    settings = table_ports.PORT.keys
    said |= _keys((key for key in settings if key.name in SETTINGS), port.settings)
    floods = {name: False for name in FLOODS if not getattr(port.settings, f"flood_{name}")}
    if floods:
        said["flood"] = floods
    ways = [_keys(table_switches.ONE_WAY.keys, way) for way in (port.cord.egress, port.cord.ingress)]
    if impair := _ways(ways, NIC_WAYS):
        said["impair"] = impair
    if port.cord.schedule:
        said["schedule"] = [change_words(change, NIC_WAYS) for change in port.cord.schedule]
    return said


def guest_words(guest: model.Guest, nic: NicWords) -> dict[str, Any]:
    """A guest."""
    said: dict[str, Any] = {} if guest.kind == "stack" else {"kind": guest.kind}
    if guest.machine is not None:
        said |= machine_words(guest.machine)
    return said | {"nics": [port_words(guest, index, nic) for index in range(len(guest.nics))]}


def machine_words(wanted: model.Machine) -> dict[str, Any]:
    """The keys of a guest that say what its machine is."""
    return _keys(machine.KEYS, wanted)


def network_words(network: model.Network) -> dict[str, Any]:
    """A network."""
    said = _keys(table.NETWORK_TABLE.keys, network)
    if network.multicast is not None:
        # With nothing but defaults, that it stands there says something.
        said.setdefault("multicast", {"snooping": network.multicast.snooping})
    return said


def group_words(group: model.Group) -> dict[str, Any]:
    """A security group."""
    return _keys(table.GROUP.keys, group)


def switch_words(switch: model.Switch) -> dict[str, Any]:
    """A switch."""
    return _keys(table_switches.SWITCH_TABLE.keys, switch)


def mirror_words(mirror: model.Mirror) -> dict[str, Any]:
    """A mirror."""
    return _keys(table_mirrors.MIRROR.keys, mirror)


def engine_words(engine: model.Engine) -> dict[str, Any]:
    """An engine."""
    return _keys(table.ENGINE.keys, engine)


def recorder_words(recorder: model.Recorder | None) -> dict[str, Any] | str:
    """The recorder."""
    return "off" if recorder is None else _keys(RECORDER.keys, recorder)


def flows_words(flows: model.Flows | None) -> dict[str, Any]:
    """The export of flows; {}: none."""
    return {} if flows is None else _keys(FLOWS.keys, flows)


def uplink_words(uplink: model.Uplink, nic: NicWords) -> dict[str, Any]:
    """An uplink."""
    said: dict[str, Any] = {}
    if isinstance(uplink.nic, Bond):
        said["nics"] = [nic(one) for one in uplink.nic.nics]
        said |= {"bond": bond} if (bond := _keys(table_switches.UPLINK_BOND.keys, uplink.nic)) else {}
    else:
        said["nic"] = nic(uplink.nic)
    special = ("nic", "nics", "bond", "vlans")
    said |= _keys((key for key in table.UPLINK.keys if key.name not in special), uplink)
    return said | ({"vlans": dict(uplink.vlans)} if uplink.vlans else {})


def _ways(ways: list[dict[str, Any]], names: tuple[str, str] = WAYS) -> dict[str, Any]:
    """An impairment; what both directions have in common is said once."""
    if ways[0] == ways[1]:
        return ways[0]
    return {way: words for way, words in zip(names, ways, strict=True) if words}


def change_words(change: model.Change, names: tuple[str, str] = WAYS) -> dict[str, Any]:
    """A change of a schedule."""
    said: dict[str, Any] = {"from": TIME.write(change.start)}
    if change.stop is not None:
        said["to"] = TIME.write(change.stop)
    if change.up is not None:
        said["up"] = change.up
    # What is default stands in a change all the same, for the link may be otherwise.
    impair = _differing((change.a_to_b, change.b_to_a), names)
    return said | ({"impair": impair} if impair else {})


def _differing(ways: tuple[model.Keys, model.Keys], names: tuple[str, str] = WAYS) -> dict[str, Any]:
    """What is said to be different, even if it is what is default."""
    keys = {key.name: key for key in table_switches.ONE_WAY.keys}
    return _ways([{name: value_words(keys[name].type, value) for name, value in way} for way in ways], names)


def _cable_words(cable: model.Cable) -> dict[str, Any]:
    said: dict[str, Any] = {}
    if impair := _differing((cable.a_to_b, cable.b_to_a)):
        said["impair"] = impair
    if cable.schedule:
        said["schedule"] = [change_words(change) for change in cable.schedule]
    special = ("impair", "schedule")
    return said | _keys((key for key in table_switches.CABLE.keys if key.name not in special), cable)


def link_words(link: model.Link) -> dict[str, Any]:
    """A link."""
    said: dict[str, Any] = {"ends": list(link.ends)}
    impair = _ways([_keys(table_switches.ONE_WAY.keys, way) for way in (link.a_to_b, link.b_to_a)])
    if impair:
        said["impair"] = impair
    if link.schedule:
        said["schedule"] = [change_words(change) for change in link.schedule]
    if link.networks == ():
        said["networks"] = []
    if link.cables:
        said["cables"] = [_cable_words(cable) for cable in link.cables]
    special = ("ends", "impair", "schedule", "cables")
    return said | _keys((key for key in table_switches.LINK.keys if key.name not in special), link)


assert set(SETTINGS) | {f"flood_{name}" for name in FLOODS} == set(attrs.fields_dict(model.PortSettings))
