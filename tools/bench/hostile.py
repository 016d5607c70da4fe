"""What attackers cost their neighbours: throughput between two namespaces, alone and beside floods.

    python -m tools.bench.hostile [--seconds 5] [--delay 50]

Needs root, iperf3 and mausezahn (netsniff-ng). A third namespace floods with spoofed MAC and IP addresses
and with foreign tags, a frame every `--delay` microseconds, 0 for as fast as it can. Rounds with and
without take turns, and the ratio is of their medians. All of it shares this machine's CPUs: where there
are few, part of what is lost is the flood program's own.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
from typing import Any

import trio

import vnet

ATTACKS = {
    "spoofed MAC addresses": ("-a", "rand", "-b", "bc", "-t", "arp", "request"),
    "spoofed IP addresses": ("-A", "10.9.7.12", "-B", "10.9.7.11", "-b", "bc", "-t", "udp", "dp=9"),
    "foreign tags": ("-Q", "20", "-b", "bc", "-B", "10.9.7.11", "-t", "udp", "dp=9"),
}


def topology() -> dict[str, Any]:
    """Three namespaces in one network."""
    guests = {name: {"kind": "netns", "nics": [{"network": "lan", "ip": f"10.9.7.{n}"}]}
              for name, n in (("alice", 11), ("bob", 12), ("mallory", 66))}  # fmt: skip
    return {"name": "hostile", "networks": {"lan": {"subnets": "10.9.7.0/24"}}, "guests": guests}


async def throughput(fabric: vnet.Fabric, seconds: int) -> float:
    """From alice to bob, in Gbit/s."""
    alice, bob = fabric.guests["alice"], fabric.guests["bob"]
    assert isinstance(alice, vnet.NetnsGuest)
    assert isinstance(bob, vnet.NetnsGuest)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bob.run, "iperf3", "-s", "-1")
        while "5201" not in await bob.run("ss", "-ltn"):  # noqa: ASYNC110
            await trio.sleep(0.05)
        told = await alice.run("iperf3", "-c", "10.9.7.12", "-t", str(seconds), "-J")
    return float(json.loads(told)["end"]["sum_received"]["bits_per_second"]) / 1e9


async def beside(fabric: vnet.Fabric, words: tuple[str, ...], seconds: int, delay: int) -> tuple[float, int]:
    """The same beside a flood, and how many of its frames were dropped."""
    mallory = fabric.guests["mallory"]
    assert isinstance(mallory, vnet.NetnsGuest)
    port = fabric.port("mallory")
    before = sum(port.counters()["drops"].values())
    async with trio.open_nursery() as nursery:
        pause = ("-d", f"{delay}usec") if delay else ()
        flood = ("mausezahn", str(port.opened.carries), "-q", "-c", "0", *pause, *words)
        nursery.start_soon(mallory.run, *flood)
        found = await throughput(fabric, seconds)
        nursery.cancel_scope.cancel()
    return found, sum(port.counters()["drops"].values()) - before


async def main(seconds: int, delay: int, rounds: int) -> None:
    """Measure and tell."""
    logging.getLogger("vnet").setLevel(logging.CRITICAL)
    async with vnet.Fabric.from_dict(topology()) as fabric:
        await throughput(fabric, 1)
        for name, words in ATTACKS.items():
            alone, attacked, dropped = [], [], 0
            for _ in range(rounds):
                alone.append(await throughput(fabric, seconds))
                found, count = await beside(fabric, words, seconds, delay)
                attacked.append(found)
                dropped += count
            one, other = statistics.median(alone), statistics.median(attacked)
            print(f"{name:24} alone {one:6.2f} Gbit/s, beside {other:6.2f}, ratio {other / one:.3f}, "
                  f"{dropped / (rounds * seconds):,.0f} dropped/s")  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--delay", type=int, default=50, help="microseconds between frames of a flood")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    trio.run(main, given.seconds, given.delay, given.rounds)
