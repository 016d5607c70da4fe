"""IPv6 zones (RFC 4007, 11) of a guest: lo is 1, its NICs are eth0, eth1 and so on, from 2, as in a kernel.

The machine that runs vnet has interfaces of other names and numbers, which no guest sees. But for one way:
`trio.socket.getaddrinfo` asks the machine before the guest for what is a number, so that of a zone which both
have, `eth0` say, it gives the machine's. `connect` and `bind` know the guest's, and so does a zone in digits.
"""

from __future__ import annotations

import errno
import ipaddress
from typing import TYPE_CHECKING

from vnet.sockets.interfaces import FIRST_SCOPE, error, hosts

if TYPE_CHECKING:
    from vnet.guests import StackGuest

LOOPBACK = 1


def number(guest: StackGuest, zone: str) -> int:
    """The scope of `eth1`, `lo` or `3`. Raises OSError (ENODEV) where the guest has none of that name."""
    if zone.isdecimal() and zone.isascii():
        return int(zone)
    names = ["lo", *(f"eth{index}" for index in range(len(hosts(guest))))]
    if zone not in names:
        raise error(errno.ENODEV, zone)
    return names.index(zone) + LOOPBACK


def name(scope: int) -> str:
    """What stands behind the `%` of an address of this scope."""
    if scope < FIRST_SCOPE:
        return "lo" if scope == LOOPBACK else str(scope)
    return f"eth{scope - FIRST_SCOPE}"


def split(text: str) -> tuple[str, str]:
    """A numeric IPv6 address and its zone, "" without one; any other text as it is."""
    address, _, zone = text.partition("%")
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        return text, ""
    return address, zone
