"""Datagrams that a receiver was too slow for: they came to its socket, and are nobody's loss on the way."""

from __future__ import annotations

TABLES = ("/proc/net/snmp", "/proc/net/snmp6")
"""What the kernel counts in a network namespace."""


def unread(tables: str) -> int:
    """How many found a socket full, by IPv4 and IPv6, in the text of both TABLES."""
    rows = [line.split() for line in tables.splitlines()]
    names, numbers = (row for row in rows if row[0] == "Udp:")
    (six,) = (row[1] for row in rows if row[0] == "Udp6RcvbufErrors")
    return int(numbers[names.index("RcvbufErrors")]) + int(six)
