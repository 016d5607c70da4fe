"""The reference guard: what a guest may send, said once more, slowly, one rule after the other.

It knows nothing of how the native guard walks; it takes frames apart with slices and dictionaries, and
says why it refuses one. `test_guard.py` compares the two on frames made to get past them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

import attrs

SEEN = 128
"""Bytes of a frame that a guard is shown."""
MESSAGE = 2048
"""The longest frame that is looked at as a whole."""
EXTENSIONS = 8
ICMP, IGMP, TCP, UDP, ICMP6, PIM = 1, 2, 6, 17, 58, 103
CONTROL = {
    0x2000, 0x2003, 0x2004, 0x22E7, 0x22EA, 0x22F3, 0x22F4, 0x8808, 0x8809, 0x8870, 0x888E, 0x8899, 0x88C7,
    0x88CC, 0x88E3, 0x88F5, 0x88F6, 0x88FB, 0x8902, 0x893B, 0x8940, 0x8946, 0x9000, 0x9001, 0x9002,
}  # fmt: skip
FOREIGN_TAGS = {0x9100, 0x9200, 0x9300, 0x88E7, 0x8926, 0x893F, 0x22E9, 0xF1C1, 0x892F, 0x8909}
MEMBERSHIP = {0x12, 0x16, 0x17, 0x22}

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Refused(Exception):
    """`str()` is the reason's name."""


def need(condition: bool, reason: str) -> None:
    if not condition:
        raise Refused(reason)


def number(data: bytes) -> int:
    return int.from_bytes(data, "big")


@attrs.frozen
class Packet:
    """An IP packet: what a receiver would make of it."""

    source: Address
    protocol: int
    part: str
    """`whole`, `first` or `later`."""
    upper: bytes
    length: int


def link_local(mac: bytes) -> Address:
    """RFC 4291, appendix A."""
    identifier = bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:]
    return ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + identifier)


