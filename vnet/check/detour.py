"""What gets from one guest to another if guests between the two forward it.

Whether a guest forwards is its own business, and not in the file. Whether it may is: a guest that sends
what others sent must be allowed their addresses, or be without a guard. What lies beyond an uplink is
not the fabric's, and not looked at, but for the gateway there of a private network with `proxy_arp`, which
says that it may.
"""

from __future__ import annotations

from collections import deque

import attrs

from vnet.check import voice
from vnet.check.ground import Ground, shared
from vnet.check.pair import FAMILIES, Pair, Reason, short
from vnet.check.proxied import beyond_uplinks, looks_for_gateway
from vnet.check.wire import Ear
from vnet.topology.values import Subnet


@attrs.frozen
class Way:
    """How packets from one prefix get to a port by others."""

    first: Ear
    vlan: int
    """They leave `first` in this one."""
    last: Ear
    onward: int
    """They come to `last` in this one."""
    by: tuple[str, ...]
    """Who forwards them."""
    sources: list[Subnet]
    """What they may still be from: what whoever is the last to forward them may send."""


Place = tuple[str, int | None]


def _place(ear: Ear, vlan: int) -> Place:
    """Where a packet is: at a guest, whichever way it came there, or beyond an uplink in one VLAN."""
    return (ear.owner, vlan if ear.port is None else None)


