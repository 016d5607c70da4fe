"""Isolated namespaces talk through a gateway that forwards, and only through it, by the kernel's ARP, ND;
and what is behind a guest is found at an uplink."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import trio

import vnet
from tests.kernel.test_guard import drops, run
from tests.needs import needs_root, needs_tool, needs_tun

pytestmark = [needs_tun, pytest.mark.deadline(150)]

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
            while f"lladdr {mac}" not in await run(fabric, "one", "ip", "neighbour", "show", address):
                await run(fabric, "one", "ping", "-c1", "-W1", address, check=False)
        # The gateway does not forward yet, so nothing has arrived.
        assert (await run(fabric, "one", "ping", "-c1", "-W1", TWO, check=False)).count(" 0 received") == 1
        for key in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            await run(fabric, "gate", "sysctl", "-qw", f"{key}=1")
        await run(fabric, "gate", "sysctl", "-qw", "net.ipv4.conf.all.send_redirects=0")
        for address in (TWO, TWO6):
            assert " 3 received" in await run(fabric, "one", "ping", "-c3", "-i0.1", "-W20", address)
        # The second question is unicast, to where the neighbour is said to be, as the kernel asks from time
        # to time.
        told = await run(fabric, "one", "arping", "-c2", "-w30", "-I", "eth0", TWO)
        assert told.lower().count(f"[{mac}]") == 2
        assert drops(fabric, "one") == {}
        assert not fabric.port("two").counters()["drops"]


PHYS, WORLD = f"px{os.getpid()}", f"pxw{os.getpid()}"


@pytest.fixture
def world() -> Iterator[str]:
    """A network in which what is behind a guest is local: addresses of the prefixes themselves, no route."""
    for words in (
        f"netns add {WORLD}",
        f"link add {PHYS} type veth peer name eth0 netns {WORLD}",
        f"link set {PHYS} up",
        f"-n {WORLD} address add 10.9.9.199/24 dev eth0",
        f"-n {WORLD} address add fd00:99::99/56 dev eth0 nodad",
        f"-n {WORLD} link set eth0 up",
    ):
        subprocess.run(["ip", *words.split()], check=True, timeout=50)
    yield WORLD
    subprocess.run(["ip", "link", "del", PHYS], check=True, timeout=50)
    subprocess.run(["ip", "netns", "del", WORLD], check=True, timeout=50)


@needs_root
async def test_a_whole_prefix_behind_a_guest_is_local_to_the_world(world: str) -> None:
    guard = {"allow": [{"ip": "10.9.9.0/25"}, {"ip": "fd00:99:0:8::/61"}]}
    nic = {"network": "red", "ip": ["10.9.8.2", "fd00:98::2"], "guard": guard}
    document = {
        "name": f"routed-{os.getpid()}",
        "networks": {"red": {"vlan": 10, "subnets": ["10.9.8.0/24", "fd00:98::/64"]}},
        "guests": {"gate": {"kind": "netns", "nics": [nic]}},
        "uplinks": {
            "wan": {"nic": {"kind": "packet", "interface": PHYS}, "native": "red", "proxy_arp": True}
        },
    }
    async with vnet.Fabric(vnet.Topology.from_dict(document)) as fabric:
        mac = fabric.ports["gate.0"].wanted.mac
        # It takes what is for the prefixes as its own, by route: its kernel answers no ARP and no ND for it.
        await run(fabric, "gate", "sysctl", "-qw", "net.ipv4.conf.all.arp_ignore=8")
        for local, back in (("10.9.9.0/25", "10.9.9.0/24"), ("fd00:99:0:8::/61", "fd00:99::/56")):
            family = "-6" if ":" in local else "-4"
            await run(fabric, "gate", "ip", family, "route", "add", "local", local, "dev", "lo")
            await run(fabric, "gate", "ip", family, "route", "add", back, "dev", "eth0")

        async def out_there(*words: str) -> str:
            argv = ["ip", "netns", "exec", world, *words]
            done = await trio.run_process(argv, capture_stdout=True, capture_stderr=True, check=False)
            return done.stdout.decode()

        for inside in ("10.9.9.1", "10.9.9.77", "fd00:99:0:8::1", "fd00:99:0:f:1:2:3:4"):
            assert " 2 received" in await out_there("ping", "-c2", "-i0.2", "-W20", inside), inside
            assert f"lladdr {mac}" in await out_there("ip", "neighbour", "show", inside)
        for outside in ("10.9.9.200", "fd00:99::1"):
            assert " 0 received" in await out_there("ping", "-c1", "-W1", outside)
            assert mac not in await out_there("ip", "neighbour", "show", outside)
        # Duplicate address detection of an address in there, by somebody out there, is not ours to answer.
        await out_there("ip", "address", "add", "fd00:99:0:8::5/56", "dev", "eth0")
        with trio.fail_after(50):
            while "tentative" in (shown := await out_there("ip", "-6", "address", "show", "dev", "eth0")):  # noqa: ASYNC110
                await trio.sleep(0.1)
        assert "fd00:99:0:8::5" in shown
        assert "dadfailed" not in shown
