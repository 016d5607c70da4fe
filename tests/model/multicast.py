"""Who wants which multicast group at one switch with a querier of its own: slow, readable, and right.

Written from RFC 3376, 6.4, and RFC 4541, 2.1. A membership is a set of wishes with their ends: `None` stands
for all sources but some, an address for one source.
"""

from __future__ import annotations

import attrs

SECOND = 1_000_000_000
MEMBERSHIP = 260 * SECOND
"""2 * 125 s + 10 s (RFC 3376, 8.4)."""
LAST = 2 * SECOND
"""Answers to two questions are waited for, a second each (8.8, 8.9)."""

Wishes = dict[str | None, int]


@attrs.define
class ReferenceGroups:
    """Groups by port. Time is in nanoseconds."""

    port_groups: int
    members: dict[tuple[int, str], Wishes] = attrs.Factory(dict)

    def wait(self, now: int) -> None:
        """Forget what is over."""
        for key, wishes in list(self.members.items()):
            left = {wish: until for wish, until in wishes.items() if until > now}
            self.members[key] = left
            if not left:
                del self.members[key]

    def report(self, now: int, port: int, kind: str, group: str, sources: list[str]) -> None:
        """A record of IGMPv3."""
        self.wait(now)
        if group.startswith("224.0.0."):
            return
        wishes = self.members.get((port, group), {})
        if not wishes and sum(at == port for at, _ in self.members) >= self.port_groups:
            return
        until = now + MEMBERSHIP
        if kind in ("is-exclude", "to-exclude"):
            wishes = {None: until}
        elif kind in ("is-include", "to-include", "allow"):
            had = set(wishes)
            wishes = wishes | dict.fromkeys(sources, until)
            if kind == "to-include":
                wishes |= {w: min(wishes[w], now + LAST) for w in had if w not in sources}
        elif kind == "block":
            wishes = wishes | {s: min(wishes[s], now + LAST) for s in sources if s in wishes}
        if wishes:
            self.members[port, group] = wishes

    def ports(self, now: int, group: str) -> set[int]:
        """Where a datagram to a group goes."""
        self.wait(now)
        return {port for port, wanted in self.members if wanted == group}
