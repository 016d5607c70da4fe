"""A guarded port beside a victim's without a guard, and the frames that its guest sends it, made by scapy."""

from __future__ import annotations

import ipaddress
import struct

from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from vnet._native import Guard, PortConfig, Switch

OWN, OTHER, PAIRED = "02:00:00:00:00:0a", "02:00:00:00:00:0b", "02:00:00:00:00:0c"
IP4, PAIR4, VICTIM4 = "10.0.0.10", "10.0.0.77", "10.0.0.11"
IP6, VICTIM6 = "fd00::a", "fd00::b"
LOCAL, LOCAL_VICTIM = "fe80::ff:fe00:a", "fe80::ff:fe00:b"
ALL_NODES, ALL_ROUTERS = "33:33:00:00:00:01", "33:33:00:00:00:02"

ADDRESSES = [(f"{IP4}/32", None, None), (f"{IP6}/128", None, None), (f"{PAIR4}/32", PAIRED, None)]


def guard(**keys) -> Guard:
    return Guard(OWN, **{"addresses": ADDRESSES, **keys})


def switch(of: Guard | None, **keys) -> Switch:
    """Port 0 has the guard, port 1 is a victim's without one."""
    made = Switch()
    made.add_port(0, PortConfig(vlan=1, guard=of, **keys))
    made.add_port(1, PortConfig(vlan=1))
    return made


def fate(frame: Packet | bytes, of: Guard | None = None, **keys) -> str | None:
    """Why the guard refuses a frame; None: it arrives."""
    data = bytes(frame)
    (verdict,) = switch(of or guard(), **keys).forward(0, 0, [data.ljust(60, b"\0")])
    assert (verdict.reason is None) == (len(verdict.copies) == 1)
    return verdict.reason


def ether(src: str = OWN, dst: str = "ff:ff:ff:ff:ff:ff", **keys) -> Ether:
    return Ether(src=src, dst=dst, **keys)


def ip(src: str = IP4, **keys) -> Ether:
    return ether() / IP(src=src, dst=VICTIM4, **keys)


def ip6(src: str = IP6, dst: str = "ff02::1", **keys) -> Ether:
    return ether(dst=ALL_NODES) / IPv6(src=src, dst=dst, **keys)


def arp(**keys) -> Ether:
    return ether() / ARP(**{"hwsrc": OWN, "psrc": IP4, "pdst": VICTIM4, **keys})


def dhcp(
    mac: str = OWN, src: str = "0.0.0.0", sport: int = 68, dport: int = 67, op: int = 1, **keys
) -> Ether:
    """A discover, or an offer; `keys`: other fields of the message."""
    options = [("message-type", "discover" if op == 1 else "offer"), "end"]
    return (
        ether()
        / IP(src=src, dst="255.255.255.255")
        / UDP(sport=sport, dport=dport)
        / BOOTP(**{"op": op, "chaddr": bytes.fromhex(mac.replace(":", "")), **keys})
        / DHCP(options=options)
    )


def lease4(kind: int, options: bytes = b"", has: str = "0.0.0.0", src: str = IP4) -> Packet:
    """A DHCP client's message of such a type about its lease, with these options."""
    frame = ether() / IP(src=src, dst=VICTIM4) / UDP(sport=68, dport=67)
    message = BOOTP(op=1, chaddr=bytes.fromhex(OWN.replace(":", "")), ciaddr=has, options=b"\x63\x82\x53\x63")
    return frame / message / Raw(b"\x35\1" + bytes([kind]) + options + b"\xff")


def lease6(kind: int, address: str, prefix: int = 128, tail: bytes = b"") -> Packet:
    """A DHCPv6 client's message of such a type about an address or prefix."""
    ip = ipaddress.IPv6Address(address).packed
    (ia, code, lease) = (3, 5, ip + bytes(8)) if prefix == 128 else (25, 26, bytes(8) + bytes([prefix]) + ip)
    lease = struct.pack("!HH", code, len(lease)) + lease
    body = struct.pack("!HH12x", ia, 12 + len(lease)) + lease
    client = b"\0\1\0\7\0\3\0\1\2\0\x0a"
    return (
        ip6(LOCAL, dst="ff02::1:2")
        / UDP(sport=546, dport=547)
        / Raw(bytes([kind, 0, 0, 1]) + client + body + tail)
    )


def fragment(packet: Packet, offset: int = 0, more: bool = True) -> Packet:
    """An IPv4 packet as if it were a fragment."""
    packet[IP].flags, packet[IP].frag = (1 if more else 0), offset
    return packet
