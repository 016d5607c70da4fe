"""What the whole proof stands on: the places where frames come out, and what lies between two of them."""

from __future__ import annotations

from vnet.check import voice
from vnet.check.packets import Packets
from vnet.check.pair import Reason, short
from vnet.check.rules import Let, Rules
from vnet.check.wire import Ear, Islands, of_port, of_uplink, where
from vnet.topology import Resolved, Topology
from vnet.topology.values import Subnet


class Ground:
    """A topology, seen from its ports."""

    def __init__(self, topology: Topology, resolved: Resolved) -> None:
        self.topology = topology
        self.resolved = resolved
        self.rules = Rules(resolved)
        self._islands = Islands(resolved.switches, resolved.links.values())
        self.ears: dict[str, list[Ear]] = {name: [] for name in (*topology.guests, *topology.uplinks)}
        """By guest and uplink."""
        for port in resolved.ports.values():
            self.ears[port.guest].append(of_port(port))
        for uplink in topology.uplinks.values():
            self.ears[uplink.name].append(of_uplink(uplink, resolved))
        self.in_vlan: dict[int, list[Ear]] = {}
        for ears in self.ears.values():
            for ear in ears:
                for vlan in ear.networks:
                    self.in_vlan.setdefault(vlan, []).append(ear)
        self._answers: dict[tuple[str, int, int], list[Subnet]] = {}
        self._everybody: dict[tuple[str, int], list[Subnet]] = {}
        self._out: dict[tuple[tuple[str, ...], int, str, int], Packets] = {}

    def subnets(self, ear: Ear, vlan: int) -> tuple[Subnet, ...]:
        """Those of the network that `vlan` is at a port."""
        return self.resolved.networks[ear.networks[vlan]].subnets

    def claims(self, ear: Ear, vlan: int, family: int) -> list[Subnet]:
        """What may ever be sent from there, as prefixes."""
        known = voice.claims(ear.port, vlan) if ear.port else (voice.ANY4, voice.ANY6)
        return [prefix for prefix in known if prefix.version == family]

    def given(self, ear: Ear, vlan: int, family: int) -> list[Subnet]:
        """What may be sent from there by the file: no lease is needed, and no other MAC address."""
        known = voice.given(ear.port, vlan) if ear.port else (voice.ANY4, voice.ANY6)
        return [prefix for prefix in known if prefix.version == family]

    def answers(self, ear: Ear, vlan: int, family: int) -> list[Subnet]:
        """What may be an address of whoever hears a frame there.

        Nobody compares where a packet goes with where its frame goes, and a host takes what is for any of
        its addresses by any of its NICs (RFC 1122, 3.3.4.2: the weak model). Link-local ones mean nothing
        elsewhere.
        """
        key = (ear.name, vlan, family)
        if key not in self._answers:
            elsewhere = [
                prefix
                for other in self.ears[ear.owner]
                for network in other.networks
                for prefix in self.claims(other, network, family)
                if not prefix.is_link_local
            ]
            self._answers[key] = list(dict.fromkeys((*self.claims(ear, vlan, family), *elsewhere)))
        return self._answers[key]

    def everybody(self, ear: Ear, family: int) -> list[Subnet]:
        """What whoever hears a frame there takes as for him and others: groups, and broadcasts.

        With no address of his own, too, and by any of his NICs. The first address of a subnet is a broadcast
        of old (RFC 1122, 3.3.6).
        """
        key = (ear.owner, family)
        if key not in self._everybody:
            found = [*voice.EVERYBODY[family]]
            for other in self.ears[ear.owner]:
                for vlan in other.networks:
                    found += [
                        voice.host(address)
                        for subnet in self.subnets(other, vlan)
                        if subnet.version == family == 4 and subnet.prefixlen < 31
                        for address in (subnet.broadcast_address, subnet.network_address)
                    ]
            self._everybody[key] = list(dict.fromkeys(found))
        return self._everybody[key]

    def passes_on(self, a: Ear, vlan: int, claim: Subnet, out: Ear, onward: int) -> list[Subnet]:
        """What may be sent from `out` in `onward` of what comes from `claim`, one of `a` in `vlan`."""
        if out.port is None:
            return [claim]
        is_taken = claim not in self.given(a, vlan, claim.version)
        return voice.passes_on(out.port, onward, claim, is_taken=is_taken)

    def arriving(
        self,
        a: Ear,
        b: Ear,
        vlan: int,
        sources: list[Subnet],
        family: int,
        why: list[Reason],
        onward: int | None = None,
    ) -> Packets:
        """What the groups of both let pass from any of `sources` to whatever `b` takes, as `passing`."""
        arrives = self.passing(a, b, vlan, sources, self.answers(b, onward or vlan, family), why, onward)
        out = self._to_everybody(a, b, vlan, family)
        # Most often there is nothing new: that is found out without a word about each address.
        if not sources or arrives | out == arrives:
            return arrives
        come = Packets()
        for source in sources:
            come |= self.rules.let(b.port, "ingress", source, onward or vlan).packets if b.port else out
        if arrives | (out & come) != arrives:
            arrives |= self.passing(a, b, vlan, sources, self.everybody(b, family), why, onward)
        return arrives

    def _to_everybody(self, a: Ear, b: Ear, vlan: int, family: int) -> Packets:
        """What the groups of `a` let pass to everybody where `b` is."""
        if a.port is None or not a.port.groups:
            return self.rules.everything(family)
        key = (a.port.groups, vlan, b.owner, family)
        if key not in self._out:
            out = Packets()
            for target in self.everybody(b, family):
                out |= self.rules.let(a.port, "egress", target, vlan).packets
            self._out[key] = out
        return self._out[key]

    def obstacle(self, a: Ear, b: Ear, vlan: int) -> Reason | None:
        """Why no frame of `vlan` gets from `a` to `b`, which are both in it."""
        for ear in (a, b):
            if not ear.up:
                return Reason(f"the port {ear.name} is down", (*ear.path, "up"))
        if not self._islands.together(a.switch, b.switch, vlan):
            text = f"{a.name} is at switch {a.switch}, {b.name} at {b.switch}; no link takes it there"
            return Reason(text, (*b.path, "switch") if len(self.resolved.switches) > 1 else b.path)
        if not (a.port and b.port and vlan in a.port.private and vlan in b.port.private):
            return None
        if a.port.community is not None and a.port.community == b.port.community:
            return None
        places = [port.community for port in (a.port, b.port)]
        said = [f"of community {place}" if place else "isolated" for place in places]
        text = f"{a.networks[vlan]} is private: {a.name} is {said[0]} there, {b.name} {said[1]}"
        key = next((ear for ear in (b, a) if self._says_private(ear)), None)
        return Reason(text, (*key.path, "private") if key else ("networks", a.networks[vlan], "private"))

    def _says_private(self, ear: Ear) -> bool:
        guest = self.topology.guests.get(ear.owner)
        return bool(guest and ear.port and guest.nics[ear.port.index].private is not None)

    def passing(
        self,
        a: Ear,
        b: Ear,
        vlan: int,
        sources: list[Subnet],
        targets: list[Subnet],
        why: list[Reason],
        onward: int | None = None,
    ) -> Packets:
        """What the groups of both let pass from any of `sources` to any of `targets`.

        It leaves `a` in `vlan`; `onward`: and comes to `b` in that one, if others forward it.
        """
        passing = Packets()
        if not sources or not targets:
            return passing
        if not (a.port and a.port.groups) and not (b.port and b.port.groups):
            return self.rules.everything(sources[0].version)
        notes: dict[tuple[bool, Let], list[str]] = {}
        for source in sources:
            for target in targets:
                out = self.rules.let(a.port, "egress", target, vlan) if a.port else None
                come = self.rules.let(b.port, "ingress", source, onward or vlan) if b.port else None
                every = self.rules.everything(source.version)
                both = (out.packets if out else every) & (come.packets if come else every)
                passing |= both
                for first, ear, let, other in ((True, a, out, target), (False, b, come, source)):
                    if let is not None and ear.port and ear.port.groups:
                        whom = notes.setdefault((first, let), [])
                        whom += [text] if (text := short(other)) not in whom else []
        for (first, let), addresses in notes.items():
            whom_said = f"{'to' if first else 'from'} {', '.join(addresses)}"
            why += _told(a if first else b, let, whom_said)
        return passing


