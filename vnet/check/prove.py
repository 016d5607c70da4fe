"""One pair of guests after the other: what passes from the one to the other, and why."""

from __future__ import annotations

from collections.abc import Iterator

from vnet.check import voice
from vnet.check.detour import Detours
from vnet.check.ground import Ground, no_vlan, shared
from vnet.check.packets import Packets
from vnet.check.pair import FAMILIES, Pair, Reason
from vnet.check.wire import Ear, where
from vnet.topology import Resolved, Topology
from vnet.topology.values import Address

NEIGHBOURS = {4: ("broadcast", "ARP"), 6: ("multicast", "neighbour discovery")}


class Proof:
    """The proof of a topology. Pure; pairs are worked out when they are asked for."""

    def __init__(self, topology: Topology, resolved: Resolved | None = None) -> None:
        """`resolved`: as it runs, if it does. Raises BadInput for a topology that is wrong."""
        self.topology = topology
        self.resolved = resolved or topology.resolve()
        self.ground = Ground(topology, self.resolved)
        self._detours = Detours(self.ground)
        self._pairs: dict[tuple[str, str, str | None], Pair] = {}

    @property
    def stations(self) -> list[str]:
        """Guests, then uplinks."""
        return list(self.ground.ears)

    def pairs(self) -> Iterator[Pair]:
        """Every ordered pair."""
        for source in self.ground.ears:
            for target in self.ground.ears:
                if source != target:
                    yield self.pair(source, target)

    def pair(self, source: str, target: str, network: str | None = None) -> Pair:
        """What passes from `source` to `target`, in one network if given."""
        key = (source, target, network)
        if key not in self._pairs:
            self._pairs[key] = self._pair(source, target, network)
        return self._pairs[key]

    # -- one pair ----------------------------------------------------------------------------------

    def _pair(self, source: str, target: str, network: str | None) -> Pair:
        pair = Pair(source, target)
        apart: list[Reason] = []
        for a in self.ground.ears[source]:
            for b in self.ground.ears[target]:
                vlans = shared(a, b, network)
                if not vlans:
                    apart.append(no_vlan(a, b, network))
                for vlan in vlans:
                    obstacle = self.ground.obstacle(a, b, vlan)
                    if obstacle:
                        apart.append(obstacle)
                    else:
                        pair.ethernet = True
                        self._direct(pair, a, b, vlan)
        if not pair.ethernet:
            pair.reasons = apart
        if network is None:
            self._detours.add(pair)
        return pair

    def _direct(self, pair: Pair, a: Ear, b: Ear, vlan: int) -> None:
        """Add what passes between two ports in one VLAN."""
        name = a.networks[vlan]
        pair.reasons.append(
            Reason(f"{a.name} and {b.name} are both in network {name} (VLAN {vlan})", where(b, vlan))
        )
        talks: dict[int, Packets] = {}
        arrives: dict[int, Packets] = {}
        for family in FAMILIES:
            sources = self.ground.claims(a, vlan, family)
            arrives[family] = self.ground.arriving(a, b, vlan, sources, family, pair.reasons)
            talks[family] = self._talking(a, b, vlan, family, pair.reasons)
        pair.reasons += [_leased(ear) for ear in (a, b) if ear.port and ear.port.dhcp]
        pair.add(talks, arrives)

    def _talking(self, a: Ear, b: Ear, vlan: int, family: int, why: list[Reason]) -> Packets:
        """Conversations that work."""
        if a.port is None or b.port is None:
            sources, targets = (self.ground.given(ear, vlan, family) for ear in (a, b))
            return self.ground.passing(a, b, vlan, sources, targets, [])
        found = Packets()
        pairs = [
            (s, d)
            for s in self._addresses(a, vlan, family)
            for d in self._addresses(b, vlan, family)
            if self._on_link(a, s, d)
        ]
        if not pairs and vlan in a.port.unknown:
            # They bring addresses of their own, and nobody looks; an in-process guest has none to bring.
            bare = not a.port.groups and not b.port.groups
            if bare and "stack" not in (a.port.guest_kind, b.port.guest_kind):
                found = self.ground.rules.everything(family)
        elif not pairs and any(subnet.version == family for subnet in self.ground.subnets(a, vlan)):
            why.append(Reason(f"{a.name} and {b.name} share no IPv{family} subnet", (*b.path, "ip")))
        for source, target in pairs:
            found |= self.ground.passing(a, b, vlan, [voice.host(source)], [voice.host(target)], [])
        if found and (deaf := _deaf(a, b, family)):
            why.append(deaf)
            return Packets()
        return found

    def finds(self, a: Ear, b: Ear, family: int) -> bool:
        """Whether two ports that may exchange packets find each other by ARP or neighbour discovery."""
        return _deaf(a, b, family) is None

    def _addresses(self, ear: Ear, vlan: int, family: int) -> list[Address]:
        """Addresses that a guest is configured with and uses there: of untagged frames only."""
        if ear.port is None or vlan != ear.native:
            return []
        return [address for address in voice.own(ear.port, vlan) if address.version == family]

    def _on_link(self, a: Ear, source: Address, target: Address) -> bool:
        if source.is_link_local or target.is_link_local:
            return source.is_link_local and target.is_link_local
        return any(source == i.ip and target in i.network for i in (a.port.addresses if a.port else ()))

    def by_way_of(self, source: str, router: str, target: str, network: str | None = None) -> Pair:
        """What passes from `source` to `target` if `router`, which has the right to, forwards it."""
        return self._detours.by_way_of(source, router, target, network)


def _leased(ear: Ear) -> Reason:
    """Why nobody knows what its addresses are."""
    return Reason(f"{ear.name} has what a DHCP server says, whichever address that is", (*ear.path, "ip"))


def _deaf(a: Ear, b: Ear, family: int) -> Reason | None:
    """Why two ports that may exchange packets do not find each other."""
    kind, name = NEIGHBOURS[family]
    if not b.hears(kind):
        return Reason(f"{b.name} does not hear {kind}, so {name} does not find it", (*b.path, "flood", kind))
    for ear, other in ((a, b), (b, a)):
        assert ear.port is not None
        settings = ear.port.settings
        if not (settings.learning or settings.static) and not ear.hears("unknown"):
            text = f"{ear.name} is not learned and hears nothing unknown, so {other.name} can't answer it"
            return Reason(text, (*ear.path, "learning"))
    return None
