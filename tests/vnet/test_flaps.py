"""A guest whose carrier comes and goes as fast as it can: what the log and the physical network hear."""

from __future__ import annotations

import logging

import pytest
import trio
from scapy.layers.l2 import ARP, Ether

import vnet
from nics.pipe import PipeEnd
from vnet import events


def lab() -> vnet.Topology:
    topology = vnet.Topology("lab", seed=1).network("red", vlan=10, subnets="10.0.0.0/24")
    topology.guest("g", kind="external", nics=[{"network": "red", "ip": "10.0.0.2", "nic": {"kind": "pipe"}}])
    return topology.uplink("wan", nic=vnet.Pipe(), native="red")


def introductions(wire: PipeEnd) -> int:
    """How often the guest was announced since the last call."""
    found = 0
    while True:
        try:
            frame = Ether(wire.receive_nowait())
        except trio.WouldBlock:
            return found
        found += ARP in frame and frame[ARP].psrc == frame[ARP].pdst == "10.0.0.2"


@pytest.mark.usefixtures("autojump_clock")
async def test_a_carrier_that_flaps_is_told_at_once_and_then_once_a_second(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with vnet.Fabric(lab()) as fabric:
        wire = fabric.ports["wan"].opened.far
        assert isinstance(wire, PipeEnd)
        await trio.sleep(5)
        introductions(wire)
        caplog.set_level(logging.INFO, "vnet")
        number = fabric.ports["g.0"].number

        def flap(times: int, last: int) -> None:
            for at in range(times):
                events.one(fabric, (number, "carrier", (times - at - 1 + last) % 2, 0, ""))

        flap(1000, last=1)
        assert caplog.messages == ["g.0: carrier down"], "the first one at once"
        await trio.sleep(1.5)
        assert caplog.messages[1:] == ["g.0: carrier up, changed 999 times"], "and what came of it"
        assert introductions(wire) == 1
        for _ in range(100):
            flap(10, last=0)
            await trio.sleep(0.1)
        await trio.sleep(1.5)
        assert len(caplog.messages) <= 2 + 11
        assert caplog.messages[-1].startswith("g.0: carrier down")
        assert introductions(wire) == 0, "it was gone each time that it would have been told"
        # When it comes alone it is told alone, and those that the engine left out are counted.
        await trio.sleep(2)
        caplog.clear()
        events.one(fabric, (number, "carrier", 1, 0, ""))
        assert caplog.messages == ["g.0: carrier up"]
        events.one(fabric, (number, "carrier", 0, 40, ""))
        await trio.sleep(2)
        assert caplog.messages == ["g.0: carrier up", "g.0: carrier down, changed 41 times"]
        assert introductions(wire) == 1


@pytest.mark.usefixtures("autojump_clock")
async def test_a_guest_that_moves_all_the_time_is_introduced_once_a_second() -> None:
    async with vnet.Fabric(lab()) as fabric:
        wire = fabric.ports["wan"].opened.far
        assert isinstance(wire, PipeEnd)
        await trio.sleep(5)
        introductions(wire)
        for _ in range(500):
            events.one(fabric, (fabric.ports["g.0"].number, "moved", 0, 0, ""))
        await trio.sleep(0.5)
        assert introductions(wire) == 1
        await trio.sleep(1)
        assert introductions(wire) == 1


@pytest.mark.usefixtures("autojump_clock")
async def test_a_port_that_went_is_not_told_of_later(caplog: pytest.LogCaptureFixture) -> None:
    async with vnet.Fabric(lab()) as fabric:
        await trio.sleep(5)
        caplog.set_level(logging.INFO, "vnet")
        number = fabric.ports["g.0"].number
        for up in (0, 1, 0):
            events.one(fabric, (number, "carrier", up, 0, ""))
        await fabric.detach("g")
        await trio.sleep(2)
        assert [line for line in caplog.messages if "g.0: carrier" in line] == ["g.0: carrier down"]
