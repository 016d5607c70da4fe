"""The kernel's `no_forwarding`, over a whole fabric: what one sends, nobody of another network or switch
hears: of any kind, to anybody, under any tag, with the same addresses on both sides and no guard.
"""

from __future__ import annotations

import itertools

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
from scapy.packet import Packet, Raw

import vnet
from tests.vnet.test_mirrors import end, heard

MINE, YOURS = "02:00:00:00:00:01", "02:00:00:00:00:02"
TO = [YOURS, "01:02:03:04:05:06", "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "33:33:00:00:00:01"]
WHAT: list[Packet] = [
    IP(src="192.0.2.1", dst="192.0.2.2") / ICMP(),
    IP(src="192.0.2.1", dst="224.0.0.1") / ICMP(),
    IPv6(src="2001:db8:1::1", dst="2001:db8:1::2") / ICMPv6EchoRequest(),
    IPv6(src="fe80::1", dst="ff02::1") / ICMPv6EchoRequest(),
]
VIDS = [0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 4000, 4094]


def frames() -> list[bytes]:
    """Each destination, each payload, untagged and under each tag."""
    made = []
    tags: list[list[Packet]] = [[], *([kind(vlan=vid)] for vid in VIDS for kind in (Dot1Q, Dot1AD))]
    tags += [[Dot1Q(vlan=0), Dot1Q(vlan=vid)] for vid in VIDS]
    for to, what, stack in itertools.product(TO, [*WHAT, None], tags):
        frame: Packet = Ether(src=MINE, dst=to)
        for tag in stack:
            frame = frame / tag
        if what is None:
            inner = frame.lastlayer()
            inner.type = 4
            frame = frame / Raw(b"HELO")
        else:
            frame = frame / what
        made.append(bytes(frame).ljust(60, b"\0"))
    return made


def lab(way: str) -> vnet.Topology:
    """Two guests that are kept apart this way, and one that the first may talk to."""
    topology = vnet.Topology("apart", seed=1).network("red", vlan=10).network("blue", vlan=20)
    own = {"one": "red", "friend": "red", "other": "red"}
    place = {}
    if way == "two switches":
        topology.switch("left").switch("right")
        place = {"one": "left", "friend": "left", "other": "right"}
    else:
        own["other"] = "blue"
    for (name, network), mac in zip(own.items(), (MINE, "02:00:00:00:00:03", YOURS), strict=True):
        keys = {"switch": place[name]} if place else {}
        topology.guest(name, kind="external", network=network, mac=mac, nic=vnet.Pipe(), guard="off", **keys)
    return topology


@pytest.mark.usefixtures("autojump_clock")
@pytest.mark.parametrize("way", ["two switches", "two networks"])
async def test_no_forwarding(way: str) -> None:
    async with vnet.Fabric(lab(way)) as fabric:
        # Somebody there is known, and with the same address as somebody here.
        await end(fabric, "other").send(bytes(Ether(src=YOURS, dst="ff:ff:ff:ff:ff:ff", type=4)).ljust(60))
        await end(fabric, "other").send(bytes(Ether(src=MINE, dst=YOURS, type=4)).ljust(60))
        everything = frames()
        reached = 0
        for at in range(0, len(everything), 50):
            for frame in everything[at : at + 50]:
                await end(fabric, "one").send(frame)
            reached += len(await heard(fabric, "friend"))
            assert not await heard(fabric, "other")
        # What is untagged or has a priority tag gets through where it may; the rest has a tag.
        assert reached >= len(TO) * (len(WHAT) + 1) * 2
        assert fabric.port("other").counters()["tx_frames"] == 0
