"""Limits of guests, between guests, in virtual time: TCP runs at the rate, whichever side is limited."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

import vnet
from nics.stack_sockets import TcpStream
from vnet import Fabric

MBIT = 1_000_000
WIRE = 1514 / 1448
"""Bytes of a full frame for each byte of TCP payload."""


def topology(sender: dict | None = None, receiver: dict | None = None) -> dict:
    def nic(keys: dict | None) -> dict:
        return {"network": "lan"} | (keys or {})

    return {
        "name": "limited",
        "networks": {"lan": {"subnets": ["10.0.0.0/24"]}},
        "guests": {"a": {"nics": [nic(sender)]}, "b": {"nics": [nic(receiver)]}},
    }


@asynccontextmanager
async def pouring(fabric: Fabric) -> AsyncIterator[Callable[[], int]]:
    """TCP from a to b, as fast as it goes; how many bits of payload there were so far."""
    received = 0

    async def sink(stream: TcpStream) -> None:
        nonlocal received
        async with stream:
            async for data in stream:
                received += 8 * len(data)

    async def pour(stream: TcpStream) -> None:
        while True:
            await stream.send_all(bytes(1 << 18))

    async with trio.open_nursery() as nursery:
        serve = fabric.guests["b"].host().serve_tcp
        await nursery.start(lambda task_status: serve(sink, 9, task_status=task_status))
        nursery.start_soon(pour, await fabric.guests["a"].open_tcp_stream(fabric.guests["b"], 9))
        yield lambda: received
        nursery.cancel_scope.cancel()


async def throughput(fabric: Fabric, seconds: float, *, skip: float = 0.0) -> float:
    """bit/s of TCP payload from a to b in virtual time, not counting the first `skip` seconds."""
    async with pouring(fabric) as received:
        await trio.sleep(skip)
        before = received()
        await trio.sleep(seconds)
        return (received() - before) / seconds


@pytest.mark.parametrize("way", ["egress", "ingress"])
@pytest.mark.parametrize("rate", [1, 50, 200])
async def test_tcp_runs_at_the_rate(autojump_clock: trio.testing.MockClock, way: str, rate: int) -> None:
    limits = {"limits": {way: {"rate": f"{rate} Mbit/s"}}}
    document = topology(limits) if way == "egress" else topology(None, limits)
    async with Fabric.from_dict(document) as fabric:
        seconds = 10 if rate < 50 else 2
        found = await throughput(fabric, seconds, skip=0.5) * WIRE
        assert abs(found / (rate * MBIT) - 1) < 0.02, found
        if way == "egress":
            # Nothing was dropped for it: what can't go yet waits with the guest.
            assert not any(port.counters()["drops"] for port in fabric.ports.values())


async def test_a_limit_changes_while_frames_flow(autojump_clock: trio.testing.MockClock) -> None:
    async with Fabric.from_dict(topology({"limits": {"egress": {"rate": "10 Mbit/s"}}})) as fabric:
        for rate in (10, 40, 5):
            keys = {"limits": {"egress": {"rate": f"{rate} Mbit/s"}}}
            done = await fabric.apply(vnet.Topology.from_dict(topology(keys)))
            assert all(line.startswith("change port a.0: ") for line in done)
            found = await throughput(fabric, 3, skip=1) * WIRE
            assert abs(found / (rate * MBIT) - 1) < 0.02, found
        await fabric.apply(vnet.Topology.from_dict(topology()))
        begun = trio.current_time()
        await fabric.guests["a"].ping(fabric.guests["b"], size=60_000)
        assert trio.current_time() - begun < 0.01, "at 5 Mbit/s it takes 100 ms"
        assert not any(port.counters()["drops"] for port in fabric.ports.values())


@pytest.mark.parametrize("way", ["egress", "ingress"])
async def test_a_large_step_silences_nobody(autojump_clock: trio.testing.MockClock, way: str) -> None:
    def document(rate: int) -> vnet.Topology:
        limits = {"limits": {way: {"rate": f"{rate} Mbit/s"}}}
        return vnet.Topology.from_dict(topology(limits) if way == "egress" else topology(None, limits))

    async with Fabric(document(1000)) as fabric, pouring(fabric) as received:
        await trio.sleep(0.2)
        for rate in (1, 200):
            await fabric.apply(document(rate))
            await trio.sleep(1)
            before = received()
            await trio.sleep(1)
            found = (received() - before) * WIRE
            assert abs(found / (rate * MBIT) - 1) < 0.1, found


async def test_storm_control_has_a_reason(autojump_clock: trio.testing.MockClock) -> None:
    async with Fabric.from_dict(topology()) as fabric:
        storm = {"broadcast": "100 /s", "multicast": "20 /s", "unknown": "50 /s"}
        nic = await fabric.attach("noisy", network="lan", nic=vnet.Pipe(), guard="off", storm=storm)
        for destination in ("ff" * 6, "01005e000001", "020000000077"):
            for _ in range(100):
                await nic.send(bytes.fromhex(destination + "020000000009" + "88b5") + bytes(46))
        await trio.sleep(0.1)
        drops = fabric.port("noisy").counters()["drops"]
        assert drops == {"storm-broadcast": 89, "storm-multicast": 97, "storm-unknown": 94}
