"""Tables of a running fabric, as plain data: stations, multicast groups, connections, switches.

The engine keeps them by number and is asked a page at a time, so that a full one does not hold it up; here
they get names and an order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vnet import drive, trees
from vnet.errors import BadInput
from vnet.guests import suggestion

if TYPE_CHECKING:
    from vnet.fabric import Fabric

PAGE = 4096
"""Entries asked for at once."""


def networks(fabric: Fabric, network: str | None = None) -> dict[int, str]:
    """Networks by their VLAN. Raises BadInput if `network` is none of them."""
    found = fabric.resolved.networks if fabric.resolved else {}
    if network is not None and network not in found:
        raise BadInput(f"there is no network {network!r}{suggestion(network, list(found))}")
    return {one.vlan: name for name, one in found.items()}


def fdb(fabric: Fabric, network: str | None, port: str | None) -> list[dict[str, Any]]:
    """See `Fabric.fdb`."""
    names = networks(fabric, network)
    only = None if port is None else fabric.wiring.at(port).number
    vlan = next((vlan for vlan, name in names.items() if name == network), None)
    found = []
    for switch, number in fabric.wiring.switches.items():
        cursor: int | None = 0
        while cursor is not None:
            entries, cursor = fabric.engine.fdb(number, cursor, PAGE, port=only, vlan=vlan)
            for entry_vlan, mac, entry_port, kind, age in entries:
                found.append(
                    {
                        "switch": switch,
                        "vlan": entry_vlan,
                        "network": names.get(entry_vlan),
                        "mac": mac,
                        "port": fabric.wiring.name(entry_port),
                        "kind": kind,
                        "age": age / drive.NANO,
                    }
                )
    return sorted(found, key=lambda entry: (entry["switch"], entry["vlan"], entry["mac"]))


def members(fabric: Fabric, network: str | None, port: str | None) -> list[dict[str, Any]]:
    """See `Fabric.members`."""
    vlans = networks(fabric, network)
    name = None if port is None else fabric.wiring.at(port).name
    names = {number: at.name for number, at in fabric.wiring.numbers.items()}
    found = fabric.groups.members(names, vlans, fabric.time())
    return [e for e in found if name in (None, e["port"]) and network in (None, e["network"])]


def connections(fabric: Fabric, network: str | None, port: str | None) -> list[dict[str, Any]]:
    """See `Fabric.connections`."""
    only = fabric.port(port) if port is not None else None
    names = networks(fabric, network)
    ends = {str(address) for address in only.ip} if only else set()
    found = []
    for switch, number in fabric.wiring.switches.items():
        cursor: int | None = 0
        while cursor is not None:
            page, cursor = fabric.engine.connections(number, cursor, PAGE)
            for vlan, protocol, source, target, state, times, owner in page:
                if network not in (None, names.get(vlan)):
                    continue
                if (
                    only
                    and owner != only.number
                    and not (vlan in only.wanted.vlans and ends & {source[0], target[0]})
                ):
                    continue
                age, idle, expires = (time / drive.NANO for time in times)
                found.append(
                    {
                        "switch": switch,
                        "vlan": vlan,
                        "network": names.get(vlan),
                        "protocol": protocol,
                        "source": {"address": source[0], "port": source[1]},
                        "target": {"address": target[0], "port": target[1]},
                        "state": state,
                        "age": age,
                        "idle": idle,
                        "expires": expires,
                        "port": fabric.wiring.name(owner),
                    }
                )
    return sorted(found, key=_connection_order)


def _connection_order(entry: dict[str, Any]) -> tuple[Any, ...]:
    ends = (entry["source"], entry["target"])
    return (
        entry["switch"],
        entry["vlan"],
        entry["protocol"],
        *((end["address"], end["port"]) for end in ends),
    )


def switches(fabric: Fabric) -> list[dict[str, Any]]:
    """See `Fabric.switches`."""
    names = {number: port.name for number, port in fabric.wiring.numbers.items()}
    vlans = networks(fabric)
    return [
        {
            "switch": name,
            "stp": trees.status(fabric.engine, number, names),
            "multicast": fabric.groups.status(name, names, vlans),
        }
        for name, number in fabric.wiring.switches.items()
    ]
