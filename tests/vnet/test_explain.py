"""`vnet explain` says what would happen, and it does: nothing by asking, and just that by sending."""

from __future__ import annotations

import random

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vnet
from vnet import spelling
from vnet.explain import dotted

FABRIC = {
    "name": "x",
    "networks": {
        "red": {"vlan": 10, "subnets": ["10.0.0.0/24"], "gateway": []},
        "blue": {"vlan": 20, "subnets": ["10.0.0.0/24"], "gateway": []},
        "shy": {"vlan": 30, "private": True},
    },
    "groups": {"web": {"ingress": [{"protocol": "tcp", "ports": [80]}], "egress": [{}]}},
    "switches": {"left": {}, "right": {}},
    "links": [{"ends": ["left", "right"]}],
    "guests": {
        "a": {"network": "red", "switch": "left", "ip": ["10.0.0.1"]},
        "b": {"network": "red", "switch": "right", "ip": ["10.0.0.2"]},
        "c": {"network": "red", "switch": "left", "ip": ["10.0.0.3"], "groups": ["web"]},
        "d": {"network": "blue", "switch": "left", "ip": ["10.0.0.1"]},
        "e": {"network": "shy", "switch": "left"},
        "f": {"network": "shy", "switch": "left"},
        "t": {"trunk": ["red", "blue"], "native": "red", "switch": "right", "guard": "off"},
    },
}


def document():
    guests = {
        name: {"kind": "external", "nics": [nic | {"nic": {"kind": "pipe"}}]}
        for name, nic in FABRIC["guests"].items()
    }
    return FABRIC | {"guests": guests}


def explained(fabric, port, text):
    ports = fabric.status()["ports"]
    mine = next(entry for entry in ports if entry["port"] == port)
    frame = spelling.frame(text, mine, ports)
    steps, reaches = fabric.explain(port, frame)
    return frame, steps, reaches


def ends(steps):
    """Why the frame was dropped on its way in, and where that is in the topology."""
    return [(step.reason, dotted(step.path) if step.path else "") for step in steps if step.reason]


async def test_the_steps_of_a_frame_across_a_link(autojump_clock):
    async with vnet.Fabric.from_dict(document()) as fabric:
        _, steps, reaches = explained(fabric, "a.0", "ARP(pdst='10.0.0.2')")
        told = [(step.check, step.port) for step in steps if step.check in ("in", "out")]
        link = sorted(name for name in fabric.ports if name not in {f"{g}.0" for g in FABRIC["guests"]})
        assert told[0] == ("in", "a.0")
        assert {port for check, port in told if check == "out"} >= {"b.0", "t.0"}, (told, link)
        assert [port for check, port in told if check == "in"][1:] != []
        assert "it belongs to VLAN 10 (red)" in [step.text for step in steps]
        assert set(reaches) >= {"b.0", "t.0"}
        assert not {"d.0", "e.0", "f.0"} & set(reaches)


async def test_each_reason_has_the_key_that_is_behind_it(autojump_clock):
    async with vnet.Fabric.from_dict(document()) as fabric:
        _, steps, reaches = explained(
            fabric, "a.0", "Ether(src='02:00:00:00:00:66')/IP(dst='10.0.0.2')/UDP()"
        )
        assert (ends(steps), reaches) == ([("guard-mac", "guests.a.nics[0].guard")], [])
        _, steps, reaches = explained(fabric, "a.0", "Ether()/Dot1Q(vlan=20)/IP(dst='10.0.0.2')/UDP()")
        assert (ends(steps), reaches) == ([("tag-not-allowed", "guests.a.nics[0].network")], [])
        assert steps[-1].text.startswith("a tagged frame")


async def test_asking_changes_nothing(autojump_clock):
    async with vnet.Fabric.from_dict(document()) as fabric:
        before = fabric.status()["ports"], fabric.fdb()
        for port in fabric.ports:
            if port in {f"{guest}.0" for guest in FABRIC["guests"]}:
                explained(fabric, port, "Ether(dst='ff:ff:ff:ff:ff:ff')/IP(dst='255.255.255.255')/UDP()")
        assert (fabric.status()["ports"], fabric.fdb()) == before


