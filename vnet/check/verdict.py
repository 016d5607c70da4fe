"""The pairs of a proof against what is expected of them."""

from __future__ import annotations

import attrs

from vnet.check.packets import Packets
from vnet.check.pair import FAMILIES, Pair
from vnet.check.prove import Proof
from vnet.topology.expect import Stations
from vnet.topology.model import Expect


@attrs.frozen
class Outcome:
    """One expectation for one pair."""

    expect: Expect
    index: int
    """Its place in the file's list."""
    pair: Pair
    holds: bool

    @property
    def wanted(self) -> str:
        """`reaches db with tcp 443`."""
        expect = self.expect
        what = "" if expect.protocol == "any" else f" with {expect.protocol}"
        if expect.ports:
            what += " " + ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in expect.ports)
        if expect.family is not None:
            what += f" over IPv{expect.family}"
        if expect.network is not None:
            what += f" in {expect.network}"
        if expect.via is not None:
            what += f" via {expect.via}"
        return f"{'reaches' if expect.reach else 'does not reach'} {self.pair.target}{what}"

    @property
    def found(self) -> str:
        """What the proof says instead."""
        return summary(self.pair)


@attrs.frozen
class Verdict:
    """All of them."""

    outcomes: tuple[Outcome, ...]

    @property
    def failures(self) -> list[Outcome]:
        """Those that do not hold."""
        return [outcome for outcome in self.outcomes if not outcome.holds]


def judge(proof: Proof) -> Verdict:
    """Every expectation of the topology, for every pair that it is about."""
    outcomes = []
    stations = Stations(proof.stations)
    for index, expect in enumerate(proof.topology.expect):
        outcomes += judge_one(proof, stations, expect, index)
    return Verdict(tuple(outcomes))


def pairs_of(expect: Expect, stations: Stations) -> list[tuple[str, str]]:
    """The pairs that an expectation is about."""
    return [
        (source, target)
        for source in stations.meant(expect.sources)
        for target in stations.meant(expect.targets)
        if source != target and expect.via not in (source, target)
    ]


def judge_one(proof: Proof, stations: Stations, expect: Expect, index: int) -> list[Outcome]:
    """One expectation, for every pair that it is about."""
    outcomes = []
    for source, target in pairs_of(expect, stations):
        if expect.via is not None:
            pair = proof.by_way_of(source, expect.via, target, expect.network)
        else:
            pair = proof.pair(source, target, expect.network)
        outcomes.append(Outcome(expect, index, pair, holds(expect, pair)))
    return outcomes


def holds(expect: Expect, pair: Pair) -> bool:
    """Whether a pair is as it is expected to be."""
    families = FAMILIES if expect.family is None else (expect.family,)
    if expect.protocol == "ethernet":
        way = pair.ethernet or (any(pair.arrives.values()) and not expect.reach)
        return way == expect.reach

    def asked(packets: Packets, family: int) -> Packets:
        return packets.asked(expect.protocol, expect.ports, family)

    if not expect.reach:
        return not any(asked(pair.arrives[family], family) for family in families)
    whole = Packets.everything((1, 6, 17, 58), 4) | Packets.everything((1, 6, 17, 58), 6)
    for family in families:
        talks = asked(pair.talks[family], family)
        if talks and (not expect.ports or talks == asked(whole, family)):
            return True
    return False


def summary(pair: Pair) -> str:
    """What passes, in a few words: `reaches (IPv4: tcp 80; IPv6: nothing)`."""
    if pair.reach == "no":
        return "only frames such as ARP pass, no packets" if pair.ethernet else "isolated"
    packets = pair.talks if pair.reach == "yes" else pair.arrives
    word = "reaches" if pair.reach == "yes" else "may reach"
    if pair.via:
        word += f" via {', '.join(pair.via)}"
    four, six = (str(packets[family]) for family in FAMILIES)
    if four == six:
        return word if four == "anything" else f"{word}: {four}"
    return f"{word}: IPv4 {four}; IPv6 {six}"
