"""Flows are told from the address that the host has, also when that becomes another one."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

import vnet
from nics import inside
from tests.needs import needs_root, needs_tool
from tests.vnet.flows.test_flows import DOCUMENT
from vnet.flows import message

pytestmark = [needs_root, needs_tool("ip")]

FAMILIES = {
    4: ("198.51.100.1:4739", "198.51.100.0/24", "192.0.2.1/24", "203.0.113.1/24", "192.0.2.9", "203.0.113.9"),
    6: ("[fd77::1]:4739", "fd77::/64", "fd05::1/64", "fd06::1/64", "fd05::9", "fd06::9"),
}
"""The collector, its network, the host's address before and after, and the routers there."""


def ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True)


def live(address: str, network: str, router: str) -> None:
    """Have the host live there, its way to the network by a router that answers no question."""
    ip(f"addr add {address} dev out")
    ip(f"neigh replace {router} lladdr 02:00:00:00:00:09 dev out nud permanent")
    ip(f"route replace {network} via {router}")


@pytest.fixture
def wire() -> Iterator[socket.socket]:
    """A socket that hears what leaves by `out`, in a network namespace where this thread is meanwhile."""
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    inside._call("unshare", inside.CLONE_NEWNET)
    try:
        ip("link add out type veth peer name there")
        for name in ("out", "there"):
            Path(f"/proc/sys/net/ipv6/conf/{name}/accept_dad").write_text("0")
            ip(f"link set {name} up")
        with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, 0) as made:
            made.bind(("out", 3))  # ETH_P_ALL: what leaves, too
            yield made
    finally:
        inside._call("setns", here, inside.CLONE_NEWNET)
        os.close(here)


def told(wire: socket.socket) -> list[tuple[str, bool]]:
    """Of each message: where it is from, and whether it begins with templates."""
    found: list[tuple[str, bool]] = []
    while True:
        try:
            packet = wire.recv(65536)
        except BlockingIOError:
            return found
        if packet[0] >> 4 == 4:
            source, protocol, body = socket.inet_ntop(socket.AF_INET, packet[12:16]), packet[9], packet[20:]
        else:
            source, protocol, body = socket.inet_ntop(socket.AF_INET6, packet[8:24]), packet[6], packet[40:]
        if protocol == socket.IPPROTO_UDP:
            (first,) = struct.unpack_from("!H", body, 8 + 16)
            found.append((source, first == message.TEMPLATES))


@pytest.mark.parametrize("version", FAMILIES)
async def test_the_host_gets_another_address(
    autojump_clock: trio.testing.MockClock, wire: socket.socket, version: int
) -> None:
    collector, network, before, after, *routers = FAMILIES[version]
    live(before, network, routers[0])
    flows = {"collector": collector, "sample": 1, "active": "1 s", "idle": "1 s", "templates": "20 s"}
    async with vnet.Fabric.from_dict(DOCUMENT | {"flows": flows}) as fabric:

        async def talk() -> list[tuple[str, bool]]:
            for _ in range(30):
                await fabric.guests["a"].ping("10.0.0.2")
                await trio.sleep(1)
            return told(wire)

        assert {source for source, _ in await talk()} == {before.partition("/")[0]}
        ip(f"addr del {before} dev out")
        live(after, network, routers[1])
        found = await talk()
        fresh = [first for source, first in found if source == after.partition("/")[0]]
        assert len(fresh) > 8
        assert fresh[0], "templates come first: to the collector this is somebody new"
        if version == 4:
            # The kernel says that the address is gone. Of IPv6 it does not, and only a look tells.
            assert len(fresh) == len(found) > 20
            assert fabric.status()["flows"]["unsent"] < 5
        ip(f"route del {network}")
        await talk()
        ip(f"route add {network} via {routers[1]}")
        unsent = fabric.status()["flows"]["unsent"]
        assert len(await talk()) > 20
        assert fabric.status()["flows"]["unsent"] == unsent
