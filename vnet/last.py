"""A frame in one short line, by its first bytes: for `vnet drops`. Any bytes will do."""

from __future__ import annotations

import ipaddress

PROTOCOLS = {1: "icmp", 2: "igmp", 6: "tcp", 17: "udp", 47: "gre", 58: "icmp6", 132: "sctp"}
TYPES = {0x0800: "ip", 0x86DD: "ip6", 0x0806: "arp", 0x8035: "rarp", 0x88CC: "lldp", 0x888E: "eapol"}
PORTED = (6, 17, 132)
TAGS = (0x8100, 0x88A8)
# IPv6 extension headers with a length of their own (RFC 8200, 4), and the one that says of what it is a part.
OPTIONS, FRAGMENT = (0, 43, 60, 135), 44


def line(head: bytes, length: int) -> str:
    """`02:..:0a > ff:..:ff vlan 10 10.0.0.1 > 10.0.0.2 udp 68 > 67, 342 B`."""
    if len(head) < 14:
        return f"{head.hex(' ')}, {length} B" if head else f"{length} B"
    said, at = [f"{_mac(head[6:12])} > {_mac(head[:6])}"], 12
    kind = int.from_bytes(head[at : at + 2], "big")
    while kind in TAGS and len(head) >= at + 6:
        said.append(f"vlan {int.from_bytes(head[at + 2 : at + 4], 'big') & 0xFFF}")
        at += 4
        kind = int.from_bytes(head[at : at + 2], "big")
    body = head[at + 2 :]
    match TYPES.get(kind):
        case "ip" if len(body) >= 20 and body[0] >> 4 == 4:
            part = int.from_bytes(body[6:8], "big") & 0x1FFF
            said += _ip(body[12:16], body[16:20], body[9], body[(body[0] & 15) * 4 :], part=part > 0)
        case "ip6" if len(body) >= 40 and body[0] >> 4 == 6:
            said += _ip(body[8:24], body[24:40], *_behind(body[6], body[40:]))
        case "arp" if len(body) >= 28:
            what = {1: "who has", 2: "is at"}.get(int.from_bytes(body[6:8], "big"), "arp")
            sender, target = (str(ipaddress.IPv4Address(body[n : n + 4])) for n in (14, 24))
            said.append(
                f"arp {what} {target}, says {sender}" if what == "who has" else f"arp {sender} {what}"
            )
        case None:
            said.append(f"llc {kind} B" if kind < 0x0600 else f"type 0x{kind:04x}")
        case name:
            said.append(name)
    return f"{' '.join(said)}, {length} B"


def _behind(protocol: int, rest: bytes) -> tuple[int, bytes, bool]:
    """What is behind IPv6's extension headers, as far as there are bytes, and whether in a later fragment."""
    while protocol in OPTIONS and len(rest) >= 2:
        protocol, rest = rest[0], rest[(rest[1] + 1) * 8 :]
    if protocol == FRAGMENT and len(rest) >= 8:
        part = int.from_bytes(rest[2:4], "big") & 0xFFF8
        return (rest[0], b"", True) if part else _behind(rest[0], rest[8:])
    return protocol, rest, False


def _ip(source: bytes, target: bytes, protocol: int, rest: bytes, part: bool = False) -> list[str]:
    said = [f"{ipaddress.ip_address(source)} > {ipaddress.ip_address(target)}"]
    name = PROTOCOLS.get(protocol, f"protocol {protocol}")
    if part:
        return [*said, f"{name} fragment"]
    if protocol in PORTED and len(rest) >= 4:
        ports = [int.from_bytes(rest[n : n + 2], "big") for n in (0, 2)]
        return [*said, f"{name} {ports[0]} > {ports[1]}"]
    if protocol in (1, 58) and rest:
        return [*said, f"{name} type {rest[0]}"]
    return [*said, name]


def _mac(address: bytes) -> str:
    return address.hex(":")
