"""Telling a network at once where a guest is: what it would send itself when it comes up or has moved.

Switches of the physical network learn the guest's MAC address from any of these frames, neighbours
its addresses: a gratuitous ARP for each of IPv4 (RFC 5227, 2.3), an unsolicited neighbour
advertisement for each of IPv6 (RFC 4861, 7.2.6), and in a network where it has none a reverse ARP,
which means nothing to anybody but has its source address (as QEMU sends after a migration).
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator

from vnet.checksum import internet_checksum
from vnet.topology.resolve import Port

_BROADCAST = b"\xff" * 6
_ALL_NODES = ipaddress.IPv6Address("ff02::1").packed
_ALL_NODES_MAC = bytes.fromhex("333300000001")
_ARP, _RARP, _IPV6, _C_TAG = 0x0806, 0x8035, 0x86DD, 0x8100
_ICMPV6 = 58
_OVERRIDE = 0x20000000
_REVERSE_REQUEST = 3


def frames(port: Port) -> Iterator[bytes]:
    """What the guest at `port` would say, as its port takes it in."""
    mac = bytes.fromhex(port.mac.replace(":", ""))
    for address in port.ip:
        if isinstance(address, ipaddress.IPv4Address):
            yield _ethernet(_BROADCAST, mac, _ARP, _arp(1, mac, address.packed, bytes(6), address.packed))
        else:
            yield _ethernet(_ALL_NODES_MAC, mac, _IPV6, _advertisement(mac, address.packed))
    silent = [vlan for vlan in port.vlans if vlan != port.vlan or not port.ip]
    for vlan in silent:
        reverse = _arp(_REVERSE_REQUEST, mac, bytes(4), mac, bytes(4))
        yield _ethernet(_BROADCAST, mac, _RARP, reverse, None if vlan == port.vlan else vlan)


def _ethernet(to: bytes, source: bytes, kind: int, packet: bytes, vlan: int | None = None) -> bytes:
    tag = b"" if vlan is None else struct.pack("!HH", _C_TAG, vlan)
    return (to + source + tag + struct.pack("!H", kind) + packet).ljust(60, b"\0")


def _arp(operation: int, sender: bytes, address: bytes, target: bytes, wanted: bytes) -> bytes:
    return struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation) + sender + address + target + wanted


def _advertisement(mac: bytes, address: bytes) -> bytes:
    """An IPv6 packet: from the address itself to all nodes, with the link-layer address (option 2)."""
    rest = struct.pack("!I", _OVERRIDE) + address + bytes([2, 1]) + mac
    length = 4 + len(rest)
    pseudo = address + _ALL_NODES + struct.pack("!II", length, _ICMPV6)
    checksum = internet_checksum(pseudo + bytes([136, 0, 0, 0]) + rest)
    header = struct.pack("!IHBB", 6 << 28, length, _ICMPV6, 255)
    return header + address + _ALL_NODES + struct.pack("!BBH", 136, 0, checksum) + rest
