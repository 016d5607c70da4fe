"""How far apart the two cores are that a benchmark uses: measured around each run, and told.

The host of a virtual machine moves its cores about. On some processors two of them share a cache at one time
and not at the next, some seconds later, and a line takes four times as long from one to the other: whatever
they do together is slower, whoever switches. So runs of the two kinds are not compared.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

LOAD = Path(__file__).parents[2] / "target/release/vhost-load"
KEY = "cores"
"""What a run notes it under."""
NEAR, FAR = "near", "far"
_FAR = 250.0
"""Nanoseconds there and back from which on cores are far apart: some 100 where they share a cache, or 400."""
_SECONDS = 0.03
_TRIES = 5


def measure() -> float | None:
    """Nanoseconds that a cache line takes from core 0 to core 1 and back; None on a machine with one core."""
    words = [str(LOAD), "--mode", "distance", "--seconds", str(_SECONDS)]
    if os.geteuid() == 0:
        # There may be a switch on the other core that never sleeps.
        words = ["nice", "-n", "-20", *words]
    done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
    try:
        return float(json.loads(done.stdout)["round_trip_ns"])
    except (ValueError, KeyError):
        return None


def alike(
    run: Callable[[], dict[str, Any]], measured: Callable[[], float | None] = measure
) -> dict[str, Any]:
    """What `run` returns, with how far apart the cores were: `cores` (`near` or `far`) and `round_trip_ns`.

    A run before and after which it was not the same is made again, and at last is an `error`.
    """
    for _ in range(_TRIES):
        before = measured()
        result = run()
        after = measured()
        if before is None or after is None:
            return result
        if (before < _FAR) == (after < _FAR):
            kind = NEAR if before < _FAR else FAR
            return {**result, KEY: kind, "round_trip_ns": round((before + after) / 2, 1)}
        print("the machine's cores were moved meanwhile: once more", file=sys.stderr)
    return {"error": "the machine's cores were moved in each run"}


def title(kind: str) -> str:
    """Above what was measured so."""
    about = {NEAR: "cores that share a cache", FAR: "cores far apart"}
    return about.get(kind, "")
