"""`vnet demo`: two tenants on one switch, with the same subnet, that never meet. No root, no file.

Each tenant has three in-process guests. What is shown holds or the demo fails: within a tenant every
guest reaches every other and moves data by TCP whose checksum matches; across tenants no ping is
answered, and not even a frame addressed to the other tenant's MAC gets through.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

import topologies
from nics.errors import Unreachable
from nics.pipe import Pipe
from vnet._native import BpfProgram
from vnet.fabric import Fabric
from vnet.topology import Topology

TENANTS = ("red", "blue")
HOSTS = ("web", "app", "db")
PORT = 5001
CHUNK = 256 * 1024
PROBE = 0x88B5
"""EtherType for experiments (IEEE 802, local experimental)."""
PROBES = BpfProgram([(0x28, 0, 0, 12), (0x15, 0, 1, PROBE), (0x06, 0, 0, 1500), (0x06, 0, 0, 0)])
"""`ether proto 0x88b5`, so that the demo needs no libpcap."""


def topology() -> Topology:
    """The ready topology `tenants`, under a name of its own: one that runs is not disturbed."""
    tenants = topologies.load("tenants")
    tenants.name = "demo"
    return tenants


@attrs.define
class Transfer:
    """One TCP transfer, as it goes on."""

    source: str
    target: str
    size: int
    moved: int = 0
    seconds: float = 0.0
    intact: bool = False

    @property
    def gigabits(self) -> float:
        """Throughput in Gbit/s."""
        return self.moved * 8 / self.seconds / 1e9 if self.seconds else 0.0


@attrs.define
class Pair:
    """One probe from guest to guest."""

    source: str
    target: str
    rtt: float | None = None


@attrs.define
class Demo:
    """What was seen, for the table, for JSON and for the verdict."""

    fabric: Fabric
    capture: Path
    transfers: list[Transfer] = attrs.field(factory=list)
    inside: list[Pair] = attrs.field(factory=list)
    across: list[Pair] = attrs.field(factory=list)
    leaked: int = 0
    """Frames sent to the other tenant's MAC addresses that arrived there."""
    probed: int = 0
    step: str = "starting"
    seconds: float = 0.0
    frames: int = 0
    lost: int = 0
    ports: list[dict[str, Any]] = attrs.field(factory=list)
    """As `vnet status` has them, at the end."""

    def failures(self) -> list[str]:
        """What should hold and does not, a line each."""
        pairs = [f"{pair.source} does not reach {pair.target}" for pair in self.inside if pair.rtt is None]
        pairs += [f"{pair.source} reaches {pair.target}" for pair in self.across if pair.rtt is not None]
        moves = [
            f"the data from {move.source} to {move.target} did not arrive as it was sent"
            for move in self.transfers
            if not move.intact
        ]
        leaks = [f"{self.leaked} frames crossed from tenant to tenant"] if self.leaked else []
        return pairs + moves + leaks

    def document(self) -> dict[str, Any]:
        """The result for machines."""
        return {
            "ok": not self.failures(),
            "failures": self.failures(),
            "seconds": round(self.seconds, 3),
            "transfers": [
                {
                    "from": move.source,
                    "to": move.target,
                    "bytes": move.moved,
                    "seconds": round(move.seconds, 6),
                    "gbit_s": round(move.gigabits, 3),
                    "intact": move.intact,
                }
                for move in self.transfers
            ],
            "reachable": [{"from": p.source, "to": p.target, "rtt": p.rtt} for p in self.inside],
            "isolated": [
                {"from": p.source, "to": p.target, "answered": p.rtt is not None} for p in self.across
            ],
            "probes": {"sent": self.probed, "leaked": self.leaked},
            "capture": {"file": str(self.capture), "frames": self.frames, "lost": self.lost},
            "ports": self.ports,
        }


