"""The reference of security groups: what connection tracking lets pass, said once more, slowly.

It reads packets with scapy, keeps connections in a list by their two ends as they began, and knows of TCP
how a connection comes about; windows and endings are in `tests/switch/test_group_cases.py`. Of what a host
must be able to say and hear it knows IGMP, MLD and DHCP. `test_groups.py` sends both the same packets, with
sequence numbers that fit, and rules that change in between.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import attrs
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Ether

from switch.policy import Policy

Address = IPv4Address | IPv6Address
End = tuple[Address, int]
SECOND = 1_000_000_000
LIFETIME = {
    "new": 30, "answered": 180, "query": 30, "syn-sent": 60, "syn-received": 60, "established": 86_400,
}  # fmt: skip


@attrs.frozen
class Packet:
    """What is asked about."""

    protocol: int
    source: End
    target: End
    number: int
    begins: bool
    flags: str = ""
    alone: bool = False
    """It belongs to no connection."""
    need: str = ""
    """What it is to a host: something to `say` or to `hear`; of DHCP `ask-all`, `ask`, `told`."""

    @classmethod
    def read(cls, data: bytes) -> Packet:
        """A frame of IP with TCP, UDP, an ICMP echo, IGMP, or MLD without other headers."""
        frame = Ether(data)
        ip = frame[IP] if IP in frame else frame[IPv6]
        source, target = ip_address(ip.src), ip_address(ip.dst)
        if IP in frame and ip.proto == 2:
            need = membership(ip.ttl, target, bytes(ip.payload)[0], {0x12, 0x16, 0x17, 0x22}, 0x11)
            return cls(2, (source, 0), (target, 0), 0, False, alone=True, need=need)
        if IPv6 in frame and ip.nh == 2:
            return cls(2, (source, 0), (target, 0), 0, True)
        if IPv6 in frame and ip.nh == 58 and (kind := bytes(ip.payload)[0]) in range(130, 144):
            need = membership(ip.hlim, target, kind, {131, 132, 143}, 130)
            return cls(58, (source, 0), (target, 0), kind << 8, False, alone=True, need=need)
        if TCP in frame:
            tcp = frame[TCP]
            flags = str(tcp.flags)
            return cls(6, (source, tcp.sport), (target, tcp.dport), tcp.dport, flags == "S", flags)
        if UDP in frame:
            udp = frame[UDP]
            need = dhcp(target, (udp.sport, udp.dport))
            ends = (source, udp.sport), (target, udp.dport)
            return cls(17, *ends, udp.dport, True, alone=bool(need), need=need)
        if ICMP in frame:
            icmp = frame[ICMP]
            ends = (source, icmp.id), (target, icmp.id)
            return cls(1, *ends, icmp.type << 8, icmp.type == 8)
        asks = ICMPv6EchoRequest in frame
        number = frame[ICMPv6EchoRequest if asks else ICMPv6EchoReply].id
        return cls(58, (source, number), (target, number), (128 if asks else 129) << 8, asks)


def membership(hops: int, target: Address, kind: int, reports: set[int], query: int) -> str:
    """What a message about groups is to a host: it stays on the link, and is for a group."""
    if hops != 1 or not target.is_multicast:
        return ""
    return "say" if kind in reports else "hear" if kind == query else ""


def dhcp(target: Address, ports: tuple[int, int]) -> str:
    """What a message of DHCP is to a host."""
    server, client, everybody = (
        (67, 68, "255.255.255.255") if target.version == 4 else (547, 546, "ff02::1:2")
    )
    if ports == (client, server):
        return "ask-all" if target == ip_address(everybody) else "ask"
    return "told" if ports == (server, client) else ""


@attrs.define(eq=False)
class Connection:
    """From its first packet on."""

    protocol: int
    source: End
    target: End
    number: int
    state: str
    heard: int
    allowed: dict[int, Policy] = attrs.Factory(dict)
    """By port: the rules that last let it pass there."""


@attrs.define
class ReferenceGroups:
    """The groups of ports, and what passes between them."""

    policies: dict[int, Policy | None]
    leased: frozenset[int] = frozenset()
    """Ports whose guests have addresses by DHCP."""
    connections: list[Connection] = attrs.Factory(list)
    asked: dict[tuple[int, int], int] = attrs.Factory(dict)
    """By port and IP version: when its guest last asked by DHCP."""

    def judge(self, now: int, sender: int, receiver: int, data: bytes) -> str | None:
        """Why a frame of port `sender` does not reach the station at `receiver`, or None."""
        packet = Packet.read(data)
        gates = [("egress", sender), ("ingress", receiver)]
        gates = [(way, port) for way, port in gates if self.policies[port] is not None]
        if not gates:
            return None
        if packet.alone:
            return self._alone(now, packet, gates)
        known, answers = self._find(now, packet)
        if known is None:
            return self._begin(now, packet, gates)
        for way, port in gates:
            policy = self.policies[port]
            if known.allowed.get(port) is policy:
                continue
            direction = {"egress": "ingress", "ingress": "egress"}[way] if answers else way
            remote = known.source[0] if direction == "ingress" else known.target[0]
            assert policy is not None
            if policy.allows(direction, packet.protocol, known.number, remote, 1) is None:  # type: ignore[arg-type]
                if port in known.allowed:
                    self.connections.remove(known)
                return f"group-{way}"
            known.allowed[port] = policy
        wrong = "group-invalid" if gates[0][0] == "egress" else "tx-group-invalid"
        if packet.protocol == 6:
            step = self._tcp(known, packet, answers)
            if step == "bad":
                return wrong
            known.state = step
        elif answers and known.state == "new":
            known.state = "answered"
        known.heard = now
        return None

    def _alone(self, now: int, packet: Packet, gates: list[tuple[str, int]]) -> str | None:
        version = packet.target[0].version
        for way, port in gates:
            asks = packet.need == "ask-all" or (packet.need == "ask" and port in self.leased)
            waits = now - self.asked.get((port, version), -30 * SECOND) < 30 * SECOND
            free = (
                (packet.need == "say" or asks)
                if way == "egress"
                else packet.need == "hear" or (packet.need == "told" and waits)
            )
            if not free and self._denies(way, port, packet):
                return f"group-{way}"
        for way, port in gates:
            if way == "egress" and packet.need in ("ask", "ask-all"):
                self.asked[port, version] = now
        return None

    def _denies(self, way: str, port: int, packet: Packet) -> bool:
        policy = self.policies[port]
        assert policy is not None
        remote = packet.target[0] if way == "egress" else packet.source[0]
        return policy.allows(way, packet.protocol, packet.number, remote, 1) is None  # type: ignore[arg-type]

    def _find(self, now: int, packet: Packet) -> tuple[Connection | None, bool]:
        for known in list(self.connections):
            if now - known.heard > LIFETIME[known.state] * SECOND:
                self.connections.remove(known)
            elif known.protocol != packet.protocol:
                continue
            elif packet.protocol in (1, 58):
                # A question and its answer; a question the other way round is another one.
                same = (known.source, known.target) == (packet.source, packet.target) and packet.begins
                back = (known.target, known.source) == (packet.source, packet.target) and not packet.begins
                if same or back:
                    return known, back
            elif (known.source, known.target) == (packet.source, packet.target):
                return known, False
            elif (known.target, known.source) == (packet.source, packet.target):
                return known, True
        return None, False

    def _begin(self, now: int, packet: Packet, gates: list[tuple[str, int]]) -> str | None:
        for way, port in gates:
            if self._denies(way, port, packet):
                return f"group-{way}"
        if not packet.begins:
            return "group-invalid" if gates[0][0] == "egress" else "tx-group-invalid"
        state = {6: "syn-sent", 17: "new", 2: "new"}.get(packet.protocol, "query")
        made = Connection(packet.protocol, packet.source, packet.target, packet.number, state, now)
        made.allowed = {port: self.policies[port] for _, port in gates}  # type: ignore[misc]
        self.connections.append(made)
        return None

    @staticmethod
    def _tcp(known: Connection, packet: Packet, answers: bool) -> str:
        """The state that a segment leads to, or `bad`; its numbers fit, and nobody ends anything."""
        if packet.flags == "S":
            # Both may begin at once.
            return "syn-received" if known.state == "syn-sent" and answers else known.state
        if known.state == "syn-sent":
            if not answers:
                return "bad"
            # Without a SYN it is a challenge, for the one that began to answer (RFC 5961).
            return "syn-received" if packet.flags == "SA" else "syn-sent"
        if known.state == "syn-received" and not answers and packet.flags == "A":
            return "established"
        return known.state
