"""Guests of a crowd: their kernels receive on all CPUs (`vnet/rust/src/engine/crowd.rs` says when)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

import vnet
from nics.tap import Tap
from tests.kernel.lab import Guest, lab
from tests.needs import needs_root, needs_tool, needs_tun
from vnet import events

pytestmark = [needs_root, needs_tun, needs_tool("ip")]


async def test_what_guests_of_a_crowd_receive_is_spread_over_cpus_as_long_as_it_is_one() -> None:
    everywhere = f"{sum(1 << cpu for cpu in os.sched_getaffinity(0)):x}"
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("there is but one CPU")

    async def masks(guest: Guest) -> set[str]:
        queues = "/sys/class/net/eth0/queues"
        files = [
            f"{queues}/{name}/rps_cpus" for name in (await guest.run("ls", queues)).split() if "rx" in name
        ]
        return {line.replace(",", "").lstrip("0") for line in (await guest.run("cat", *files)).split()}

    async with lab() as it:
        guest, other = await it.guest(Tap(queues=3)), await it.guest()
        assert guest.opened.crowd is not None
        for _ in range(2):
            await guest.opened.crowd(True)
            assert (await masks(guest), await masks(other)) == ({everywhere}, {""})
            await guest.opened.crowd(False)
            assert await masks(guest) == {""}
        # What somebody set inside is theirs.
        mine = "/sys/class/net/eth0/queues/rx-0/rps_cpus"
        await other.run("sh", "-c", f"echo 1 > {mine}")
        assert other.opened.crowd is not None
        for on in (True, False):
            await other.opened.crowd(on)
            assert await masks(other) == {"1"}
        await guest.run("ip", "link", "del", "eth0")
        await guest.opened.crowd(True)
        for name in ("lo/../lo", "..", "", "eth1"):
            with pytest.raises(OSError):
                await it.netlink.spread(other.namespace.fd, name, over=True)
        ours = os.open("/proc/self/ns/net", os.O_RDONLY)
        try:
            with pytest.raises(PermissionError):
                await it.netlink.spread(ours, "lo", over=True)
        finally:
            os.close(ours)


async def test_a_fabric_spreads_what_the_guests_of_a_crowd_receive(tmp_path: Path) -> None:
    """That there is one is told by hand here; when there is one, vnet/rust/src/engine/crowd.rs tests."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("there is but one CPU")
    topology = vnet.Topology(f"crowd{os.getpid()}").network("red", subnets=["10.7.0.0/24"])
    for name in ("a", "b"):
        topology.guest(name, kind="netns", network="red")
    async with vnet.Fabric(topology, runtime=tmp_path) as fabric:

        async def mask(name: str) -> int:
            guest = fabric.guests[name]
            assert isinstance(guest, vnet.NetnsGuest)
            shown = await guest.run("cat", "/sys/class/net/eth0/queues/rx-0/rps_cpus")
            return int(shown.replace(",", ""), 16)

        async def until(wanted: bool) -> None:
            while (await mask("a") != 0) != wanted:  # noqa: ASYNC110 - nothing tells of it
                await trio.sleep(0.01)

        for on in (True, False):
            events.one(fabric, (fabric.ports["a.0"].number, "crowd", int(on), 0, ""))
            await until(on)
            assert await mask("b") == 0
