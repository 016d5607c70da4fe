"""`bond`: several NICs that are one to the switch, by LACP (802.1AX), active-backup or static.

In a topology an uplink has one where it says `nics` instead of `nic`. LACP speaks with the MAC address of
the first interface as its system, as Linux does; who has no interface gets one that is made up.
"""

from __future__ import annotations

import hashlib
from typing import ClassVar, Literal

import attrs

from nics.door import Nic, Opened, Place
from vnet._native import BondSetup, bond_door

WAIT = 2_000_000_000
"""Nanoseconds for which new cables wait for others (Aggregate_Wait_Time)."""
KINDS = ("packet", "xdp", "tap", "stream", "dgram", "vhost-user")
"""What can be one of several. The others are in this process, and never fail."""


@attrs.frozen
class Bond:
    """Several NICs as one. Each attribute has the meaning of the same key in a topology file."""

    kind: ClassVar[str] = "bond"

    nics: tuple[Nic, ...]
    mode: Literal["lacp", "active-backup", "static"] = "lacp"
    hash: Literal["l2", "l3", "l4"] = "l4"
    min_links: int = 1
    max_links: int = 8
    timeout: Literal["long", "short"] = "long"
    control: Literal["independent", "coupled"] = "independent"
    lacp: Literal["active", "passive"] = "active"
    system_priority: int = 32768
    fallback: bool = False
    primary: int | None = None
    """Which one is preferred, from 1; None: whoever works."""

    @property
    def own_clock(self) -> bool:
        """Whether what is behind it has a clock of its own."""
        return any(getattr(nic, "own_clock", False) for nic in self.nics)

    def names(self, port: str) -> list[str]:
        """What its cables are called: `PORT.eth1`, or `PORT.1` where there is no interface."""
        found: list[str] = []
        for number, nic in enumerate(self.nics, 1):
            name = f"{port}.{getattr(nic, 'interface', None) or number}"
            # The same interface name may be in several namespaces.
            found.append(f"{name}.{number}" if name in found else name)
        return found

    async def open(self, place: Place) -> Opened:
        """Open all of them. Raises NicError, having undone what it did."""
        opened: list[Opened] = []

        async def close() -> None:
            for one in reversed(opened):
                one.door.close()
                if one.close is not None:
                    await one.close()

        try:
            for nic in self.nics:
                opened.append(await nic.open(place))
            macs = [one.hardware or _made_up(place, number) for number, one in enumerate(opened)]
            door = bond_door([one.door for one in opened], self._setup(place, macs))
        except BaseException:
            await close()
            raise
        asks = [one.stations for one in opened if one.stations is not None]

        def stations(wanted: list[str] | None) -> None:
            for ask, mac in zip(asks, macs, strict=False):
                # Who lets nothing in lets no LACP in, either.
                ask([mac] if wanted == [] and self.mode == "lacp" else wanted)

        carries = ",".join(one.carries for one in opened if one.carries)
        return Opened(door=door, close=close, stations=stations if asks else None, carries=carries)

    def _setup(self, place: Place, macs: list[str]) -> BondSetup:
        names = self.names(place.port)
        return BondSetup(
            self.mode,
            [(name, mac, 32768) for name, mac in zip(names, macs, strict=True)],
            least=self.min_links,
            hashed=self.hash,
            primary=None if self.primary is None else self.primary - 1,
            system=(self.system_priority, macs[0]),
            active=self.lacp == "active",
            short=self.timeout == "short",
            independent=self.control == "independent",
            wait=WAIT,
            most=self.max_links,
            fallback=self.fallback,
        )


def _made_up(place: Place, number: int) -> str:
    digest = hashlib.sha256(f"bond\0{place.seed}\0{place.port}\0{number}".encode()).digest()
    return ":".join(f"{byte:02x}" for byte in (digest[0] & 0xFC | 2, *digest[1:6]))
