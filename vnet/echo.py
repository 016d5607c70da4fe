"""ICMP echo from a namespace guest, over a raw socket that lives in its namespace."""

from __future__ import annotations

import ipaddress
import secrets
import socket
import struct

import trio

from nics.errors import Unreachable
from nics.netns import Namespace
from vnet.checksum import internet_checksum

ECHO = {4: (8, 0), 6: (128, 129)}
"""(request, reply) types: RFC 792, RFC 4443 section 4."""


async def echo(
    namespace: Namespace,
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
    *,
    timeout: float,
    size: int,
) -> float:
    """Round-trip time of one echo to `address`, in seconds. Raises Unreachable."""
    six = address.version == 6
    family = socket.AF_INET6 if six else socket.AF_INET
    protocol = socket.IPPROTO_ICMPV6 if six else socket.IPPROTO_ICMP
    request, reply = ECHO[address.version]
    ident = secrets.randbelow(1 << 16)
    payload = secrets.token_bytes(max(size, 8))
    header = struct.pack("!BBHHH", request, 0, 0, ident, 1)
    if not six:
        # For ICMPv6 the kernel fills the checksum in (RFC 3542 section 3.1).
        header = struct.pack("!BBHHH", request, 0, internet_checksum(header + payload), ident, 1)
    raw = await namespace.socket(family, socket.SOCK_RAW, protocol)
    with trio.socket.from_stdlib_socket(raw) as probe:
        begun = trio.current_time()
        try:
            await probe.sendto(header + payload, (str(address), 0))
            with trio.fail_after(timeout):
                while True:
                    data, (source, *_) = await probe.recvfrom(65536)
                    if not six:
                        data = data[(data[0] & 0xF) * 4 :] if data else data
                    same = source.partition("%")[0] == str(address)
                    if same and len(data) >= 8 and data[0] == reply and data[4:] == header[4:] + payload:
                        return trio.current_time() - begun
        except trio.TooSlowError:
            raise Unreachable(f"no answer from {address} within {timeout:g} s") from None
        except OSError as error:
            raise Unreachable(f"{address}: {error.strerror or error}") from None
