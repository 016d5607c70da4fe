"""The Internet checksum (RFC 1071), for what is put together in Python."""

from __future__ import annotations

import struct


def internet_checksum(data: bytes) -> int:
    """Of `data`, behind which a byte of 0 is thought where its length is odd."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
