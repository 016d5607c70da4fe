"""How exact limits are in real time: what was asked for, what passed, and the error.

    python -m tools.bench.limits [--seconds 10] [--only 1e9]

Needs root and iperf3. Two namespaces; one sends by TCP as much as it can, in super-frames where the rate
lets them be, to the other. The limit is the sender's (`egress`) or the receiver's (`ingress`), changed while
the fabric runs. What passed is what `vnet usage` counts, in bytes of a wire, over so many seconds, after TCP
has settled. Limits in packets a second are asked with short datagrams. First comes what passes without a
limit: a rate near that, this machine can't reach, and it misses by as much.
"""

from __future__ import annotations

import argparse
import logging
import time
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


async def main(seconds: float, only: float | None) -> None:
    """Measure and tell."""
    logging.getLogger("vnet").setLevel(logging.CRITICAL)
    asked = [({}, 0, 0), ({"packets": 0}, 0, 1)]
    asked += [({"rate": rate}, rate, 0) for rate in RATES] + [({"packets": n}, n, 1) for n in PACKETS]
    print(f"{'limit':>16} {'way':8} {'asked':>14} {'got':>14} {'error':>8}")
    async with vnet.Fabric(topology()) as fabric:
        for limit, wanted, which in asked:
            if only is not None and wanted not in (0, only):
                continue
            unit = "packets/s" if which else "bit/s"
            for way in ("egress", "ingress") if wanted else ("ingress",):
                got = (await measure(fabric, way, limit, seconds))[which]
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
