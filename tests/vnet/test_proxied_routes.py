"""What an uplink answers in the name of guests that prefixes are behind: proxy ARP and ND by route."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr, ICMPv6NDOptSrcLLAddr, IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether

import vnet
from nics.pipe import PipeEnd
from tests.vnet.test_uplinks import BROADCAST, WORLD, lab
from vnet.topology import Topology


def routed(**uplink: Any) -> Topology:
    """As `lab`, with prefixes behind the tenants, which may be the same; and what is not theirs alone."""
    topology = lab(**uplink)
    for guest, network, prefixes in (
        ("r", "red", ["10.0.7.0/24", "fd00:7::/56", "10.0.0.0/24", "10.0.0.3", "0.0.0.0/0"]),
        ("b", "blue", ["10.0.7.0/28"]),
    ):
        (nic,) = topology.guests[guest].nics
        guard = {"allow": [{"ip": prefix} for prefix in prefixes]}
        topology.guest(guest, network=network, ip="10.0.0.2", mac=nic.mac, guard=guard)
    return topology


def asks(target: str, sender: str, vid: int | None = None) -> bytes:
    """Who asks the wire for an address; `sender` of a probe is all zeroes."""
    link: Any = Ether(dst=BROADCAST, src=WORLD)
    if ":" in target:
        link.dst = "33:33:ff:00:00:09"
    if vid:
        link /= Dot1Q(vlan=vid)
    if ":" not in target:
        return bytes(link / ARP(op=1, hwsrc=WORLD, psrc=sender, pdst=target))
    options = ICMPv6NDOptSrcLLAddr(lladdr=WORLD) if sender != "::" else b""
    return bytes(link / IPv6(src=sender, dst="ff02::1:ff00:9", hlim=255) / ICMPv6ND_NS(tgt=target) / options)


async def told(wire: PipeEnd, question: bytes) -> str | None:
    """The MAC address that is told, if any, and that it is told once and rightly."""
    await wire.send(question)
    found = []
    with trio.move_on_after(1):
        while True:
            frame = Ether(await wire.receive())
            is_arp = ARP in frame and frame[ARP].op == 2
            if is_arp or (ICMPv6ND_NA in frame and frame.dst == WORLD):
                found.append(frame)
    if not found:
        return None
    (frame,) = found
    asked = Ether(question)
    assert (frame.dst, Dot1Q in frame) == (WORLD, Dot1Q in asked)
    if ARP in frame:
        assert (frame[ARP].hwsrc, frame[ARP].psrc) == (frame.src, asked[ARP].pdst)
        assert (frame[ARP].hwdst, frame[ARP].pdst) == (WORLD, asked[ARP].psrc)
    else:
        assert frame[ICMPv6ND_NA].tgt == asked[ICMPv6ND_NS].tgt
        # A proxy's overrides nothing (RFC 4861, 7.2.8).
        assert (frame[ICMPv6ND_NA].S, frame[ICMPv6ND_NA].O) == (1, 0)
        assert frame[ICMPv6NDOptDstLLAddr].lladdr == frame.src
    return str(frame.src)


RED, BLUE = "02:00:00:00:00:01", "02:00:00:00:00:02"


@pytest.mark.usefixtures("autojump_clock")
async def test_who_asks_for_what_is_behind_a_guest_is_told_of_that_guest() -> None:
    async with vnet.Fabric(routed(proxy_arp=True)) as fabric:
        wire = fabric.ports["wan"].opened.far
        assert isinstance(wire, PipeEnd)
        for target, sender, vid, expected in (
            ("10.0.7.9", "10.0.7.200", None, RED),
            ("10.0.7.255", "192.0.2.1", None, RED),
            ("10.0.7.9", "10.0.7.200", 20, BLUE),
            ("fd00:7:0:ff::9", "fe80::1", None, RED),
            # Another tenant's, and nobody's.
            ("10.0.7.16", "10.0.7.200", 20, None),
            ("fd00:7::9", "fe80::1", 20, None),
            ("10.0.8.9", "10.0.7.200", None, None),
            ("fd00:7:0:100::9", "fe80::1", None, None),
            # A router may forward from the whole subnet, and from anywhere: others have these addresses.
            ("10.0.0.9", "10.0.0.1", None, None),
            ("10.0.0.3", "10.0.0.1", None, None),
            # Whether an address is free is not for us to say, and who has one announces it.
            ("10.0.7.9", "0.0.0.0", None, None),
            ("fd00:7::9", "::", None, None),
            ("10.0.7.9", "10.0.7.9", None, None),
            # Its own it answers for itself.
            ("10.0.0.2", "10.0.0.1", None, RED),
            ("10.0.0.2", "10.0.0.1", 20, BLUE),
        ):
            assert await told(wire, asks(target, sender, vid)) == expected, (target, sender, vid)
        steps, reached = fabric.explain("wan", asks("10.0.7.9", "10.0.7.200"))
        assert (steps[-1].check, steps[-1].path, reached) == ("answer", ("uplinks", "wan", "proxy_arp"), [])
        # Only while the file says so, and only there.
        await fabric.apply(routed())
        wire = fabric.ports["wan"].opened.far
        assert isinstance(wire, PipeEnd)
        assert await told(wire, asks("10.0.7.9", "10.0.7.200")) is None
        await fabric.apply(routed(proxy_arp=True))
        assert isinstance(fabric.ports["wan"].opened.far, PipeEnd)
        assert await told(fabric.ports["wan"].opened.far, asks("10.0.7.9", "10.0.7.200")) == RED


@pytest.mark.usefixtures("autojump_clock")
async def test_who_has_an_address_of_a_prefix_answers_for_it_itself() -> None:
    topology = Topology("lab", seed=1).network("red", vlan=10, subnets="10.0.0.0/16")
    for name, keys in {
        "router": {"ip": "10.0.10.1", "guard": {"allow": [{"ip": "10.0.50.0/24"}]}},
        "fixed": {"ip": "10.0.50.8"},
        "allowed": {"ip": "10.0.10.2", "guard": {"allow": [{"ip": "10.0.50.7"}]}},
        "leased": {"ip": "dhcp"},
    }.items():
        topology.guest(name, kind="external", network="red", nic=vnet.Pipe(), **keys)
    topology.uplink("wan", nic=vnet.Pipe(), native="red", proxy_arp=True)
    async with vnet.Fabric(topology) as fabric:
        fabric.engine.bind(fabric.port("leased").number, 10, "10.0.50.9/32", None)
        wire = fabric.ports["wan"].opened.far
        assert isinstance(wire, PipeEnd)
        for target, owner in (
            ("10.0.50.7", "allowed"),
            ("10.0.50.8", "fixed"),
            ("10.0.50.9", "leased"),
            ("10.0.50.10", None),
        ):
            question = asks(target, "10.0.0.1")
            steps, reached = fabric.explain("wan", question)
            assert ((steps[-1].check == "answer"), bool(reached)) == (owner is None, owner is not None)
            assert await told(wire, question) == (None if owner else fabric.port("router").wanted.mac)
            if owner:
                far = fabric.port(owner).opened.far
                assert isinstance(far, PipeEnd)
                while await far.receive() != question:
                    pass
