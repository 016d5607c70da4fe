"""What can be set for a guest's sockets, by the numbers that the system has for it.

An option that would do nothing is refused (ENOPROTOOPT), as a kernel refuses what it does not have,
so that no program believes in what does not happen.
"""

from __future__ import annotations

import errno
import ipaddress
import socket as stdlib
import struct
from typing import TYPE_CHECKING

import attrs

from vnet.sockets.interfaces import FIRST_SCOPE, error

if TYPE_CHECKING:
    from vnet.guests import Address

Key = tuple[int, int]

SOL, TCP, IP, IP6 = stdlib.SOL_SOCKET, stdlib.IPPROTO_TCP, stdlib.IPPROTO_IP, stdlib.IPPROTO_IPV6

IP_BIND_ADDRESS_NO_PORT = 24

FLAGS: dict[Key, int] = {
    (SOL, stdlib.SO_REUSEADDR): 0,
    (SOL, stdlib.SO_REUSEPORT): 0,
    (SOL, stdlib.SO_KEEPALIVE): 0,
    (SOL, stdlib.SO_BROADCAST): 0,
    (TCP, stdlib.TCP_NODELAY): 1,
    (IP, IP_BIND_ADDRESS_NO_PORT): 0,
    (IP, stdlib.IP_MULTICAST_LOOP): 1,
    (IP6, stdlib.IPV6_MULTICAST_LOOP): 1,
    (IP6, stdlib.IPV6_V6ONLY): 0,
}
"""Set or not, and what they are at first. No write is held back, so TCP_NODELAY is as good as set."""

NUMBERS: dict[Key, tuple[int, int, int]] = {
    (TCP, stdlib.TCP_KEEPIDLE): (7200, 1, 32767),
    (TCP, stdlib.TCP_KEEPINTVL): (75, 1, 32767),
    (TCP, stdlib.TCP_KEEPCNT): (9, 1, 127),
    (IP, stdlib.IP_TTL): (64, 1, 255),
    (IP, stdlib.IP_MULTICAST_TTL): (1, 0, 255),
    (IP6, stdlib.IPV6_UNICAST_HOPS): (64, 1, 255),
    (IP6, stdlib.IPV6_MULTICAST_HOPS): (1, 0, 255),
}
"""At first, least, most. -1 is what it was at first, where a hop limit is meant."""

BUFFERS = ((SOL, stdlib.SO_RCVBUF), (SOL, stdlib.SO_SNDBUF))
"""A stack's buffers are its NIC's; a socket may ask for others, and is told what it has."""

JOIN = ((IP, stdlib.IP_ADD_MEMBERSHIP), (IP6, stdlib.IPV6_JOIN_GROUP))
LEAVE = ((IP, stdlib.IP_DROP_MEMBERSHIP), (IP6, stdlib.IPV6_LEAVE_GROUP))
INTERFACE = ((IP, stdlib.IP_MULTICAST_IF), (IP6, stdlib.IPV6_MULTICAST_IF))
DEVICE = (SOL, stdlib.SO_BINDTODEVICE)
LINGER = (SOL, stdlib.SO_LINGER)