@attrs.frozen
class ReferenceGuard:
    """A guest with one MAC address, and the pairs (prefix, MAC or None) that it may use."""

    mac: bytes
    pairs: tuple[tuple[str, bytes | None], ...] = ()
    unknown: bool = False
    roles: frozenset[str] = frozenset()

    def judge(self, data: bytes) -> str | None:
        """Why the frame is refused, or None."""
        try:
            self._judge(data[:SEEN])
            if "dhcp_server" not in self.roles:
                self._weigh(data)
        except Refused as refused:
            return str(refused)
        return None

    def _judge(self, data: bytes) -> None:
        destination, source = data[:6], data[6:12]
        known = {self.mac, *(mac for _, mac in self.pairs if mac)}
        need(source in known or bool(self.roles & {"mac_changes", "forged_transmits"}), "guard-mac")
        kind, packet = data[12:14], data[14:]
        while kind in (b"\x81\x00", b"\x88\xa8"):
            need(kind == b"\x81\x00", "tag-not-allowed")
            kind, packet = packet[2:4], packet[4:]
        match number(kind):
            case 0x0800:
                self._ipv4(source, packet)
            case 0x86DD:
                self._ipv6(source, packet)
            case 0x0806:
                self._arp(source, destination, packet)
            case 0x8035:
                fine = packet[6:8] == b"\0\3" and packet[8:14] == source == packet[18:24]
                need(fine, "guard-arp")
            case other if other in FOREIGN_TAGS:
                raise Refused("guard-headers")
            case other if other < 0x600 or other in CONTROL:
                need(destination[:5] == b"\x01\x80\xc2\0\0" and destination[5] < 16, "guard-control")

    def owns(self, source: bytes, address: Address) -> bool:
        """Whether a sender from `source` may claim `address`."""
        if is_nobodys(address):
            return False
        if self.unknown or address == link_local(source):
            return True
        paired = {mac for _, mac in self.pairs if mac}
        own = source == self.mac or source not in paired
        return any(
            address in ipaddress.ip_network(prefix) and (own if mac is None else mac == source)
            for prefix, mac in self.pairs
            if ipaddress.ip_network(prefix).version == address.version
        )

    # -- IPv4 and ARP ------------------------------------------------------------------------------

    def _arp(self, source: bytes, destination: bytes, packet: bytes) -> None:
        need(len(packet) >= 28 and packet[:6] == bytes.fromhex("000108000604"), "guard-arp")
        operation, sender = number(packet[6:8]), packet[8:14]
        sender_ip = ipaddress.IPv4Address(packet[14:18])
        target, target_ip = packet[18:24], ipaddress.IPv4Address(packet[24:28])
        need(sender == source and operation in (1, 2), "guard-arp")
        probe = operation == 1 and int(sender_ip) == 0
        need(self.owns(source, target_ip if probe else sender_ip), "guard-arp")
        need(operation == 1 or target == destination or target_ip == sender_ip, "guard-arp")

    def _ipv4(self, source: bytes, data: bytes) -> None:
        need(len(data) >= 20 and data[0] >> 4 == 4, "guard-headers")
        size = (data[0] & 15) * 4
        need(20 <= size <= len(data), "guard-headers")
        for option in options4(data[20:size]):
            need(option not in (131, 137), "guard-source-route")
        upper, length = data[size:], max(number(data[2:4]) - size, 0)
        flags = number(data[6:8])
        offset, more = (flags & 0x1FFF) * 8, bool(flags & 0x2000)
        part = fragment(offset, more, length, len(upper))
        if data[9] == TCP and part != "whole":
            need(offset != 8 and (part == "later" or min(length, len(upper)) >= 20), "guard-fragment")
        packet = Packet(ipaddress.IPv4Address(data[12:16]), data[9], part, upper, length)
        need(packet.protocol != PIM or "querier" in self.roles, "guard-querier")
        may_have_none = self._ipv4_roles(source, packet)
        mine = self.owns(source, packet.source) or (may_have_none and int(packet.source) == 0)
        need(mine, "guard-ip4")

    def _ipv4_roles(self, source: bytes, packet: Packet) -> bool:
        if packet.part == "later" or packet.protocol not in (UDP, ICMP, IGMP):
            return False
        if packet.protocol == UDP:
            return self._dhcp(source, packet, 67, 68)
        need(len(packet.upper) > 0 or (packet.protocol, packet.part) == (IGMP, "first"), "guard-headers")
        if packet.protocol == ICMP:
            if packet.upper[0] in (5, 9):
                need(packet.part == "whole", "guard-fragment")
            need(packet.upper[0] != 5, "guard-redirect")
            need(packet.upper[0] != 9 or "router_advertisements" in self.roles, "guard-ra")
            return False
        need(packet.part == "whole", "guard-fragment")
        member = packet.upper[0] in MEMBERSHIP
        need(member or "querier" in self.roles, "guard-querier")
        return member

    def _dhcp(self, source: bytes, packet: Packet, server: int, client: int) -> bool:
        need(len(packet.upper) >= 4, "guard-headers")
        sport, dport = number(packet.upper[:2]), number(packet.upper[2:4])
        if sport != server and dport not in (server, client):
            return False
        if "dhcp_server" not in self.roles:
            need(packet.part == "whole", "guard-fragment")
            need(sport != server and dport != client, "guard-dhcp-server")
            message = packet.upper[8:]
            if server == 67:
                need(message[:3] == b"\1\1\6" and len(message) >= 34, "guard-dhcp-client")
                need(message[28:34] == source and message[24:28] == bytes(4), "guard-dhcp-client")
                has = ipaddress.IPv4Address(message[12:16])
                need(int(has) == 0 or has == packet.source or self.owns(source, has), "guard-dhcp-client")
            else:
                need(len(message) > 0 and packet.length > 8, "guard-headers")
                need(message[0] in (1, 3, 4, 5, 6, 8, 9, 11, 36), "guard-dhcp-server")
            need(sport == client, "guard-dhcp-client")
        return (sport, dport, packet.part) == (client, server, "whole")

    # -- what DHCP clients say, all of it ----------------------------------------------------------

    def _weigh(self, data: bytes) -> None:
        source, kind, packet = data[6:12], data[12:14], data[14:]
        while kind == b"\x81\x00":
            kind, packet = packet[2:4], packet[4:]
        if kind == b"\x08\x00" and packet[9] == UDP and number(packet[6:8]) & 0x3FFF == 0:
            size = (packet[0] & 15) * 4
            upper, end = packet[size:], max(number(packet[2:4]) - size, 8)
            if number(upper[2:4]) == 67:
                need(len(data) <= MESSAGE, "guard-dhcp-client")
                need(words4(upper[8:]) == words4(upper[8:end]), "guard-dhcp-client")
                self._weigh4(source, upper[8:])
        elif kind == b"\x86\xdd":
            inner = follow(packet)
            if inner.protocol == UDP and inner.part == "whole" and number(inner.upper[2:4]) == 547:
                need(len(data) <= MESSAGE, "guard-dhcp-client")
                self._weigh6(source, inner.upper[8 : inner.length])

    def _weigh4(self, source: bytes, message: bytes) -> None:
        kind, asked = words4(message)
        has = message[12:16]
        if kind in (4, 7):
            first, second = (has, asked) if kind == 7 else (asked, has)
            for address in (first, second) if any(second) else (first,):
                own = any(address) and self.owns(source, ipaddress.IPv4Address(address))
                need(own, "guard-dhcp-client")

    def _weigh6(self, source: bytes, message: bytes) -> None:
        if message[:1] not in (b"\x08", b"\x09"):
            return
        need(len(message) >= 4, "guard-dhcp-client")
        given: list[tuple[bytes, int]] = []
        for code, value in dhcp6_options(message[4:]):
            fixed = {3: 12, 4: 4, 25: 12}.get(code)
            if fixed is None:
                continue
            need(len(value) >= fixed, "guard-dhcp-client")
            for inner, lease in dhcp6_options(value[fixed:]):
                need(len(lease) >= {5: 16, 26: 25}.get(inner, 0), "guard-dhcp-client")
                given += (
                    [(lease[:16], 128)] if inner == 5 else [(lease[9:25], lease[8])] if inner == 26 else []
                )
        for address, prefix in given:
            need(self.owns_all(source, ipaddress.IPv6Address(address), prefix), "guard-dhcp-client")

    def owns_all(self, source: bytes, address: ipaddress.IPv6Address, prefix: int) -> bool:
        """Whether a sender from `source` may claim all of a prefix."""
        if prefix == 128 or not 0 < prefix < 128:
            return prefix == 128 and self.owns(source, address)
        if self.unknown:
            return True
        whole = ipaddress.IPv6Network((address, prefix), strict=False)
        pairs = [(ipaddress.ip_network(own), mac) for own, mac in self.pairs]
        paired = {mac for _, mac in pairs if mac}
        own = source == self.mac or source not in paired
        return any(
            isinstance(net, ipaddress.IPv6Network)
            and whole.subnet_of(net)
            and (own if mac is None else mac == source)
            for net, mac in pairs
        )

    # -- IPv6 --------------------------------------------------------------------------------------

    def _ipv6(self, source: bytes, data: bytes) -> None:
        need(len(data) >= 40 and data[0] >> 4 == 6, "guard-headers")
        packet = follow(data)
        need(packet.protocol != PIM or "querier" in self.roles, "guard-querier")
        may_have_none = False
        if packet.part != "later" and packet.protocol == UDP:
            self._dhcp(source, packet, 547, 546)
        elif packet.part != "later" and packet.protocol == ICMP6:
            may_have_none = self._icmp6(source, packet)
        mine = self.owns(source, packet.source) or (may_have_none and int(packet.source) == 0)
        need(mine, "guard-ip6")

    def _icmp6(self, source: bytes, packet: Packet) -> bool:
        need(len(packet.upper) > 0, "guard-headers")
        kind = packet.upper[0]
        if 130 <= kind <= 138 or 141 <= kind <= 143 or kind in (148, 149, 151, 152, 153):
            need(packet.part == "whole", "guard-fragment")
        if kind in (130, 151, 152, 153):
            need("querier" in self.roles, "guard-querier")
        if kind == 134:
            need("router_advertisements" in self.roles, "guard-ra")
        need(kind not in (137, 138), "guard-redirect")
        if kind in (133, 135, 136, 141, 142):
            fixed = 24 if kind in (135, 136) else 8
            need(fixed <= packet.length <= len(packet.upper), "guard-nd")
            for option in options6(packet.upper[fixed : packet.length]):
                if option[0] in (1, 2):
                    need(len(option) == 8 and option[2:] == source, "guard-nd")
        nobody = int(packet.source) == 0
        if kind == 136 or (kind == 135 and nobody):
            need(self.owns(source, ipaddress.IPv6Address(packet.upper[8:24])), "guard-nd")
        return kind in (131, 132, 133, 135, 143)


