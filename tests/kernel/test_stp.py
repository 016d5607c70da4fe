"""A Linux bridge in a namespace in a loop with two switches of the fabric: it runs the older STP."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

import vnet
from tests.needs import needs_root, needs_tun
from vnet.guests import NetnsGuest

pytestmark = [needs_root, needs_tun, pytest.mark.deadline(200)]


def loop() -> dict[str, Any]:
    """Two switches with a link, and a namespace with a NIC at each, that will be a bridge."""
    nic = {"network": "red", "guard": "off", "ip": []}
    return {
        "name": "loop",
        "networks": {"red": {"subnets": ["10.0.1.0/24"]}},
        "switches": {
            name: {"stp": "rstp", "hello": "1 s", "max_age": "6 s", "forward_delay": "4 s", "priority": 8192}
            for name in ("left", "right")
        },
        "links": [{"ends": ["left", "right"]}],
        "guests": {
            "bridge": {"kind": "netns", "nics": [{**nic, "switch": "left"}, {**nic, "switch": "right"}]},
            "a": {"nics": [{"network": "red", "switch": "left"}]},
            "b": {"nics": [{"network": "red", "switch": "right"}]},
        },
    }


def states(fabric: vnet.Fabric) -> dict[str, str]:
    """What each port of the two switches does."""
    return {
        name: port["state"]
        for switch in fabric.switches()
        for name, port in switch["stp"]["ports"].items()
        if port["role"] != "disabled"
    }


def root(fabric: vnet.Fabric) -> set[str]:
    return {switch["stp"]["root"] for switch in fabric.switches()}


async def kernel(fabric: vnet.Fabric) -> dict[str, str]:
    """What each port of the Linux bridge does."""
    found = json.loads(await bridge(fabric).run("bridge", "-j", "link", "show"))
    return {port["ifname"]: port["state"] for port in found}


def bridge(fabric: vnet.Fabric) -> NetnsGuest:
    guest = fabric.guests["bridge"]
    assert isinstance(guest, NetnsGuest)
    return guest


async def until(holds: Callable[[], Awaitable[bool]], seconds: float = 60) -> float:
    """Wait for it; how long it took."""
    begun = trio.current_time()
    with trio.fail_after(seconds):
        while not await holds():  # noqa: ASYNC110
            await trio.sleep(0.05)
    return trio.current_time() - begun


@pytest.mark.parametrize("priority", [0, 61440], ids=["it is the root", "it is not"])
async def test_a_loop_is_cut_and_heals(priority: int) -> None:
    async with vnet.Fabric.from_dict(loop()) as fabric:
        guest = bridge(fabric)
        setup = (
            f"ip link add br0 type bridge stp_state 1 priority {priority} forward_delay 200 hello_time 100"
            " max_age 600; for nic in eth0 eth1; do ip link set $nic master br0 up; done; ip link set br0 up"
        )
        await guest.run("sh", "-ec", setup)

        async def settled() -> bool:
            """All agree about the root, and of the four ports and two of the kernel's one is kept out."""
            ours, theirs = states(fabric), await kernel(fabric)
            return (
                len(root(fabric)) == 1
                and next(iter(root(fabric))).startswith("0000." if priority == 0 else "2000.")
                and [*ours.values(), *theirs.values()].count("forwarding") == 5
                and not {"learning", "listening"} & {*ours.values(), *theirs.values()}
            )

        await until(settled)
        a, b = fabric.guests["a"], fabric.guests["b"]
        await a.ping(b, timeout=20)
        # A flood goes once round and no further.
        assert max(port.counters()["rx_frames"] for port in fabric.ports.values()) < 500
        # Whichever way the tree goes, it is cut there: the other one opens.
        kept = [name for name, state in states(fabric).items() if state != "forwarding"]
        assert len(kept) == 1
        over_link = kept[0].startswith("bridge")
        cut = "left-right" if over_link else "bridge.0"
        await fabric.set_link(cut, False)

        async def reaches() -> bool:
            try:
                await a.ping(b, timeout=0.1)
            except vnet.Unreachable:
                return False
            return True

        took = await until(reaches)
        print(f"\ncut at {cut}: reached again after {took:.2f} s")
