"""Private VLANs: who of one network may exchange frames with whom (RFC 5517).

A port is promiscuous (a gateway, an uplink), isolated, or of a community. A promiscuous port
reaches everybody, an isolated one promiscuous ports alone, and a community's those and its own.
It holds for every frame: unicast, multicast, broadcast, and for stations that are not known.
"""

from __future__ import annotations

import attrs


@attrs.frozen
class Private:
    """A port that does not reach everybody, in these VLANs; elsewhere it is promiscuous."""

    vlans: frozenset[int] = attrs.field(converter=frozenset)
    community: int = attrs.field(default=0, validator=[attrs.validators.ge(0), attrs.validators.le(0xFFFF)])
    """Ports with the same number reach each other; 0: isolated."""


def may_reach(one: Private | None, other: Private | None, vlan: int) -> bool:
    """Whether frames pass between two ports in `vlan`, either way. None: promiscuous."""
    if one is None or other is None or vlan not in one.vlans or vlan not in other.vlans:
        return True
    return one.community != 0 and one.community == other.community
