"""Offload completion as scapy sees its results."""

import random
import struct
from typing import Any

import pytest

from tests.needs import needs_module
from vnet._native import complete_offload

pytestmark = needs_module("scapy")

NEEDS_CSUM = 1
TCPV4, TCPV6, UDP_L4 = 1, 4, 5


def _packets(source: random.Random, size: int) -> Any:
    from scapy.layers.inet import IP, TCP, UDP, IPOption_Router_Alert
    from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt
    from scapy.layers.l2 import Dot1Q, Ether
    from scapy.packet import Raw

    frame = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    for _ in range(source.randrange(3)):
        frame /= Dot1Q(vlan=source.randrange(1, 4095))
    ipv6 = source.random() < 0.5
    if ipv6:
        frame /= IPv6(src="fd00::1", dst="fd00::2")
        if source.random() < 0.3:
            frame /= IPv6ExtHdrDestOpt()
    else:
        options = [IPOption_Router_Alert()] if source.random() < 0.3 else []
        frame /= IP(src="10.0.0.1", dst="10.0.0.2", id=source.randrange(65536), options=options)
    tcp = source.random() < 0.5
    if tcp:
        options = [("Timestamp", (1, 2))] if source.random() < 0.5 else []
        frame /= TCP(sport=1, dport=80, seq=source.randrange(2**32), flags="FPAC", options=options)
    else:
        frame /= UDP(sport=1, dport=53)
    payload = source.randbytes(size)
    return frame / Raw(payload), frame, payload, tcp, ipv6


def _header(data: bytes, frame: Any, tcp: bool, gso: int, size: int) -> bytes:
    start = len(data) - len(frame.getlayer("TCP" if tcp else "UDP"))
    return struct.pack("<BBHHHH", NEEDS_CSUM, gso, 0, size, start, 16 if tcp else 6)


def _recomputed(data: bytes) -> bytes:
    """The same frame with lengths and checksums by scapy."""
    from scapy.layers.l2 import Ether

    frame = Ether(data)
    layer: Any = frame
    while layer:
        for name in ("chksum", "len", "plen"):
            if name in layer.fields:
                del layer.fields[name]
        layer = layer.payload
    return bytes(frame)


def test_a_checksum_is_what_scapy_computes() -> None:
    source = random.Random(1)
    for _ in range(150):
        frame, _, payload, tcp, _ = _packets(source, source.randrange(1400))
        right = bytes(frame)
        at = len(right) - len(payload)
        header = _header(right, frame, tcp, 0, 0)
        start, offset = struct.unpack_from("<HH", header, 6)
        spoilt = bytearray(right)
        spoilt[start + offset : start + offset + 2] = source.randbytes(2)
        ((done_header, done),) = complete_offload(bytes(spoilt), header, max_frame=2000)
        assert done_header == bytes(10)
        assert done == right, at


@pytest.mark.deadline(240)
def test_segments_are_what_scapy_would_have_built() -> None:
    from scapy.layers.l2 import Ether

    source = random.Random(2)
    for _ in range(60):
        size = source.randrange(200, 1400)
        frame, _, payload, tcp, ipv6 = _packets(source, source.randrange(size + 1, min(60000, size * 100)))
        data = bytes(frame)
        gso = (TCPV6 if ipv6 else TCPV4) if tcp else UDP_L4
        segments = complete_offload(data, _header(data, frame, tcp, gso, size), max_frame=2000)
        whole = b""
        for index, (header, segment) in enumerate(segments):
            assert header == bytes(10)
            assert segment == _recomputed(segment)
            parsed = Ether(segment)
            if tcp:
                flags = parsed["TCP"].flags
                assert parsed["TCP"].seq == (frame["TCP"].seq + len(whole)) % 2**32
                assert ("F" in flags, "P" in flags) == (index == len(segments) - 1,) * 2
                assert ("C" in flags) == (index == 0)
            if not ipv6:
                assert parsed["IP"].id == (frame["IP"].id + index) % 65536
            whole += bytes(parsed["TCP" if tcp else "UDP"].payload)
        assert whole == payload


def test_a_lie_is_refused() -> None:
    frame, *_ = _packets(random.Random(3), 100)
    for start in (0, 6, 26, 1000):
        with pytest.raises(ValueError, match="door-malformed"):
            complete_offload(bytes(frame), struct.pack("<BBHHHH", NEEDS_CSUM, 0, 0, 0, start, 0))
