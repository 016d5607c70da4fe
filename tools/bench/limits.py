"""How exact limits are in real time: what was asked for, what passed, and the error.

    python -m tools.bench.limits [--seconds 10] [--only 1e9]

Needs root and iperf3. Two namespaces; one sends by TCP as much as it can, in super-frames where the rate
lets them be, to the other. The limit is the sender's (`egress`) or the receiver's (`ingress`), changed while
the fabric runs. What passed is what `vnet usage` counts, in bytes of a wire, over so many seconds, after TCP
has settled. Limits in packets a second are asked with short datagrams. First comes what passes without a
limit: a rate near that, this machine can't reach, and it misses by as much.

Beside each rate stands what the kernel's own token bucket makes of it (`tc tbf`, on a cable between two
namespaces, with the same burst; what passed is what it counts): way `tbf`. It has no limit in packets.
Where the kernel has none (CONFIG_NET_SCH_TBF), it is left out, with a word.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import trio

import vnet

RATES = (1_000_000, 10_000_000, 100_000_000, 1_000_000_000, 10_000_000_000)
PACKETS = (1_000, 10_000, 100_000)
SETTLED = 2.0
"""Seconds after which TCP has found the rate."""


def topology(way: str | None = None, limit: dict[str, Any] | None = None) -> vnet.Topology:
    """Two namespaces; alice's sending or bob's receiving is limited."""
    guests: dict[str, Any] = {
        name: {"kind": "netns", "nics": [{"network": "lan", "ip": f"10.9.7.{host}"}]}
        for name, host in (("alice", 11), ("bob", 12))
    }
    if way is not None:
        guests["alice" if way == "egress" else "bob"]["nics"][0]["limits"] = {way: limit}
    return vnet.Topology.from_dict(
        {"name": "limits", "networks": {"lan": {"subnets": "10.9.7.0/24"}}, "guests": guests}
    )


def passed(fabric: vnet.Fabric, way: str) -> tuple[float, dict[str, int]]:
    """The time, and what alice has sent to bob, where the limit is."""
    (nic,) = fabric.usage("alice" if way == "egress" else "bob")["nics"]
    return time.monotonic(), nic[way]["fabric"]


async def measure(
    fabric: vnet.Fabric, way: str, limit: dict[str, Any], seconds: float
) -> tuple[float, float]:
    """Bits and packets a second. `limit`: {} is none; with `packets`, short datagrams are sent."""
    await fabric.apply(topology(way if any(limit.values()) else None, limit))
    alice, bob = fabric.guests["alice"], fabric.guests["bob"]
    assert isinstance(alice, vnet.NetnsGuest)
    assert isinstance(bob, vnet.NetnsGuest)
    words = ["-u", "-b", "0", "-l", "64"] if "packets" in limit else []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bob.run, "iperf3", "-s")
        while "5201" not in await bob.run("ss", "-ltn"):  # noqa: ASYNC110
            await trio.sleep(0.05)
        nursery.start_soon(alice.run, "iperf3", "-c", "10.9.7.12", "-t", "3600", *words)
        await trio.sleep(SETTLED)
        begun, before = passed(fabric, way)
        await trio.sleep(seconds)
        ended, after = passed(fabric, way)
        nursery.cancel_scope.cancel()
    span = ended - begun
    return 8 * (after["bytes"] - before["bytes"]) / span, (after["frames"] - before["frames"]) / span


class Tbf:
    """A cable between two namespaces, with the kernel's token bucket in front of it."""

    def __init__(self, name: str) -> None:
        self.sender, self.receiver = f"{name}a", f"{name}b"

    async def run(self, namespace: str, *argv: str) -> str:
        """The output of a command there."""
        words = ["ip", "netns", "exec", namespace, *argv]
        done = await trio.run_process(words, capture_stdout=True, stderr=subprocess.DEVNULL)
        return bytes(done.stdout).decode()

    async def passed(self) -> tuple[float, int]:
        """The time, and the bytes that the bucket let out, segments of super-frames each by itself."""
        (found,) = json.loads(await self.run(self.sender, "tc", "-s", "-j", "qdisc", "show", "dev", "cable"))
        return time.monotonic(), int(found["bytes"])

    async def limit(self, rate: int) -> bool:
        """Let so many bits a second pass; whether the kernel can."""
        # What a limit of ours lets pass at once where nothing is said: 10 ms, and a super-frame at least.
        bucket = f"rate {rate}bit burst {max(rate // 800, 65_536)} latency 50ms"
        words = f"tc qdisc replace dev cable root tbf {bucket}"
        try:
            await self.run(self.sender, *words.split())
        except subprocess.CalledProcessError:
            return False
        return True

    async def measure(self, rate: int, seconds: float) -> float | None:
        """Bits a second; `None`: this kernel has no such bucket."""
        if not await self.limit(rate):
            return None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.run, self.receiver, "iperf3", "-s")
            while "5201" not in await self.run(self.receiver, "ss", "-ltn"):  # noqa: ASYNC110
                await trio.sleep(0.05)
            nursery.start_soon(self.run, self.sender, "iperf3", "-c", "10.9.8.2", "-t", "3600")
            await trio.sleep(SETTLED)
            begun, before = await self.passed()
            await trio.sleep(seconds)
            ended, after = await self.passed()
            nursery.cancel_scope.cancel()
        return 8 * (after - before) / (ended - begun)


