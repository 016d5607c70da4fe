"""What attackers cost their neighbours: throughput between two namespaces, alone and beside floods.

    python -m tools.bench.hostile [--seconds 5] [--delay 50]

Needs root, iperf3 and mausezahn (netsniff-ng). A third namespace floods with spoofed MAC and IP addresses
and with foreign tags, a frame every `--delay` microseconds, 0 for as fast as it can. Rounds take turns, and
ratios are of their medians.

All of it shares this machine's CPUs, and what the flood program itself takes is lost to the others whatever
the fabric does. So there are three rounds: alone; beside the same program that floods a TAP of its own
namespace that nobody has open; beside the flood. The second ratio is what the fabric's part costs.
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


async def beside(
    fabric: vnet.Fabric, words: tuple[str, ...], seconds: int, delay: int, device: str | None = None
) -> tuple[float, int]:
    """The same beside a flood, into the fabric or another device, and how many of its frames were dropped."""
    mallory = fabric.guests["mallory"]
    assert isinstance(mallory, vnet.NetnsGuest)
    port = fabric.port("mallory")
    before = sum(port.counters()["drops"].values())
    async with trio.open_nursery() as nursery:
        pause = ("-d", f"{delay}usec") if delay else ()
        flood = ("mausezahn", device or str(port.opened.carries), "-q", "-c", "0", *pause, *words)
        nursery.start_soon(mallory.run, *flood)
        found = await throughput(fabric, seconds)
        nursery.cancel_scope.cancel()
    return found, sum(port.counters()["drops"].values()) - before


async def main(seconds: int, delay: int, rounds: int) -> None:
    """Measure and tell."""
    logging.getLogger("vnet").setLevel(logging.CRITICAL)
    async with vnet.Fabric.from_dict(topology()) as fabric:
        mallory = fabric.guests["mallory"]
        assert isinstance(mallory, vnet.NetnsGuest)
        await mallory.run("ip", "tuntap", "add", "nowhere", "mode", "tap")
        await mallory.run("ip", "link", "set", "nowhere", "up")
        await mallory.run("ip", "address", "add", "10.9.8.1/24", "dev", "nowhere")
        await throughput(fabric, 1)
        print(f"{'Gbit/s beside ...':22} {'nobody':>7} {'its CPU':>8} {'flood':>7}   of its CPU  dropped/s")
        for name, words in ATTACKS.items():
            alone, nowhere, attacked, dropped = [], [], [], 0
            for _ in range(rounds):
                alone.append(await throughput(fabric, seconds))
                nowhere.append((await beside(fabric, words, seconds, delay, "nowhere"))[0])
                found, count = await beside(fabric, words, seconds, delay)
                attacked.append(found)
                dropped += count
            one, cpu, other = (statistics.median(each) for each in (alone, nowhere, attacked))
            print(f"{name:22} {one:7.2f} {cpu:8.2f} {other:7.2f} {other / cpu:12.3f} "
                  f"{dropped / (rounds * seconds):10,.0f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--delay", type=int, default=50, help="microseconds between frames of a flood")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    trio.run(main, given.seconds, given.delay, given.rounds)
