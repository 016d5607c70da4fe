"""What a proof says about one pair of guests.

Two questions are kept apart, because they have different answers:

* what *talks*: conversations that work, begun by the source, with the addresses that the file gives;
* what *arrives*: packets to an address of the target, or to everybody there (groups, broadcasts), that the
  source can get there at all, with every address that it may claim and whatever it sends. What can't
  arrive is isolated.

Between the two lies "may": an address that the file doesn't know, which a lease may give, or one of another
NIC of the target; a MAC address that the source may take; another guest that could forward.
DHCP, ARP, neighbour discovery and multicast membership, as far as groups let them pass in any case, count
as frames (`ethernet`), not as packets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs

from vnet.check.packets import Packets
from vnet.topology.problems import Path
from vnet.topology.values import Subnet

Reach = Literal["yes", "no", "may"]
FAMILIES = (4, 6)


@attrs.frozen
class Reason:
    """One step of the proof, and the key in the file that it rests on."""

    text: str
    path: Path = ()


@attrs.define
class Pair:
    """What passes from one guest to another."""

    source: str
    target: str
    ethernet: bool = False
    """Frames of the one get to the other at all: ARP and broadcast at least."""
    talks: dict[int, Packets] = attrs.field(factory=lambda: {family: Packets() for family in FAMILIES})
    """By IP version."""
    arrives: dict[int, Packets] = attrs.field(factory=lambda: {family: Packets() for family in FAMILIES})
    via: tuple[str, ...] = ()
    """Guests that would have to forward, or an uplink beyond which a gateway would."""
    reasons: list[Reason] = attrs.field(factory=list)

    @property
    def reach(self) -> Reach:
        """In a word."""
        if any(self.talks.values()):
            return "yes"
        return "may" if any(self.arrives.values()) else "no"

    def add(self, talks: Mapping[int, Packets], arrives: Mapping[int, Packets]) -> None:
        """One more way."""
        for family in FAMILIES:
            self.talks[family] |= talks[family]
            self.arrives[family] |= arrives[family]


def short(prefix: Subnet) -> str:
    """A prefix as people write it."""
    return str(prefix.network_address) if prefix.prefixlen == prefix.max_prefixlen else str(prefix)
