"""Every guest talks to every other, by echo, TCP and UDP, and it works where the proof says so.

TCP and UDP knock at the ports that rules tell apart. What has to be silent costs its time, so all pairs
talk at once, some hundreds at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs
import trio

from vnet.check import Proof, voice
from vnet.check.packets import ECHO, TCP, UDP
from vnet.check.wire import Ear
from vnet.fabric import Fabric
from vnet.guests import NetnsGuest
from vnet.probe.honest import ports_of_interest
from vnet.probe.result import Finding, Part
from vnet.probe.voices import Voice, voice_of
from vnet.topology.values import Address

AT_ONCE = 400


@attrs.frozen
class Call:
    """One thing that a guest tries."""

    source: Ear
    target: Ear
    mine: Address
    theirs: Address
    protocol: str
    """`icmp`, `tcp` or `udp`."""
    port: int
    works: bool

    def __str__(self) -> str:
        what = "echo" if self.protocol == "icmp" else f"{self.protocol} {self.port}"
        return f"{what} from {self.mine} to {self.theirs}"


def calls(proof: Proof) -> Iterator[Call]:
    """All of them: between all addresses that the file gives, of ports with untagged frames."""
    ports = ports_of_interest(proof)
    owners: dict[tuple[int, Address], str] = {}
    ears = [ear for each in proof.ground.ears.values() for ear in each if ear.port and ear.native]
    for ear in ears:
        for address in ear.port.ip if ear.port else ():
            owners[ear.native or 0, address] = ear.owner
    for source in ears:
        for target in ears:
            if source.owner == target.owner or source.port is None or target.port is None:
                continue
            for mine, theirs in _addresses(source, target):
                same = source.native == target.native
                # Tenants may overlap: what answers there is then the source's own neighbour.
                if not same and (source.native or 0, theirs) in owners:
                    continue
                yield from _calls(proof, source, target, mine, theirs, ports)


def _addresses(source: Ear, target: Ear) -> list[tuple[Address, Address]]:
    """One pair for each version of IP."""
    assert source.port is not None
    assert target.port is not None
    found: dict[int, tuple[Address, Address]] = {}
    for mine in source.port.ip:
        for theirs in target.port.ip:
            if mine.version == theirs.version:
                found.setdefault(mine.version, (mine, theirs))
    return list(found.values())


def _calls(
    proof: Proof, source: Ear, target: Ear, mine: Address, theirs: Address, ports: list[int]
) -> Iterator[Call]:
    assert source.port is not None
    assert target.port is not None
    ground, vlan, family = proof.ground, source.native or 0, mine.version
    passing = None
    if vlan == target.native and ground.obstacle(source, target, vlan) is None:
        near = any(mine == i.ip and theirs in i.network for i in source.port.addresses)
        if near and proof.finds(source, target, family):
            passing = ground.passing(source, target, vlan, [voice.host(mine)], [voice.host(theirs)], [])
    number = ECHO[family]
    yield Call(source, target, mine, theirs, "icmp", 0, bool(passing and passing.has(*number)))
    for port in ports:
        for name, protocol in (("tcp", TCP), ("udp", UDP)):
            works = bool(passing and passing.has(protocol, port))
            yield Call(source, target, mine, theirs, name, port, works)


async def probe(fabric: Fabric, proof: Proof, patience: float, tell: Callable[[str], None]) -> Part:
    """Have everybody talk in a fabric that stands in for the one of `proof`."""
    part = Part("talk")
    planned = list(calls(proof))
    tell(f"{len(planned)} conversations")
    guests = fabric.guests
    voices = {
        name: voice_of(port, guests[port.guest])
        for name, port in fabric.ports.items()
        if port.guest in guests
    }
    limiter = trio.CapacityLimiter(AT_ONCE)

    async def one(call: Call) -> None:
        async with limiter:
            found = await _try(voices[call.source.name], call, patience)
        part.probes += 1
        part.note(call.source.owner, call.target.owner)
        if found == call.works:
            return
        text = (
            f"{call} works, where the proof lets it not" if found else f"{call} fails, where it has to work"
        )
        part.findings.append(Finding(call.source.owner, call.target.owner, text))

    async with trio.open_nursery() as servers:
        served = set()
        for name, each in voices.items():
            guest = fabric.guests[fabric.ports[name].guest]
            if isinstance(guest, NetnsGuest) and guest.name in served:
                continue  # one namespace serves at all of its ports
            served.add(guest.name)
            for port in ports_of_interest(proof):
                for protocol in ("tcp", "udp"):
                    await each.serve(protocol, guest.name.encode(), port, servers)
        async with trio.open_nursery() as callers:
            for call in planned:
                callers.start_soon(one, call)
        servers.cancel_scope.cancel()
    part.findings.sort(key=str)
    return part


async def _try(who: Voice, call: Call, patience: float) -> bool:
    """Whether it works, with the right guest at the other end."""
    if call.protocol == "icmp":
        return await who.ping(call.theirs, patience)
    ask = who.tcp if call.protocol == "tcp" else who.udp
    answer = await ask(call.mine, call.theirs, call.port, patience)
    return answer == call.target.owner.encode()
