"""A hostile namespace beside two victims: real tools attack, nothing arrives, each attack has its name.

And normal life goes on meanwhile: address detection, ping, router solicitation, TCP by iperf3.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_RA,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    IPv6,
    IPv6ExtHdrFragment,
)
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

import vnet
from tests.needs import needs_tool, needs_tun

pytestmark = [needs_tun, pytest.mark.deadline(90)]

ETH_P_ALL = 3
MALLORY, ALICE, BOB = "10.9.7.66", "10.9.7.11", "10.9.7.12"
BOB6 = "fd00:97::12"


def topology() -> dict[str, Any]:
    subnets = ["10.9.7.0/24", "fd00:97::/64"]
    nics = {"mallory": [MALLORY, "fd00:97::66"], "alice": [ALICE, "fd00:97::11"], "bob": [BOB, BOB6]}
    return {
        "name": f"guard-{os.getpid()}",
        "networks": {"red": {"vlan": 10, "subnets": subnets}},
        "guests": {
            name: {"kind": "netns", "nics": [{"network": "red", "ip": ip}]} for name, ip in nics.items()
        },
    }


def drops(fabric: vnet.Fabric, name: str) -> dict[str, int]:
    return {
        reason: count for reason, count in fabric.port(name).counters()["drops"].items() if "guard" in reason
    }


async def run(fabric: vnet.Fabric, name: str, *argv: str, check: bool = True) -> str:
    guest = fabric.guests[name]
    assert isinstance(guest, vnet.NetnsGuest)
    assert guest.namespace is not None
    output: str = await guest.namespace.run(*argv, check=check)
    return output


async def listening(fabric: vnet.Fabric, name: str) -> None:
    """Wait until iperf3 takes a connection there."""
    with trio.fail_after(30):
        while "5201" not in await run(fabric, name, "ss", "-ltn"):  # noqa: ASYNC110
            await trio.sleep(0.05)


async def packet_socket(fabric: vnet.Fabric, name: str) -> socket.socket:
    guest = fabric.guests[name]
    assert isinstance(guest, vnet.NetnsGuest)
    assert guest.namespace is not None
    made = await guest.namespace.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    made.bind((fabric.port(name).opened.carries, ETH_P_ALL))
    return made


@contextlib.asynccontextmanager
async def ears(fabric: vnet.Fabric, name: str) -> AsyncIterator[list[bytes]]:
    """Every frame that arrives at a guest."""
    heard: list[bytes] = []

    async def hear(made: trio.socket.SocketType) -> None:
        while True:
            frame, (_, _, kind, _, _) = await made.recvfrom(2048)
            if kind != socket.PACKET_OUTGOING:
                heard.append(frame)

    with trio.socket.from_stdlib_socket(await packet_socket(fabric, name)) as made:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hear, made)
            yield heard
            nursery.cancel_scope.cancel()


def attacks(mac: str, bob: str) -> dict[str, list[Ether]]:
    """By drop reason: frames of an attacker with this MAC, who wants to be bob or the router."""
    own, local = Ether(src=mac, dst="ff:ff:ff:ff:ff:ff"), "fe80::bad"
    six = Ether(src=mac, dst="33:33:00:00:00:01")
    mine = IPv6(src="fd00:97::66", dst="ff02::1")
    offer = BOOTP(op=2, chaddr=bytes(6)) / DHCP(options=[("message-type", "offer"), "end"])
    return {
        "guard-mac": [Ether(src=bob, dst="ff:ff:ff:ff:ff:ff") / ARP(hwsrc=bob, psrc=BOB)],
        "guard-arp": [
            own / ARP(op=2, hwsrc=mac, psrc=BOB, hwdst="ff:ff:ff:ff:ff:ff", pdst=BOB),
            own / ARP(op=2, hwsrc=bob, psrc=MALLORY, pdst=MALLORY),
        ],
        "guard-ip4": [own / IP(src=BOB, dst=ALICE) / UDP(sport=5, dport=6) / Raw(b"x" * 30)],
        "guard-ip6": [six / IPv6(src=BOB6, dst="ff02::1") / UDP(sport=5, dport=6)],
        "guard-nd": [six / mine / ICMPv6ND_NA(tgt=BOB6) / ICMPv6NDOptDstLLAddr(lladdr=mac)],
        "guard-ra": [six / IPv6(src=local, dst="ff02::1", hlim=255) / ICMPv6ND_RA()],
        "guard-redirect": [own / IP(src=MALLORY, dst=ALICE) / ICMP(type=5, code=1, gw=MALLORY)],
        "guard-dhcp-server": [own / IP(src=MALLORY) / UDP(sport=67, dport=68) / offer],
        "guard-fragment": [six / mine / IPv6ExtHdrFragment() / ICMPv6ND_RA()],
        "guard-control": [Ether(src=mac, dst="ff:ff:ff:ff:ff:ff", type=0x88CC) / Raw(bytes(46))],
    }


async def test_forged_frames_reach_nobody_and_are_named() -> None:
    async with vnet.Fabric.from_dict(topology()) as fabric, ears(fabric, "alice") as heard:
        mallory, bob = fabric.guests["mallory"].mac, fabric.guests["bob"].mac
        with await packet_socket(fabric, "mallory") as sender:
            marks = []
            for reason, frames in attacks(mallory, bob).items():
                before = drops(fabric, "mallory").get(reason, 0)
                for frame in frames:
                    data = bytes(frame).ljust(60, b"\0")
                    marks.append(data)
                    sender.send(data)
                with trio.fail_after(30):
                    while drops(fabric, "mallory").get(reason, 0) < before + len(frames):  # noqa: ASYNC110
                        await trio.sleep(0.005)
            # Behind all of them comes one that may pass.
            last = bytes(
                Ether(src=mallory, dst="ff:ff:ff:ff:ff:ff") / ARP(hwsrc=mallory, psrc=MALLORY)
            ).ljust(60, b"\0")
            sender.send(last)
            with trio.fail_after(30):
                while last not in heard:  # noqa: ASYNC110
                    await trio.sleep(0.005)
        assert not set(marks) & set(heard)
        assert all(not drops(fabric, name) for name in ("alice", "bob"))


@needs_tool("arping")
@needs_tool("ping")
async def test_tools_that_forge_what_they_are_told_to() -> None:
    async with vnet.Fabric.from_dict(topology()) as fabric, ears(fabric, "alice") as heard:
        interface = fabric.port("mallory").opened.carries
        # An administrator in there takes bob's address, and announces it.
        await run(fabric, "mallory", "ip", "address", "add", f"{BOB}/32", "dev", str(interface))
        await run(fabric, "mallory", "ping", "-c", "2", "-i", "0.2", "-W", "1", "-I", BOB, ALICE, check=False)
        counted = drops(fabric, "mallory")
        assert counted.get("guard-arp", 0) + counted.get("guard-ip4", 0) >= 1
        words = ("-c", "2", "-U", "-s", BOB, "-I", str(interface), BOB)
        await run(fabric, "mallory", "arping", *words, check=False)
        with trio.fail_after(30):
            while drops(fabric, "mallory").get("guard-arp", 0) < counted.get("guard-arp", 0) + 2:  # noqa: ASYNC110
                await trio.sleep(0.005)
        mallory = bytes.fromhex(fabric.guests["mallory"].mac.replace(":", ""))
        claimed = [
            frame
            for frame in heard
            if frame[6:12] == mallory
            and (frame[28:32] == socket.inet_aton(BOB) or frame[26:30] == socket.inet_aton(BOB))
        ]
        assert not claimed
        # Another MAC address is not his either.
        await run(fabric, "mallory", "ip", "link", "set", str(interface), "address", "02:00:00:00:be:ef")
        await run(fabric, "mallory", "ping", "-c", "1", "-W", "1", ALICE, check=False)
        assert drops(fabric, "mallory").get("guard-mac", 0) >= 1
        assert not [frame for frame in heard if frame[6:12] == bytes.fromhex("02000000beef")]
        assert not drops(fabric, "alice")


@needs_tool("arping")
@pytest.mark.parametrize("claim", ["-U", "-A"])
async def test_an_announcement_of_anothers_address(claim: str) -> None:
    """arping's own two ways to announce an address, request and reply, each by itself."""
    async with vnet.Fabric.from_dict(topology()) as fabric, ears(fabric, "alice") as heard:
        interface = str(fabric.port("mallory").opened.carries)
        # iputils' arping sends from an address that the interface has.
        await run(fabric, "mallory", "ip", "address", "add", f"{BOB}/32", "dev", interface)
        before = drops(fabric, "mallory").get("guard-arp", 0)
        words = (claim, "-c", "3", "-s", BOB, "-I", interface, BOB)
        await run(fabric, "mallory", "arping", *words, check=False)
        counters = fabric.port("mallory").counters
        with trio.fail_after(30):
            while counters()["drops"].get("guard-arp", 0) < before + 3:  # noqa: ASYNC110
                await trio.sleep(0.005)
        # Its own, it may announce.
        words = (claim, "-c", "1", "-s", MALLORY, "-I", interface, MALLORY)
        await run(fabric, "mallory", "arping", *words, check=False)
        mallory = bytes.fromhex(fabric.guests["mallory"].mac.replace(":", ""))
        own = mallory + socket.inet_aton(MALLORY)
        with trio.fail_after(30):
            while not any(frame[22:32] == own for frame in heard):  # noqa: ASYNC110
                await trio.sleep(0.005)
        assert not any(frame[28:32] == socket.inet_aton(BOB) for frame in heard if frame[22:28] == mallory)
        assert not drops(fabric, "alice")


