"""Storm control once more, slow and readable: a bucket of frames for each kind of flood."""

from __future__ import annotations

from fractions import Fraction

import attrs

from switch import Storm

SECOND = 1_000_000_000
KINDS = {
    "flood-broadcast": "broadcast",
    "flood-multicast": "multicast",
    "flood-link-local": "multicast",
    "flood-unknown": "unknown",
}


@attrs.define
class Bucket:
    """Frames that may pass now. Whoever is not in debt passes, and may be in debt then."""

    rate: int
    frames: Fraction = attrs.field(init=False)
    seen: int = 0

    def __attrs_post_init__(self) -> None:
        self.frames = self.room

    @property
    def room(self) -> Fraction:
        """A tenth of a second's worth, in whole frames, one at least; and in whole nanoseconds."""
        frames = max(1, self.rate // 10)
        return Fraction(-(-frames * SECOND // self.rate) * self.rate, SECOND)

    def passes(self, now: int) -> bool:
        """Whether one more frame does."""
        self.frames = min(self.room, self.frames + Fraction((now - self.seen) * self.rate, SECOND))
        self.seen = now
        # A debt that is paid within this nanosecond is none.
        if self.frames <= Fraction(-self.rate, SECOND):
            return False
        self.frames -= 1
        return True


@attrs.define
class StormControl:
    """What a port lets in."""

    buckets: dict[str, Bucket] = attrs.Factory(dict)

    def set(self, storm: Storm | None) -> None:
        """Other rates. Where one stays as it is, nobody gets more by that."""
        rates = attrs.asdict(storm) if storm else {}
        before, self.buckets = self.buckets, {}
        for kind, rate in rates.items():
            if rate:
                had = before.get(kind)
                self.buckets[kind] = had if had and had.rate == rate else Bucket(rate)

    def refuses(self, now: int, action: str) -> str | None:
        """The reason to drop a frame that would be flooded so, if there is one."""
        kind = KINDS.get(action)
        bucket = self.buckets.get(kind or "")
        return f"storm-{kind}" if bucket and not bucket.passes(now) else None
