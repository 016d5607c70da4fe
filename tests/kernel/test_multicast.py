"""Linux hosts that join groups, in namespaces: their own reports, and what they receive."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from subprocess import PIPE
from typing import Any

import pytest
import trio

import vnet
from tests.needs import needs_root, needs_tun
from vnet.guests import NetnsGuest

pytestmark = [needs_root, needs_tun, pytest.mark.deadline(180)]

GROUPS = ("239.7.7.7", "ff05::7777")

LISTEN = """
import socket, struct, sys
group, source = sys.argv[1], sys.argv[2]
if ":" in group:
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    s.bind(("::", 4000))
    index = socket.if_nametoindex("eth0")
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, socket.inet_pton(socket.AF_INET6, group)
                 + struct.pack("@I", index))
else:
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("", 4000))
    own = socket.inet_aton(sys.argv[3])
    if source == "any":
        s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + own)
    else:
        join = socket.inet_aton(group) + own + socket.inet_aton(source)
        s.setsockopt(socket.IPPROTO_IP, 39, join)  # IP_ADD_SOURCE_MEMBERSHIP
print(s.recv(100).decode(), end="", flush=True)
sys.stdin.read()
"""

SEND = """
import socket, sys
group, own = sys.argv[1], sys.argv[2]
family = socket.AF_INET6 if ":" in group else socket.AF_INET
s = socket.socket(family, socket.SOCK_DGRAM)
if family == socket.AF_INET6:
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, socket.if_nametoindex("eth0"))
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 5)
else:
    s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(own))
s.sendto(b"news", (group, 4000))
"""

DOCUMENT = {
    "name": f"groups-{os.getpid()}",
    "networks": {
        "red": {
            "subnets": ["10.0.1.0/24", "fd00:1::/64"],
            "multicast": {"unknown": "routers", "interval": "1 s", "address": "10.0.1.200"},
        }
    },
    "switches": {"s1": {}, "s2": {}},
    "links": [{"ends": ["s1", "s2"]}],
    "guests": {
        name: {"kind": "netns", "nics": [{"network": "red", "switch": switch}]}
        for name, switch in {"a": "s1", "b": "s1", "c": "s2", "d": "s2"}.items()
    },
}


@asynccontextmanager
async def listening(
    fabric: vnet.Fabric, name: str, group: str, source: str = "any"
) -> AsyncIterator[trio.Process]:
    """A process in a guest that is in a group, from when its switch knows until the switch has forgotten."""
    guest = fabric.guests[name]
    assert isinstance(guest, NetnsGuest)
    assert guest.namespace is not None
    own = guest.address_of(guest, 4)
    process = await guest.namespace.open_process(
        "python3", "-c", LISTEN, group, source, str(own), stdin=PIPE, stdout=PIPE
    )
    try:
        await until(lambda: joined(fabric, f"{name}.0", group))
        yield process
    finally:
        process.kill()
        await process.wait()
    await until(lambda: not joined(fabric, f"{name}.0", group))


def joined(fabric: vnet.Fabric, port: str, group: str) -> list[dict[str, Any]]:
    return [m for m in fabric.members() if m["port"] == port and m["group"] == group]


async def until(holds: Callable[[], object]) -> None:
    with trio.fail_after(50):
        while not holds():  # noqa: ASYNC110
            await trio.sleep(0.01)


async def send(fabric: vnet.Fabric, name: str, group: str) -> None:
    guest = fabric.guests[name]
    assert isinstance(guest, NetnsGuest)
    await guest.run("python3", "-c", SEND, group, str(guest.address_of(guest, 4)))


def heard(fabric: vnet.Fabric) -> dict[str, int]:
    return {name: port.counters()["tx_frames"] for name, port in fabric.ports.items()}


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("version", ["new", "old"])
async def test_linux_hosts_are_heard(group: str, version: str) -> None:
    """IGMPv3 and MLDv2 as they come, IGMPv2 and MLDv1 when told to: joined, received, left."""
    async with vnet.Fabric.from_dict(DOCUMENT) as fabric:
        if version == "old":
            for guest in fabric.guests.values():
                assert isinstance(guest, NetnsGuest)
                await guest.run("sysctl", "-qw", "net.ipv4.conf.eth0.force_igmp_version=2")
                await guest.run("sysctl", "-qw", "net.ipv6.conf.eth0.force_mld_version=1")
        async with listening(fabric, "b", group), listening(fabric, "d", group) as far:
            await until(lambda: joined(fabric, "s1-s2.a", group))
            before = heard(fabric)
            await send(fabric, "a", group)
            assert far.stdout is not None
            assert await far.stdout.receive_some(100) == b"news"
            # Queries come to everybody, so it is what a group's datagrams do not come to that counts.
            for _ in range(100):
                fabric.send("a.0", datagram(fabric, group))
            # Over the link they go in the engine's own turns.
            await until(lambda: heard(fabric)["d.0"] >= before["d.0"] + 100)
            after = heard(fabric)
            got = {name for name in after if after[name] - before[name] >= 100}
            assert got == {"b.0", "d.0"}
        await until(lambda: not joined(fabric, "s1-s2.a", group))
        count = unwanted(fabric)
        await send(fabric, "a", group)
        await until(lambda: unwanted(fabric) > count)


def unwanted(fabric: vnet.Fabric) -> int:
    return int(fabric.port("a").counters()["drops"].get("no-listener", 0))


def datagram(fabric: vnet.Fabric, group: str) -> bytes:
    """One from a to a group."""
    from scapy.layers.inet import IP, UDP
    from scapy.layers.inet6 import IPv6
    from scapy.layers.l2 import Ether

    own = fabric.port("a").wanted
    last = bytes(map(int, group.split(".")))[1:] if "." in group else b""
    mac = f"01:00:5e:{last.hex(':')}" if last else "33:33:00:00:77:77"
    source = next(str(ip) for ip in own.ip if ip.version == (4 if last else 6))
    ip = IP(src=source, dst=group) if last else IPv6(src=source, dst=group)
    return bytes(Ether(src=own.mac, dst=mac) / ip / UDP(dport=4000) / b"more")


async def test_one_source_of_a_group() -> None:
    async with vnet.Fabric.from_dict(DOCUMENT) as fabric:
        sender = str(fabric.guests["a"].address_of(fabric.guests["a"], 4))
        async with listening(fabric, "d", GROUPS[0], sender) as process:
            assert joined(fabric, "d.0", GROUPS[0])[0]["sources"] == [sender]
            await until(lambda: joined(fabric, "s1-s2.a", GROUPS[0]))
            await send(fabric, "a", GROUPS[0])
            assert process.stdout is not None
            assert await process.stdout.receive_some(100) == b"news"
