"""Huge pages for as long as a peer needs them: DPDK has no memory without."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_FREE = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
_RESERVED = Path("/proc/sys/vm/nr_hugepages")


def free() -> int:
    """Pages of 2 MB that are reserved and not taken; 0 where there are none at all."""
    return int(_FREE.read_text()) if _FREE.exists() else 0


@contextlib.contextmanager
def reserved(pages: int) -> Iterator[None]:
    """That many pages of 2 MB at least, if we may (root) and the memory is there; given back after.

    Does nothing where it may not: whoever needs them finds too few (`free`) and says so.
    """
    before = int(_RESERVED.read_text()) if _RESERVED.exists() else 0
    missing = pages - free()
    if missing <= 0 or os.geteuid() != 0 or not _RESERVED.exists():
        yield
        return
    _RESERVED.write_text(str(before + missing))
    try:
        yield
    finally:
        _RESERVED.write_text(str(before))