def is_nobodys(address: Address) -> bool:
    """Whether it can be no host's."""
    everybody = address == ipaddress.IPv4Address("255.255.255.255")
    mapped = isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None
    return address.is_loopback or address.is_multicast or everybody or mapped


def fragment(offset: int, more: bool, length: int, seen: int) -> str:
    """Which part a fragment is."""
    if offset == 0 and not more:
        return "whole"
    need(offset + length <= 65535, "guard-fragment")
    need(offset > 0 or min(length, seen) >= 8, "guard-fragment")
    return "later" if offset else "first"


def options4(data: bytes) -> Iterator[int]:
    """The kinds of IPv4 options."""
    while data and data[0] != 0:
        yield data[0]
        size = 1 if data[0] == 1 else data[1] if len(data) > 1 else 0
        need(data[0] == 1 or 2 <= size <= len(data), "guard-headers")
        data = data[size:]


def dhcp_options(data: bytes) -> tuple[list[tuple[int, bytes]], bool]:
    """DHCPv4 options, and whether the last one is there as a whole."""
    found = []
    while data and data[0] != 255:
        if data[0] == 0:
            data = data[1:]
            continue
        size = 2 + data[1] if len(data) > 1 else 2
        if len(data) < size:
            return found, False
        found.append((data[0], data[2:size]))
        data = data[size:]
    return found, True


