"""How one port of a switch is set up, for people. `vnet` hands it to the native switch."""

from __future__ import annotations

from typing import Any

import attrs

from switch.modes import Mode
from switch.private import Private
from switch.storm import Storm

MTU_MIN = 68
"""What every IPv4 link must carry (RFC 791)."""
MTU_MAX = 65_521
"""A frame of 65,535 bytes without its Ethernet header."""


def _mtu(_instance: object, _attribute: object, mtu: int) -> None:
    if not MTU_MIN <= mtu <= MTU_MAX:
        raise ValueError(f"MTU {mtu} is not in {MTU_MIN}..{MTU_MAX}")


def _limit(_instance: object, _attribute: object, limit: int) -> None:
    if not 0 <= limit < 1 << 32:
        raise ValueError(f"limit {limit} is not in 0..{(1 << 32) - 1}")


@attrs.frozen(kw_only=True)
class Port:
    """One port. The defaults are what every guest gets."""

    mode: Mode
    mtu: int = attrs.field(default=1500, validator=_mtu)
    """Largest payload in bytes, without Ethernet header and tags."""
    priority_tags: bool = False
    """Frames that would leave untagged keep a priority other than 0 in a tag with VID 0."""
    mac_limit: int = attrs.field(default=1024, validator=_limit)
    """Learned addresses it may hold."""
    mac_limit_drops: bool = False
    """Frames from further addresses are dropped instead of forwarded unlearned."""
    learning: bool = True
    """Learn addresses here."""
    sticky: bool = False
    """Learned addresses do not move away until they age out."""
    transparent: bool = False
    """Exchange link-local group addresses (01-80-C2-00-00-0x) with other such ports, as a cable would."""
    flood_unknown: bool = True
    """Send frames for unknown stations out of this port ..."""
    flood_multicast: bool = True
    """... and multicast ..."""
    flood_broadcast: bool = True
    """... and broadcast."""
    up: bool = True
    """Administratively up."""
    private: Private | None = None
    """Where it does not reach everybody; None: nowhere."""
    places: bool = False
    """The end of a link between switches: the place of a frame's sender in private VLANs is beside it."""

    storm: Storm | None = None
    """Floods that may come in here; None: any."""

    def changed(self, **changes: Any) -> Port:
        """A copy with these keys changed."""
        return attrs.evolve(self, **changes)
