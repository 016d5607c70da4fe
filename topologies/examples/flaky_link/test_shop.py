"""A minute with a flaky link, in virtual time: the same minute every time, and over in a moment."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import trio
import trio.testing
from client import Customer
from server import serve

import vnet
from vnet.testing import expect_frames

pytestmark = pytest.mark.topology("network.yaml")


@pytest.fixture
async def shop(fabric: vnet.Fabric) -> AsyncIterator[str]:
    """The server, running in the guest `shop`."""
    async with trio.open_nursery() as nursery:
        async with fabric.guests["shop"].as_network():
            await nursery.start(serve)
        yield "http://shop"
        nursery.cancel_scope.cancel()


async def test_a_patient_customer_gets_every_answer(fabric: vnet.Fabric, shop: str) -> None:
    customer = Customer(shop)
    slowest, begun, wall = 0.0, trio.current_time(), time.perf_counter()
    async with fabric.guests["phone"].as_network(), httpx.AsyncClient() as client:
        while trio.current_time() < begun + 60:
            asked = trio.current_time()
            assert await customer.stock(client, "tea") == {"name": "tea", "left": 3}
            slowest = max(slowest, trio.current_time() - asked)
            await trio.sleep(1)
    # Only the tunnel, of 8 s, was long enough to need other attempts.
    assert customer.failures >= 3
    assert 5 < slowest < 12
    passed, took = trio.current_time() - begun, time.perf_counter() - wall
    failed = f"{customer.failures} attempts failed, {slowest:.1f} s at most"
    print(f"{passed:.0f} s of the network in {took:.2f} s; {failed}")


async def test_an_impatient_one_does_not(fabric: vnet.Fabric, shop: str) -> None:
    async with fabric.guests["phone"].as_network(), httpx.AsyncClient() as client:
        await trio.sleep(20)
        with pytest.raises(trio.TooSlowError):
            await Customer(shop, patience=5).stock(client, "tea")


async def test_what_is_not_sold_is_asked_for_once(fabric: vnet.Fabric, shop: str) -> None:
    # Names of guests cost no packets.
    no_names = expect_frames(fabric, filter="port 53", most=0)
    async with fabric.guests["phone"].as_network(), httpx.AsyncClient() as client, no_names:
        with pytest.raises(httpx.HTTPStatusError, match="404"):
            await Customer(shop).stock(client, "whisky")


async def ten_answers(path: Path) -> None:
    topology = vnet.Topology.from_file(Path(__file__).with_name("network.yaml"))
    fabric = vnet.Fabric(topology, runtime=path.parent)
    async with fabric, fabric.capture(path), trio.open_nursery() as nursery:
        async with fabric.guests["shop"].as_network():
            await nursery.start(serve)
        async with fabric.guests["phone"].as_network(), httpx.AsyncClient() as client:
            for _ in range(10):
                await Customer("http://shop").stock(client, "coffee")
                await trio.sleep(1)
        nursery.cancel_scope.cancel()


def test_every_run_is_the_same(tmp_path: Path) -> None:
    for name in ("one", "two"):
        clock = trio.testing.MockClock(autojump_threshold=0)
        trio.run(ten_answers, tmp_path / f"{name}.pcapng", clock=clock)
    one, two = ((tmp_path / f"{name}.pcapng").read_bytes() for name in ("one", "two"))
    assert len(one) > 10_000
    assert one == two
