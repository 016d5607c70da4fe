"""What gets from one guest to another if guests between the two forward it.

Whether a guest forwards is its own business, and not in the file. Whether it may is: a guest that sends
what others sent must be allowed their addresses, or be without a guard. What lies beyond an uplink is
not the fabric's, and not looked at.
"""

from __future__ import annotations

from collections import deque

from vnet.check import voice
from vnet.check.ground import Ground, shared
from vnet.check.pair import FAMILIES, Pair, Reason, short
from vnet.check.proxied import looks_for_gateway
from vnet.check.wire import Ear


class Detours:
    """The ways by others, on one ground."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._ways: dict[str, dict[str, tuple[str, ...]]] = {}

    def add(self, pair: Pair) -> None:
        """Add what arrives if other guests forward it."""
        way = self._detours(pair.source).get(pair.target)
        if way is None:
            return
        before = dict(pair.arrives)
        for family in FAMILIES:
            for a in self._ground.ears[pair.source]:
                for b in self._ground.ears[pair.target]:
                    for v in a.networks:
                        for w in b.networks:
                            sources = self._ground.claims(a, v, family)
                            targets = self._ground.claims(b, w, family)
                            pair.arrives[family] |= self._ground.passing(a, b, w, sources, targets, [])
        if pair.arrives != before:
            pair.via = way
            pair.reasons.append(self._forwarder(way, pair.target))
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

    def _detours(self, source: str) -> dict[str, tuple[str, ...]]:
        """Everybody that packets of `source` get to when others forward them, with who has to."""
        if source not in self._ways:
            ways: dict[str, tuple[str, ...]] = {}
            for ear in self._ground.ears[source]:
                for vlan in ear.networks:
                    for name, way in self._from(ear, vlan).items():
                        ways.setdefault(name, way)
            self._ways[source] = ways
        return self._ways[source]

    def _from(self, first: Ear, vlan: int) -> dict[str, tuple[str, ...]]:
        """The same for what leaves by one port in one VLAN, from the addresses that are good there."""
        ground = self._ground
        claims = [claim for family in FAMILIES for claim in ground.claims(first, vlan, family)]
        passed: dict[str, tuple[str, ...]] = {first.owner: ()}
        waiting: deque[str] = deque()
        for other in ground.in_vlan[vlan]:
            if other.owner not in passed and other.port and not ground.obstacle(first, other, vlan):
                passed[other.owner] = ()
                waiting.append(other.owner)
        ways: dict[str, tuple[str, ...]] = {}
        while waiting:
            here = waiting.popleft()
            way = (*passed[here], here)
            for ear in ground.ears[here]:
                for onward in ear.networks:
                    # What lies beyond an uplink is not the fabric's.
                    if ear.port and any(voice.may_claim(ear.port, onward, claim) for claim in claims):
                        for other in ground.in_vlan[onward]:
                            if other.owner in ways or other.owner in (*way, first.owner):
                                continue
                            if not ground.obstacle(ear, other, onward):
                                ways[other.owner] = way
                                if other.owner not in passed:
                                    passed[other.owner] = way
                                    waiting.append(other.owner)
        return ways

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
                if out.port is not None and not voice.may_claim(out.port, w, source):
                    text = f"{out.name} may not send as {short(source)}, which {a.name} is"
                    pair.reasons.append(Reason(text, (*out.path, "guard")))
                    continue
                for target in self._ground.claims(b, w, family):
                    once = self._ground.passing(a, r, v, [source], [target], pair.reasons)
                    passing = once & self._ground.passing(out, b, w, [source], [target], pair.reasons)
                    pair.arrives[family] |= passing
                    back = r.port is None or voice.may_claim(r.port, v, target)
                    own = (a.port is None or source in map(voice.host, voice.own(a.port, v))) and (
                        b.port is None or target in map(voice.host, voice.own(b.port, w))
                    )
                    if back and own and not (source.is_link_local or target.is_link_local):
                        pair.talks[family] |= passing