@contextlib.contextmanager
def tbf() -> Iterator[Tbf]:
    """Namespaces and cable, for as long as the block runs."""
    peer = Tbf(f"limits-{os.getpid()}-")
    names = (peer.sender, peer.receiver)

    def ip(*argv: str) -> None:
        subprocess.run(["ip", *argv], check=True, capture_output=True)

    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", "cable", "netns", names[0], "type", "veth", "peer", "cable", "netns", names[1])
        for number, name in enumerate(names, 1):
            ip("-n", name, "address", "add", f"10.9.8.{number}/24", "dev", "cable")
            ip("-n", name, "link", "set", "cable", "up")
        yield peer
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


async def main(seconds: float, only: float | None) -> None:
    """Measure and tell."""
    logging.getLogger("vnet").setLevel(logging.CRITICAL)
    asked: list[tuple[dict[str, int], int, int]] = [({}, 0, 0), ({"packets": 0}, 0, 1)]
    asked += [({"rate": rate}, rate, 0) for rate in RATES] + [({"packets": n}, n, 1) for n in PACKETS]
    print(f"{'limit':>16} {'way':8} {'asked':>14} {'got':>14} {'error':>8}")
    with tbf() as peer:
        await table(peer, asked, seconds, only)


async def table(
    peer: Tbf, asked: list[tuple[dict[str, int], int, int]], seconds: float, only: float | None
) -> None:
    """A line for each limit and way."""
    async with vnet.Fabric(topology()) as fabric:
        for limit, wanted, which in asked:
            if only is not None and wanted not in (0, only):
                continue
            unit = "packets/s" if which else "bit/s"
            for way in ("egress", "ingress") if wanted else ("ingress",):
                line(unit, way, wanted, (await measure(fabric, way, limit, seconds))[which])
            if wanted and not which:
                passed_there = await peer.measure(wanted, seconds)
                if passed_there is None:
                    print(f"{unit:>16} {'tbf':8} this kernel has none", flush=True)
                else:
                    line(unit, "tbf", wanted, passed_there)


def line(unit: str, way: str, wanted: int, got: float) -> None:
    """One limit."""
    asks = f"{wanted:,}" if wanted else "any"
    error = f"{100 * (got / wanted - 1):+7.2f}%" if wanted else ""
    print(f"{unit:>16} {way:8} {asks:>14} {got:14,.0f} {error}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--only", type=float, help="this rate or number of packets alone")
    given = parser.parse_args()
    trio.run(main, given.seconds, given.only)
