"""Who reaches whom, tried by real packets: for assertions of scenarios and tests, and `converge`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import attrs
import trio

from vnet.check import Proof
from vnet.check.verdict import pairs_of
from vnet.fabric import Fabric
from vnet.guests import Guest, NetnsGuest, one_of
from vnet.probe.honest import MOST_PORTS, USUAL_PORT
from vnet.probe.voices import knock, voice_of
from vnet.scenario.counted import TRIES, arriving, sent_to
from vnet.scenario.tries import TRY, together, until
from vnet.topology.expect import Stations, is_pattern
from vnet.topology.model import Expect
from vnet.topology.values import Address

Busy = set[tuple[str, str, int]]
"""Guest, protocol and port, where a program of the guest's own is."""

Tries = dict[str, list[int]]
"""Ports by protocol; of `icmp` one that says nothing."""


class Failed(Exception):
    """A step did not come out as it has to; `str()` says how."""


@attrs.define
class Reach:
    """Tries it in a fabric."""

    fabric: Fabric

    async def hold(self, expect: Expect, within: float, *, count: bool = True) -> str:
        """Have real packets say whether an expectation holds, for `within` seconds until it does.

        Where nothing is to reach, packets that arrive without an answer are counted, too; not `count`: the
        caller does it. Raises Failed, and BadInput for a guest that is not there or can't be made to talk.
        """
        pairs = self._pairs(expect)
        if not pairs:
            return "nothing to probe: behind an uplink nobody answers"
        for name in {name: None for pair in pairs for name in pair}:
            for port in self.fabric.guests[name].ports.values():
                voice_of(port, self.fabric.guests[name])
        deadline = trio.current_time() + within

        tries = self._tries(expect)
        async with self._serving({target for _, target in pairs}, tries) as busy:

            async def holds(source: str, target: str, seconds: float) -> bool:
                one, other = self.fabric.guests[source], self.fabric.guests[target]
                async with self._arriving(one, other, expect, tries, count) as arrived:
                    found = await self._reaches(one, other, expect, tries, busy, seconds) or arrived()
                return found == expect.reach

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
        if not pairs_of(expect, known):
            raise Failed("it means no two guests, and nobody is asked to reach itself")
        return pairs_of(expect, Stations(self.fabric.guests))

    def _tries(self, expect: Expect) -> Tries:
        """What is tried, by protocol: of the ports those at which what rules say begins or ends, too."""
        groups = self.fabric.resolved.groups.values() if self.fabric.resolved else ()
        rules = [rule for group in groups for rule in (*group.ingress, *(group.egress or ()))]
        borders = {port for rule in rules for low, high in rule.ports for port in (low, high + 1)}
        ports = {USUAL_PORT}
        if expect.ports:
            ports = {port for span in expect.ports for port in span}
            ports |= {port for low, high in expect.ports for port in borders if low < port < high}
        else:
            # Too many would take long; each is about a rule like the others.
            some = sorted(borders)[:: len(borders) // (MOST_PORTS + 1) + 1]
            ports |= {port for port in some if 1 <= port <= 0xFFFF}
        found: Tries = {"icmp": [0]} if expect.protocol in ("any", "icmp") else {}
        found |= {name: sorted(ports) for name in ("tcp", "udp") if expect.protocol in ("any", name)}
        return found

    @asynccontextmanager
    async def _serving(self, guests: set[str], tries: Tries) -> AsyncIterator[Busy]:
        """Guests answer at the ports that are tried, but where a program of theirs is already: there."""
        busy: Busy = set()
        async with trio.open_nursery() as servers:
            for name in sorted(guests):
                guest = self.fabric.guests[name]
                shared = isinstance(guest, NetnsGuest)  # one namespace serves at all of its ports
                for port in list(guest.ports.values())[: 1 if shared else None]:
                    for protocol, number in _flat(tries):
                        if protocol == "icmp":
                            continue
                        try:
                            await voice_of(port, guest).serve(protocol, name.encode(), number, servers)
                        except OSError:
                            busy.add((name, protocol, number))
            yield busy
            servers.cancel_scope.cancel()

    @asynccontextmanager
    async def _arriving(
        self, one: Guest, other: Guest, expect: Expect, tries: Tries, count: bool
    ) -> AsyncIterator[Callable[[], bool]]:
        """Whether something arrives meanwhile that must not, answered or not."""
        async with AsyncExitStack() as stack:
            counts = []
            if count and not expect.reach:
                for mine, theirs in _addresses(one, other, expect.family):
                    asked = _flat(tries)
                    for place in range(0, len(asked), TRIES):
                        sent = sent_to(mine[1], theirs[1], asked[place : place + TRIES])
                        counting = arriving(self.fabric, other.ports, sent)
                        counts.append(await stack.enter_async_context(counting))
            yield lambda: any(count() for count in counts)

    async def _reaches(
        self, one: Guest, other: Guest, expect: Expect, tries: Tries, busy: Busy, seconds: float
    ) -> bool:
        """By one of the protocols that are asked for; with ports, by each of them if it has to reach."""
        each = bool(expect.ports) and expect.reach

        async def found(protocol: str, port: int) -> bool:
            alone = (other.name, protocol, port) not in busy
            return await self._try(one, other, protocol, port, expect.family, seconds, alone)

        for protocol, ports in tries.items():
            if await together([partial(found, protocol, port) for port in ports], each=each) != each:
                return not each
        return each

    async def _try(
        self,
        one: Guest,
        other: Guest,
        protocol: str,
        port: int,
        family: int | None,
        seconds: float,
        alone: bool = True,
    ) -> bool:
        """`alone`: what answers there is ours."""
        for mine, theirs in _addresses(one, other, family):
            speaker = voice_of(*at(self.fabric, mine))
            if protocol == "icmp":
                found = await speaker.ping(theirs[1], seconds)
            elif protocol == "tcp":
                found = await knock(speaker, mine[1], theirs[1], port, seconds)
            elif alone:
                found = await speaker.udp(mine[1], theirs[1], port, seconds) is not None
            else:
                # Nobody can say whether a program answers what it does not understand.
                sent = sent_to(mine[1], theirs[1], [(protocol, port)])
                async with arriving(self.fabric, other.ports, sent) as count:
                    found = await speaker.udp(mine[1], theirs[1], port, seconds) is not None or count() > 0
            if found:
                return True
        return False

    async def converge(self, within: float) -> str:
        """Wait until echo passes between all who should talk as things are. Raises Failed."""
        begun = trio.current_time()

        async def talks(source: str, target: str, seconds: float) -> bool:
            guests = self.fabric.guests
            return await self._try(guests[source], guests[target], "icmp", 0, None, seconds)

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


def at(fabric: Fabric, end: tuple[str, Address]) -> tuple[Any, Guest]:
    """The port of one end of a conversation, and its guest."""
    port = fabric.ports[end[0]]
    return port, fabric.guests[port.guest]


def _few(told: list[str]) -> str:
    return ", ".join(told[:5]) + (f" and {len(told) - 5} more" if len(told) > 5 else "")


def _flat(tries: Tries) -> list[tuple[str, int]]:
    return [(protocol, port) for protocol, ports in tries.items() for port in ports]


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
