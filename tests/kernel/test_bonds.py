"""Bonds of uplinks: LACP with Open vSwitch, and failover with a Linux bridge behind two cables."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

import vnet
from nics.netlink import Netlink
from nics.netns import Namespace
from tests.kernel.lab import PREFIX
from tests.kernel.ovs import Ovs, ovs
from tests.needs import needs_root, needs_tool, needs_tun
from vnet.guests import StackGuest

pytestmark = [needs_root, needs_tun, needs_tool("ip"), pytest.mark.deadline(300)]
PATIENCE = 100
"""With the long timeout a message that is lost is said again after 30 s."""
GUESTS = {"a": ["10.0.10.11", "fd00:10::11"], "b": ["10.0.10.12", "fd00:10::12"]}
"""Not drawn from the fabric's name, which is another one each time: one of them could be the world's."""


def fabric_of(bond: dict[str, Any], here: str, count: int = 2) -> dict[str, Any]:
    """Two guests behind as many interfaces."""
    nics = [
        {"kind": "packet", "interface": f"phys{n}", "netns": here, "offload": False}
        for n in range(1, count + 1)
    ]
    return {
        # Others may run the same test on this machine.
        "name": here,
        "networks": {"red": {"vlan": 10, "subnets": ["10.0.10.0/24", "fd00:10::/64"]}},
        "guests": {name: {"nics": [{"network": "red", "ip": ip}]} for name, ip in GUESTS.items()},
        "uplinks": {"wan": {"nics": nics, "bond": bond, "native": "red"}},
    }


@attrs.frozen
class World:
    """A namespace with the interfaces `phys1`, `phys2`, and one with their other ends `w1`, `w2`."""

    here: Namespace
    there: Namespace

    async def carrier(self, number: int, up: bool) -> None:
        """Pull the plug at the far end, or put it in again."""
        await self.there.run("ip", "link", "set", f"w{number}", "up" if up else "down")


@asynccontextmanager
async def world(name: str, count: int = 2) -> AsyncIterator[World]:
    async with Netlink() as netlink:
        here = await Namespace.create(f"{PREFIX}-{name}-here", netlink)
        there = await Namespace.create(f"{PREFIX}-{name}-there", netlink)
        try:
            for space in (here, there):
                await space.run("sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1")
            for number in range(1, count + 1):
                phys, far = f"phys{number}", f"w{number}"
                peer = ("peer", "name", far, "netns", f"{PREFIX}-{name}-there")
                await here.run("ip", "link", "add", phys, "type", "veth", *peer)
                await here.run("ip", "link", "set", phys, "up")
                await there.run("ip", "link", "set", far, "up")
            yield World(here, there)
        finally:
            await there.aclose()
            await here.aclose()


async def until(what: str, holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait for it, and print how long it took."""
    begun = trio.current_time()
    with trio.fail_after(PATIENCE):
        while not await holds():  # noqa: ASYNC110
            await trio.sleep(0.02)
    print(f"{what} after {trio.current_time() - begun:.2f} s")


def wan(fabric: vnet.Fabric) -> dict[str, Any]:
    return next(port for port in fabric.status()["ports"] if port["port"] == "wan")


def used(fabric: vnet.Fabric) -> list[str]:
    return [m["name"] for m in wan(fabric)["bond"]["members"] if m["distributing"] and m["collecting"]]


def using(fabric: vnet.Fabric, *names: str) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        return used(fabric) == list(names)

    return holds


def stack(fabric: vnet.Fabric, name: str) -> StackGuest:
    guest = fabric.guests[name]
    assert isinstance(guest, StackGuest)
    return guest


async def reaches(guest: StackGuest) -> None:
    """Ping the world until it answers: it may be learning still."""

    async def answers() -> bool:
        try:
            await guest.ping("10.0.10.250", timeout=0.3)
        except vnet.Unreachable:
            return False
        return True

    await until(f"{guest.name} reaches the world", answers)


async def states(switch: Ovs) -> str:
    return await switch.appctl("lacp/show", "bond0")


