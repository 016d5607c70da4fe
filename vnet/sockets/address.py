"""Socket addresses as Python writes them, and as the stacks do: a text and a port.

An AF_INET6 socket that is not IPV6_V6ONLY speaks IPv4 too, by mapped addresses (RFC 4291, 2.5.5.2).
"""

from __future__ import annotations

import errno
import ipaddress
import socket as stdlib
from typing import TYPE_CHECKING, Any

import attrs

from vnet.sockets.interfaces import error

if TYPE_CHECKING:
    from vnet.guests import Address

IN6 = stdlib.AF_INET6


@attrs.frozen
class End:
    """An address and a port. `address` is None for all addresses of both versions."""

    address: Address | None
    port: int
    scope: int = 0

    @property
    def text(self) -> str | None:
        """The address, as the stacks take it."""
        return None if self.address is None else str(self.address)

    @property
    def wild(self) -> bool:
        """Whether it is all addresses, of a version or of both."""
        return self.address is None or self.address.is_unspecified

    def __str__(self) -> str:
        return f"{self.text or '::'} port {self.port}"


def read(family: int, sockaddr: tuple[Any, ...], *, v6only: bool) -> End:
    """A numeric socket address. Raises OSError (EINVAL) for a mapped one where only IPv6 is spoken."""
    host, port = sockaddr[:2]
    if not isinstance(port, int):
        raise TypeError(f"an integer is required for the port, not {port!r}")
    if not 0 <= port <= 0xFFFF:
        raise OverflowError("port must be 0-65535.")
    address = ipaddress.ip_address(host)
    # Elsewhere it says nothing (RFC 4007, 6).
    scope = int(sockaddr[3]) if len(sockaddr) > 3 and (address.is_link_local or address.is_multicast) else 0
    if isinstance(address, ipaddress.IPv6Address):
        if (mapped := address.ipv4_mapped) is not None:
            if v6only:
                raise error(errno.EINVAL, f"{host} is IPv4, and this socket is IPV6_V6ONLY")
            return End(mapped, port)
        if address.is_unspecified and not v6only:
            return End(None, port)
        return End(address, port, scope)
    return End(address, port)


def write(family: int, name: tuple[str, int], scope: int = 0) -> tuple[Any, ...]:
    """The socket address of a stack's name for an end."""
    host, port = name
    if family != IN6:
        return ("0.0.0.0" if host == "::" else host, port)  # noqa: S104 - a name, nothing is bound
    address = ipaddress.ip_address(host)
    if address.version == 4:
        return (f"::ffff:{host}", port, 0, 0)
    return (host, port, 0, scope if address.is_link_local else 0)
