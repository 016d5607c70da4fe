"""Which of a guest's NICs a socket uses. Each has a TCP/IP stack of its own; loopback is the first's."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from nics.stack import Host

if TYPE_CHECKING:
    from vnet.guests import Address, StackGuest

FIRST_SCOPE = 2
"""The first NIC's number in an IPv6 scope, as in a kernel, whose loopback interface is 1."""


def error(code: int, what: str = "") -> OSError:
    """An OSError as the system gives it, perhaps with a clause on what it is about."""
    text = os.strerror(code)
    return OSError(code, f"{what}: {text}" if what else text)


def hosts(guest: StackGuest) -> list[Host]:
    """The stacks behind all NICs, in the topology's order. Raises OSError (ENETDOWN) without any."""
    found = [port.opened.far for port in guest.ports.values()]
    stacks = [far for far in found if isinstance(far, Host) and not far.gone]
    if not stacks:
        raise error(errno.ENETDOWN, f"{guest.name} is in no network")
    return stacks


def scope_of(guest: StackGuest, host: Host) -> int:
    """The number of the NIC in IPv6 scopes."""
    return hosts(guest).index(host) + FIRST_SCOPE


def owner(guest: StackGuest, address: Address, scope: int = 0) -> Host | None:
    """The stack that has an address itself."""
    stacks = hosts(guest)
    if address.is_loopback:
        return stacks[0]
    if scope:
        stacks = [stacks[scope - FIRST_SCOPE]] if 0 <= scope - FIRST_SCOPE < len(stacks) else []
    return next((host for host in stacks if any(i.ip == address for i in host.addresses)), None)


def towards(guest: StackGuest, address: Address, scope: int = 0) -> Host:
    """The stack that a packet to `address` leaves by: the one that has it, or is in its subnet, or has
    a gateway, or the first. Raises OSError (ENODEV) for a scope that is none of its NICs.
    """
    stacks = hosts(guest)
    if scope:
        if not 0 <= scope - FIRST_SCOPE < len(stacks):
            raise error(errno.ENODEV)
        return stacks[scope - FIRST_SCOPE]
    if len(stacks) == 1:
        return stacks[0]
    if (host := owner(guest, address)) is not None:
        return host
    by_gateway = None
    for port in guest.ports.values():
        host = port.opened.far if isinstance(port.opened.far, Host) else None
        if host not in stacks:
            continue
        if any(address in interface.network for interface in port.wanted.addresses):
            return host
        if by_gateway is None and any(g.version == address.version for g in port.wanted.gateways):
            by_gateway = host
    return by_gateway or stacks[0]
