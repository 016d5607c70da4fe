"""Spanning trees of a running fabric: which switches run one, and which ports take part.

Links do, and guests' NICs without guard. A guarded guest's BPDUs are dropped, so its port is no part
of any tree and forwards at all times.
"""

from __future__ import annotations

import hashlib
from typing import Any

from vnet._native import Engine, bridge_view, join_bridge, leave_bridge, set_bridge
from vnet.topology.model import Switch
from vnet.topology.resolve import Port, ResolvedLink

SECOND = 1_000_000_000
COST = 2000
"""Of a link without rate: that of 10 Gbit/s (802.1D-2004 17.14)."""
TERABITS = 20_000_000_000_000
"""The cost of a link is this divided by its rate."""


def mac(fabric: str, seed: int, name: str) -> str:
    """The MAC address of a link's port or a switch: stable, locally administered."""
    digest = hashlib.sha256(f"{fabric}\0{seed}\0{name}".encode()).digest()
    return ":".join(f"{byte:02x}" for byte in (digest[0] & 0xFC | 2, *digest[1:6]))


def plant(engine: Engine, number: int, address: str, settings: Switch) -> None:
    """Have a switch run the spanning tree that it is set to, or none."""
    version = settings.stp if settings.stp in ("stp", "rstp") else None
    set_bridge(
        engine,
        number,
        version,
        address,
        priority=settings.priority,
        hello=settings.hello // SECOND,
        max_age=settings.max_age // SECOND,
        forward_delay=settings.forward_delay // SECOND,
    )


def join_link(engine: Engine, number: int, address: str, link: ResolvedLink, side: int) -> None:
    """Have the port at one end of a link take part."""
    rates = [(cable.a_to_b, cable.b_to_a)[side].rate for cable in link.cables]
    # Several cables are as good as one of them all (802.1AX-2014 6.3.10).
    rate = sum(rate or 0 for rate in rates) if all(rates) else None
    cost = max(1, min(TERABITS // rate, 200_000_000)) if rate else COST
    join_bridge(engine, number, address, cost=link.stp.cost or cost, priority=link.stp.priority)


def join_guest(engine: Engine, number: int, address: str, port: Port) -> None:
    """Have a guest's port take part, unless it is guarded."""
    if port.guard is not None:
        leave_bridge(engine, number)
        return
    join_bridge(
        engine,
        number,
        address,
        cost=port.stp.cost or COST,
        priority=port.stp.priority,
        # A stack is no switch, whatever it is allowed to send.
        edge=port.stp.edge or port.guest_kind == "stack",
        bpdu_guard=port.stp.bpdu_guard,
    )


def status(engine: Engine, number: int, names: dict[int, str]) -> dict[str, Any] | None:
    """What is to be seen of a switch's spanning tree, with ports by name; None: it runs none."""
    view = bridge_view(engine, number)
    if view is None:
        return None
    ports = view.pop("ports")
    view["root_port"] = names.get(view["root_port"])
    view["ports"] = {names.get(port.pop("number"), "?"): port for port in ports}
    return view
