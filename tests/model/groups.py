"""The reference of security groups: what connection tracking lets pass, said once more, slowly.

It reads packets with scapy, keeps connections in a list by their two ends as they began, and knows of TCP
how a connection comes about; windows and endings are in `tests/switch/test_group_cases.py`. `test_groups.py`
sends both the same packets, with sequence numbers that fit, and rules that change in between.
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

    @classmethod
    def read(cls, data: bytes) -> Packet:
        """A frame of IP with TCP, UDP or an ICMP echo."""
        frame = Ether(data)
        ip = frame[IP] if IP in frame else frame[IPv6]
        source, target = ip_address(ip.src), ip_address(ip.dst)
        if TCP in frame:
            tcp = frame[TCP]
            flags = str(tcp.flags)
            return cls(6, (source, tcp.sport), (target, tcp.dport), tcp.dport, flags == "S", flags)
        if UDP in frame:
            udp = frame[UDP]
            return cls(17, (source, udp.sport), (target, udp.dport), udp.dport, True)
        if ICMP in frame:
            icmp = frame[ICMP]
            ends = (source, icmp.id), (target, icmp.id)
            return cls(1, *ends, icmp.type << 8, icmp.type == 8)
        asks = ICMPv6EchoRequest in frame
        number = frame[ICMPv6EchoRequest if asks else ICMPv6EchoReply].id
        return cls(58, (source, number), (target, number), (128 if asks else 129) << 8, asks)


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
    connections: list[Connection] = attrs.Factory(list)

    def judge(self, now: int, sender: int, receiver: int, data: bytes) -> str | None:
        """Why a frame of port `sender` does not reach the station at `receiver`, or None."""
        packet = Packet.read(data)
        gates = [("egress", sender), ("ingress", receiver)]
        gates = [(way, port) for way, port in gates if self.policies[port] is not None]
        if not gates:
            return None
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
            remote = packet.target[0] if way == "egress" else packet.source[0]
            policy = self.policies[port]
            assert policy is not None
            if policy.allows(way, packet.protocol, packet.number, remote, 1) is None:  # type: ignore[arg-type]
                return f"group-{way}"
        if not packet.begins:
            return "group-invalid" if gates[0][0] == "egress" else "tx-group-invalid"
        state = {6: "syn-sent", 17: "new"}.get(packet.protocol, "query")
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
