"""Frames, byte by byte: what a well-behaved guest sends, and what a bad one would.

Every probe ends in a mark and a number behind whatever its headers count, so that it is known again
wherever it arrives.
"""

from __future__ import annotations

import ipaddress
import struct

from vnet.checksum import internet_checksum
from vnet.topology.values import Address

MARK = b"vnet-probe:"
BROADCAST = "ff:ff:ff:ff:ff:ff"
EXPERIMENTAL = 0x88B5
"""EtherType for experiments (IEEE 802, local experimental)."""
ICMP, TCP, UDP, ICMP6 = 1, 6, 17, 58
SHORTEST = 60


def marked(frame: bytes, number: int) -> bytes:
    """A frame, padded, with its number at the end."""
    return frame.ljust(SHORTEST, b"\0") + MARK + number.to_bytes(4, "big")


def number_of(frame: bytes) -> int | None:
    """The number of a probe; None: it is none of ours."""
    at = frame.rfind(MARK)
    found = frame[at + len(MARK) : at + len(MARK) + 4]
    return int.from_bytes(found, "big") if at >= 0 and len(found) == 4 else None


def mac(text: str) -> bytes:
    """A MAC address as bytes."""
    return bytes.fromhex(text.replace(":", ""))


def ethernet(destination: str, source: str, kind: int, payload: bytes = b"", *vids: int) -> bytes:
    """A frame, perhaps with 802.1Q tags, the outer first."""
    tags = b"".join(struct.pack("!HH", 0x8100, vid) for vid in vids)
    return mac(destination) + mac(source) + tags + kind.to_bytes(2, "big") + payload


def llc(destination: str, source: str, payload: bytes) -> bytes:
    """An 802.2 frame, whose type field is a length."""
    return mac(destination) + mac(source) + len(payload).to_bytes(2, "big") + payload


def packet(source: Address, target: Address, protocol: int, upper: bytes, hops: int = 64) -> bytes:
    """An IPv4 or IPv6 packet whose `upper` has room for its checksum where TCP, UDP or ICMP have it."""
    upper = _summed(source, target, protocol, upper)
    if isinstance(source, ipaddress.IPv4Address):
        head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(upper), 1, 0, hops, protocol, 0,
                           source.packed, target.packed)  # fmt: skip
        return head[:10] + struct.pack("!H", internet_checksum(head)) + head[12:] + upper
    return struct.pack("!IHBB", 6 << 28, len(upper), protocol, hops) + source.packed + target.packed + upper


def _summed(source: Address, target: Address, protocol: int, upper: bytes) -> bytes:
    at = {ICMP: 2, ICMP6: 2, UDP: 6, TCP: 16}.get(protocol)
    if at is None or len(upper) < at + 2:
        return upper
    pseudo = source.packed + target.packed + struct.pack("!II", len(upper), protocol)
    total = internet_checksum((b"" if protocol == ICMP else pseudo) + upper)
    return upper[:at] + struct.pack("!H", total) + upper[at + 2 :]


def ip(destination: str, source: str, payload: bytes, *vids: int) -> bytes:
    """A frame with an IP packet."""
    return ethernet(destination, source, 0x0800 if payload[0] >> 4 == 4 else 0x86DD, payload, *vids)


def udp(source: int, target: int, data: bytes = b"") -> bytes:
    """RFC 768."""
    return struct.pack("!HHHH", source, target, 8 + len(data), 0) + data


def syn(source: int, target: int) -> bytes:
    """A TCP segment that begins a connection (RFC 9293)."""
    return struct.pack("!HHIIBBHHH", source, target, 1, 0, 5 << 4, 2, 65535, 0, 0)


def echo(family: int, number: int) -> bytes:
    """An echo request."""
    return struct.pack("!BBHHH", 8 if family == 4 else 128, 0, 0, number & 0xFFFF, 1)


def arp(operation: int, sender: str, sender_ip: Address, target: str, target_ip: Address) -> bytes:
    """RFC 826."""
    head = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)
    return head + mac(sender) + sender_ip.packed + mac(target) + target_ip.packed


def solicited(address: Address) -> tuple[Address, str]:
    """The solicited-node group of an IPv6 address (RFC 4291, 2.7.1), and its MAC address (RFC 2464, 7)."""
    group = ipaddress.IPv6Address(int(ipaddress.IPv6Address("ff02::1:ff00:0")) | int(address) & 0xFFFFFF)
    return group, "33:33:" + group.packed[-4:].hex(":")


def solicitation(target: Address, source: str) -> bytes:
    """Neighbour solicitation with the sender's link-layer address (RFC 4861, 4.3)."""
    return struct.pack("!BBHI", 135, 0, 0, 0) + target.packed + b"\1\1" + mac(source)


def advertisement(target: Address, source: str) -> bytes:
    """Neighbour advertisement that overrides (RFC 4861, 4.4)."""
    return struct.pack("!BBHI", 136, 0, 0, 0x20000000) + target.packed + b"\2\1" + mac(source)


def router_advertisement(source: str) -> bytes:
    """RFC 4861, 4.2."""
    return struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + b"\1\1" + mac(source)


def dhcp_offer() -> bytes:
    """A DHCPv4 server's offer (RFC 2131), from port 67 to 68."""
    bootp = struct.pack("!BBBBIHH", 2, 1, 6, 0, 1, 0, 0).ljust(236, b"\0")
    return udp(67, 68, bootp + bytes.fromhex("63825363") + b"\x35\1\2\xff")


def dhcp6_reply() -> bytes:
    """A DHCPv6 server's reply (RFC 8415), from port 547 to 546."""
    return udp(547, 546, b"\7\0\0\1")


BPDU = bytes.fromhex("424203") + bytes.fromhex("0000000000") + bytes(30)
"""A configuration BPDU (IEEE 802.1D-2004, 9.3.1) of bridge 0."""
IGMP_QUERY = bytes.fromhex("1164ee9b00000000")
"""A general query of IGMPv2 (RFC 2236)."""
