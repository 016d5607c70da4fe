"""What this machine lets a bare thread do, to be put beside what the engine does:
`python -m tools.bench.witness CPU COUNT`.

On a shared machine a thread is not always there when it is due: the hypervisor has taken its core, or the
scheduler has given that to somebody else. Two that do nothing else are asked on the CPU that the engine is
bound to, by turns with it: one that sleeps until shortly before its time, and waits for that awake, as the
engine does; and one that never sleeps. What they miss, no program here could keep.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time

NANO = 1_000_000_000
GAP = 3_000_000
"""Nanoseconds from one wait to the next."""
EARLY = 150_000
"""It wakes so much before its time, as the engine's thread does."""
PR_SET_TIMERSLACK = 29
NEAR = 100_000
"""What counts as in time."""


def wakes(count: int) -> list[int]:
    """How late a thread is that sleeps between so many waits, in nanoseconds."""
    late = []
    for _ in range(count):
        due = time.monotonic_ns() + GAP
        time.sleep((due - EARLY - time.monotonic_ns()) / NANO)
        while (now := time.monotonic_ns()) < due:
            pass
        late.append(now - due)
    return late


def misses(span: int) -> tuple[list[int], int]:
    """How long a thread that looks at the clock all the time for so long was not there, each time that this
    was longer than `NEAR`; and for how long it looked: it may have been away in the end.
    """
    gaps, begun = [], time.monotonic_ns()
    before = begun
    while before < begun + span:
        now = time.monotonic_ns()
        if now - before > NEAR:
            gaps.append(now - before)
        before = now
    return gaps, before - begun


def main() -> int:
    """One document on standard output."""
    cpu, count = int(sys.argv[1]), int(sys.argv[2])
    os.sched_setaffinity(0, {cpu})
    # As the engine has it, too: its sleeps are no longer than they have to be.
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
    late = wakes(count)
    gaps, span = misses(count * GAP)
    print(json.dumps({"wakes": late, "gaps": gaps, "span": span}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
