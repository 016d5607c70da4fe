"""Private VLANs: who of one network may exchange frames with whom (RFC 5517).

A port is promiscuous (a gateway, an uplink), isolated, or of a community. A promiscuous port
reaches everybody, an isolated one promiscuous ports alone, and a community's those and its own.
It holds for every frame: unicast, multicast, broadcast, and for stations that are not known; and over links
between switches, where the sender's place goes beside each frame.
"""

from __future__ import annotations

import attrs


@attrs.frozen
class Private:
    """A port that does not reach everybody, in these VLANs; elsewhere it is promiscuous."""

    vlans: frozenset[int] = attrs.field(converter=frozenset)
    community: int = attrs.field(default=0, validator=[attrs.validators.ge(0), attrs.validators.le(0xFFFD)])
    """Ports with the same number reach each other; 0: isolated."""


UNTOLD, PROMISCUOUS, ISOLATED = 0, 1, 2
"""Places as numbers; above them the communities. A frame of which none is told is good for as much as an
isolated port's."""


def place(private: Private | None, vlan: int) -> int:
    """Where a port stands in `vlan`."""
    if private is None or vlan not in private.vlans:
        return PROMISCUOUS
    return ISOLATED + private.community


def reaches(one: int, other: int) -> bool:
    """Whether frames pass between two places of one VLAN, either way."""
    return PROMISCUOUS in (one, other) or (one == other and one > ISOLATED)


def may_reach(one: Private | None, other: Private | None, vlan: int) -> bool:
    """Whether frames pass between two ports in `vlan`, either way. None: promiscuous."""
    return reaches(place(one, vlan), place(other, vlan))