class Detours:
    """The ways by others, on one ground."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._beyond = beyond_uplinks(ground.resolved.ports.values())
        self._ways: dict[str, dict[str, list[Way]]] = {}

    def add(self, pair: Pair) -> None:
        """Add what arrives if other guests forward it."""
        ground = self._ground
        for way in self._ways_from(pair.source).get(pair.target, ()):
            family = way.sources[0].version
            more = ground.arriving(way.first, way.last, way.vlan, way.sources, family, [], way.onward)
            if pair.arrives[family] | more == pair.arrives[family]:
                continue
            pair.arrives[family] |= more
            if not pair.via:
                pair.via = way.by
                pair.reasons.append(self._forwarder(way.by, pair.target))
                pair.reasons += self._proxied(pair)

    def _proxied(self, pair: Pair) -> list[Reason]:
        """What the switch tells the source of the gateway when it looks for the target."""
        for a in self._ground.ears[pair.source]:
            for b in self._ground.ears[pair.target]:
                for vlan in shared(a, b):
                    for address in voice.own(b.port, vlan) if b.port else ():
                        if looks_for_gateway(a.port, vlan, address):
                            text = (
                                f"asked for {address} by {a.name}, the switch says that it is at the gateway"
                            )
                            return [Reason(text, ("networks", a.networks[vlan], "proxy_arp"))]
        return []

    def _forwarder(self, way: tuple[str, ...], target: str) -> Reason:
        """Who would have to forward, and what lets it."""
        name = way[-1]
        vlans = {vlan for ear in self._ground.ears[target] for vlan in ear.networks}
        if name in self._ground.topology.uplinks:
            return Reason(f"the gateway beyond {name} would have to forward", ("uplinks", name))
        near = [ear for ear in self._ground.ears[name] if ear.port and vlans & set(ear.networks)]
        for ear in near:
            if ear.port and ear.port.guard is None:
                return Reason(f"{name} would have to forward; {ear.name} has no guard", (*ear.path, "guard"))
        for ear in near:
            for vlan in vlans & set(ear.networks):
                for index, prefix in voice.allowed(ear.port, vlan) if ear.port else ():
                    if prefix.prefixlen < prefix.max_prefixlen:
                        text = f"{name} would have to forward; {ear.name} may send as {prefix}"
                        return Reason(text, (*ear.path, "guard", "allow", index))
        return Reason(f"{name} would have to forward; it may send as others there", ("guests", name))

    def _ways_from(self, source: str) -> dict[str, list[Way]]:
        """By target: the ways of what `source` sends to it, if others forward that."""
        if source not in self._ways:
            ways: dict[str, list[Way]] = {}
            for ear in self._ground.ears[source]:
                for vlan in ear.networks:
                    near = [
                        other
                        for other in self._ground.in_vlan[vlan]
                        if other.owner != source and not self._ground.obstacle(ear, other, vlan)
                    ]
                    for family in FAMILIES:
                        for claim in self._ground.claims(ear, vlan, family):
                            for way in self._of_claim(ear, vlan, claim, near):
                                ways.setdefault(way.last.owner, []).append(way)
            self._ways[source] = ways
        return self._ways[source]

    def _of_claim(
        self, first: Ear, vlan: int, claim: Subnet, near: list[Ear], without: str | None = None
    ) -> list[Way]:
        """Those of what is sent from `claim`, which gets to `near` by itself. `without` forwards nothing."""
        passed: dict[Place, tuple[str, ...]] = {
            _place(other, vlan): (other.owner,) for other in near if other.owner != without
        }
        waiting = deque(passed)
        ways: dict[tuple[str, int], list[Way]] = {}
        between: set[str] = set()
        while waiting:
            here = waiting.popleft()
            by = passed[here]
            for ear in self._ground.ears[here[0]]:
                for onward in ear.networks:
                    sources = self._passed_on(first, vlan, claim, here, ear, onward)
                    if not sources:
                        continue
                    for other in self._ground.in_vlan[onward]:
                        if other.owner in (*by, first.owner):
                            between |= set(by[:-1]) & {other.owner}
                            continue
                        known = ways.setdefault((other.name, onward), [])
                        new = [each for each in sources if not any(each in way.sources for way in known)]
                        if not new or self._ground.obstacle(ear, other, onward):
                            continue
                        known.append(Way(first, vlan, other, onward, by, new))
                        place = _place(other, onward)
                        if place not in passed and other.owner != without:
                            passed[place] = (*by, other.owner)
                            waiting.append(place)
        found = [way for known in ways.values() for way in known]
        for name in between if without is None else ():
            # It may be found without its own help, too.
            again = self._of_claim(first, vlan, claim, near, name)
            found += [way for way in again if way.last.owner == name]
        return found

    def _passed_on(
        self, first: Ear, vlan: int, claim: Subnet, here: Place, ear: Ear, onward: int
    ) -> list[Subnet]:
        """What may be sent on from `ear`, which is a guest's or an uplink that it came to `here`."""
        if ear.port is None:
            # What else lies beyond an uplink is not the fabric's.
            return [claim] if here[1] == onward and (onward, claim.version) in self._beyond else []
        return self._ground.passes_on(first, vlan, claim, ear, onward)

    def by_way_of(self, source: str, router: str, target: str, network: str | None = None) -> Pair:
        """What passes from `source` to `target` if `router`, which has the right to, forwards it."""
        pair = Pair(source, target, via=(router,))
        for a in self._ground.ears[source]:
            for r in self._ground.ears[router]:
                for v in shared(a, r, network):
                    if obstacle := self._ground.obstacle(a, r, v):
                        pair.reasons.append(obstacle)
                        continue
                    for out in self._ground.ears[router]:
                        for b in self._ground.ears[target]:
                            for w in shared(out, b):
                                if obstacle := self._ground.obstacle(out, b, w):
                                    pair.reasons.append(obstacle)
                                else:
                                    self._forwarded(pair, (a, r, v), (out, b, w))
        if not pair.reasons:
            pair.reasons.append(
                Reason(
                    f"{router} is not in a network with {source} and one with {target}", ("guests", router)
                )
            )
        return pair

    def _forwarded(self, pair: Pair, first: tuple[Ear, Ear, int], second: tuple[Ear, Ear, int]) -> None:
        """Add what passes by two hops."""
        (a, r, v), (out, b, w) = first, second
        for family in FAMILIES:
            for source in self._ground.claims(a, v, family):
                onward = self._ground.passes_on(a, v, source, out, w)
                if not onward:
                    if source in self._ground.given(a, v, family):
                        text = f"{out.name} may not send as {short(source)}, which {a.name} is"
                        pair.reasons.append(Reason(text, (*out.path, "guard")))
                    continue
                everybody = self._ground.everybody(b, family)
                for target in (*self._ground.answers(b, w, family), *everybody):
                    once = self._ground.passing(a, r, v, onward, [target], pair.reasons)
                    passing = once & self._ground.passing(out, b, w, onward, [target], pair.reasons)
                    pair.arrives[family] |= passing
                    if target in everybody:
                        continue
                    forth = out.port is None or voice.may_claim(out.port, w, source)
                    back = r.port is None or voice.may_claim(r.port, v, target)
                    own = (a.port is None or source in map(voice.host, voice.own(a.port, v))) and (
                        b.port is None or target in map(voice.host, voice.own(b.port, w))
                    )
                    if forth and back and own and not (source.is_link_local or target.is_link_local):
                        pair.talks[family] |= passing
