"""What attackers cost their neighbours: throughput between two namespaces, alone and beside floods.

    python -m tools.bench.hostile [--seconds 5] [--delay 50] [--bars]

Needs root, iperf3 and mausezahn (netsniff-ng). A third namespace floods with spoofed MAC and IP addresses
and with foreign tags, a frame every `--delay` microseconds, 0 for as fast as it can. Rounds take turns, and
ratios are of their medians, those of the bars round by round.

All of it shares this machine's CPUs, and what the flood program itself takes is lost to the others whatever
the fabric does. So there are three rounds: alone; beside the same program that floods a TAP of its own
namespace that nobody has open; beside the flood. The second ratio is what the fabric's
part costs, and has a bar.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import statistics
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import trio

import vnet
from tools.bench.cases import Bar, Case, Course
from tools.bench.results import Results, machine

ATTACKS = {
    "spoofed MAC addresses": ("-a", "rand", "-b", "bc", "-t", "arp", "request"),
    "spoofed IP addresses": ("-A", "10.9.7.12", "-B", "10.9.7.11", "-b", "bc", "-t", "udp", "dp=9"),
    "foreign tags": ("-Q", "20", "-b", "bc", "-B", "10.9.7.11", "-t", "udp", "dp=9"),
}
WAYS = ("nobody", "its CPU", "flood")
COURSE = Course(
    {f"{attack}, {way}": Case("", "gbps", "Gbit/s") for attack in ATTACKS for way in WAYS},
    tuple(Bar(f"{attack}, flood", 0.9, other=f"{attack}, its CPU") for attack in ATTACKS),
    {},
)
Flood = Callable[[str, bool], AbstractAsyncContextManager[None]]
"""An attack by name for as long as the block runs: into the fabric, or (True) to nowhere."""


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


@contextlib.asynccontextmanager
async def attacker(fabric: vnet.Fabric, delay: int) -> AsyncIterator[Flood]:
    """The floods of mallory."""
    mallory = fabric.guests["mallory"]
    assert isinstance(mallory, vnet.NetnsGuest)
    await mallory.run("ip", "tuntap", "add", "nowhere", "mode", "tap")
    await mallory.run("ip", "link", "set", "nowhere", "up")
    await mallory.run("ip", "address", "add", "10.9.8.1/24", "dev", "nowhere")

    @contextlib.asynccontextmanager
    async def flood(attack: str, nowhere: bool) -> AsyncIterator[None]:
        device = "nowhere" if nowhere else str(fabric.port("mallory").opened.carries)
        pause = ("-d", f"{delay}usec") if delay else ()
        argv = ("mausezahn", device, "-q", "-c", "0", *pause, *ATTACKS[attack])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mallory.run, *argv)
            yield
            nursery.cancel_scope.cancel()

    yield flood


async def measure(fabric: vnet.Fabric, flood: Flood, seconds: int, rounds: int) -> Results:
    """All rounds, told as they come."""
    results = Results(COURSE)
    port = fabric.port("mallory")
    await throughput(fabric, 1)
    print(f"{'Gbit/s beside ...':22} {'nobody':>7} {'its CPU':>8} {'flood':>7}   of its CPU  dropped/s")
    for attack in ATTACKS:
        dropped = 0
        for _ in range(rounds):
            found = {"nobody": await throughput(fabric, seconds)}
            async with flood(attack, True):
                found["its CPU"] = await throughput(fabric, seconds)
            before = sum(port.counters()["drops"].values())
            async with flood(attack, False):
                found["flood"] = await throughput(fabric, seconds)
            dropped += sum(port.counters()["drops"].values()) - before
            for way, gbps in found.items():
                results.add("vnet", f"{attack}, {way}", {"gbps": gbps})
        one, cpu, other = (statistics.median(results.values("vnet", f"{attack}, {way}")) for way in WAYS)
        print(f"{attack:22} {one:7.2f} {cpu:8.2f} {other:7.2f} {other / cpu:12.3f} "
              f"{dropped / (rounds * seconds):10,.0f}", flush=True)  # fmt: skip
    return results


async def main(options: argparse.Namespace) -> int:
    """Measure and tell. The exit code."""
    logging.getLogger("vnet").setLevel(logging.CRITICAL)
    print(machine())
    async with vnet.Fabric.from_dict(topology()) as fabric, attacker(fabric, options.delay) as flood:
        results = await measure(fabric, flood, options.seconds, options.rounds)
    lines, well = results.bars()
    print("\n".join(lines))
    return 1 if options.bars and not well else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--delay", type=int, default=50, help="microseconds between frames of a flood")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bars", action="store_true", help="exit with 1 if a bar is missed")
    sys.exit(trio.run(main, parser.parse_args()))
