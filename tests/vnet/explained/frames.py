"""Random frames of a world's guests, honest and hostile; what goes together comes together, often.

Built by hand: to build a packet with scapy takes longer than the whole way through a fabric. Each frame ends
with eight bytes that are its own, behind what IP counts, so that it is known again wherever it comes out.
"""

from __future__ import annotations

import ipaddress
import random
import struct

MACS = [f"0200000000{n:02x}" for n in range(1, 9)]
"""Of the guests; the last ones may be nobody's."""
STRANGE = ["020000000099", "ffffffffffff", "000000000000", "01005e010203", "0180c2000000", "333300000001"]
TOKEN = 8


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~((total >> 16) + total) & 0xFFFF


def ip4(
    source: str, target: str, protocol: int, payload: bytes, *, fragment: int = 0, mark: int = 1
) -> bytes:
    """An IPv4 packet; `fragment` is the word of flags and offset, `mark` the identification."""
    header = struct.pack(
        "!BBHHHBBH4s4s",
        *(0x45, 0, 20 + len(payload), mark, fragment, 64, protocol, 0),
        *(ipaddress.IPv4Address(end).packed for end in (source, target)),
    )
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload


def ip6(source: str, target: str, protocol: int, payload: bytes, hops: int = 255) -> bytes:
    """An IPv6 packet."""
    ends = [ipaddress.IPv6Address(end).packed for end in (source, target)]
    return struct.pack("!IHBB16s16s", 6 << 28, len(payload), protocol, hops, *ends) + payload


def icmp6(source: str, target: str, message: bytes) -> bytes:
    """ICMPv6 with its checksum, which listeners look at."""
    ends = b"".join(ipaddress.IPv6Address(end).packed for end in (source, target))
    pseudo = ends + struct.pack("!II", len(message), 58)
    return ip6(source, target, 58, message[:2] + struct.pack("!H", checksum(pseudo + message)) + message[4:])


def igmp(source: str, target: str, message: bytes) -> bytes:
    """IGMP with its checksum, and the router alert that belongs there."""
    message = message[:2] + struct.pack("!H", checksum(message)) + message[4:]
    header = struct.pack(
        "!BBHHHBBH4s4s4s",
        *(0x46, 0xC0, 24 + len(message), 1, 0, 1, 2, 0),
        *(ipaddress.IPv4Address(end).packed for end in (source, target)),
        b"\x94\x04\0\0",
    )
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + message


