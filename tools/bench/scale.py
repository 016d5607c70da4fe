"""How long many hosts take to come and go: `python -m tools.bench.scale [--rounds N] [--hosts N ...]`.

As root, with Mininet (Debian's `mininet`). Every round brings up and takes down, one after the other and in
a process of its own: Mininet's hosts at a Linux bridge (`--switch lxbr`, no controller), vnet's in-process
hosts at a switch, and vnet's namespaces at a switch, which are what Mininet's hosts are too. Time begins
when the program has been imported and ends when all hosts are there (an echo from the first to the last
says so, and is not counted), and again until all is gone. Then a fat tree of 1,000 in-process hosts at 125
switches that run RSTP: time, memory, and echoes between 10,000 pairs drawn by chance.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import trio
import trio.testing

from tools.bench.results import machine

SYSTEM_PYTHON = "/usr/bin/python3"
"""Debian's, which has Mininet."""
WAYS = ("mininet", "stack", "netns")
NAMES = {"mininet": "Mininet, lxbr", "stack": "vnet, in-process", "netns": "vnet, namespaces"}
BAR = 20.0
"""Times that in-process hosts have to be faster than Mininet's, there and back."""
TREE = {"k": 10, "hosts": 20}
PAIRS = 10_000
AT_ONCE = 500
UP = 3.0
"""Seconds in which the tree has to be up."""
MEMORY = 200e6
"""Bytes that it may have taken in the end. The recorder keeps up to 64 MiB of them."""

MININET = """
import json, sys, time
from mininet.log import setLogLevel
from mininet.net import Mininet
from mininet.nodelib import LinuxBridge
from mininet.topo import SingleSwitchTopo
setLogLevel("error")
topo = SingleSwitchTopo(k=int(sys.argv[1]))
begun = time.perf_counter()
net = Mininet(topo=topo, switch=LinuxBridge, controller=None)
net.start()
up = time.perf_counter() - begun
answered = net.ping([net.hosts[0], net.hosts[-1]], timeout="5") == 0
begun = time.perf_counter()
net.stop()
print(json.dumps({"up": up, "down": time.perf_counter() - begun, "answered": answered}))
"""


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def come_and_go(kind: str, count: int) -> dict[str, Any]:
    """One round of vnet's, in this process."""
    import topologies
    import vnet

    topology = topologies.build("single", hosts=count, kind=kind, name=f"bench-{os.getpid()}")
    with tempfile.TemporaryDirectory(prefix="vnet-bench-") as folder:
        fabric = vnet.Fabric(topology, runtime=Path(folder) / "run")
        begun = time.perf_counter()
        async with fabric:
            up = time.perf_counter() - begun
            answered = await fabric.guests["h1"].ping(fabric.guests[f"h{count}"], timeout=5) > 0
            begun = time.perf_counter()
    return {"up": up, "down": time.perf_counter() - begun, "answered": answered}


async def fat_tree() -> dict[str, Any]:
    """The large one, in virtual time, which is the engine at its own pace."""
    import topologies
    import vnet

    async with vnet.Fabric(topologies.build("single", hosts=1)):
        pass
    gc.collect()
    before = resident()
    begun = time.perf_counter()
    topology = topologies.build("fat-tree", **TREE)
    built = time.perf_counter()
    fabric = vnet.Fabric(topology)
    async with fabric:
        up = time.perf_counter() - built
        gc.collect()
        memory = resident() - before
        started = time.perf_counter()
        await trio.sleep(5)
        converged = time.perf_counter() - started
        guests, dice = list(fabric.guests.values()), random.Random(1)
        answered, pairs = [], iter([dice.sample(guests, 2) for _ in range(PAIRS)])

        async def echoes() -> None:
            for one, other in pairs:
                answered.append(await one.ping(other, timeout=2))

        started = time.perf_counter()
        # Not a task for each pair: ten thousand of them are 33 MB, which are not the fabric's.
        async with trio.open_nursery() as nursery:
            for _ in range(AT_ONCE):
                nursery.start_soon(echoes)
        pinged = time.perf_counter() - started
        roots = len({switch["stp"]["root"] for switch in fabric.switches()})
        after = resident() - before
        started = time.perf_counter()
    return {
        "guests": len(topology.guests),
        "switches": len(topology.switches),
        "links": len(topology.links),
        "built": built - begun,
        "up": up,
        "down": time.perf_counter() - started,
        "memory": memory,
        "memory_after": after,
        "converged": converged,
        "answered": len(answered),
        "pinged": pinged,
        "roots": roots,
    }


def once(way: str, count: int) -> dict[str, Any]:
    """One round in a process of its own."""
    if way == "mininet":
        command = [SYSTEM_PYTHON, "-c", MININET, str(count)]
    else:
        command = [sys.executable, "-m", "tools.bench.scale", "--child", way, str(count)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise SystemExit(f"{NAMES.get(way, way)}: {done.stderr.strip()[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> int:
    """Measure and tell; 1 when something is not as it has to be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--hosts", type=int, nargs="+", default=[100, 500])
    parser.add_argument("--without", nargs="*", choices=WAYS, default=[], help="ways to leave out")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        way, count = given.child
        if way == "fat-tree":
            clock = trio.testing.MockClock(autojump_threshold=0)
            print(json.dumps(trio.run(fat_tree, clock=clock)))
        else:
            print(json.dumps(trio.run(come_and_go, way, int(count))))
        return 0
    print(machine())
    wrong = 0
    for count in given.hosts:
        runs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS if way not in given.without}
        for _ in range(given.rounds):
            for way, found in runs.items():
                found.append(once(way, count))
        print(f"\n{count} hosts, medians of {given.rounds} interleaved rounds:")
        for way, found in runs.items():
            up, down = (statistics.median(run[key] for run in found) for key in ("up", "down"))
            answered = all(run["answered"] for run in found)
            print(
                f"  {NAMES[way]:18} up {up:8.3f} s   down {down:8.3f} s{'' if answered else '   NO ANSWER'}"
            )
            wrong += not answered
        if "mininet" in runs and "stack" in runs:
            ratio = statistics.median(
                (theirs["up"] + theirs["down"]) / (ours["up"] + ours["down"])
                for theirs, ours in zip(runs["mininet"], runs["stack"], strict=True)
            )
            print(f"  in-process hosts come and go {ratio:.0f} times as fast as Mininet's; at least {BAR:g}")
            wrong += ratio < BAR
    trees = [once("fat-tree", 0) for _ in range(given.rounds)]
    tree = {key: statistics.median(run[key] for run in trees) for key in trees[0]}
    print(
        f"\nfat tree: {tree['guests']:.0f} in-process hosts, {tree['switches']:.0f} switches with RSTP,"
        f" {tree['links']:.0f} links\n"
        f"  made {tree['built']:.2f} s, up {tree['up']:.2f} s, down {tree['down']:.2f} s,"
        f" {tree['memory'] / 1e6:.0f} MB ({tree['memory_after'] / 1e6:.0f} MB at the end)\n"
        f"  5 s of its time, in which RSTP agrees on {tree['roots']:.0f} root: {tree['converged']:.2f} s\n"
        f"  {tree['answered']:.0f} of {PAIRS} echoes between pairs by chance answered: {tree['pinged']:.2f} s"
    )
    print(f"  bars: up in {UP:g} s, {MEMORY / 1e6:.0f} MB with all that was sent")
    wrong += tree["answered"] != PAIRS or tree["roots"] != 1
    wrong += tree["up"] > UP or tree["memory_after"] > MEMORY
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
