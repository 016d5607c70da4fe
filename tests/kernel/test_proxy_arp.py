"""Isolated namespaces talk through a gateway that forwards, and only through it, by the kernel's ARP, ND."""

from __future__ import annotations

import os
from typing import Any

import pytest

import vnet
from tests.kernel.test_guard import drops, run
from tests.needs import needs_tool, needs_tun

pytestmark = [needs_tun, pytest.mark.deadline(90)]

GATE, ONE, TWO = "10.9.8.1", "10.9.8.11", "10.9.8.12"
GATE6, ONE6, TWO6 = "fd00:98::1", "fd00:98::11", "fd00:98::12"


def topology() -> dict[str, Any]:
    subnets = ["10.9.8.0/24", "fd00:98::/64"]
    allow = [{"ip": address} for address in (GATE, GATE6, *subnets)]

    def guest(*ip: str, **keys: Any) -> dict[str, Any]:
        return {"kind": "netns", "nics": [{"network": "red", "ip": list(ip), **keys}]}

    return {
        "name": f"proxy-{os.getpid()}",
        "networks": {"red": {"vlan": 10, "subnets": subnets, "private": True, "proxy_arp": True}},
        "guests": {
            "gate": guest("10.9.8.2", "fd00:98::2", guard={"allow": allow}),
            "one": guest(ONE, ONE6),
            "two": guest(TWO, TWO6),
        },
    }


@needs_tool("arping")
async def test_isolated_guests_talk_through_the_gateway_alone() -> None:
    async with vnet.Fabric(vnet.Topology.from_dict(topology())) as fabric:
        mac = fabric.ports["gate.0"].wanted.mac
        # The kernel has done duplicate address detection by now: nobody was told of a duplicate.
        assert "dadfailed" not in await run(fabric, "one", "ip", "-6", "address")
        for address in (TWO, TWO6):
            await run(fabric, "one", "ping", "-c1", "-W1", address, check=False)
            told = await run(fabric, "one", "ip", "neighbour", "show", address)
            assert f"lladdr {mac}" in told
        # The gateway does not forward yet, so nothing has arrived.
        assert (await run(fabric, "one", "ping", "-c1", "-W1", TWO, check=False)).count(" 0 received") == 1
        for key in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            await run(fabric, "gate", "sysctl", "-qw", f"{key}=1")
        await run(fabric, "gate", "sysctl", "-qw", "net.ipv4.conf.all.send_redirects=0")
        for address in (TWO, TWO6):
            assert " 3 received" in await run(fabric, "one", "ping", "-c3", "-i0.1", "-W2", address)
        # The second question is unicast, to where the neighbour is said to be, as the kernel asks from time
        # to time.
        told = await run(fabric, "one", "arping", "-c2", "-w5", "-I", "eth0", TWO)
        assert told.lower().count(f"[{mac}]") == 2
        assert drops(fabric, "one") == {}
        assert not fabric.port("two").counters()["drops"]