@needs_tool("iperf3")
@needs_tool("ping")
async def test_normal_life() -> None:
    async with vnet.Fabric.from_dict(topology()) as fabric:
        for target in (BOB, BOB6):
            await run(fabric, "alice", "ping", "-c", "2", "-i", "0.2", "-W", "20", target)
        big = ("ping", "-c", "1", "-W", "20", "-s", "4000")
        await run(fabric, "alice", *big, BOB)
        await run(fabric, "alice", *big, BOB6)
        # Nobody has its addresses, which the kernel finds out by asking for them.
        with trio.fail_after(20):
            while "tentative" in await run(fabric, "alice", "ip", "-6", "address"):  # noqa: ASYNC110
                await trio.sleep(0.05)
        assert "dadfailed" not in await run(fabric, "alice", "ip", "-6", "address")
        with await packet_socket(fabric, "alice") as sender:
            source = fabric.guests["alice"].mac
            solicitation = (
                Ether(src=source, dst="33:33:00:00:00:02") / IPv6(src="::", dst="ff02::2") / ICMPv6ND_RS()
            )
            sender.send(bytes(solicitation))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, fabric, "bob", "iperf3", "-s", "-1")
            await listening(fabric, "bob")
            await run(fabric, "alice", "iperf3", "-c", BOB, "-n", "200M")
        assert not any(drops(fabric, name) for name in fabric.guests)
