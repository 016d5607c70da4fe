"""What holds of the counters of every fabric, when it ends, and of every engine that a test has without one.

* At each port, `received = forwarded + dropped`: what the switch took in there was forwarded, or dropped for
  a reason whose side is `ingress`. A frame is forwarded once, however many copies of it leave, and a copy by
  a mirror is no forwarding. Drops of side `egress` are of copies, at the port that these would have left by;
  drops of side `door` never came to the switch.
* A link without duplication delivers no more than was sent into it: the rest was lost there, by a reason at
  its ends, or is on its way.
* A port in no network sends out what mirrors gave it, and nothing else.

Frames that wait (with a guest over its limit, in front of a NIC, on a link) are not counted before they come
in, or go out; so none of this depends on when it is looked at, but that the engine's own thread may be in
the middle of a burst: then it is looked at again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from vnet._native import Engine, drop_sides
from vnet.fabric import Fabric

SIDES = dict(drop_sides())
AGAIN = 1000
"""Reads before what does not add up is believed: a burst is over long before."""


def ingress(counted: dict[str, Any]) -> int:
    """Received frames that were dropped."""
    return sum(frames for reason, frames in counted["drops"].items() if SIDES[reason] == "ingress")


def port_wrong(name: str, counted: dict[str, Any]) -> list[str]:
    """What does not add up at a port."""
    if counted["rx_frames"] == counted["forwarded"] + ingress(counted):
        return []
    return [f"{name}: received is not forwarded and dropped: {counted}"]


def check_engine(engine: Engine, ports: Iterable[int]) -> None:
    """Fail if something does not add up at ports of an engine without a fabric, which nobody turns."""
    found = [line for port in ports for line in port_wrong(f"port {port}", engine.counters(port))]
    assert not found, "; ".join(found)


def wrong(fabric: Fabric) -> list[str]:
    """What does not add up now."""
    found = []
    for port in fabric.wiring.numbers.values():
        found += port_wrong(port.name, port.counters())
    for link in fabric.links.values():
        for a, b, way in ((*link.ends, link.wanted.a_to_b), (*reversed(link.ends), link.wanted.b_to_a)):
            # Read in this order, what is sent meanwhile does no harm.
            arrived, sent = b.counters()["rx_frames"], a.counters()["tx_frames"]
            if not way.duplicate and not link.wanted.schedule and arrived > sent:
                found.append(f"{link.name}: {arrived} arrived at {b.name}, {sent} were sent at {a.name}")
    copies: dict[str, int] = {}
    for mirror in fabric.status()["mirrors"]:
        copies[mirror["to"]] = copies.get(mirror["to"], 0) + mirror["frames"]
    for name, number in copies.items():
        port = fabric.ports.get(name)
        # What was copied before mirrors changed is not among them.
        if port is not None and not port.wanted.limits and not port.wanted.networks:
            sent = port.counters()["tx_frames"]
            if sent < number:
                found.append(f"{name}: {number} copies, of which {sent} left")
    return found


def check(fabric: Fabric) -> None:
    """Fail if something does not add up."""
    found: list[str] = []
    for _ in range(AGAIN):
        found = wrong(fabric)
        if not found:
            return
    raise AssertionError("; ".join(found))
