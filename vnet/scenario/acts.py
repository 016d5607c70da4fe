"""What the steps of a scenario do: echo, data, cables, commands. Assertions are `reach.py`'s."""

from __future__ import annotations

import contextlib
import hashlib
import math
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import trio

from vnet.errors import Unreachable, VnetError
from vnet.fabric import Fabric
from vnet.guests import Guest, NetnsGuest, one_of
from vnet.probe.voices import voice_of
from vnet.scenario.reach import Failed, Reach, at
from vnet.topology import Resolved, Topology
from vnet.topology.scenario import Step
from vnet.topology.values import Address

NANO = 1_000_000_000
CHUNK = 1 << 16
Prepare = Callable[[Topology, Resolved], Topology]


@attrs.define
class Acts:
    """Does steps in a fabric."""

    fabric: Fabric
    folder: Path
    background: trio.Nursery
    prepare: Prepare = lambda topology, _: topology
    """What a file becomes before it is applied: what the one that runs became, where that was made."""
    _failed: list[tuple[NetnsGuest, str]] = attrs.field(factory=list)

    @property
    def broken(self) -> list[str]:
        """How commands failed in the background; those of a guest that was taken away end with it."""
        return [text for guest, text in self._failed if self.fabric.guests.get(guest.name) is guest]

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
                return await Reach(self.fabric).hold(step.expect, values["within"] / NANO)
            case "wait":
                await trio.sleep(values["value"] / NANO)
            case "converge":
                return await Reach(self.fabric).converge(values["value"] / NANO)
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
            stream = await voice_of(*at(self.fabric, mine)).connect(mine[1], theirs[1], port)
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
                listener = await voice_of(*at(self.fabric, theirs)).listen(port)
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
        try:
            await guest.run(*command)
        except (VnetError, OSError) as error:
            self._failed.append((guest, f"in the background: {' '.join(str(error).splitlines())}"))

    async def _apply(self, name: str) -> str:
        wanted = Topology.from_file(self.folder / name)
        # The one that runs has a name of its own, by which its addresses were not made.
        wanted.name = self.fabric.name
        made = self.prepare(wanted, wanted.resolve(keep=self.fabric.resolved))
        made.name = self.fabric.name
        done = await self.fabric.apply(made)
        return f"{len(done)} steps"
