"""Links in real time: `python -m tools.bench.links [--frames N] [--json]`.

delay  How late frames are that a link delays, by the engine's own clock: from when one came in at a port of
       the first switch to when it left at a port of the second, less the delay that was asked for. What
       the guests' own wake-ups take is not in it. In turns with it, on the same CPU: how late a bare thread
       is that sleeps and wakes, and for how long one that never sleeps is not there (`witness.py`). What
       these miss is the machine's.
idle   CPU time of the whole process while nothing is sent, as a share of one core.
ring   Eight switches with RSTP in a ring, each of whose links is cut in turn: for how long two guests at
       opposite sides do not reach each other, by pings in a row.

Examples:
  python -m tools.bench.links
  python -m tools.bench.links --frames 1000 --json

"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import trio
from scapy.utils import rdpcap

import vnet
from tools.bench import witness
from vnet.topology.model import Engine

DELAYS = ("1 ms", "2 ms", "5 ms", "10 ms", "50 ms")
MACS = ("02:00:00:00:00:01", "02:00:00:00:00:02")
GAP = 0.003
"""Between two frames, in seconds: the engine has gone to sleep meanwhile."""
RING = 8
CHUNKS = 10
"""Turns that frames and the bare threads take for each delay."""
CPU = max(os.sched_getaffinity(0))
"""The engine's, and theirs."""


def slow(delay: str) -> vnet.Topology:
    """Two switches, a pipe at each, and a link that takes its time."""
    topology = vnet.Topology("bench-links", engine=Engine(cpu=CPU)).network("net")
    for number, mac in enumerate(MACS):
        switch = topology.switch(f"s{number}")
        switch.guest(
            f"g{number}", kind="external", network="net", switch=f"s{number}", mac=mac, nic=vnet.Pipe()
        )
    return topology.link("s0", "s1", impair={"delay": delay})


async def beside(count: int) -> dict[str, Any]:
    """What bare threads come to: see `witness.py`. In a process of its own, to disturb nobody."""
    argv = [sys.executable, "-m", "tools.bench.witness", str(CPU), str(count)]
    found: dict[str, Any] = json.loads((await trio.run_process(argv, capture_stdout=True)).stdout)
    return found


