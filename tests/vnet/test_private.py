"""Private networks in a fabric: over several switches, in virtual time."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest
import trio.testing
from scapy.layers.l2 import ARP, Ether

import vnet
from vnet.check import Proof, judge
from vnet.probe.course import Options, run

LEAVES = """
name: leaves
networks: {red: {private: true, subnets: [10.0.1.0/24, "fd00:1::/64"]}}
switches: {leaf1: {}, spine: {}, leaf2: {}}
links:
  - {ends: [leaf1, spine]}
  - {ends: [spine, leaf2], impair: {delay: 1 ms}}
guests:
  one:   {nics: [{network: red, switch: leaf1}]}
  near:  {nics: [{network: red, switch: leaf1, private: community x}]}
  far:   {nics: [{network: red, switch: leaf2, private: community x}]}
  other: {nics: [{network: red, switch: leaf2, private: community y}]}
  two:   {nics: [{network: red, switch: leaf2}]}
  gate:  {nics: [{network: red, switch: leaf1, private: promiscuous}]}
"""
REACHES = {("near", "far"), ("far", "near")}


def topology() -> vnet.Topology:
    return vnet.Topology.from_text(textwrap.dedent(LEAVES))


async def test_places_hold_from_leaf_to_leaf(autojump_clock: trio.testing.MockClock) -> None:
    async with vnet.Fabric(topology()) as fabric:
        guests: dict[str, Any] = fabric.guests
        for source in guests:
            for target in set(guests) - {source}:
                for address in map(str, fabric.ports[f"{target}.0"].wanted.ip):
                    if "gate" in (source, target) or (source, target) in REACHES:
                        await guests[source].ping(address)
                    else:
                        with pytest.raises(vnet.Unreachable):
                            await guests[source].ping(address, timeout=0.5)
        drops = {name: port.counters()["drops"] for name, port in fabric.ports.items()}
        assert not any("guard" in reason for each in drops.values() for reason in each)


async def test_super_frames_keep_their_senders_place(autojump_clock: trio.testing.MockClock) -> None:
    """The wire between spine and leaf2 takes no super-frames, so they are cut on their way."""
    async with vnet.Fabric(topology()) as fabric:
        gate: Any = fabric.guests["gate"]
        two: Any = fabric.guests["two"]
        listener = await two.listen_tcp(80)
        stream = await gate.open_tcp_stream(two, 80)
        accepted = await listener.accept()
        data = bytes(200_000)
        got = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, data)
            while got < len(data):
                got += len(await accepted.receive_some(65536))
        assert got == len(data)


async def test_explain_says_where_it_ends(autojump_clock: trio.testing.MockClock) -> None:
    async with vnet.Fabric(topology()) as fabric:
        one, two = fabric.ports["one.0"], fabric.ports["two.0"]
        mac = [bytes.fromhex(port.wanted.mac.replace(":", "")) for port in (two, one)]
        frame = mac[0] + mac[1] + b"\x88\xb5" + bytes(46)
        steps, reached = fabric.explain("one", frame)
        assert ("private", "spine-leaf2.b") in {(step.reason, step.port) for step in steps}
        assert reached == []


PROXY = """
name: proxy
networks: {red: {private: true, proxy_arp: true, subnets: [10.0.1.0/24, "fd00:1::/64"]}}
switches: {leaf1: {}, leaf2: {}}
links: [{ends: [leaf1, leaf2]}]
guests:
  one:
    kind: external
    nics: [{network: red, switch: leaf1, nic: {kind: pipe}, ip: [10.0.1.11, "fd00:1::11"]}]
  two:  {nics: [{network: red, switch: leaf2, ip: [10.0.1.12, "fd00:1::12"]}]}
  gate:
    nics:
      - network: red
        switch: leaf2
        ip: [10.0.1.2, "fd00:1::2"]
        guard: {allow: [{ip: 10.0.1.1}, {ip: "fd00:1::1"}, {ip: 10.0.1.0/24}]}
expect:
  - {from: one, to: two, reach: true, via: gate, family: 4}
  - {from: one, to: two, reach: false, via: gate, family: 6}
"""


async def test_who_is_out_of_reach_is_found_at_the_gateway(autojump_clock: trio.testing.MockClock) -> None:
    topology = vnet.Topology.from_text(PROXY)
    async with vnet.Fabric(topology) as fabric:
        mac = {name: port.wanted.mac for name, port in fabric.ports.items()}
        pipe: Any = fabric.ports["one.0"].opened.far
        for target, at in (("10.0.1.12", "gate.0"), ("10.0.1.77", "gate.0"), ("10.0.1.2", "gate.0")):
            asked = Ether(src=mac["one.0"], dst="ff:ff:ff:ff:ff:ff") / ARP(
                hwsrc=mac["one.0"], psrc="10.0.1.11", pdst=target
            )
            await pipe.send(bytes(asked))
            while ARP not in (told := Ether(await pipe.receive())):
                pass  # the others say who they are by MLD
            assert (told.src, told[ARP].hwsrc, told[ARP].psrc) == (mac[at], mac[at], target)
        steps, reached = fabric.explain("one", bytes(asked).replace(b"\x0a\x00\x01\x02", b"\x0a\x00\x01\x0c"))
        assert reached == []
        assert steps[-1].check == "answer"
        assert steps[-1].path == ("networks", "red", "proxy_arp")


def test_the_proof_knows_who_is_told_of_the_gateway() -> None:
    topology = vnet.Topology.from_text(PROXY)
    proof = Proof(topology)
    assert all(outcome.holds for outcome in judge(proof).outcomes)
    pair = proof.pair("one", "two")
    assert (pair.reach, pair.via) == ("may", ("gate",))
    assert ("networks", "red", "proxy_arp") in [reason.path for reason in pair.reasons]


def test_every_pair_is_probed(tmp_path: Path) -> None:
    result = run(vnet.Topology.from_text(PROXY), Options(virtual=True, folder=tmp_path))
    assert not result.findings, [str(finding) for finding in result.findings]
