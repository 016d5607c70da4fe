"""A test bench for a switch by itself: ports by number, frames in, frames out.

The same cases are put to the native switch and to the reference switch (`@pytest.fixture bench` is
parametrised with both): a case list from elsewhere judges the judge, too.
"""

from __future__ import annotations

from typing import Any

import attrs

from switch import Access, Mode, Port
from tests.model.reference import ReferenceSwitch
from tests.switch.native import Native, text

SECOND = 1_000_000_000
AGEING = 300 * SECOND

A, B, C, D = (bytes([2, 0, 0, 0, 0, n]) for n in (0xA, 0xB, 0xC, 0xD))
NOBODY = bytes.fromhex("02000000ffff")
BROADCAST = b"\xff" * 6
MULTICAST = bytes.fromhex("01005e000001")
LLDP = bytes.fromhex("0180c200000e")


def c_tag(vid: int, priority: int = 0, dei: int = 0) -> bytes:
    """An 802.1Q tag."""
    return b"\x81\x00" + (priority << 13 | dei << 12 | vid).to_bytes(2, "big")


def s_tag(vid: int, priority: int = 0) -> bytes:
    """An 802.1ad tag."""
    return b"\x88\xa8" + (priority << 13 | vid).to_bytes(2, "big")


def frame(destination: bytes, source: bytes, *tags: bytes, size: int = 46) -> bytes:
    """An IPv4-typed frame with `size` bytes of payload."""
    return destination + source + b"".join(tags) + b"\x08\x00" + b"\xa5" * size


@attrs.frozen
class Result:
    """What became of one frame."""

    reason: str | None
    vlan: int
    out: dict[int, bytes]
    """By port: the frame as it left."""
    lost: dict[int, str]
    """By port: why it did not leave."""

    @property
    def ports(self) -> list[int]:
        """Where it left."""
        return sorted(self.out)


class Bench:
    """A switch, and what a test does to it."""

    def __init__(self, judge: str, **limits: int) -> None:
        config = {"ageing": AGEING, "fdb_limit": 1000, "vlan_limit": 1000, **limits}
        self.native = judge == "native"
        self.switch: Any = Native(**config) if self.native else ReferenceSwitch(**config)
        self.ports: dict[int, Port] = {}
        self.now = 0

    def port(self, number: int, mode: Mode | int | None = None, **options: Any) -> None:
        """Add a port, or change what is named of one. A number as mode is the VLAN of an access port."""
        if isinstance(mode, int):
            mode = Access(mode)
        if number in self.ports:
            port = self.ports[number].changed(**options, **({} if mode is None else {"mode": mode}))
            self.switch.set_port(number, port)
        else:
            port = Port(mode=Access(1) if mode is None else mode, **options)
            self.switch.add_port(number, port)
        self.ports[number] = port

    def remove(self, number: int) -> None:
        """Remove a port."""
        del self.ports[number]
        self.switch.remove_port(number)

    def send(self, ingress: int, data: bytes) -> Result:
        """One frame comes in."""
        if self.native:
            verdict = self.switch.forward(self.now, ingress, [data])[0]
        else:
            verdict = self.switch.receive(self.now, ingress, data)
        return Result(verdict.reason, verdict.vlan, dict(verdict.copies), dict(verdict.lost))

    def hear(self, ingress: int, source: bytes, *tags: bytes) -> Result:
        """A station says hello to all."""
        return self.send(ingress, frame(BROADCAST, source, *tags))

    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now += round(seconds * SECOND)
        self.switch.tick(self.now)

    def learned_at(self, mac: bytes, vlan: int = 1) -> int | None:
        """The port of a learned entry."""
        port, kind = self.entry(mac, vlan)
        return port if kind == "learned" else None

    def entry(self, mac: bytes, vlan: int = 1) -> tuple[int | None, str | None]:
        """(port, kind) of an entry."""
        if self.native:
            found = self.switch.fdb_get(vlan, text(mac))
            return (None, None) if found is None else (found[2], found[3])
        known = self.switch.fdb.get((vlan, mac))
        return (None, None) if known is None else (known.port, known.kind)

    def set_entry(self, mac: bytes, port: int, vlan: int = 1, *, sticky: bool = False) -> None:
        """The operator says where a station is. Raises ValueError when that can't be."""
        if self.native:
            self.switch.fdb_set(vlan, text(mac), port, sticky=sticky)
        elif not self.switch.fdb_set(vlan, mac, port, "sticky" if sticky else "static"):
            raise ValueError

    def flush(self, **which: Any) -> int:
        """Forget entries."""
        flushed: int = self.switch.fdb_flush(**which) if self.native else self.switch.flush(**which)
        return flushed

    def learned(self, **of: int) -> int:
        """How many learned entries there are, of a port or VLAN."""
        if self.native:
            learned: int = self.switch.fdb_count(**of)[0]
            return learned
        return self.switch.learned(**of)

    def counter(self, number: int, name: str) -> int:
        """A port's counter, or its drops for a reason."""
        counters = self.switch.counters(number) if self.native else attrs.asdict(self.switch.counters[number])
        return counters[name] if name in counters else counters["drops"].get(name, 0)