def words4(message: bytes) -> tuple[int, bytes]:
    """Which message it is, 0 for none of DHCP, and the address that it asks for."""
    options, whole = dhcp_options(message[240:])
    kinds = [value for code, value in options if code == 53]
    wanted = [value for code, value in options if code == 50]
    fine = len(kinds) < 2 and all(len(value) == 1 and value[0] for value in kinds)
    fine = fine and len(wanted) < 2 and all(len(value) == 4 for value in wanted)
    fine = fine and all(code not in (52, 82) for code, _ in options)
    is_dhcp = message[236:240] == bytes.fromhex("63825363")
    need(fine and (whole if is_dhcp else not kinds), "guard-dhcp-client")
    return (kinds[0][0] if kinds else 0), wanted[0] if wanted else bytes(4)


def dhcp6_options(data: bytes) -> list[tuple[int, bytes]]:
    """DHCPv6 options."""
    found = []
    while data:
        size = 4 + number(data[2:4])
        need(len(data) >= max(size, 4), "guard-dhcp-client")
        found.append((number(data[:2]), data[4:size]))
        data = data[size:]
    return found


def options6(data: bytes) -> Iterator[bytes]:
    """Neighbour discovery options."""
    while data:
        size = data[1] * 8 if len(data) > 1 else 0
        need(0 < size <= len(data), "guard-nd")
        yield data[:size]
        data = data[size:]


def destination_options(data: bytes) -> Iterator[int]:
    """The kinds of IPv6 destination options."""
    while data:
        yield data[0]
        size = 1 if data[0] == 0 else data[1] + 2 if len(data) > 1 else 0
        need(0 < size <= len(data), "guard-headers")
        data = data[size:]


def follow(data: bytes) -> Packet:
    """An IPv6 packet, its chain of extension headers followed."""
    source = ipaddress.IPv6Address(data[8:24])
    protocol, upper, length, part = data[6], data[40:], number(data[4:6]), "whole"
    count = 0
    while protocol in (0, 43, 44, 51, 60, 135, 139, 140):
        need(count <= EXTENSIONS, "guard-headers")
        need(part == "whole", "guard-fragment")
        need(len(upper) >= 4 and (protocol != 0 or count == 0), "guard-headers")
        if protocol == 43:
            need(upper[2] != 0 and upper[3] == 0, "guard-source-route")
        size = {44: 8, 51: (upper[1] + 2) * 4}.get(protocol, (upper[1] + 1) * 8)
        need(size <= len(upper) and size <= length, "guard-headers")
        header, upper, length, was = upper[:size], upper[size:], length - size, protocol
        if was == 60:
            need(201 not in destination_options(header[2:]), "guard-source-route")
        protocol, count = header[0], count + 1
        if was == 44:
            place = number(header[2:4])
            offset = place & 0xFFF8
            part = "first" if offset == 0 else "later"
            need(offset + length <= 65535, "guard-fragment")
            need(offset > 0 or min(length, len(upper)) >= 8, "guard-fragment")
            need(offset != 8, "guard-fragment")
            if part == "later":
                break
    # One more than is followed is refused, wherever it leads.
    need(count <= EXTENSIONS, "guard-headers")
    return Packet(source, protocol, part, upper, length)
