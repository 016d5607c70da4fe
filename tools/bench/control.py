"""How long a control client waits while the data path is saturated: `python -m tools.bench.control`.

    python -m tools.bench.control [--guests 2000] [--seconds 10] [--json FILE] [--bars]

A fabric of thousands of in-process guests, and two namespaces that exchange TCP by eight connections all
the time. Meanwhile clients call over the control socket, one call after the other: what a quick question
takes, a ping between two guests, an address looked up, and the whole status, which is a megabyte. Needs
root and iperf3; lives in namespaces of its own, which end with it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools.bench import doors_load as load
from tools.bench.doors import secluded
from tools.bench.doors_switches import ADDRESSES, Pair, connected, fabric, topology
from tools.bench.results import machine
from tools.bench.rounds import scratch
from vnet.control.client import Client

SOCKET = Path("/run/vnet/bench/control.sock")
PAUSE, STATUS_PAUSE = 0.002, 0.5
"""Seconds between two calls of a client."""
LIMIT_MS = 20.0
"""Of a quick call, 99 of 100 times."""


def calls(guests: int) -> dict[str, Callable[[Client, int], Any]]:
    """What is asked, by name; the number says how often it was."""
    return {
        "enter": lambda client, n: client.call("enter", name="a"),
        "ping": lambda client, n: client.call(
            "ping", **{"from": f"s{n % guests}", "to": f"s{(n + 1) % guests}", "count": 1}
        ),
        "fdb": lambda client, n: client.call("fdb", port=f"s{n % guests}.0"),
    }


def ask_status(pause: float, end: float, took: list[float]) -> None:
    """The same for the status, whose megabyte is not read as JSON: that would hold the others up here."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(SOCKET))
        while (begun := time.monotonic()) < end:
            connection.sendall(b'{"id": 1, "call": "status", "with": {}}\n')
            while not connection.recv(1 << 20).endswith(b"\n"):
                pass
            took.append((time.monotonic() - begun) * 1e3)
            time.sleep(pause)


def ask(call: Callable[[Client, int], Any], pause: float, end: float, took: list[float]) -> None:
    """A client that asks one thing, again and again; how long each took, in ms."""
    with Client(SOCKET) as client:
        number = 0
        while (begun := time.monotonic()) < end:
            call(client, number)
            took.append((time.monotonic() - begun) * 1e3)
            number += 1
            time.sleep(pause)


def measure(guests: int, seconds: float) -> dict[str, dict[str, float]]:
    """By call: how many there were, `p50_ms`, `p99_ms`, `max_ms`; and the TCP meanwhile."""
    described: dict[str, object] = {
        name: {"kind": "netns", "nics": [{"network": "n", "ip": [address]}]}
        for name, address in zip("ab", ADDRESSES, strict=True)
    }
    # In a network of their own, whose guests speak to each other only when they are asked to.
    described |= {f"s{number}": {"nics": [{"network": "crowd"}]} for number in range(guests)}
    document = topology(described, "adaptive")
    document["networks"] = {
        "n": {"subnets": ["10.77.0.0/24"], "gateway": "10.77.0.254"},
        "crowd": {"subnets": ["10.78.0.0/16"]},
    }
    found: dict[str, dict[str, float]] = {}
    with scratch() as folder, fabric(folder, document) as process:
        pair = connected(Pair(("vnet-bench.a", "vnet-bench.b"), (process.pid,)))
        with load.server(pair.inside(1, "iperf3", "-s", "--forceflush")):
            words = ["iperf3", "-c", ADDRESSES[1], "-P", "8", "-t", str(round(seconds) + 2), "-J"]
            with subprocess.Popen(pair.inside(0, *words), stdout=subprocess.PIPE, text=True) as busy:
                time.sleep(0.5)
                end = time.monotonic() + seconds
                took: dict[str, list[float]] = {}
                threads = []
                for name, call in calls(guests).items():
                    arguments = (call, PAUSE, end, took.setdefault(name, []))
                    threads.append(threading.Thread(target=ask, args=arguments))
                rest = (STATUS_PAUSE, end, took.setdefault("status", []))
                threads.append(threading.Thread(target=ask_status, args=rest))
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                told, _ = busy.communicate(timeout=30)
    for name, values in took.items():
        cuts = statistics.quantiles(values, n=100) if len(values) > 1 else [values[0]] * 99
        found[name] = {
            "calls": len(values), "p50_ms": cuts[49], "p99_ms": cuts[98], "max_ms": max(values)
        }  # fmt: skip
    gbps = json.loads(told)["end"]["sum_received"]["bits_per_second"] / 1e9
    return {**found, "TCP": {"gbps": gbps}}


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--guests", type=int, default=2000, help="in-process guests")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write it there")
    parser.add_argument("--bars", action="store_true", help="exit with 1 if a quick call is too slow")
    options = parser.parse_args()
    secluded("tools.bench.control")
    found = measure(options.guests, options.seconds)
    print(machine())
    print(f"{options.guests} in-process guests; meanwhile TCP with {found['TCP']['gbps']:.1f} Gbit/s")
    well = True
    for name, one in found.items():
        if "p99_ms" in one:
            quick = name != "status"
            holds = one["p99_ms"] <= LIMIT_MS
            well &= holds or not quick
            word = ("holds" if holds else "MISSED") if quick else ""
            print(
                f"{name:8} {one['calls']:6.0f} calls, p50 {one['p50_ms']:7.2f} ms, p99 {one['p99_ms']:7.2f},"
                f" at most {one['max_ms']:7.2f}  {word}"
            )
    if options.json is not None:
        options.json.write_text(json.dumps({"machine": machine(), "found": found}, indent=1) + "\n")
    return 1 if options.bars and not well else 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        sys.exit(main())
    sys.exit(os.EX_TEMPFAIL)
