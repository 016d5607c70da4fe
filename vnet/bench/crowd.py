"""One fabric with many guests, in a process of its own: how long it takes, and how much memory.

python -m vnet.bench.crowd KIND NUMBER
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import trio

from vnet.fabric import Fabric

PAGE = resource.getpagesize()


def topology(kind: str, number: int) -> dict[str, Any]:
    """A topology with one network and so many guests of a kind."""
    nic: dict[str, Any] = {"network": "net"}
    guest: dict[str, Any] = {"kind": {"stack": "stack", "tap": "netns"}.get(kind, "external")}
    guests = {}
    for i in range(number):
        extra = {
            "pipe": {"kind": "pipe"},
            "stream": {"kind": "stream", "socket": f"{i}.sock"},
            "vde": {"kind": "vde", "directory": f"{i}.vde"},
        }.get(kind)
        guests[f"g{i}"] = guest | {"nics": [nic | ({"nic": extra} if extra else {})]}
    return {
        "name": f"bench-{os.getpid()}",
        "networks": {"net": {"vlan": 10, "subnets": ["10.0.0.0/16"]}},
        "guests": guests,
    }


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


async def measure(kind: str, number: int, folder: Path) -> dict[str, float]:
    """Bring it up once with one guest, so that all code is there; then with all."""
    async with Fabric.from_dict(topology(kind, 1), runtime=folder / "one"):
        pass
    document = topology(kind, number)
    gc.collect()
    before = resident()
    begun = time.perf_counter()
    async with Fabric.from_dict(document, runtime=folder / "all"):
        seconds = time.perf_counter() - begun
        gc.collect()
        return {"seconds": seconds, "memory": resident() - before}


def main(kind: str, number: str) -> int:
    """Measure, print, be gone."""
    with tempfile.TemporaryDirectory(prefix="vnet-bench-") as folder:
        print(json.dumps(trio.run(measure, kind, int(number), Path(folder))))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