MACS = st.sampled_from(["a", "b", "c", "d", "e", "f", "t", "new", "group", "broadcast", "zero", "stp"])
SHAPES = st.sampled_from(
    ["udp", "tcp80", "tcp81", "arp", "ip-forged", "dhcp-server", "ra", "junk", "runt", "giant"]
)
TAGS = st.lists(st.sampled_from([0, 10, 20, 30, 4095]), max_size=2)
PORTS = st.sampled_from([f"{guest}.0" for guest in FABRIC["guests"]])


def built(fabric, port, source, target, shape, tags):
    """A frame, hostile or not."""
    from scapy.layers.dhcp import BOOTP, DHCP
    from scapy.layers.inet import IP, TCP, UDP
    from scapy.layers.inet6 import ICMPv6ND_RA, IPv6
    from scapy.layers.l2 import ARP, Dot1Q, Ether

    macs = {guest.name: guest.mac for guest in fabric.guests.values()} | {
        "new": "02:00:00:00:00:99",
        "group": "01:00:5e:01:02:03",
        "broadcast": "ff:ff:ff:ff:ff:ff",
        "zero": "00:00:00:00:00:00",
        "stp": "01:80:c2:00:00:00",
    }
    mine = next(entry for entry in fabric.status()["ports"] if entry["port"] == port)
    own = mine["ip"][0] if mine["ip"] else "10.0.0.77"
    payload = {
        "udp": IP(src=own, dst="10.0.0.2") / UDP(sport=1, dport=2),
        "tcp80": IP(src=own, dst="10.0.0.3") / TCP(sport=1, dport=80, flags="S"),
        "tcp81": IP(src=own, dst="10.0.0.3") / TCP(sport=1, dport=81, flags="S"),
        "arp": ARP(hwsrc=macs[source], psrc=own, pdst="10.0.0.2"),
        "ip-forged": IP(src="10.9.9.9", dst="10.0.0.2") / UDP(sport=1, dport=2),
        "dhcp-server": IP(src=own, dst="255.255.255.255") / UDP(sport=67, dport=68) / BOOTP(op=2) / DHCP(),
        "ra": IPv6(src="fe80::1", dst="ff02::1") / ICMPv6ND_RA(),
        "junk": b"\x45\x00" + bytes(range(60)),
        "runt": b"",
        "giant": IP(src=own, dst="10.0.0.2") / UDP(sport=1, dport=2) / bytes(1600),
    }[shape]
    packet = Ether(src=macs[source], dst=macs[target])
    for tag in tags:
        packet /= Dot1Q(vlan=tag)
    frame = bytes(packet / payload)
    return frame[:9] if shape == "runt" else frame


@pytest.mark.deadline(120)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.tuples(PORTS, MACS, MACS, SHAPES, TAGS), min_size=20, max_size=60),
    st.randoms(use_true_random=False),
)
async def test_what_is_explained_is_what_happens(autojump_clock, frames, chance: random.Random):
    async with vnet.Fabric.from_dict(document()) as fabric:
        pipes = {name: fabric.port(name).opened.far for name in (f"{guest}.0" for guest in FABRIC["guests"])}
        counted = {name: fabric.port(name).counters() for name in pipes}
        for port, source, target, shape, tags in frames:
            if chance.random() < 0.1:
                cut = chance.choice(list(pipes))
                await fabric.set_link(cut, not fabric.port(cut).link)
            own = port.split(".")[0] if chance.random() < 0.6 else source
            frame = built(fabric, port, own, target, shape, tags)
            steps, reaches = fabric.explain(port, frame)
            sent = fabric.send(port, frame)
            with trio.move_on_after(0.001):
                await trio.sleep_forever()
            ingress = next((step.reason for step in steps if step.depth == 1 and step.reason), None)
            if sent["reason"]:
                assert ingress == sent["reason"]
            after = {name: fabric.port(name).counters() for name in pipes}
            got = sorted(name for name in pipes if after[name]["tx_frames"] > counted[name]["tx_frames"])
            assert got == reaches, [step.text for step in steps]
            counted = after
