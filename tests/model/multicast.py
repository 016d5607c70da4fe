"""Who wants which multicast group at one switch with a querier of its own: slow, readable, and right.

Written from RFC 3376, 6.4, and RFC 4541, 2.1.
"""

from __future__ import annotations

import attrs

SECOND = 1_000_000_000
MEMBERSHIP = 260 * SECOND
"""2 * 125 s + 10 s (RFC 3376, 8.4)."""
LAST = 2 * SECOND
"""Answers to two questions are waited for, a second each (8.8, 8.9)."""


@attrs.define
class Wishes:
    """Of a port for a group (6.2): all sources but some, and some, each as long as its timer says."""

    exclude: int = 0
    """The group timer; 0: the filter mode is INCLUDE."""
    timers: dict[str, int] = attrs.Factory(dict)
    """Of sources; 0: in the list of those that are excluded."""

    def wait(self, now: int) -> None:
        """Timers that are over (6.3, 6.5)."""
        if self.exclude and self.exclude <= now:
            self.exclude = 0
            self.timers = {source: at for source, at in self.timers.items() if at > now}
        over = {source: 0 for source, at in self.timers.items() if at <= now}
        self.timers = (
            self.timers | over if self.exclude else {s: t for s, t in self.timers.items() if s not in over}
        )

    def hear(self, now: int, kind: str, named: list[str]) -> None:
        """The tables of 6.4.1 and 6.4.2."""
        wanted = {source for source, at in self.timers.items() if at}
        known = set(self.timers)
        asked: set[str] = set()
        if kind in ("is-exclude", "to-exclude"):
            if self.exclude:
                new = now + MEMBERSHIP if kind == "is-exclude" else self.exclude
                self.timers = {source: self.timers.get(source, new) for source in named}
                asked = set(named) - (known - wanted)
            else:
                self.timers = {source: self.timers.get(source, 0) for source in named}
                asked = set(named) & wanted
            self.exclude = now + MEMBERSHIP
            if kind == "is-exclude":
                asked = set()
        elif kind == "block":
            asked = set(named) & wanted
            if self.exclude:
                self.timers |= dict.fromkeys(set(named) - known, self.exclude)
                asked = set(named) - (known - wanted)
        else:
            self.timers |= dict.fromkeys(named, now + MEMBERSHIP)
            if kind == "to-include":
                asked = wanted - set(named)
                self.exclude = min(self.exclude, now + LAST)
        self.timers |= {source: min(self.timers[source], now + LAST) for source in asked}

    def wants(self, source: str) -> bool:
        """Whether a datagram of it goes there (6.3)."""
        return self.timers[source] > 0 if source in self.timers else self.exclude > 0


@attrs.define
class ReferenceGroups:
    """Groups by port. Time is in nanoseconds."""

    port_groups: int
    members: dict[tuple[int, str], Wishes] = attrs.Factory(dict)

    def wait(self, now: int) -> None:
        """Forget what is over."""
        for key, wishes in list(self.members.items()):
            wishes.wait(now)
            if not wishes.exclude and not wishes.timers:
                del self.members[key]

    def report(self, now: int, port: int, kind: str, group: str, sources: list[str]) -> None:
        """A record of IGMPv3."""
        self.wait(now)
        if group.startswith("224.0.0."):
            return
        wishes = self.members.get((port, group))
        if wishes is None:
            full = sum(at == port for at, _ in self.members) >= self.port_groups
            if full or kind == "block" or not (sources or kind.endswith("-exclude")):
                return
            wishes = self.members[port, group] = Wishes()
        wishes.hear(now, kind, sources)

    def ports(self, now: int, group: str, source: str) -> set[int]:
        """Where a datagram to a group goes."""
        self.wait(now)
        return {
            port
            for (port, wanted), wishes in self.members.items()
            if wanted == group and wishes.wants(source)
        }