@needs_tool("ovs-vsctl")
@pytest.mark.parametrize("timeout", ["short", "long"])
@pytest.mark.parametrize("control", ["independent", "coupled"])
async def test_lacp_with_open_vswitch(tmp_path: Path, timeout: str, control: str) -> None:
    async with world("ovs") as cables, ovs(cables.there, tmp_path) as switch:
        speed = "fast" if timeout == "short" else "slow"
        await switch.vsctl("add-bond", "br0", "bond0", "w1", "w2", "bond_mode=balance-tcp", "lacp=active",
                           f"other_config:lacp-time={speed}")  # fmt: skip
        await switch.run("ip", "address", "add", "10.0.10.250/24", "dev", "br0")
        await switch.run("ip", "link", "set", "br0", "up")
        bond = {"mode": "lacp", "timeout": timeout, "control": control}
        async with vnet.Fabric.from_dict(fabric_of(bond, f"{PREFIX}-ovs-here")) as fabric:
            await until("both cables are in use", using(fabric, "wan.phys1", "wan.phys2"))

            async def agreed() -> bool:
                told = await states(switch)
                return told.count("current attached") == 2 and "status: active negotiated" in told

            await until("Open vSwitch agrees", agreed)
            # It knows us as we say who we are, and we it.
            told = await states(switch)
            member = wan(fabric)["bond"]["members"][0]
            assert member["partner"]["state"].count("synchronization") == 1
            assert f"actor sys_id: {member['partner']['system'].partition('.')[2]}" in told
            assert f"partner sys_id: {member['actor']['system'].partition('.')[2]}" in told
            for name in ("a", "b"):
                await reaches(stack(fabric, name))

            # A cable is pulled out: the other carries everything, and both ends know.
            await cables.carrier(1, False)
            await until("one is in use", using(fabric, "wan.phys2"))
            for name in ("a", "b"):
                await reaches(stack(fabric, name))
            assert wan(fabric)["carrier"]
            await cables.carrier(1, True)
            await until("both are in use again", using(fabric, "wan.phys1", "wan.phys2"))
            await reaches(stack(fabric, "a"))
            drops = wan(fabric)["drops"]
            assert "link-local" not in drops, drops


@needs_tool("ovs-vsctl")
async def test_silence_of_open_vswitch_takes_the_carrier(tmp_path: Path) -> None:
    async with world("mute") as cables, ovs(cables.there, tmp_path) as switch:
        await switch.vsctl(
            "add-bond", "br0", "bond0", "w1", "w2", "lacp=active", "other_config:lacp-time=fast"
        )
        bond = {"mode": "lacp", "timeout": "short", "lacp": "passive"}
        async with vnet.Fabric.from_dict(fabric_of(bond, f"{PREFIX}-mute-here")) as fabric:
            await until("both cables are in use", using(fabric, "wan.phys1", "wan.phys2"))
            # The interfaces stay up, but nobody speaks any more.
            await switch.vsctl("set", "port", "bond0", "lacp=off")

            async def down() -> bool:
                return not wan(fabric)["carrier"]

            await until("no carrier", down)
            assert used(fabric) == []


async def test_the_backup_takes_over_and_the_world_learns_at_once() -> None:
    async with world("backup") as cables:
        # A bridge that has learned our guests at one port must hear of the other.
        there = cables.there
        await there.run("ip", "link", "add", "br0", "type", "bridge", "forward_delay", "0")
        for end in ("w1", "w2"):
            await there.run("ip", "link", "set", end, "master", "br0")
        await there.run("ip", "address", "add", "10.0.10.250/24", "dev", "br0")
        await there.run("ip", "link", "set", "br0", "up")
        bond = {"mode": "active-backup"}
        async with vnet.Fabric.from_dict(fabric_of(bond, f"{PREFIX}-backup-here")) as fabric:
            await until("the first is in use", using(fabric, "wan.phys1"))
            guest = stack(fabric, "a")
            await reaches(guest)
            with await there.socket(socket.AF_PACKET, socket.SOCK_RAW) as heard:
                heard.bind(("w2", 3))
                heard.setblocking(False)
                await cables.carrier(1, False)
                await until("the second is in use", using(fabric, "wan.phys2"))
                # Gratuitous ARP and neighbour advertisements of both guests come by the new way.
                wanted = {
                    (bytes.fromhex(fabric.guests[name].mac.replace(":", "")), kind)
                    for name in ("a", "b")
                    for kind in (b"\x08\x06", b"\x86\xdd")
                }
                with trio.fail_after(PATIENCE):
                    while wanted:
                        await trio.lowlevel.wait_readable(heard)
                        frame = heard.recv(2048)
                        wanted.discard((frame[6:12], frame[12:14]))
            # The bridge's port with the dead cable knows nobody any more.
            await reaches(guest)
            await cables.carrier(1, True)
            # Without `primary` whoever works stays, and the other one is silent.
            await reaches(guest)
            assert used(fabric) == ["wan.phys2"]
            await fabric.set_link("wan.phys2", False)
            await until("the first is in use again", using(fabric, "wan.phys1"))
            await reaches(guest)
            # What the bridge floods comes by both cables, and is taken in once.
            assert wan(fabric)["drops"].keys() <= {"door-unused", "uplink-own", "no-member", "same-port"}