class Talk:
    """What guests have to say."""

    def __init__(self, chance: random.Random, guests: int) -> None:
        self.chance = chance
        self.guests = guests
        self.said: list[tuple[int, int, bytes]] = []
        """IPv4 packets of lately: from, to, packet."""
        self.number = 0

    def frame(self, sender: int) -> tuple[bytes, bool]:
        """What guest `sender` sends next, and whether the fabric itself may say something to that."""
        chance = self.chance
        other = chance.randrange(self.guests)
        source = MACS[sender] if chance.random() < 0.85 else chance.choice(MACS + STRANGE)
        kind = chance.choice(KINDS)
        target, ethertype, payload = kind(self, sender, other)
        if chance.random() < 0.08:
            target = chance.choice(MACS + STRANGE)
        tags = b""
        while chance.random() < 0.15 and len(tags) < 8:
            tpid = chance.choice([0x8100, 0x8100, 0x88A8])
            tags += struct.pack("!HH", tpid, chance.choice([0, 10, 20, 30, 4095]) | chance.randrange(8) << 13)
        self.number += 1
        token = self.number.to_bytes(4, "big") + b"TOKN"
        whole = bytes.fromhex(target + source) + tags + struct.pack("!H", ethertype) + payload
        if chance.random() < 0.01:
            whole = whole[: chance.randrange(30)]
        asks = kind in (Talk.membership, Talk.listener) or target == "0180c2000000"
        return whole.ljust(60 - TOKEN, b"\0") + token, asks

    def _address(self, guest: int) -> str:
        if self.chance.random() < 0.1:
            return self.chance.choice(["10.0.0.200", "10.9.9.9", "10.0.0.254", "0.0.0.0", "224.0.0.1"])
        return f"10.0.0.{guest + 1}"

    def _ip4(self, sender: int, other: int, protocol: int, payload: bytes, **keys: int) -> bytes:
        packet = ip4(self._address(sender), self._address(other), protocol, payload, **keys)
        self.said = [*self.said[-15:], (sender, other, packet)]
        return packet

    def tcp(self, sender: int, other: int) -> tuple[str, int, bytes]:
        """A segment; few ports and numbers, so that some follow one another."""
        chance = self.chance
        ports = chance.choice([(1000, 80), (1000, 81), (80, 1000), (81, 1000)])
        flags = chance.choice([0x02, 0x02, 0x12, 0x10, 0x10, 0x18, 0x11, 0x04, 0x00])
        numbers = (chance.choice([100, 101, 102]), chance.choice([0, 100, 101]))
        segment = struct.pack("!HHIIBBHHH", *ports, *numbers, 0x50, flags, 1000, 0, 0) + bytes(4)
        return MACS[other], 0x0800, self._ip4(sender, other, 6, segment)

    def udp(self, sender: int, other: int) -> tuple[str, int, bytes]:
        ports = self.chance.choice([(5000, 53), (53, 5000), (6000, 6000)])
        size = self.chance.choice([10, 10, 10, 700, 1460, 1600, 9100])
        return (
            MACS[other],
            0x0800,
            self._ip4(sender, other, 17, struct.pack("!HHHH", *ports, 8 + size, 0) + bytes(size)),
        )

    def fragment(self, sender: int, other: int) -> tuple[str, int, bytes]:
        part = self.chance.choice([0x2000, 0x2000, 0x0003, 0x2003])
        payload = struct.pack("!HHHH", 5000, 53, 40, 0) + bytes(16)
        return MACS[other], 0x0800, self._ip4(sender, other, 17, payload, fragment=part, mark=7)

    def echo(self, sender: int, other: int) -> tuple[str, int, bytes]:
        kind = self.chance.choice([8, 0, 13])
        return MACS[other], 0x0800, self._ip4(sender, other, 1, struct.pack("!BBHHH", kind, 0, 0, 1, 1))

    def error(self, sender: int, other: int) -> tuple[str, int, bytes]:
        """Port unreachable, about a packet that was there, perhaps."""
        if not self.said:
            return self.echo(sender, other)
        at, _, packet = self.chance.choice(self.said)
        return MACS[at], 0x0800, self._ip4(sender, at, 1, struct.pack("!BBHI", 3, 3, 0, 0) + packet[:28])

    def again(self, sender: int, other: int) -> tuple[str, int, bytes]:
        """A packet once more, or its answer: the ends changed."""
        mine = [said for said in self.said if sender in said[:2]]
        if not mine:
            return self.udp(sender, other)
        a, b, packet = self.chance.choice(mine)
        if sender != a and len(packet) >= 24 and packet[9] in (6, 17):
            packet = packet[:12] + packet[16:20] + packet[12:16] + packet[22:24] + packet[20:22] + packet[24:]
        return MACS[a if sender == b else b], 0x0800, packet

    def arp(self, sender: int, other: int) -> tuple[str, int, bytes]:
        chance = self.chance
        op = chance.choice([1, 1, 2])
        mac = MACS[sender] if chance.random() < 0.9 else MACS[other]
        own = self._address(sender) if chance.random() < 0.9 else "0.0.0.0"
        asked = self._address(other) if chance.random() < 0.8 else own
        ends = [ipaddress.IPv4Address(end).packed for end in (own, asked)]
        there = bytes.fromhex(MACS[other]) if op == 2 else bytes(6)
        packet = struct.pack("!HHBBH", 1, 0x0800, 6, 4, op) + bytes.fromhex(mac) + ends[0] + there + ends[1]
        return MACS[other] if op == 2 else "ffffffffffff", 0x0806, packet

    def _link_local(self, guest: int) -> str:
        return f"fe80::ff:fe00:{guest + 1:x}"

    def neighbour(self, sender: int, other: int) -> tuple[str, int, bytes]:
        """A solicitation, an advertisement, or a router's."""
        source, target = self._link_local(sender), self._link_local(other)
        asked = ipaddress.IPv6Address(
            self.chance.choice([source, target, "fd00::2", "fd00::ff:fe00:2"])
        ).packed
        mac = bytes.fromhex(MACS[sender])
        kind = self.chance.choice([135, 135, 136, 134])
        message = {
            135: b"\x87\0\0\0" + bytes(4) + asked + b"\1\1" + mac,
            136: b"\x88\0\0\0\x60\0\0\0" + asked + b"\2\1" + mac,
            134: b"\x86\0\0\0\x40\0\x07\x08" + bytes(8),
        }[kind]
        there = "ff02::1" if kind != 135 else f"ff02::1:ff00:{other + 1:x}"
        group = "3333" + ipaddress.IPv6Address(there).packed[-4:].hex()
        return group, 0x86DD, icmp6(source, there, message)

    def udp6(self, sender: int, other: int) -> tuple[str, int, bytes]:
        payload = struct.pack("!HHHH", 5000, 53, 18, 1) + bytes(10)
        packet = ip6(self._link_local(sender), self._link_local(other), 17, payload, 64)
        return MACS[other], 0x86DD, packet

    def dhcp(self, sender: int, other: int) -> tuple[str, int, bytes]:
        """A client's message, or a server's."""
        server = self.chance.random() < 0.5
        mine, kind = (
            (other, self.chance.choice([2, 5, 6])) if server else (sender, self.chance.choice([1, 3, 7]))
        )
        yours = ipaddress.IPv4Address(f"10.0.0.{100 + mine}").packed
        head = struct.pack(
            "!BBBBIHH4s4s4s4s", 2 if server else 1, 1, 6, 0, 9, 0, 0, bytes(4), yours, bytes(4), bytes(4)
        )
        options = bytes([53, 1, kind, 51, 4, 0, 0, 0, 60, 54, 4, 10, 0, 0, sender + 1, 255])
        body = head + bytes.fromhex(MACS[mine]) + bytes(10 + 192) + b"\x63\x82\x53\x63" + options
        ports = (67, 68) if server else (68, 67)
        source = f"10.0.0.{sender + 1}" if server else "0.0.0.0"
        packet = ip4(source, "255.255.255.255", 17, struct.pack("!HHHH", *ports, 8 + len(body), 0) + body)
        return MACS[other] if server and self.chance.random() < 0.5 else "ffffffffffff", 0x0800, packet

    def membership(self, sender: int, other: int) -> tuple[str, int, bytes]:
        """IGMP: version 2 reports and leaves, version 3 reports, queries."""
        group = self.chance.choice(["239.1.2.3", "239.1.2.4"])
        wanted = ipaddress.IPv4Address(group).packed
        kind = self.chance.choice(["report", "report", "leave", "sources", "query"])
        there, message = {
            "report": (group, b"\x16\0\0\0" + wanted),
            "leave": ("224.0.0.2", b"\x17\0\0\0" + wanted),
            "sources": ("224.0.0.22", b"\x22\0\0\0\0\0\0\1\4\0\0\0" + wanted),
            "query": ("224.0.0.1", b"\x11\x64\0\0" + bytes(4)),
        }[kind]
        tail = int(ipaddress.IPv4Address(there)) & 0x7FFFFF
        return f"01005e{tail:06x}", 0x0800, igmp(f"10.0.0.{sender + 1}", there, message)

    def listener(self, sender: int, other: int) -> tuple[str, int, bytes]:
        """MLD version 2."""
        record = b"\4\0\0\0" + ipaddress.IPv6Address("ff15::7").packed
        return (
            "333300000016",
            0x86DD,
            icmp6(self._link_local(sender), "ff02::16", b"\x8f\0\0\0\0\0\0\1" + record),
        )

    def multicast(self, sender: int, other: int) -> tuple[str, int, bytes]:
        group = self.chance.choice(["239.1.2.3", "239.1.2.4", "224.0.0.251"])
        tail = int(ipaddress.IPv4Address(group)) & 0x7FFFFF
        packet = ip4(f"10.0.0.{sender + 1}", group, 17, struct.pack("!HHHH", 9, 9, 18, 0) + bytes(10))
        return f"01005e{tail:06x}", 0x0800, packet

    def strange(self, sender: int, other: int) -> tuple[str, int, bytes]:
        """No IP, or none that can be read."""
        ethertype = self.chance.choice([0x88B5, 0x0800, 0x86DD, 0x0806, 0x0027])
        target = self.chance.choice([MACS[other], "ffffffffffff", "0180c2000000", "0180c200000e"])
        return target, ethertype, self.chance.randbytes(self.chance.randrange(80))


KINDS = (
    *(Talk.tcp, Talk.tcp, Talk.tcp, Talk.udp, Talk.udp, Talk.again, Talk.again, Talk.arp, Talk.arp),
    *(Talk.fragment, Talk.echo, Talk.error, Talk.neighbour, Talk.udp6, Talk.dhcp, Talk.membership),
    *(Talk.listener, Talk.multicast, Talk.strange),
)
