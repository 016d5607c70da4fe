"""The uplinks of a running fabric: whose frames they take in from the physical network."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

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