async def lateness(delay: str, count: int, folder: Path) -> tuple[list[float], list[dict[str, Any]]]:
    """How late each of so many frames was, in microseconds, and what bare threads came to meanwhile."""
    wanted = float(delay.removesuffix(" ms")) / 1000
    path = folder / "seen.pcapng"
    head = b"".join(bytes.fromhex(mac.replace(":", "")) for mac in reversed(MACS)) + b"\x88\xb5"
    async with vnet.Fabric(slow(delay), runtime=folder, driver="thread") as fabric:
        ends: list[Any] = [fabric.guests[name].ports[f"{name}.0"].opened.far for name in ("g0", "g1")]
        bare = []
        async with fabric.capture(path, "g0", "g1"):
            for number in range(count):
                await ends[0].send(head + number.to_bytes(4, "big") + bytes(42))
                await trio.sleep(GAP)
                if number % (count // CHUNKS or 1) == 0:
                    bare.append(await beside(count // CHUNKS or 1))
            with trio.fail_after(10):
                for _ in range(count):
                    await ends[1].receive()
    seen: dict[bytes, list[float]] = {}
    for frame in rdpcap(str(path)):
        data = bytes(frame)
        if data[:14] == head:
            seen.setdefault(data[14:18], []).append(float(frame.time % 1000))
    return [(max(times) - min(times) - wanted) * 1e6 for times in seen.values() if len(times) == 2], bare


def told_of(late: list[float]) -> dict[str, float]:
    """Figures of how late something was, in microseconds."""
    late = sorted(late)
    return {
        "frames": len(late),
        "p50": statistics.median(late),
        "p99": late[len(late) * 99 // 100],
        "max": late[-1],
        "within_100us": sum(1 for value in late if value <= 100) / len(late),
    }


def told_of_misses(bare: list[dict[str, Any]]) -> dict[str, float]:
    """Of a thread that never sleeps: the longest time that it was not there, and how many of the times that
    something could be due it would have met within 100 us.
    """
    gaps = [gap for one in bare for gap in one["gaps"]]
    missed = sum(gap - witness.NEAR for gap in gaps) / sum(one["span"] for one in bare)
    return {"max": max(gaps, default=0) / 1000, "within_100us": 1 - missed}


async def idle(folder: Path, seconds: float = 3) -> float:
    """Share of a core that a fabric with a slow link takes when nothing is sent."""
    async with vnet.Fabric(slow("5 ms"), runtime=folder, driver="thread"):
        await trio.sleep(0.5)
        begun = time.process_time()
        await trio.sleep(seconds)
        return (time.process_time() - begun) / seconds


async def ring(folder: Path) -> list[float]:
    """How long it took until two guests reached each other again, for each link that was cut, in seconds."""
    topology = vnet.Topology("bench-ring").network("net", subnets=["10.0.0.0/24"])
    for number in range(RING):
        topology.switch(f"s{number}", stp="rstp").guest(f"g{number}", network="net", switch=f"s{number}")
    for number in range(RING):
        topology.link(f"s{number}", f"s{(number + 1) % RING}")
    found = []
    async with vnet.Fabric(topology, runtime=folder, driver="thread") as fabric:
        a, b = fabric.guests["g0"], fabric.guests[f"g{RING // 2}"]
        await trio.sleep(4)
        for number in range(RING):
            cable = f"s{number}-s{(number + 1) % RING}"
            await a.ping(b)
            begun = time.perf_counter()
            await fabric.set_link(cable, False)
            while True:
                try:
                    await a.ping(b, timeout=0.01)
                    break
                except vnet.Unreachable:
                    if time.perf_counter() - begun > 30:
                        raise
            found.append(time.perf_counter() - begun)
            await fabric.set_link(cable, True)
            await trio.sleep(3)
    return found


def main() -> int:
    """Measure and tell."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=1000, help="frames for each delay")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    given = parser.parse_args()
    told: dict[str, Any] = {"delay": {}}
    with tempfile.TemporaryDirectory(prefix="vnet-links-") as name:
        folder = Path(name)
        for delay in DELAYS:
            late, bare = trio.run(lateness, delay, given.frames, folder)
            told["delay"][delay] = told_of(late) | {
                "bare_wake": told_of([ns / 1000 for one in bare for ns in one["wakes"]]),
                "bare_awake": told_of_misses(bare),
            }
        told["idle"] = trio.run(idle, folder)
        told["ring"] = trio.run(ring, folder)
    if given.json:
        print(json.dumps(told, indent=1))
        return 0
    for delay, row in told["delay"].items():
        print(
            f"delay {delay:>5}: late by {row['p50']:.1f} us (p50), {row['p99']:.1f} us (p99),"
            f" {row['max']:.0f} us at most; {row['within_100us']:.2%} of {row['frames']} within 100 us"
        )
        wake, awake = row["bare_wake"], row["bare_awake"]
        print(
            f"             a bare thread that wakes for it: {wake['p50']:.1f} us (p50),"
            f" {wake['p99']:.1f} us (p99), {wake['max']:.0f} us at most; {wake['within_100us']:.2%}\n"
            f"             one that never sleeps: {awake['max']:.0f} us at most; {awake['within_100us']:.2%}"
        )
    print(f"idle: {told['idle']:.2%} of a core")
    cuts = ", ".join(f"{seconds * 1000:.0f}" for seconds in told["ring"])
    print(f"RSTP ring of {RING}: reached again after {cuts} ms, by the link that was cut")
    return 0


if __name__ == "__main__":
    sys.exit(main())
