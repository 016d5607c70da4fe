"""Frames put in at a port: how they are written, and that they meet what a guest's would."""

from __future__ import annotations

import pytest
import trio
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether

import vnet
from vnet import spelling
from vnet.errors import BadInput

WEB = {"port": "web.0", "mac": "02:00:00:00:00:01", "ip": ["10.0.0.1", "fd00::1"], "vlan": 10, "trunk": []}
DB = {"port": "db.0", "mac": "02:00:00:00:00:02", "ip": ["10.0.0.2", "fd00::2"], "vlan": 10, "trunk": []}
SHOP = {"port": "shop.0", "mac": "02:00:00:00:00:03", "ip": ["10.0.0.2"], "vlan": 20, "trunk": []}


def spelled(text, port=WEB):
    return Ether(spelling.frame(text, port, [SHOP, WEB, DB]))


def test_hex():
    for text in ("ffff02", "0xffff02", "ff:ff:02", "ff ff 02"):
        assert spelling.frame(text, WEB, []) == b"\xff\xff\x02"


def test_blanks_are_filled_in_as_the_guest_would():
    packet = spelled("IP(dst='10.0.0.2')/UDP(dport=53)")
    assert (packet.src, packet.dst) == (WEB["mac"], DB["mac"])
    assert (packet[IP].src, packet[UDP].dport) == ("10.0.0.1", 53)
    packet = spelled("IPv6(dst='fd00::2')/UDP()")
    assert (packet.dst, packet[IPv6].src) == (DB["mac"], "fd00::1")
    assert spelled("IP(dst='10.0.0.9')/ICMP()").dst == "ff:ff:ff:ff:ff:ff"
    assert spelled("IP(dst='224.1.2.3')/UDP()").dst == "01:00:5e:01:02:03"
    assert spelled("IPv6(dst='ff02::1:2')/UDP()").dst == "33:33:00:01:00:02"
    arp = spelled("ARP(pdst='10.0.0.2')")
    assert (arp.dst, arp[ARP].hwsrc, arp[ARP].psrc) == ("ff:ff:ff:ff:ff:ff", WEB["mac"], "10.0.0.1")


def test_whom_it_goes_to_is_told_where_that_was_left_out():
    def told(text):
        return spelling.spelled(text, WEB, [SHOP, WEB, DB])[1]

    assert told("IP(dst='10.0.0.2')/ICMP()") == f"10.0.0.2 is db.0's: sent to its MAC address, {DB['mac']}."
    nobody = "No NIC here has {}: sent to everybody."
    assert told("IP(dst='10.0.0.9')/ICMP()") == nobody.format("10.0.0.9")
    assert told("IPv6(dst='fd00::9')/UDP()") == nobody.format("fd00::9")
    # Where a guest would do the same, and where nothing was left out.
    for text in ("IP()/UDP()", "IP(dst='224.1.2.3')/UDP()", "ARP(pdst='10.0.0.9')", "ff" * 14):
        assert told(text) is None
    assert told("Ether(dst='02:00:00:00:00:77')/IP(dst='10.0.0.9')") is None


def test_what_is_said_stays():
    packet = spelled(
        "Ether(src='02:00:00:00:00:66',dst='02:00:00:00:00:77')/IP(src='1.2.3.4',dst='10.0.0.2')"
    )
    assert (packet.src, packet.dst, packet[IP].src) == ("02:00:00:00:00:66", "02:00:00:00:00:77", "1.2.3.4")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("abc", "3 hex digits"),
        ("IP(", "expected hex, or an expression"),
        ("nothing()", "nothing"),
        ("3 + 4j", "found complex"),
        ("IP(dst='10.0.0.2')/UDP(dport='x'*9)", "frame"),
    ],
)
def test_what_is_no_frame_is_told(text, told):
    with pytest.raises(BadInput, match="frame") as raised:
        spelling.frame(text, WEB, [])
    assert told in str(raised.value)


async def test_a_frame_goes_the_way_of_every_other(autojump_clock):
    document = {
        "name": "s",
        "networks": {"red": {"vlan": 10, "subnets": ["10.0.0.0/24"], "gateway": []}},
        "guests": {
            name: {"kind": "external", "nics": [{"network": "red", "ip": [ip], "nic": {"kind": "pipe"}}]}
            for name, ip in (("a", "10.0.0.1"), ("b", "10.0.0.2"))
        },
    }
    async with vnet.Fabric.from_dict(document) as fabric:
        ports = fabric.status()["ports"]

        def send(text):
            return fabric.send("a", spelling.frame(text, ports[0], ports))

        far = fabric.port("b").opened.far
        first = send("ARP(pdst='10.0.0.2')")
        assert (first["port"], first["to"], first["reason"], first["vlan"]) == ("a.0", None, None, 10)
        with trio.fail_after(5):
            assert Ether(await far.receive())[ARP].psrc == "10.0.0.1"
        await far.send(Ether(src=ports[1]["mac"], dst=ports[0]["mac"]) / IP(src="10.0.0.2", dst="10.0.0.1"))
        with trio.fail_after(5):
            await fabric.port("a").opened.far.receive()
        assert send("IP(dst='10.0.0.2')/UDP()")["to"] == "b.0"
        forged = send("Ether(src='02:00:00:00:00:66')/IP(dst='10.0.0.2')/UDP()")
        assert (forged["reason"], forged["to"]) == ("guard-mac", None)
        assert "MAC" in forged["means"]
        counted = fabric.port("a").counters()
        assert counted["drops"] == {"guard-mac": 1}
        assert counted["rx_frames"] == counted["forwarded"] + 1 == 3
        with pytest.raises(BadInput, match="did you mean"):
            fabric.send("aa", b"")
