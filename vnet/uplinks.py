"""The uplinks of a running fabric: whose frames they take in from the physical network, and what that is
told of guests that come up.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from vnet import announce
from vnet.topology import actions
from vnet.topology.resolve import Port, Resolved

if TYPE_CHECKING:
    from vnet.fabric import Fabric

log = logging.getLogger("vnet")


def stations(ports: Iterable[Port], uplink: Port) -> list[str] | None:
    """The MAC addresses behind a fabric's `ports` that have business at `uplink`; None: any, because
    there is a guest in one of its networks that may send from any, or wants to hear everything.
    """
    found: set[str] = set()
    networks = set(uplink.networks)
    for port in ports:
        if port.is_uplink or networks.isdisjoint(port.networks):
            continue
        guard = port.guard
        if guard is None or "allow" in (guard.mac_changes, guard.promiscuous, guard.forged_transmits):
            return None
        found.add(port.mac)
        found.update(allowed.mac for allowed in guard.allow if allowed.mac is not None)
    return sorted(found)


def rings(before: Resolved | None, wanted: Resolved) -> Iterator[tuple[str, str]]:
    """An uplink, and a line of warning, for uplinks that one network joins: if their wires meet, frames go
    round. Not again for those that were so before. A spanning tree of their switches doesn't help: it has
    links and guests' ports, and none of its messages leave by an uplink.
    """
    known = {} if before is None else _joined(before)
    for names, networks in _joined(wanted).items():
        if networks == known.get(names):
            continue
        yield (
            names[0],
            f"uplinks {', '.join(names)} all carry {', '.join(networks)}: where they lead to one physical"
            " network, frames go round for ever; bond them (`nics`), or give each other networks",
        )


def _joined(topology: Resolved) -> dict[tuple[str, ...], list[str]]:
    """Uplinks between which frames pass, and in which networks."""
    found: dict[tuple[str, ...], list[str]] = {}
    for network in topology.networks.values():
        here = [port for port in topology.uplinks.values() if network.name in port.networks]
        # For each switch, one that stands for all that are linked with it.
        chief = {name: name for name in topology.switches}
        for link in topology.links.values() if len(here) > 1 else ():
            if link.transparent or network.vlan in link.vlans:
                one, other = (chief[end] for end in link.ends)
                chief = {name: other if now == one else now for name, now in chief.items()}
        for switch in dict.fromkeys(chief[port.switch] for port in here):
            names = tuple(port.name for port in here if chief[port.switch] == switch)
            if len(names) > 1:
                found.setdefault(names, []).append(network.name)
    return found


def tell(fabric: Fabric) -> None:
    """Tell every uplink who lives in the fabric now."""
    ports = [port.wanted for port in fabric.ports.values()]
    for port in fabric.ports.values():
        want = port.opened.stations
        if not port.wanted.is_uplink or want is None:
            continue
        try:
            want(stations(ports, port.wanted))
        except OSError as error:
            log.warning("%s: it can't be told what to receive: %s", port.name, error.strerror)


def newcomers(steps: Iterable[actions.Action]) -> list[str]:
    """The ports that are, after these steps, where the physical network has not known them: who came, has
    another address, or is in another network or VLAN, on its wire or here.
    """

    def place(port: Port) -> tuple[object, ...]:
        return port.mac, port.ip, port.network, port.vlan, port.trunk, port.translate

    return [
        action.part.name if isinstance(action, actions.AddPort) else action.after.name
        for action in steps
        if isinstance(action, actions.AddPort)
        or (isinstance(action, actions.ChangePort) and place(action.before) != place(action.after))
    ]


def introduce(fabric: Fabric, names: Iterable[str]) -> None:
    """Have the guests at these ports tell the physical network where they are; an uplink's name stands for
    all guests that it is for. Those whose networks have no uplink, or that are not there, say nothing.
    """
    uplinks = [port for port in fabric.ports.values() if port.wanted.is_uplink and port.carrier]
    chosen = [fabric.ports[name] for name in names if name in fabric.ports]
    come = {network for port in chosen if port.wanted.is_uplink for network in port.wanted.networks}
    served = {network for port in uplinks for network in port.wanted.networks}
    guests = [port for port in fabric.ports.values() if not port.wanted.is_uplink and port.carrier]
    fabric.tell_time()
    for port in guests:
        networks = served.intersection(port.wanted.networks)
        if not networks or (port not in chosen and come.isdisjoint(networks)):
            continue
        for frame in announce.frames(port.wanted):
            fabric.engine.inject(port.number, frame)
