"""Virtual time, and who can't live in it: whatever runs by a clock of its own.

Under trio's MockClock a fabric's time is the clock's, which jumps as far as there is nothing to do. A
virtual machine, a namespace or a wire knows nothing of that: it would be asked a minute later in a
microsecond of its own time. So a fabric refuses the mix before anything is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from vnet.topology import Topology


def in_virtual_time() -> bool:
    """Whether trio's clock here is a MockClock."""
    from trio.testing import MockClock

    return isinstance(trio.lowlevel.current_clock(), MockClock)


def own_clocks(topology: Topology) -> list[str]:
    """What of a topology has a clock of its own, a line each; none: it can live in virtual time."""
    found = []
    if topology.engine.driver == "thread":
        found.append("engine.driver: thread has a clock of its own; in virtual time use trio")
    for guest in topology.guests.values():
        if guest.kind not in ("stack", "external"):
            found.append(
                f"guests.{guest.name}.kind: {guest.kind} guests have a clock of their own; in virtual time"
                " use stack guests, or leave virtual time"
            )
            continue
        for index, nic in enumerate(guest.nics):
            if getattr(nic.nic, "own_clock", False):
                found.append(f"guests.{guest.name}.nics[{index}].nic: {_line(nic.nic.kind)}")
    for uplink in topology.uplinks.values():
        if getattr(uplink.nic, "own_clock", False):
            found.append(f"uplinks.{uplink.name}.nic: {_line(uplink.nic.kind)}")
    return found


def _line(kind: str) -> str:
    return (
        f"what is behind a {kind} NIC has a clock of its own; in virtual time use stack, pipe or pcap, or"
        " leave virtual time"
    )
