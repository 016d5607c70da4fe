"""The cable of a namespace's TAP: cut by a schedule or the operator, as the kernel in there sees it."""

from __future__ import annotations

import statistics

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
    with trio.fail_after(15):
        while await carrier(fabric, name) != wanted:  # noqa: ASYNC110
            await trio.sleep(0.02)


async def test_the_kernel_sees_the_cut_and_the_delay() -> None:
    document = {
        "name": "cords",
        "networks": {"red": {"subnets": ["10.0.1.0/24"]}},
        "guests": {
            "a": {
                "kind": "netns",
                "nics": [
                    {
                        "network": "red",
                        "impair": {"delay": "5 ms"},
                        "schedule": [{"from": "2 s", "to": "3 s", "up": False}],
                    }
                ],
            },
            "b": {"nics": [{"network": "red"}]},
        },
    }
    async with vnet.Fabric.from_dict(document) as fabric:
        b = fabric.guests["b"]
        await b.ping(fabric.guests["a"])
        times = [await b.ping(fabric.guests["a"]) for _ in range(20)]
        assert min(times) >= 0.010
        assert statistics.median(times) < 0.1
        await until_carrier(fabric, "a", False)
        with pytest.raises(vnet.Unreachable):
            await b.ping(fabric.guests["a"], timeout=0.1)
        await until_carrier(fabric, "a", True)
        assert await b.ping(fabric.guests["a"], timeout=10) >= 0.010
