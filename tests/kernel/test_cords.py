"""The cable of a namespace's TAP: cut by a schedule or the operator, as the kernel in there sees it."""

from __future__ import annotations

import statistics
from typing import Any

import pytest
import trio

import vnet
from tests.needs import needs_root, needs_tun
from vnet.guests import NetnsGuest

pytestmark = [needs_root, needs_tun]


async def carrier(fabric: vnet.Fabric, name: str) -> bool:
    guest = fabric.guests[name]
    assert isinstance(guest, NetnsGuest)
    return "NO-CARRIER" not in await guest.run("ip", "link", "show", "eth0")


async def until_carrier(fabric: vnet.Fabric, name: str, wanted: bool) -> None:
    with trio.fail_after(50):
        while await carrier(fabric, name) != wanted:  # noqa: ASYNC110
            await trio.sleep(0.02)


async def test_the_kernel_sees_the_cut_and_the_delay() -> None:
    nic: dict[str, Any] = {"network": "red", "impair": {"delay": "5 ms"}}
    document = {
        "name": "cords",
        "networks": {"red": {"subnets": ["10.0.1.0/24"]}},
        "guests": {"a": {"kind": "netns", "nics": [nic]}, "b": {"nics": [{"network": "red"}]}},
    }
    async with vnet.Fabric.from_dict(document) as fabric:
        b = fabric.guests["b"]
        times = [await b.ping(fabric.guests["a"], timeout=20) for _ in range(20)]
        assert min(times) >= 0.010
        assert statistics.median(times) < 1
        # It is cut when its time comes, and until its other time comes, however long that takes to see.
        cut: dict[str, Any] = {"from": soon(fabric), "up": False}
        nic["schedule"] = [cut]
        await fabric.apply(vnet.Topology.from_dict(document))
        await until_carrier(fabric, "a", False)
        with pytest.raises(vnet.Unreachable):
            await b.ping(fabric.guests["a"], timeout=0.1)
        cut["to"] = soon(fabric)
        await fabric.apply(vnet.Topology.from_dict(document))
        await until_carrier(fabric, "a", True)
        assert await b.ping(fabric.guests["a"], timeout=20) >= 0.010


def soon(fabric: vnet.Fabric) -> float:
    """A time of a schedule, in seconds."""
    return round((fabric.time() - fabric.wiring.began) / 1e9 + 0.5, 1)