def _told(ear: Ear, let: Let, whom: str) -> list[Reason]:
    """What the groups of a port say."""
    assert ear.port is not None
    if not let.because:
        text = f"no rule of the groups of {ear.name} ({', '.join(ear.port.groups)}) lets anything pass {whom}"
        return [Reason(text, (*ear.path, "groups"))]
    return [Reason(f"the groups of {ear.name} let pass {whom}: {let.packets}", path) for path in let.because]


def no_vlan(a: Ear, b: Ear, network: str | None) -> Reason:
    """Two ports with no VLAN in common, or not the one that is asked for."""

    def said(ear: Ear) -> str:
        return ", ".join(f"{name} (VLAN {vlan})" for vlan, name in ear.networks.items()) or "no network"

    if network is not None:
        return Reason(f"{a.name} and {b.name} are not both in network {network}", b.path)
    vlan = next(iter(b.networks), 0)
    text = f"{a.name} is in {said(a)}, {b.name} in {said(b)}: no VLAN in common"
    return Reason(text, where(b, vlan) if b.networks else b.path)


def shared(a: Ear, b: Ear, network: str | None = None) -> list[int]:
    """The VLANs that two ports are both in, or the one of `network` if both are in that."""
    return [v for v, name in a.networks.items() if v in b.networks and network in (None, name)]
