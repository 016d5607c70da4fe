"""Names as a guest resolves them: those of the guests around it, and no others.

A name means an address that leads to that guest from where it is asked for. Of a guest in the same
network that is its address there; of others, one that is not in a subnet of the asking guest, where
it would be somebody else's: tenants may have the same subnets.
"""

from __future__ import annotations

import ipaddress
import socket as stdlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import trio

from vnet.sockets import zones

if TYPE_CHECKING:
    from vnet.guests import Address, Guest, StackGuest

LOCAL = frozenset({"localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"})
LOOPBACK: tuple[Address, ...] = (ipaddress.ip_address("::1"), ipaddress.ip_address("127.0.0.1"))
FOR_NAMES = stdlib.AI_CANONNAME | stdlib.AI_ADDRCONFIG | stdlib.AI_V4MAPPED | stdlib.AI_ALL
"""Flags that say what is wanted of a name; an address needs them no more."""


def _error(code: int) -> stdlib.gaierror:
    text = {
        stdlib.EAI_NONAME: "Name or service not known",
        stdlib.EAI_NODATA: "No address associated with hostname",
        stdlib.EAI_FAMILY: "ai_family not supported",
    }[code]
    return stdlib.gaierror(code, text)


class Names(trio.abc.HostnameResolver):
    """The resolver of one guest. Errors are `socket.gaierror`, as the system's resolver gives them."""

    def __init__(self, guest: StackGuest) -> None:
        self.guest = guest

    # -- trio's face -----------------------------------------------------------------------------

    async def getaddrinfo(
        self,
        host: bytes | str | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,  # noqa: A002 - trio's name for it
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        """As `socket.getaddrinfo`. Raises socket.gaierror."""
        await trio.lowlevel.checkpoint()
        if family not in (stdlib.AF_UNSPEC, stdlib.AF_INET, stdlib.AF_INET6):
            raise _error(stdlib.EAI_FAMILY)
        name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
        if name is not None and (split := zones.split(name))[1]:
            return self._zoned(*split, port, family, type, proto)
        if name is None or _number(name) is not None:
            # It came here for the name of a service, which is the same everywhere.
            return list(stdlib.getaddrinfo(name, port, family, type, proto, flags & ~stdlib.AI_ADDRCONFIG))
        if flags & stdlib.AI_NUMERICHOST:
            raise _error(stdlib.EAI_NONAME)
        canonical, addresses = self.lookup(name)
        chosen = self._chosen(addresses, family, flags)
        found: list[Any] = []
        asked = flags & ~FOR_NAMES | stdlib.AI_NUMERICHOST
        for text in chosen:
            found += stdlib.getaddrinfo(text, port, 0, type, proto, asked)
        if flags & stdlib.AI_CANONNAME:
            first = found[0]
            found[0] = (*first[:3], canonical, first[4])
        return found

    def _zoned(
        self, address: str, zone: str, port: bytes | str | int | None, family: int, kind: int, proto: int
    ) -> list[Any]:
        """Of an address with a zone, which is one of the guest's."""
        try:
            scope = zones.number(self.guest, zone)
        except OSError:
            raise _error(stdlib.EAI_NONAME) from None
        found = stdlib.getaddrinfo(address, port, family, kind, proto, stdlib.AI_NUMERICHOST)
        return [(*first, (*sockaddr[:3], scope)) for *first, sockaddr in found]

    async def getnameinfo(
        self, sockaddr: tuple[str, int] | tuple[str, int, int, int], flags: int
    ) -> tuple[str, str]:
        """As `socket.getnameinfo`. Raises socket.gaierror."""
        await trio.lowlevel.checkpoint()
        plain = flags & ~stdlib.NI_NAMEREQD | stdlib.NI_NUMERICHOST
        # Without its scope, whose name the machine knows for itself and not for the guest.
        host, zone = zones.split(sockaddr[0])
        scope = zones.number(self.guest, zone) if zone else sockaddr[3] if len(sockaddr) > 3 else 0
        number, service = stdlib.getnameinfo((host, *sockaddr[1:3]), plain)
        if scope and ipaddress.ip_address(number).is_link_local:
            number = f"{number}%{zones.name(scope)}"
        if flags & stdlib.NI_NUMERICHOST:
            return number, service
        name = self.reverse(ipaddress.ip_address(number.partition("%")[0]))
        if name is None and flags & stdlib.NI_NAMEREQD:
            raise _error(stdlib.EAI_NONAME)
        return name or number, service

    # -- forward ---------------------------------------------------------------------------------

    def lookup(self, name: str) -> tuple[str, list[Address]]:
        """The canonical name and the addresses of a guest's name, `GUEST` or `GUEST.NETWORK`; the best
        comes first. Raises socket.gaierror for a name that nobody has.
        """
        name = name.rstrip(".").lower()
        if name in LOCAL or name.endswith(".localhost"):
            return "localhost", list(LOOPBACK)
        guests = {guest.name.lower(): guest for guest in self.guest.fellows.values()}
        if (guest := guests.get(name)) is not None:
            return guest.name, self._sorted(self._reachable(guest))
        first, _, network = name.rpartition(".")
        if (guest := guests.get(first)) is not None:
            ports = [port for port in guest.ports.values() if network in map(str.lower, port.wanted.networks)]
            if ports:
                return name, self._sorted(address for port in ports for address in port.ip)
        raise _error(stdlib.EAI_NONAME)

    def _reachable(self, other: Guest) -> list[Address]:
        """Addresses of another guest that are its own from here."""
        near = {network for port in self.guest.ports.values() for network in port.wanted.networks}
        shared = [
            address
            for port in other.ports.values()
            if near & set(port.wanted.networks)
            for address in port.ip
        ]
        return shared or [address for address in other.addresses if not self._on_link(address)]

    def _on_link(self, address: Address) -> bool:
        ports = self.guest.ports.values()
        return any(address in interface.network for port in ports for interface in port.wanted.addresses)

    def _sorted(self, addresses: Iterable[Address]) -> list[Address]:
        """As the rules of RFC 6724, 6, that matter here: what we have an address of that version for,
        IPv6 before IPv4, what is near.
        """
        spoken = {address.version for address in self.guest.addresses}
        order = dict.fromkeys(addresses)
        return sorted(order, key=lambda a: (a.version not in spoken, -a.version, not self._on_link(a)))

    def _chosen(self, addresses: list[Address], family: int, flags: int) -> list[str]:
        if flags & stdlib.AI_ADDRCONFIG:
            spoken = {address.version for address in self.guest.addresses}
            addresses = [a for a in addresses if a.is_loopback or a.version in spoken]
        old = [str(address) for address in addresses if address.version == 4]
        new = [str(address) for address in addresses if address.version == 6]
        if family == stdlib.AF_INET:
            chosen = old
        elif family == stdlib.AF_INET6:
            mapped = flags & stdlib.AI_V4MAPPED and (flags & stdlib.AI_ALL or not new)
            chosen = new + [f"::ffff:{address}" for address in old if mapped]
        else:
            chosen = [str(address) for address in addresses]
        if not chosen:
            raise _error(stdlib.EAI_NODATA)
        return chosen

    # -- reverse ---------------------------------------------------------------------------------

    def reverse(self, address: Address) -> str | None:
        """The name of the guest that has an address, as seen from here; None if nobody has."""
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if address.is_loopback:
            return "localhost"
        if address in self.guest.addresses:
            return self.guest.name
        for guest in self.guest.fellows.values():
            if address in self._reachable(guest):
                return guest.name
        return None


def _number(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        pass
    try:
        # Old ways to write an IPv4 address, as the system's resolver takes them: 127.1.
        return ipaddress.IPv4Address(stdlib.inet_aton(text))
    except (OSError, ValueError):
        return None
