"""What the engine tells of a running fabric: carriers, readiness of sockets, log lines, triggers.

Guests make most of it: a mistake of ours with one event must not take every tenant's network down.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from vnet import carrier as carriers
from vnet import drive, uplinks
from vnet.port import Port

if TYPE_CHECKING:
    from vnet.fabric import Fabric
    from vnet.links import LinkEnd

log = logging.getLogger("vnet")

PORT_BITS = 0x0FFF
"""Of a port's number; above them stands which of several NICs of it is meant."""
NO_PORT = 0xFFFF
"""Port of events that belong to no port."""


def one(fabric: Fabric, event: drive.Event) -> None:
    """Do what an event asks for."""
    try:
        _one(fabric, event)
    except Exception:
        log.exception("the event %s was given up", event)


async def beside(task: Callable[..., Awaitable[Any]], *arguments: Any) -> None:
    """The same for what takes its time."""
    try:
        await task(*arguments)
    except Exception:
        log.exception("what an event asked for was given up")


def _one(fabric: Fabric, event: drive.Event) -> None:
    number, kind, a, b, text = event
    # One of several NICs of a port tells in its name, and its carrier is not the port's.
    port = fabric.wiring.numbers.get(number if number == NO_PORT else number & PORT_BITS)
    if port is not None and number > PORT_BITS and kind != "log":
        log.debug("%s: of several NICs, number %d: %s %d", port.name, number >> 12, kind, a)
        return
    if kind == "log":
        log.warning("%s", f"{port.name}: {text}" if port else text)
    elif port is None:
        return
    elif kind == "carrier":
        port.carrier = bool(a)
        if isinstance(port, Port):
            # What the NIC has come to, or its cable: which, is asked.
            carriers.tell(fabric, port)
        port.flaps.carrier.changed(fabric, port, _carrier, 1 + b)
        if not a:
            fabric.soon(fabric.keeper.carrier_lost, port.name)
    elif kind == "moved":
        if isinstance(port, Port):
            port.flaps.moved.changed(fabric, port, _moved, 1)
    elif kind == "crowd":
        if isinstance(port, Port) and port.opened.crowd is not None:
            fabric.soon(port.opened.crowd, bool(a))
    elif kind == "trigger":
        fabric.soon(fabric.keeper.dropped, port.name, a)
    elif isinstance(port, Port) and port.opened.far is not None:
        port.opened.far.event(a, b)


def _carrier(fabric: Fabric, port: Port | LinkEnd, changes: int) -> None:
    often = f", changed {changes} times" if changes > 1 else ""
    log.info("%s: carrier %s%s", port.name, "up" if port.carrier else "down", often)
    if port.carrier and isinstance(port, Port):
        _moved(fabric, port, 1)


def _moved(fabric: Fabric, port: Port, _changes: int) -> None:
    uplinks.introduce(fabric, [port.name])


def lost(fabric: Fabric, count: int) -> None:
    """So many events were lost and nobody knows what they were: have everybody look who waits for one."""
    log.error("%d events were lost: the loop was busy for too long", count)
    for port in fabric.ports.values():
        if (carrier := fabric.engine.carrier(port.number)) != port.carrier:
            one(fabric, (port.number, "carrier", int(carrier), 0, ""))
        try:
            carriers.tell(fabric, port)
            if port.opened.far is not None:
                port.opened.far.look()
        except Exception:
            log.exception("%s: events were lost, and it could not look", port.name)
