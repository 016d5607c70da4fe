"""Every frame of every port is sent, and where each arrived is compared with where it had to.

The ports' ends are pipes, or packet sockets in namespaces. Honest frames go first, so that every station
has been heard once before bad ones come.
"""

from __future__ import annotations

import contextlib
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import attrs
import trio

from nics.pipe import PipeEnd
from vnet.check import Proof, voice
from vnet.fabric import Fabric
from vnet.guests import NetnsGuest
from vnet.port import Port
from vnet.probe import build
from vnet.probe.honest import Maker, Probe, honest
from vnet.probe.hostile import hostile
from vnet.probe.leased import leases
from vnet.probe.result import Finding, Part

ETH_P_ALL = 3
Heard = dict[int, Counter[str]]
"""By number of a probe: how often each port heard it."""
Send = Callable[[bytes], object]


@attrs.define
class Ends:
    """The far ends of all ports of a fabric."""

    fabric: Fabric
    heard: Heard = attrs.field(factory=dict)
    pipes: dict[str, PipeEnd] = attrs.field(factory=dict)
    sockets: dict[str, trio.socket.SocketType] = attrs.field(factory=dict)
    news: trio.Event = attrs.field(factory=trio.Event)

    async def send(self, port: str, frame: bytes) -> None:
        """From the guest of a port."""
        if port in self.pipes:
            await self.pipes[port].send(frame)
        else:
            await self.sockets[port].send(frame)

    def note(self, port: str, frame: bytes) -> None:
        """A frame came out at a port."""
        number = build.number_of(frame)
        if number is not None:
            self.heard.setdefault(number, Counter())[port] += 1
            self.news.set()

    async def listen(self, port: str) -> None:
        """Note what comes out at a port, until cancelled."""
        if port in self.pipes:
            with contextlib.suppress(trio.ClosedResourceError):
                async for frame in self.pipes[port]:
                    self.note(port, frame)
            return
        while True:
            frame, (_, _, kind, _, _) = await self.sockets[port].recvfrom(1 << 16)
            if kind != socket.PACKET_OUTGOING:
                self.note(port, frame)

    async def quiet(self, probes: list[Probe], patience: float) -> None:
        """Wait until all arrived that has to, and nothing more comes; `patience` seconds at most."""
        missing = {(probe.number, port) for probe in probes for port in probe.must}
        with trio.move_on_after(patience):
            while missing:
                missing = {(n, port) for n, port in missing if not self.heard.get(n, Counter())[port]}
                if missing:
                    self.news = trio.Event()
                    await self.news.wait()
        while True:
            self.news = trio.Event()
            with trio.move_on_after(0.2) as scope:
                await self.news.wait()
            if scope.cancelled_caught:
                return


@asynccontextmanager
async def ends(fabric: Fabric) -> AsyncIterator[Ends]:
    """The ends of all ports, listened at while the block lasts."""
    made = Ends(fabric)
    async with contextlib.AsyncExitStack() as stack:
        for port in fabric.ports.values():
            far = port.opened.far
            if isinstance(far, PipeEnd):
                made.pipes[port.name] = far
            else:
                made.sockets[port.name] = stack.enter_context(await _packet_socket(fabric, port))
        async with trio.open_nursery() as nursery:
            for name in (*made.pipes, *made.sockets):
                nursery.start_soon(made.listen, name)
            yield made
            nursery.cancel_scope.cancel()


async def _packet_socket(fabric: Fabric, port: Port) -> trio.socket.SocketType:
    guest = fabric.guests[port.guest]
    assert isinstance(guest, NetnsGuest)
    assert guest.namespace is not None
    raw = await guest.namespace.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    raw.bind((port.opened.carries, ETH_P_ALL))
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    return trio.socket.from_stdlib_socket(raw)


async def probe(fabric: Fabric, proof: Proof, patience: float, tell: Callable[[str], None]) -> Part:
    """Send all frames through a fabric that stands in for the one of `proof`."""
    part = Part("frames")
    maker = Maker(proof, leases(proof.resolved))
    for name, addresses in maker.leases.items():
        port = fabric.ports[name]
        for address in addresses:
            fabric.engine.bind(port.number, port.wanted.vlan or 0, str(voice.host(address)), None)
    async with ends(fabric) as far:
        for title, probes in (("honest", list(honest(maker))), ("hostile", list(hostile(maker)))):
            tell(f"{len(probes)} {title} frames")
            if title == "honest":
                await _converge(far, probes, patience)
            for each in probes:
                await far.send(each.source.name, each.frame)
            await far.quiet(probes, patience)
            for each in probes:
                part.probes += 1
                part.findings += compare(proof, each, far.heard.get(each.number, Counter()))
                part.note(each.source.owner, each.target)
    return part


def hellos(probes: list[Probe]) -> list[Probe]:
    """Those to everybody: who has sent them has been heard in all of its VLANs."""
    kinds = ("broadcast", "arp request", "neighbour solicitation")
    return [probe for probe in probes if probe.what.startswith(kinds)]


async def _converge(far: Ends, probes: list[Probe], patience: float) -> None:
    """Say hello until everybody who has to has heard it: a spanning tree may take its time."""
    waiting = hellos(probes)
    with trio.move_on_after(60):
        while waiting:
            for each in waiting:
                await far.send(each.source.name, each.frame)
            await far.quiet(waiting, min(patience, 1.0))
            waiting = [
                p for p in waiting if any(not far.heard.get(p.number, Counter())[port] for port in p.must)
            ]
            if waiting and not any(switch.stp != "none" for switch in far.fabric.topology.switches.values()):
                break
    far.heard.clear()


def compare(proof: Proof, probe: Probe, heard: Counter[str]) -> list[Finding]:
    """Where a frame arrived and must not, or must and did not."""
    findings = []
    for port in sorted(set(heard) - probe.may):
        owner = _owner(proof, port)
        what = f"{probe.what} arrived at {port}, where the proof lets nothing of it pass"
        findings.append(Finding(probe.source.owner, owner, what))
    for port in sorted(probe.must - set(heard)):
        owner = _owner(proof, port)
        what = f"{probe.what} did not arrive at {port}, where the proof lets it pass"
        findings.append(Finding(probe.source.owner, owner, what))
    for port, count in heard.items():
        if count > 1:
            findings.append(
                Finding(probe.source.owner, _owner(proof, port), f"{probe.what} arrived {count} times")
            )
    return findings


def _owner(proof: Proof, port: str) -> str:
    return next((ear.owner for ears in proof.ground.ears.values() for ear in ears if ear.name == port), port)
