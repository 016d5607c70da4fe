"""Links between two guests' NICs: a cable from machine to machine.

Such a link is a switch of its own with those two ports, called as the link is; there is no other way into
it. So a guard, groups, limits, bills, captures and explanations are at these NICs what they are elsewhere.
What the cable does to frames is done once, where they are sent, and cut it is at both ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import attrs

from nics.keys import did_you_mean, one_of, shown
from vnet.topology.model import DEFAULT_SWITCH, Bond, Change, Cord, Link, NicPort, Switch, TreePort
from vnet.topology.problems import Path, Problem, dotted
from vnet.topology.resolve import link_names

if TYPE_CHECKING:
    from vnet.topology.topology import Topology

NIC_KEYS = (("switch", None), ("cord", Cord()))
"""What a NIC says of its cable or of where that leads."""
SWITCH_KEYS = (("networks", None), ("cables", ()), ("bond", Bond()), ("stp", TreePort()))
"""What only a link between switches has."""


def is_direct(link: Link) -> bool:
    """Whether a link's ends are NICs. No switch has a dot in its name."""
    return all("." in end for end in link.ends)


def nics(topology: Topology) -> dict[str, tuple[Path, NicPort]]:
    """Every NIC of a guest by its port's name, and where it stands."""
    return {
        f"{guest.name}.{index}": (("guests", guest.name, "nics", index), nic)
        for guest in topology.guests.values()
        for index, nic in enumerate(guest.nics)
    }


def check(topology: Topology) -> Iterator[Problem]:
    """What is wrong with such links, and with what their NICs say."""
    known = nics(topology)
    taken: dict[str, int] = {}
    for index, link in enumerate(topology.links):
        if not is_direct(link):
            continue
        path: Path = ("links", index)
        for key, unsaid in SWITCH_KEYS:
            if getattr(link, key) != unsaid:
                yield Problem((*path, key), f"{key} of a link between NICs", f"no {key}, or two switches")
        for side, end in enumerate(link.ends):
            place: Path = (*path, "ends", side)
            if end not in known:
                expected = one_of(list(known)[:6]) if known else "the name of a NIC; there is none"
                yield Problem(place, f"no NIC {shown(end)}", expected, did_you_mean(end, known))
            elif end in taken:
                found = f"{end} is an end of links[{taken[end]}] already"
                yield Problem(place, found, "a NIC with no other cable")
            else:
                yield from _nic(*known[end], place)
            taken.setdefault(end, index)
        if link.ends[0] != link.ends[1] and all(end in known for end in link.ends):
            one, other = (known[end][1].networks for end in link.ends)
            if one and other and set(one).isdisjoint(other):
                found = f"{link.ends[0]} is in {', '.join(one)}, {link.ends[1]} in {', '.join(other)}"
                because = tuple((*known[end][0], key) for end in link.ends for key in ("network", "trunk"))
                yield Problem((*path, "ends"), found, "a network that both are in", because=because)


def _nic(nic: Path, port: NicPort, end: Path) -> Iterator[Problem]:
    for key, unsaid in NIC_KEYS:
        if getattr(port, key) != unsaid:
            word = "impair" if key == "cord" else key
            found = f"{word} of a NIC with a cable of its own"
            expected = f"it at the link, {dotted(end[:-2])}" if key == "cord" else "no switch"
            yield Problem((*nic, word), found, expected, because=(end,))


def expand(topology: Topology) -> Topology:
    """The same with a switch for each of these links, and at its ends what it does. Its other links have
    the names that they have beside these.
    """
    if not any(map(is_direct, topology.links)):
        return topology
    made = topology.copy()
    made.links = []
    plugged: dict[str, NicPort] = {}
    known = nics(topology)
    switches: dict[str, Switch] = {}
    for name, link in zip(link_names(topology.links), topology.links, strict=True):
        if not is_direct(link):
            made.links.append(attrs.evolve(link, name=name))
            continue
        switches[name] = Switch(name)
        for side, end in enumerate(link.ends):
            plugged[end] = _plugged(known[end][1], name, link, side)
    if not made.switches and (made.uplinks or known.keys() - plugged.keys()):
        made.switches = {DEFAULT_SWITCH: Switch(DEFAULT_SWITCH)}
    made.switches |= switches
    for guest in topology.guests.values():
        own = tuple(plugged.get(f"{guest.name}.{index}", nic) for index, nic in enumerate(guest.nics))
        made.guests[guest.name] = attrs.evolve(guest, nics=own)
    return made


def _plugged(nic: NicPort, name: str, link: Link, side: int) -> NicPort:
    """A NIC at such a link's end; what it sends is what the cable is asked about there."""

    def sent(change: Change) -> Change:
        return attrs.evolve(change, a_to_b=(change.a_to_b, change.b_to_a)[side], b_to_a=())

    changes = (sent(change) for change in link.schedule)
    cord = Cord(
        egress=(link.a_to_b, link.b_to_a)[side],
        schedule=tuple(change for change in changes if change.up is not None or change.a_to_b),
    )
    settings = attrs.evolve(
        nic.settings,
        up=nic.settings.up and link.up,
        transparent=nic.settings.transparent or link.transparent,
    )
    return attrs.evolve(nic, switch=name, cord=cord, settings=settings)
