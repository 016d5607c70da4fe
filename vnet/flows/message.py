"""IPFIX messages (RFC 7011): templates, and records of what the engine counted. Pure.

A flow is one of three kinds: of IPv4, of IPv6, or of neither. Sampling is told by an options record
(RFC 5477, 8.2) in the elements of PSAMP, and in the older ones that collectors of NetFlow know; each port by
another one, with its name. Every switch is an observation domain.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping

import attrs

Place = tuple[int, int, int | None, int, str | None, bool]
Ether = tuple[bytes, bytes, int]
Ip = tuple[int, int, int, bytes, bytes, int, int, int]
Counts = tuple[int, int, int, int, int, int, int]
Flow = tuple[Place, Ether, Ip, Counts]
"""As `take_flows` gives it."""

VERSION = 10
PORT = 4739
"""IANA's, for IPFIX over UDP."""
MOST = 1400
"""Bytes of a message: one datagram on any path (RFC 7011, 10.3.3)."""
TEMPLATES, OPTIONS = 2, 3
ETHER, IPV4, IPV6, SAMPLING, INTERFACES = 256, 257, 258, 259, 260
VARIABLE = 65535

COMMON = (
    (10, 4),  # ingressInterface
    (14, 4),  # egressInterface
    (58, 2),  # vlanId
    (56, 6),  # sourceMacAddress
    (80, 6),  # destinationMacAddress
    (256, 2),  # ethernetType
    (89, 1),  # forwardingStatus
    (136, 1),  # flowEndReason
    (152, 8),  # flowStartMilliseconds
    (153, 8),  # flowEndMilliseconds
    (2, 8),  # packetDeltaCount
    (352, 8),  # layer2OctetDeltaCount
)
TRANSPORT = (
    (1, 8),  # octetDeltaCount
    (5, 1),  # ipClassOfService
    (4, 1),  # protocolIdentifier
    (7, 2),  # sourceTransportPort
    (11, 2),  # destinationTransportPort
    (6, 2),  # tcpControlBits
)
FIELDS: Mapping[int, tuple[tuple[int, int], ...]] = {
    ETHER: COMMON,
    IPV4: (*COMMON, *TRANSPORT, (8, 4), (12, 4), (32, 2)),
    IPV6: (*COMMON, *TRANSPORT, (27, 16), (28, 16), (139, 2)),
}
"""By template: elements of IANA's registry, and their lengths."""
SCOPED: Mapping[int, tuple[tuple[int, int], ...]] = {
    # Scope: the observation domain. Then PSAMP's algorithm, interval and space, and NetFlow's words for them.
    SAMPLING: ((149, 4), (304, 2), (305, 4), (306, 4), (34, 4), (35, 1)),
    # Scope: the interface. Its name.
    INTERFACES: ((10, 4), (82, VARIABLE)),
}

COMMON_PACK = struct.Struct("!IIH6s6sHBBQQQQ")
TRANSPORT_PACK = struct.Struct("!QBBHHH")
FORWARDED, DROPPED, DENIED, UNROUTABLE, BAD_LENGTH, POLICED, CONSUMED = 64, 128, 129, 131, 135, 138, 192
"""forwardingStatus (RFC 7270, 4.12)."""


def status(reason: str | None, consumed: bool) -> int:
    """A drop reason in the coarser words of forwardingStatus."""
    if reason is None:
        return CONSUMED if consumed else FORWARDED
    first = reason.partition("-")[0]
    if first in ("guard", "group", "private", "station", "uplink", "tag", "untagged", "vlan", "mac"):
        return DENIED
    if first == "storm" or reason in ("multicast-reports", "stp-bpdus"):
        return POLICED
    if reason in ("giant", "runt", "malformed-tag"):
        return BAD_LENGTH
    return UNROUTABLE if reason in ("no-member", "no-listener", "same-port") else DROPPED


def record(flow: Flow, epoch: int) -> tuple[int, bytes]:
    """A flow's template and record. `epoch`: nanoseconds from 1970 to the engine's time 0."""
    (_, ingress, egress, vlan, reason, consumed), (source, target, ethertype), ip, counts = flow
    first, last, packets, octets2, octets3, flags, end = counts
    common = COMMON_PACK.pack(
        interface(ingress),
        0 if egress is None else interface(egress),
        vlan,
        source,
        target,
        ethertype,
        status(reason, consumed),
        end,
        (epoch + first) // 1_000_000,
        (epoch + last) // 1_000_000,
        packets,
        octets2,
    )
    version, service, protocol, here, there, sport, dport, icmp = ip
    if not version:
        return ETHER, common
    transport = TRANSPORT_PACK.pack(octets3, service, protocol, sport, dport, flags)
    kind = IPV4 if version == 4 else IPV6
    return kind, common + transport + here + there + icmp.to_bytes(2, "big")


def interface(port: int) -> int:
    """A port's number as an interface's, of which 0 is none."""
    return port + 1


def _set(number: int, body: bytes) -> bytes:
    return struct.pack("!HH", number, 4 + len(body)) + body


def templates() -> list[bytes]:
    """The sets that say what records look like."""
    plain = b"".join(
        struct.pack("!HH", number, len(fields)) + b"".join(struct.pack("!HH", *field) for field in fields)
        for number, fields in FIELDS.items()
    )
    scoped = b"".join(
        struct.pack("!HHH", number, len(fields), 1) + b"".join(struct.pack("!HH", *field) for field in fields)
        for number, fields in SCOPED.items()
    )
    return [_set(TEMPLATES, plain), _set(OPTIONS, scoped)]


def sampling(domain: int, every: int) -> tuple[int, bytes]:
    """That of every so many frames one is looked at (systematic count-based, algorithm 1)."""
    return SAMPLING, struct.pack("!IHIIIB", domain, 1, 1, every - 1, every, 1)


def named(port: int, name: str) -> tuple[int, bytes]:
    """An interface's name."""
    text = name.encode()[:254]
    return INTERFACES, struct.pack("!IB", interface(port), len(text)) + text


@attrs.define
class Domain:
    """What is told of one observation domain, one message after the other."""

    number: int
    sequence: int = 0
    """Data records so far, modulo 2**32 (RFC 7011, 3.1)."""

    def messages(
        self, seconds: int, records: Iterable[tuple[int, bytes]], first: Iterable[bytes] = ()
    ) -> Iterator[bytes]:
        """The records as datagrams, behind whole sets that come `first`, exported at this time."""
        sets = list(first)
        size, count = sum(map(len, sets)), 0
        kind, body = 0, b""
        for number, data in records:
            more = len(data) + (4 if number != kind else 0)
            if 16 + size + len(body) + (4 if body else 0) + more > MOST and (sets or body):
                if body:
                    sets.append(_set(kind, body))
                yield self._message(seconds, sets, count)
                sets, size, count, kind, body = [], 0, 0, 0, b""
            if number != kind and body:
                sets.append(_set(kind, body))
                size += 4 + len(body)
                body = b""
            kind, body, count = number, body + data, count + 1
        if body:
            sets.append(_set(kind, body))
        if sets:
            yield self._message(seconds, sets, count)

    def _message(self, seconds: int, sets: list[bytes], count: int) -> bytes:
        body = b"".join(sets)
        head = struct.pack(
            "!HHIII", VERSION, 16 + len(body), seconds & 0xFFFFFFFF, self.sequence, self.number
        )
        self.sequence = (self.sequence + count) & 0xFFFFFFFF
        return head + body
