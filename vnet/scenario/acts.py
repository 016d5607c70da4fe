"""What the steps of a scenario do: echo, data, cables, commands, and assertions by real packets."""

from __future__ import annotations

import contextlib
import hashlib
import math
import statistics
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from vnet.check import Proof
from vnet.check.verdict import pairs_of
from vnet.errors import Unreachable, VnetError
from vnet.fabric import Fabric
from vnet.guests import Guest, NetnsGuest, one_of
from vnet.probe.honest import USUAL_PORT
from vnet.probe.voices import voice_of
from vnet.scenario.tries import TRY, until
from vnet.topology import Resolved, Topology
from vnet.topology.expect import Stations, is_pattern
from vnet.topology.model import Expect
from vnet.topology.scenario import Step
from vnet.topology.values import Address

NANO = 1_000_000_000
CHUNK = 1 << 16
Prepare = Callable[[Topology, Resolved], Topology]


class Failed(Exception):
    """A step did not come out as it has to; `str()` says how."""


@attrs.define
class Acts:
    """Does steps in a fabric."""

    fabric: Fabric
    folder: Path
    background: trio.Nursery
    prepare: Prepare = lambda topology, _: topology
    """What a file becomes before it is applied: what the one that runs became, where that was made."""

    async def do(self, step: Step) -> str:
        """Do a step; what was seen. Raises Failed."""
        values = step.values
        match step.action:
            case "ping":
                return await self._ping(values)
            case "transfer":
                return await self._transfer(values)
            case "link":
                await self.fabric.set_link(values["name"], values["state"] == "up")
            case "run":
                return await self._run(values)
            case "assert":
                assert step.expect is not None
                return await self.hold(step.expect, values["within"] / NANO)
            case "wait":
                await trio.sleep(values["value"] / NANO)
            case "converge":
                return await self._converge(values["value"] / NANO)
            case "apply":
                return await self._apply(values["value"])
        return ""

    # -- traffic -----------------------------------------------------------------------------------

    async def _ping(self, values: Mapping[str, Any]) -> str:
        source, target = self._ends(values)
        times: list[float] = []
        timeout, count = values["timeout"] / NANO, values["count"]

        async def one() -> None:
            with contextlib.suppress(Unreachable):
                times.append(await source.ping(target, timeout=timeout, family=values["family"]))

        async with trio.open_nursery() as echoes:
            for number in range(count):
                echoes.start_soon(one)
                if number + 1 < count:
                    await trio.sleep(values["interval"] / NANO)
        lost = count - len(times)
        seen = f"{len(times)} of {count} answered"
        if times:
            seen += f", median {statistics.median(times) * 1000:.3f} ms"
        if lost * 1_000_000 > values["loss"] * count:
            raise Failed(f"{seen}; at most {values['loss'] / 10_000:g} % may be lost")
        if values["rtt"] is not None and times and statistics.median(times) * NANO > values["rtt"]:
            raise Failed(f"{seen}; at most {values['rtt'] / 1_000_000:g} ms is allowed")
        return seen

    async def _transfer(self, values: Mapping[str, Any]) -> str:
        source, target = self._ends(values)
        mine, theirs = await self._between(source, target)
        size, port = values["size"], values["port"]
        received, sent = hashlib.sha256(), hashlib.sha256()
        moved = 0
        begun = trio.current_time()

        async def send() -> None:
            stream = await voice_of(*self._at(mine)).connect(mine[1], theirs[1], port)
            block = hashlib.shake_256(source.name.encode()).digest(CHUNK)
            async with stream:
                left = size
                while left:
                    sent.update(block[:left])
                    await stream.send_all(block[:left])
                    left -= min(left, CHUNK)
                await stream.send_eof()

        try:
            with trio.fail_after(values["within"] / NANO):
                listener = await voice_of(*self._at(theirs)).listen(port)
                async with listener, trio.open_nursery() as nursery:
                    nursery.start_soon(send)
                    async with await listener.accept() as stream:
                        while data := await stream.receive_some(CHUNK):
                            received.update(data)
                            moved += len(data)
        except trio.TooSlowError:
            raise Failed(f"{moved} of {size} bytes in {values['within'] / NANO:g} s") from None
        except ExceptionGroup as group:
            raise Failed(f"{moved} of {size} bytes, then: {group.exceptions[0]}") from None
        seconds = trio.current_time() - begun
        # In virtual time, where nothing takes any.
        rate = moved * 8 / seconds if seconds > 1e-6 else math.inf
        seen = f"{moved} bytes in " + (
            f"{seconds:.3f} s, {rate / 1e6:.3g} Mbit/s" if rate < math.inf else "no time"
        )
        if moved != size or received.digest() != sent.digest():
            raise Failed(f"{seen}; what arrived is not what was sent")
        for key, wrong in (("least", "less"), ("most", "more")):
            bound = values[key]
            if bound is not None and (rate < bound if key == "least" else rate > bound):
                raise Failed(f"{seen}; that is {wrong} than {bound / 1e6:g} Mbit/s")
        return seen

    def _ends(self, values: Mapping[str, Any]) -> tuple[Guest, Guest]:
        """Who begins, and whom to. Raises BadInput: another file may run by now, without them."""
        return one_of(self.fabric.guests, values["from"]), one_of(self.fabric.guests, values["to"])

    async def _between(self, source: Guest, target: Guest) -> tuple[tuple[str, Address], tuple[str, Address]]:
        """(port, address) of both, by which they are in one subnet, or else the first ones."""
        try:
            theirs = source.address_of(target)
        except Unreachable as error:
            raise Failed(str(error)) from None
        near = source.port_towards(theirs)
        own = next((a for a in near.ip if a.version == theirs.version), None)
        far = next(port for port in target.ports.values() if theirs in port.ip)
        if own is None:
            raise Failed(f"{source.name} has no IPv{theirs.version} address")
        return (near.name, own), (far.name, theirs)

    def _at(self, end: tuple[str, Address]) -> tuple[Any, Guest]:
        port = self.fabric.ports[end[0]]
        return port, self.fabric.guests[port.guest]

    # -- changes -----------------------------------------------------------------------------------

    async def _run(self, values: Mapping[str, Any]) -> str:
        guest = one_of(self.fabric.guests, values["guest"])
        if not isinstance(guest, NetnsGuest):
            raise Failed(f"{guest.name} is stood in for; commands run in namespaces")
        if values["background"]:
            self.background.start_soon(self._behind, guest, values["command"])
            await trio.lowlevel.checkpoint()
            return "in the background"
        try:
            with trio.fail_after(values["within"] / NANO):
                output = await guest.run(*values["command"])
        except trio.TooSlowError:
            raise Failed(f"not done in {values['within'] / NANO:g} s") from None
        lines = output.strip().splitlines()
        return lines[-1].strip() if lines else ""

    async def _behind(self, guest: NetnsGuest, command: list[str]) -> None:
        with contextlib.suppress(VnetError, OSError):
            await guest.run(*command, check=False)

    async def _apply(self, name: str) -> str:
        wanted = Topology.from_file(self.folder / name)
        # The one that runs has a name of its own, by which its addresses were not made.
        wanted.name = self.fabric.name
        made = self.prepare(wanted, wanted.resolve(keep=self.fabric.resolved))
        made.name = self.fabric.name
        done = await self.fabric.apply(made)
        return f"{len(done)} steps"

    # -- who reaches whom --------------------------------------------------------------------------

    async def hold(self, expect: Expect, within: float) -> str:
        """Have real packets say whether an expectation holds, for `within` seconds until it does.

        Raises Failed, and BadInput for a guest that is not there.
        """
        pairs = self._pairs(expect)
        if not pairs:
            return "nothing to probe: it means no two guests, and behind an uplink nobody answers"
        deadline = trio.current_time() + within

        async def holds(source: str, target: str, seconds: float) -> bool:
            return await self._reaches(source, target, expect, seconds) == expect.reach

        async with self._serving({target for _, target in pairs}, list(_tries(expect))):
            # Silence takes as long as somebody listens for it: no longer than a short try.
            wrong = await until(
                pairs, holds, deadline=deadline, pause=min(TRY, within / 10), patient=expect.reach
            )
        if wrong:
            word = "does not reach" if expect.reach else "reaches"
            raise Failed(_few([f"{source} {word} {target}" for source, target in wrong]))
        return f"{len(pairs)} pair{'' if len(pairs) == 1 else 's'}"

    def _pairs(self, expect: Expect) -> list[tuple[str, str]]:
        """The pairs that are meant. With somebody missing there may be none, and nothing would be tried."""
        # Behind an uplink is nobody who could answer, but it is no mistake to mean it.
        known = Stations([*self.fabric.guests, *self.fabric.topology.uplinks])
        for name in (*expect.sources, *expect.targets):
            if known.knows(name):
                continue
            if is_pattern(name):
                raise Failed(f"there is no guest like {name!r}")
            one_of(self.fabric.guests, name)
        return pairs_of(expect, Stations(self.fabric.guests))

    @asynccontextmanager
    async def _serving(self, guests: set[str], tries: list[tuple[str, int]]) -> AsyncIterator[None]:
        """Guests answer at the ports that are tried, but where a program of theirs does already."""
        async with trio.open_nursery() as servers:
            for name in sorted(guests):
                guest = self.fabric.guests[name]
                shared = isinstance(guest, NetnsGuest)  # one namespace serves at all of its ports
                for port in list(guest.ports.values())[: 1 if shared else None]:
                    for number in sorted({number for _, number in tries if number}):
                        with contextlib.suppress(OSError):
                            await voice_of(port, guest).serve(name.encode(), [number], servers)
            yield
            servers.cancel_scope.cancel()

    async def _reaches(self, source: str, target: str, expect: Expect, seconds: float) -> bool:
        """By one of the protocols that are asked for; with ports, by each of them if it has to reach."""
        each = bool(expect.ports) and expect.reach
        for protocol, port in _tries(expect):
            if await self._try(source, target, protocol, port, expect.family, seconds) != each:
                return not each
        return each

    async def _try(
        self, source: str, target: str, protocol: str, port: int, family: int | None, seconds: float
    ) -> bool:
        one, other = self.fabric.guests[source], self.fabric.guests[target]
        for mine, theirs in _addresses(one, other, family):
            speaker = voice_of(*self._at(mine))
            if protocol == "icmp":
                found = await speaker.ping(theirs[1], seconds)
            else:
                ask = speaker.tcp if protocol == "tcp" else speaker.udp
                found = await ask(mine[1], theirs[1], port, seconds) is not None
            if found:
                return True
        return False

    async def _converge(self, within: float) -> str:
        begun = trio.current_time()

        async def talks(source: str, target: str, seconds: float) -> bool:
            return await self._try(source, target, "icmp", 0, None, seconds)

        waiting = await until(self._should_talk(), talks, deadline=begun + within, pause=0.05)
        if waiting:
            told = _few([f"{source} does not reach {target}" for source, target in waiting])
            raise Failed(f"after {within:g} s: {told}")
        return f"after {trio.current_time() - begun:.3f} s"

    def _should_talk(self) -> Iterator[tuple[str, str]]:
        """Pairs that echo passes between as things are: with the cables that are plugged now."""
        proof = self._proof_of_now()
        for pair in proof.pairs():
            if pair.source not in self.fabric.guests or pair.target not in self.fabric.guests:
                continue
            one, other = self.fabric.guests[pair.source], self.fabric.guests[pair.target]
            for family in (4, 6):
                echoes = pair.talks[family].asked("icmp", (), family)
                if echoes and any(_addresses(one, other, family)):
                    yield pair.source, pair.target
                    break

    def _proof_of_now(self) -> Proof:
        """The proof of what runs, ports and links as they are."""
        resolved = self.fabric.resolved
        assert resolved is not None
        ports = {
            name: attrs.evolve(port, settings=attrs.evolve(port.settings, up=self.fabric.ports[name].link))
            for name, port in resolved.ports.items()
        }
        links = {
            name: attrs.evolve(link.wanted, up=all(end.link and end.carrier for end in link.ends))
            for name, link in self.fabric.links.items()
        }
        return Proof(self.fabric.topology, attrs.evolve(resolved, ports=ports, links=links))


def _few(told: list[str]) -> str:
    return ", ".join(told[:5]) + (f" and {len(told) - 5} more" if len(told) > 5 else "")


def _tries(expect: Expect) -> Iterator[tuple[str, int]]:
    if expect.protocol in ("any", "icmp"):
        yield "icmp", 0
    for protocol in ("tcp", "udp"):
        if expect.protocol in ("any", protocol):
            for low, high in expect.ports or ((USUAL_PORT, USUAL_PORT),):
                yield protocol, low
                if high != low:
                    yield protocol, high


def _addresses(
    one: Guest, other: Guest, family: int | None
) -> Iterator[tuple[tuple[str, Address], tuple[str, Address]]]:
    """(port, address) of both, one pair for each version of IP.

    None where a neighbour of the one has the other's address: an answer would be the neighbour's.
    """
    seen = set()
    for version in (4, 6):
        if family not in (None, version):
            continue
        for near in one.ports.values():
            for far in other.ports.values():
                for mine in near.ip:
                    for theirs in far.ip:
                        if not mine.version == theirs.version == version or version in seen:
                            continue
                        if one.other_at(theirs, other, near) is None:
                            seen.add(version)
                            yield (near.name, mine), (far.name, theirs)
