"""What guests have by DHCP, kept over a restart of their fabric.

A guest keeps its address for as long as its lease says, and asks nobody until half of that is over. A
fabric that was started anew would not know the address, and keep the guest out until then. So what servers
told is noted in the state folder: every few seconds if it changed, and at the end. After a crash, what came
in the last `EVERY` seconds is not known; such a guest is heard again when it asks for more time.

Leases end by the clock on the wall, for that is what goes on while nobody runs. A clock that was set back
meanwhile prolongs none: a lease has never more time left than it had when it was noted.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import trio

from vnet import state
from vnet.drive import NANO
from vnet.fabric import Fabric
from vnet.port import Port

FILE = "leases.json"
EVERY = 10.0
"""Seconds between two looks at whether something changed."""
VERSION = 1
_CLOSE = 1.0
"""Seconds by which the end of a lease may seem to move because two clocks are read one after the other."""


@attrs.frozen
class Lease:
    """One address or prefix of one NIC."""

    port: str
    mac: str
    """The NIC's: a guest of the same name with another NIC is another guest."""
    network: str
    prefix: str
    left: float | None
    """Seconds, when it was noted; None: for ever."""

    def same(self, other: Lease, passed: float) -> bool:
        """Whether it is the other one, noted `passed` seconds ago."""
        if attrs.evolve(self, left=None) != attrs.evolve(other, left=None):
            return False
        if self.left is None or other.left is None:
            return self.left == other.left
        return abs(other.left - passed - self.left) < _CLOSE


def _vlans(port: Port) -> dict[int, str]:
    """The networks of a port, by VLAN."""
    found = {vlan: name for name, vlan in port.wanted.trunk}
    if port.wanted.network is not None and port.wanted.vlan is not None:
        found[port.wanted.vlan] = port.wanted.network
    return found


def look(fabric: Fabric) -> list[Lease]:
    """What the guests of a fabric have now, sorted."""
    now, found = fabric.time(), []
    for port in fabric.ports.values():
        if not port.wanted.dhcp:
            continue
        names = _vlans(port)
        for vlan, prefix, until in fabric.engine.bindings(port.number):
            left = None if until is None else (until - now) / NANO
            if vlan in names and (left is None or left > 0):
                found.append(Lease(port.name, port.wanted.mac, names[vlan], prefix, left))
    return sorted(found, key=lambda lease: (lease.port, lease.network, lease.prefix))


def note(path: Path, leases: list[Lease], wall: float) -> bool:
    """Write them down, at `wall` seconds since 1970; what goes wrong is told. Whether nothing did."""
    document = {"version": VERSION, "noted": wall, "leases": [attrs.asdict(lease) for lease in leases]}
    return state.note(path, document, bool(leases), "leases")


def remember(fabric: Fabric, path: Path, wall: float) -> int:
    """Give guests what they had and what has not ended; how many addresses and prefixes."""
    document = state.read(path)
    if document is None:
        return 0
    try:
        noted, known = _read(document)
    except (KeyError, OverflowError, TypeError, ValueError) as error:
        state.aside(path, f"{type(error).__name__}: {error}")
        return 0
    passed, now, count = max(0.0, wall - noted), fabric.time(), 0
    for lease in known:
        port = fabric.ports.get(lease.port)
        if port is None or not port.wanted.dhcp or port.wanted.mac != lease.mac:
            continue
        vlan = next((vlan for vlan, name in _vlans(port).items() if name == lease.network), None)
        if vlan is None or (lease.left is not None and lease.left <= passed):
            continue
        until = None if lease.left is None else now + int((lease.left - passed) * NANO)
        fabric.engine.bind(port.number, vlan, lease.prefix, until)
        count += 1
    return count


def _read(document: Any) -> tuple[float, list[Lease]]:
    if document["version"] != VERSION:
        raise ValueError(f"version {document['version']!r}, expected {VERSION}")
    return float(document["noted"]), list(_leases(document["leases"]))


def _leases(entries: Any) -> Iterator[Lease]:
    for entry in entries:
        prefix = str(ipaddress.ip_network(entry["prefix"]))
        left = None if entry["left"] is None else float(entry["left"])
        if left is not None and not 0 < left < 2**33:
            raise ValueError(f"{left} seconds")
        yield Lease(str(entry["port"]), str(entry["mac"]), str(entry["network"]), prefix, left)


async def keep(fabric: Fabric, path: Path) -> None:
    """Note what changes, until cancelled; then what there is."""
    noted, at = look(fabric), trio.current_time()
    try:
        while True:
            await trio.sleep(EVERY)
            if fabric.is_changing:
                # For a moment a lease may be in a VLAN that is its network's only when its port has changed.
                continue
            now = trio.current_time()
            found, passed = look(fabric), now - at
            same = len(found) == len(noted) and all(
                new.same(old, passed) for new, old in zip(found, noted, strict=True)
            )
            if not same and await trio.to_thread.run_sync(note, path, found, time.time()):
                noted, at = found, now
    finally:
        note(path, look(fabric), time.time())
