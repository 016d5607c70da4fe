"""Sets of packets of one IP version, told apart as security groups do: by protocol and number.

The number is the destination port, or of ICMP `type << 8 | code`; other protocols have none, and then
all numbers are in or none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

ICMP, TCP, UDP, ICMP6 = 1, 6, 17, 58
OTHERS = -1
"""Every protocol that no rule of the topology names."""
NAMES = {
    OTHERS: "other protocols",
    ICMP: "icmp",
    2: "igmp",
    TCP: "tcp",
    UDP: "udp",
    33: "dccp",
    47: "gre",
    50: "esp",
    51: "ah",
    ICMP6: "icmp6",
    132: "sctp",
    136: "udplite",
}
ECHO = {4: (ICMP, 8 << 8), 6: (ICMP6, 128 << 8)}
"""Echo requests, as (protocol, number): RFC 792, RFC 4443 section 4.1."""

Ranges = tuple[tuple[int, int], ...]
"""Numbers from..to, ascending, apart from each other."""
ALL: Ranges = ((0, 0xFFFF),)


def union(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """All numbers of any of the ranges."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    return tuple(merged)


def common(one: Ranges, other: Ranges) -> Ranges:
    """The numbers in both."""
    found = ((max(a, c), min(b, d)) for a, b in one for c, d in other)
    return tuple((low, high) for low, high in found if low <= high)


def within(part: Ranges, whole: Ranges) -> bool:
    """Whether every number of `part` is in `whole`."""
    return common(part, whole) == part


@attrs.frozen(hash=False)
class Packets:
    """A set of packets. `numbers` has no empty ranges."""

    numbers: Mapping[int, Ranges] = attrs.field(factory=dict)
    """By protocol."""

    @classmethod
    def everything(cls, protocols: Iterable[int], family: int) -> Packets:
        """All packets of an IP version; the ICMP of the other version is none (RFC 792, RFC 4443)."""
        foreign = ICMP6 if family == 4 else ICMP
        return cls({protocol: ALL for protocol in protocols if protocol != foreign})

    def __hash__(self) -> int:
        return hash(frozenset(self.numbers.items()))

    def __bool__(self) -> bool:
        return bool(self.numbers)

    def __or__(self, other: Packets) -> Packets:
        joined = dict(self.numbers)
        for protocol, ranges in other.numbers.items():
            joined[protocol] = union((*joined.get(protocol, ()), *ranges))
        return Packets(joined)

    def __and__(self, other: Packets) -> Packets:
        both = {
            protocol: common(ranges, other.numbers[protocol])
            for protocol, ranges in self.numbers.items()
            if protocol in other.numbers
        }
        return Packets({protocol: ranges for protocol, ranges in both.items() if ranges})

    def has(self, protocol: int, number: int = 0) -> bool:
        """Whether a packet is in it."""
        ranges = self.numbers.get(protocol, ())
        return any(low <= number <= high for low, high in ranges)

    def asked(self, protocol: str, ports: Ranges, family: int) -> Packets:
        """Those of it that an expectation is about."""
        if protocol == "any":
            return self
        if protocol == "icmp":
            kind, number = ECHO[family]
            return self & Packets({kind: ((number, number),)})
        return self & Packets({TCP if protocol == "tcp" else UDP: union(ports) if ports else ALL})

    def __str__(self) -> str:
        """`tcp 80, 443; icmp`; `anything`; `nothing`."""
        if not self.numbers:
            return "nothing"
        if OTHERS in self.numbers and all(ranges == ALL for ranges in self.numbers.values()):
            return "anything"
        order = [protocol for protocol in NAMES if protocol in self.numbers]
        order += sorted(set(self.numbers) - set(order))
        said = []
        for protocol in sorted(order, key=lambda p: (p == OTHERS, p)):
            name = NAMES.get(protocol, f"protocol {protocol}")
            ranges = self.numbers[protocol]
            said.append(name if ranges == ALL else f"{name} {_numbers(protocol, ranges)}")
        return ", ".join(said)


def _numbers(protocol: int, ranges: Ranges) -> str:
    if protocol in (ICMP, ICMP6):
        return "type " + "+".join(_types(low, high) for low, high in ranges)
    return "+".join(str(low) if low == high else f"{low}-{high}" for low, high in ranges)


def _types(low: int, high: int) -> str:
    if low == high:
        return f"{low >> 8} code {low & 0xFF}"
    first, last = low >> 8, high >> 8
    return str(first) if first == last else f"{first}-{last}"
