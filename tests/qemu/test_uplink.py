"""Many guests on one physical interface, for which a veth pair stands: the world is another fabric, which has
nothing but the other end of the pair.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio

import vnet
from nics.netlink import Netlink
from nics.netns import Namespace
from tests import peers
from tests.needs import needs_qemu, needs_root
from tests.peers import Peer
from tests.qemu import lab
from tests.qemu.machine import Machine

pytestmark = [needs_qemu, needs_root, pytest.mark.deadline(180)]

SUBNETS = ["10.0.0.0/24", "fd00::/64"]
"""All tenants have the same."""
NETWORKS = {
    "red": {"vlan": 10, "subnets": SUBNETS, "mtu": 1500},
    "blue": {"vlan": 20, "subnets": SUBNETS, "mtu": 9000},
    "green": {"vlan": 30, "subnets": SUBNETS, "mtu": 9000},
}
HOSTS = {"red": 201, "blue": 202, "green": 203}
"""By network: the host in the world, with an address that nobody has in the others."""
STREAM = {"kind": "stream", "socket": "vm1.sock"}
GUESTS = 50
NAMESPACES = 5


@contextlib.asynccontextmanager
async def wire() -> AsyncIterator[str]:
    """The name of a namespace with the interfaces `phys` and `world`, two ends of a wire."""
    async with Netlink() as netlink:
        name = f"vnet-t{os.getpid()}-wire"
        namespace = await Namespace.create(name, netlink)

        def plug(iproute: Any) -> None:
            iproute.link("add", ifname="phys", kind="veth", peer={"ifname": "world"})
            for end in ("phys", "world"):
                index = iproute.link_lookup(ifname=end)[0]
                # The interfaces' own host says nothing there.
                quiet = {"attrs": [["IFLA_INET6_ADDR_GEN_MODE", 1]]}
                family = {"attrs": [["AF_INET6", quiet]]}
                iproute.link("set", index=index, IFLA_AF_SPEC=family)
                iproute.link("set", index=index, mtu=9000, state="up")

        await netlink.run(plug, namespace.fd)
        try:
            yield name
        finally:
            await namespace.aclose()


def topology(name: str, end: str, netns: str, guests: dict[str, Any], **uplink: Any) -> dict[str, Any]:
    nic = {"kind": "packet", "interface": end, "netns": netns}
    return {
        "name": f"{name}-{os.getpid()}",
        "networks": NETWORKS,
        "guests": guests,
        "uplinks": {"wan": {"nic": nic, "native": "green", "tagged": ["red", "blue"], **uplink}},
    }


def world(netns: str) -> dict[str, Any]:
    hosts = {
        f"host-{network}": {
            "kind": "netns",
            "nics": [{"network": network, "ip": [f"10.0.0.{number}", f"fd00::{number}"]}],
        }
        for network, number in HOSTS.items()
    }
    return topology("world", "world", netns, hosts)


def fabric(netns: str) -> dict[str, Any]:
    guests: dict[str, Any] = {}
    for number in range(GUESTS):
        # Nobody has a host's address.
        nic: dict[str, Any] = {"network": list(HOSTS)[number % len(HOSTS)]}
        nic["ip"] = [f"10.0.0.{number + 10}", f"fd00::{number + 10}"]
        kind = "netns" if number <= NAMESPACES else "stack"
        guests[f"g{number}" if number else "vm1"] = {"kind": kind, "nics": [nic]}
    guests["vm1"]["kind"] = "external"
    guests["vm1"]["nics"][0]["nic"] = STREAM
    return topology("fabric", "phys", netns, guests)


async def test_fifty_guests_reach_their_own_vlans_host_and_no_other() -> None:
    with lab.runtime() as folder, lab.runtime() as other:
        async with (
            wire() as netns,
            vnet.Fabric.from_dict(world(netns), runtime=other) as outside,
            vnet.Fabric.from_dict(fabric(netns), runtime=folder) as inside,
            lab.plugged(inside, "vm1") as vm1,
        ):
            await all_of_them(inside, outside, vm1)
            # The world knows each guest by its own address, in its own network, and nothing else.
            seen = {(entry["network"], entry["mac"]) for entry in outside.fdb(port="wan")}
            own = {
                (port.wanted.network, port.wanted.mac) for port in inside.ports.values() if port.name != "wan"
            }
            assert seen == own
            # No frame of one network came to a port of another, and none was lost unseen.
            for port in inside.ports.values():
                assert not {"tx-not-member", "door-malformed", "tx-error"} & set(port.counters()["drops"])


async def all_of_them(inside: vnet.Fabric, outside: vnet.Fabric, vm1: Machine) -> None:
    """Everybody at once: bytes to the own host by IPv4 and IPv6, and nothing from the others."""
    async with trio.open_nursery() as nursery:
        for index, (name, guest) in enumerate(inside.guests.items()):
            giver: Peer = vm1 if name == "vm1" else lab.peer(inside, name)
            (port,) = guest.ports.values()
            for number, (network, last) in enumerate(HOSTS.items()):
                if network == port.wanted.network:
                    taker = lab.peer(outside, f"host-{network}")
                    nursery.start_soon(give, giver, taker, last, 6000 + 2 * index)
                else:
                    nursery.start_soon(in_vain, giver, f"10.0.0.{last}" if number % 2 else f"fd00::{last}")


async def give(giver: Peer, taker: Peer, last: int, port: int) -> None:
    for family, address in enumerate((f"10.0.0.{last}", f"fd00::{last}")):
        await peers.transfer(giver, taker, address, port=port + family, megabytes=1, deadline=120)


async def in_vain(giver: Peer, address: str) -> None:
    assert not await giver.ping(address, count=1), f"{giver.name} reached {address}"