@attrs.define
class Options:
    """Of one socket, copied to what it accepts."""

    values: dict[Key, int] = attrs.field(
        factory=lambda: {**FLAGS, **{key: first for key, (first, _, _) in NUMBERS.items()}}
    )
    linger: tuple[int, int] = (0, 0)
    interface: Address | int = 0
    """The NIC that groups are reached by: its number, or an address of it; 0 is the usual one."""

    device: int = 0
    """The only NIC that is used, by number; 0: all. Their names are eth0, eth1, and so on."""

    def copy(self) -> Options:
        """For a connection that was accepted."""
        return attrs.evolve(self, values=dict(self.values))

    # -- as the stacks want it -------------------------------------------------------------------

    @property
    def v6only(self) -> bool:
        """IPV6_V6ONLY."""
        return bool(self.values[IP6, stdlib.IPV6_V6ONLY])

    @property
    def broadcast(self) -> bool:
        """SO_BROADCAST."""
        return bool(self.values[SOL, stdlib.SO_BROADCAST])

    @property
    def aborts(self) -> bool:
        """Closing ends a connection by a reset: SO_LINGER with no time."""
        return self.linger[0] != 0 and self.linger[1] == 0

    @property
    def keep_alive(self) -> tuple[int, int, int] | None:
        """Seconds until a silent peer is asked, between questions, and how many there are."""
        if not self.values[SOL, stdlib.SO_KEEPALIVE]:
            return None
        value = self.values
        return (
            value[TCP, stdlib.TCP_KEEPIDLE],
            value[TCP, stdlib.TCP_KEEPINTVL],
            value[TCP, stdlib.TCP_KEEPCNT],
        )

    @property
    def no_port(self) -> bool:
        """IP_BIND_ADDRESS_NO_PORT: binding to port 0 leaves the port for connecting to choose."""
        return bool(self.values[IP, IP_BIND_ADDRESS_NO_PORT])

    def hops(self, version: int) -> int:
        """The hop limit of packets to one station."""
        return self.values[(IP, stdlib.IP_TTL) if version == 4 else (IP6, stdlib.IPV6_UNICAST_HOPS)]

    def udp(self, version: int) -> tuple[bool, int, int, bool]:
        """Of a UDP socket that sends to addresses of this version."""
        group_hops = (IP, stdlib.IP_MULTICAST_TTL) if version == 4 else (IP6, stdlib.IPV6_MULTICAST_HOPS)
        loop = (IP, stdlib.IP_MULTICAST_LOOP) if version == 4 else (IP6, stdlib.IPV6_MULTICAST_LOOP)
        shared = self.values[SOL, stdlib.SO_REUSEADDR] or self.values[SOL, stdlib.SO_REUSEPORT]
        return (bool(shared), self.hops(version), self.values[group_hops], bool(self.values[loop]))

    # -- as programs say it ----------------------------------------------------------------------

    def set(self, key: Key, value: int | bytes) -> None:
        """Raises OSError: ENOPROTOOPT for what there is not, EINVAL for what can't be."""
        if key == LINGER:
            self.linger = struct.unpack("ii", _bytes(value, 8)[:8])
        elif key == DEVICE:
            self.device = _device(value)
        elif key in INTERFACE:
            self.interface = _interface(value)
        elif key in FLAGS:
            self.values[key] = int(_int(value) != 0)
        elif key in NUMBERS:
            first, least, most = NUMBERS[key]
            number = _int(value)
            if number == -1 and key[0] != TCP:
                number = first
            if not least <= number <= most:
                raise error(errno.EINVAL)
            self.values[key] = number
        elif key not in BUFFERS:
            raise error(errno.ENOPROTOOPT)

    def get(self, key: Key) -> int | bytes:
        """Raises OSError (ENOPROTOOPT)."""
        if key == LINGER:
            return struct.pack("ii", *self.linger)
        if key == DEVICE:
            return f"eth{self.device - FIRST_SCOPE}\0".encode() if self.device else b""
        if key in INTERFACE:
            return self.interface if isinstance(self.interface, int) else self.interface.packed
        if key in self.values:
            return self.values[key]
        raise error(errno.ENOPROTOOPT)


def membership(key: Key, value: int | bytes) -> tuple[Address, Address | int]:
    """The group of a request to join or leave it, and the NIC: an address of it, or its number (0: any).

    `struct ip_mreq` (8 bytes) or `ip_mreqn` (12) for IPv4, `ipv6_mreq` (20) for IPv6.
    """
    least = 8 if key[0] == IP else 20
    data = _bytes(value, least)
    if key[0] == IP6:
        return ipaddress.IPv6Address(data[:16]), struct.unpack("I", data[16:20])[0]
    group, interface = ipaddress.IPv4Address(data[:4]), ipaddress.IPv4Address(data[4:8])
    if len(data) >= 12 and (index := struct.unpack("i", data[8:12])[0]):
        return group, index
    return group, 0 if interface.is_unspecified else interface


def _device(value: int | bytes) -> int:
    if isinstance(value, int):
        raise error(errno.EINVAL)
    name = value.rstrip(b"\0")
    if not name:
        return 0
    if not name.startswith(b"eth") or not name[3:].isdigit():
        raise error(errno.ENODEV)
    return int(name[3:]) + FIRST_SCOPE


def _interface(value: int | bytes) -> Address | int:
    if isinstance(value, int):
        number = value
    elif len(value) == 4:
        address = ipaddress.IPv4Address(value)
        # A small number in the host's order is an index (IPV6_MULTICAST_IF as bytes).
        number = struct.unpack("i", value)[0]
        if not 0 <= number < FIRST_SCOPE + 64:
            return address
    else:
        _, address, number = ipaddress.ip_address(value[:4]), ipaddress.IPv4Address(value[4:8]), 0
        if len(value) >= 12:
            number = struct.unpack("i", value[8:12])[0]
        if not number and not address.is_unspecified:
            return address
    return number


def _int(value: int | bytes) -> int:
    if isinstance(value, int):
        return value
    return int(struct.unpack("i", _bytes(value, 4)[:4])[0])


def _bytes(value: int | bytes, least: int) -> bytes:
    if isinstance(value, int) or len(value) < least:
        raise error(errno.EINVAL)
    return bytes(value)