async def run(size: int, capture: Path | None, watch: Callable[[Demo], None]) -> Demo:
    """The whole demo; `watch` is called after each step and while data moves."""
    path = capture or Path(tempfile.mkdtemp(prefix="vnet-demo-")) / "demo.pcapng"
    begun = trio.current_time()
    async with Fabric(topology()) as fabric:
        demo = Demo(fabric, path)
        async with fabric.capture(path, "all", snaplen=128) as running, _watched(demo, watch):
            demo.step = "every pair within a tenant"
            await _ping_pairs(demo.inside, fabric, same_tenant=True)
            demo.step = "TCP within each tenant"
            async with trio.open_nursery() as nursery:
                for tenant in TENANTS:
                    nursery.start_soon(_transfers, demo, tenant, size)
            demo.step = "every pair across tenants"
            await _ping_pairs(demo.across, fabric, same_tenant=False)
            demo.step = "frames to the other tenant's MAC addresses"
            await _forge(demo)
            demo.step = "done"
        stats = running.stats()
        demo.frames, demo.lost = stats["written"], stats["lost"]
        demo.seconds = trio.current_time() - begun
        demo.ports = fabric.status()["ports"]
        watch(demo)
        return demo


@asynccontextmanager
async def _watched(demo: Demo, watch: Callable[[Demo], None]) -> AsyncIterator[None]:
    """Call `watch` ten times a second meanwhile."""

    async def look() -> None:
        while True:
            watch(demo)
            await trio.sleep(0.1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        yield
        nursery.cancel_scope.cancel()


def _pairs(same_tenant: bool) -> Iterator[tuple[str, str]]:
    names = [f"{tenant}-{host}" for tenant in TENANTS for host in HOSTS]
    for source in names:
        for target in names:
            same = source.partition("-")[0] == target.partition("-")[0]
            if source != target and same == same_tenant:
                yield source, target


async def _ping_pairs(pairs: list[Pair], fabric: Fabric, *, same_tenant: bool) -> None:
    async def one(pair: Pair) -> None:
        try:
            pair.rtt = await fabric.guests[pair.source].ping(fabric.guests[pair.target], timeout=1.0)
        except Unreachable:
            pair.rtt = None

    async with trio.open_nursery() as nursery:
        for source, target in _pairs(same_tenant):
            pairs.append(Pair(source, target))
            nursery.start_soon(one, pairs[-1])


async def _transfers(demo: Demo, tenant: str, size: int) -> None:
    """Web -> db and db -> app, one after the other."""
    for source, target in (("web", "db"), ("db", "app")):
        move = Transfer(f"{tenant}-{source}", f"{tenant}-{target}", size)
        demo.transfers.append(move)
        await _transfer(demo.fabric, move)


async def _transfer(fabric: Fabric, move: Transfer) -> None:
    source, target = fabric.guests[move.source], fabric.guests[move.target]
    sent, received = hashlib.sha256(), hashlib.sha256()
    block = hashlib.shake_256(move.source.encode()).digest(CHUNK)
    listener = await target.listen_tcp(PORT)  # type: ignore[attr-defined]
    begun = trio.current_time()

    async def send() -> None:
        async with await source.open_tcp_stream(target, PORT) as stream:  # type: ignore[attr-defined]
            left = move.size
            while left:
                data = block[:left]
                sent.update(data)
                await stream.send_all(data)
                left -= len(data)
            await stream.send_eof()

    async with listener, trio.open_nursery() as nursery:
        nursery.start_soon(send)
        async with await listener.accept() as stream:
            while data := await stream.receive_some(CHUNK):
                received.update(data)
                move.moved += len(data)
                move.seconds = trio.current_time() - begun
    move.intact = move.moved == move.size and sent.digest() == received.digest()


async def _forge(demo: Demo) -> None:
    """From inside each tenant, frames to every MAC address of the other; none may arrive there."""
    fabric = demo.fabric
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    try:
        for tenant in TENANTS:
            others = [guest for name, guest in fabric.guests.items() if not name.startswith(tenant)]
            ports = [name for guest in others for name in guest.ports]
            probe = await fabric.attach("probe", network=tenant, nic=Pipe())
            source = bytes.fromhex(fabric.guests["probe"].mac.replace(":", ""))
            async with fabric.capture_to(nowhere, *ports, filter=PROBES, direction="out") as leaks:
                for guest in others:
                    frame = bytes.fromhex(guest.mac.replace(":", "")) + source + PROBE.to_bytes(2, "big")
                    await probe.send(frame.ljust(60, b"\0"))
                    demo.probed += 1
                # Whatever a frame does, it does in the turn in which it is taken in.
                taken = fabric.port("probe").counters
                with trio.move_on_after(2):
                    while taken()["rx_frames"] < len(others):  # noqa: ASYNC110 - no event tells
                        await trio.sleep(0.001)
            demo.leaked += leaks.stats()["accepted"]
            await fabric.detach("probe")
    finally:
        os.close(nowhere)
