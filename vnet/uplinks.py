"""The uplinks of a running fabric: whose frames they take in from the physical network, and what that is
told of guests that come up.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from vnet import announce
from vnet.topology.resolve import Port

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
