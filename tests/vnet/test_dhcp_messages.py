"""What a guest's DHCP client says is judged as a whole, wherever the engine takes it from."""

from __future__ import annotations

import ipaddress
import struct
from contextlib import suppress
from typing import Any

import pytest
import trio
import trio.testing
from scapy.layers.dhcp import BOOTP
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet, Raw

import vnet
from tests import books
from tests.vnet.test_mirrors import end
from vnet._native import Engine, Guard, PipeHandle, PortConfig, pipe_door

GUEST, SERVER = "02:00:00:00:00:0a", "02:00:00:00:00:01"
LOCAL = "fe80::ff:fe00:a"
OWN, VICTIM, SERVES = "10.0.0.10", "10.0.0.11", "10.0.0.1"
SECOND = 10**9


class Lab:
    """A guest with a guard and a DHCP server at one switch, in VLAN 5; the guest may send tags, or both."""

    def __init__(self, *, learns: bool = False, tagged: bool = False, both: bool = False) -> None:
        self.engine = Engine()
        switch = self.engine.add_switch(hash_seed=(1, 2))
        addresses = [] if learns else [(f"{OWN}/32", None, None)]
        mode = {"tagged": [5]} if tagged else {"vlan": 5}
        own = Guard(GUEST, addresses=addresses, learns=learns)
        serves = Guard(SERVER, addresses=[(f"{SERVES}/32", None, None)], dhcp_server=True)
        self.ports: list[int] = []
        self.pipes: list[PipeHandle] = []
        modes: list[tuple[Guard, dict[str, Any]]] = [(own, mode), (serves, mode if both else {"vlan": 5})]
        for guard, keys in modes:
            config = PortConfig(guard=guard, mtu=9000, **keys)
            door, pipe = pipe_door(128, 9018)
            self.ports.append(self.engine.add_port(door, switch, config))
            self.pipes.append(pipe)
        self.now = SECOND

    def send(self, pipe: int, *frames: Packet) -> list[bytes]:
        """What comes out at the other one."""
        for frame in frames:
            self.pipes[pipe].send(bytes(frame))
        while self.engine.turn(self.now) == 0:
            pass
        books.check_engine(self.engine, self.ports)
        out: list[bytes] = []
        with suppress(BlockingIOError):
            while True:
                out.append(self.pipes[1 - pipe].receive())
        return out

    def drops(self) -> dict[str, int]:
        return {name: n for name, n in self.engine.counters(self.ports[0])["drops"].items() if n}


def message(
    kind: int,
    *,
    source: str = "0.0.0.0",
    has: str = "0.0.0.0",
    asks: str = "",
    more: bytes = b"",
    tag: bool = False,
) -> Packet:
    """A client's message of such a type, about an address."""
    options = b"\x63\x82\x53\x63\x35\1" + bytes([kind]) + more
    if asks:
        options += b"\x32\4" + bytes(map(int, asks.split(".")))
    frame = Ether(src=GUEST, dst="ff:ff:ff:ff:ff:ff")
    if tag:
        frame /= Dot1Q(vlan=5, prio=3)
    hardware = bytes.fromhex(GUEST.replace(":", ""))
    frame /= IP(src=source, dst="255.255.255.255") / UDP(sport=68, dport=67)
    return frame / BOOTP(op=1, chaddr=hardware, ciaddr=has, options=options + b"\xff")


def option6(code: int, value: bytes) -> bytes:
    return struct.pack("!HH", code, len(value)) + value


def message6(kind: int, leases: bytes, *, server: bool = False, sport: int = 0) -> Packet:
    """A DHCPv6 client's message, or its server's, with IAs."""
    ends = {"src": GUEST, "dst": "33:33:00:01:00:02"}, {"src": LOCAL, "dst": "ff02::1:2"}, (546, 547)
    if server:
        ends = {"src": SERVER, "dst": GUEST}, {"src": "fe80::ff:fe00:1", "dst": LOCAL}, (547, 546)
    identities = option6(1, b"\0\3\0\1\2\0\0\0\0\x0a") + option6(2, b"\0\3\0\1\2\0\0\0\0\1")
    udp = UDP(sport=sport or ends[2][0], dport=ends[2][1])
    return Ether(**ends[0]) / IPv6(**ends[1]) / udp / Raw(bytes([kind, 0, 0, 1]) + identities + leases)


def addresses6(*addresses: str, preferred: int = 0, valid: int = 0, status: bytes = b"") -> bytes:
    """An IA_NA."""
    times = struct.pack("!II", preferred, valid)
    leases = (option6(5, ipaddress.IPv6Address(address).packed + times) for address in addresses)
    return option6(3, bytes(12) + b"".join(leases) + status)


def prefix6(prefix: str, valid: int = 0) -> bytes:
    """An IA_PD."""
    net = ipaddress.IPv6Network(prefix)
    lease = struct.pack("!IIB", valid, valid, net.prefixlen) + net.network_address.packed
    return option6(25, bytes(12) + option6(26, lease))


def acknowledges(address: str, guest: str = GUEST) -> Packet:
    """The server gives an address for a minute."""
    hardware = bytes.fromhex(guest.replace(":", ""))
    options = b"\x63\x82\x53\x63\x35\1\5\x33\4\0\0\0\x3c\xff"
    frame = Ether(src=SERVER, dst=guest) / IP(src=SERVES, dst=address) / UDP(sport=67, dport=68)
    return frame / BOOTP(op=2, chaddr=hardware, yiaddr=address, options=options)


def test_in_a_burst_those_that_may_pass_do_as_they_were() -> None:
    lab = Lab()
    good = [message(1), message(4, asks=OWN), message(7, source=OWN, has=OWN)]
    other = Ether(src=GUEST, dst=SERVER) / IP(src=OWN, dst=SERVES) / UDP(sport=9, dport=9) / Raw(bytes(1400))
    bad = [message(4, asks=VICTIM), message(7, source=OWN, has=OWN, asks=VICTIM)]
    burst = [good[0], bad[0], other, good[1], bad[1], good[2], other]
    wanted = [bytes(frame) for frame in (good[0], other, good[1], good[2], other)]
    assert lab.send(0, *burst) == wanted
    assert lab.drops() == {"guard-dhcp-client": 2}
    assert lab.send(0, *burst * 9) == wanted * 9


def test_behind_a_tag() -> None:
    lab = Lab(tagged=True)
    assert lab.send(0, message(4, asks=VICTIM, tag=True), message(4, asks=OWN, tag=True)) == [
        bytes(message(4, asks=OWN))
    ]
    assert lab.drops() == {"guard-dhcp-client": 1}


def test_one_that_is_longer_than_is_looked_at_is_dropped() -> None:
    lab = Lab()
    long = (b"\x3d\xff" + bytes(255)) * 7
    fits = (b"\x3d\xff" + bytes(255)) * 6
    assert lab.send(0, message(1, more=long), message(1, more=fits)) == [bytes(message(1, more=fits))]
    assert lab.drops() == {"guard-dhcp-client": 1}


def test_a_lease_is_given_back_once_and_by_whose_it_is() -> None:
    lab = Lab(learns=True)
    release = message(7, source=OWN, has=OWN)
    assert lab.send(0, release) == [], "nobody knows it"
    lab.send(1, acknowledges(OWN))
    assert [prefix for _, prefix, _ in lab.engine.bindings(lab.ports[0])] == [f"{OWN}/32"]
    assert lab.send(0, message(7, source=VICTIM, has=VICTIM)) == []
    assert lab.send(0, release) == [bytes(release)]
    assert lab.engine.bindings(lab.ports[0]) == []
    assert lab.drops() == {"guard-dhcp-client": 2}
    renewal = message(3, source=VICTIM, has=VICTIM)
    assert lab.send(0, renewal) == [bytes(renewal)], "more time is asked for from any address"


def test_a_lease_is_given_back_in_no_other_way() -> None:
    """What a server may take for a release, and who keeps the guest's addresses does not, is dropped."""
    lab = Lab(learns=True)
    lab.send(1, acknowledges(OWN))
    elsewhere = message(7, source=OWN, has=OWN)
    elsewhere[UDP].sport = 5000
    # A server that takes a message by its packet's length sees the last option cut off.
    cut = bytearray(bytes(message(7, source=OWN, has=OWN, more=b"\x0c\4host")))
    cut[16:18] = (int.from_bytes(cut[16:18], "big") - 4).to_bytes(2, "big")
    assert lab.send(0, elsewhere, Raw(bytes(cut))) == []
    assert lab.drops() == {"guard-dhcp-client": 2}
    assert [prefix for _, prefix, _ in lab.engine.bindings(lab.ports[0])] == [f"{OWN}/32"]


def test_both_addresses_of_a_release_are_given_back() -> None:
    lab = Lab(learns=True)
    lab.send(1, acknowledges(OWN), acknowledges(VICTIM))
    release = message(7, source=OWN, has=OWN, asks=VICTIM)
    assert lab.send(0, release) == [bytes(release)]
    assert lab.engine.bindings(lab.ports[0]) == []


def test_behind_two_tags() -> None:
    """The inner one is no VLAN's, so a host may look behind it."""
    lab = Lab(learns=True, tagged=True, both=True)
    given = acknowledges(OWN)
    lab.send(1, Ether(src=SERVER, dst=GUEST) / Dot1Q(vlan=5) / given[IP])
    assert len(lab.engine.bindings(lab.ports[0])) == 1
    release = message(7, source=OWN, has=OWN)
    twice = Ether(src=GUEST, dst=release.dst) / Dot1Q(vlan=5) / Dot1Q(vlan=0) / release[IP]
    assert len(lab.send(0, twice)) == 1
    assert lab.engine.bindings(lab.ports[0]) == []


SIX, PREFIX = "fd00::55", "fd01::/56"
GIVEN6 = {
    "as usual": addresses6(SIX) + prefix6(PREFIX),
    "preferred for longer than valid": addresses6(SIX, preferred=1) + prefix6(PREFIX),
    "with a status": addresses6(SIX, status=option6(13, b"\0\1")) + prefix6(PREFIX),
    "behind a status": option6(13, b"\0\1") + addresses6(SIX) + prefix6(PREFIX),
    "more often than there is room": addresses6(*[SIX] * 20) + prefix6(PREFIX),
    "by a part of the prefix": addresses6(SIX) + prefix6("fd01::/64"),
}
"""A release of both."""


@pytest.mark.parametrize("kind", [8, 9])
@pytest.mark.parametrize("how", GIVEN6)
def test_leases_of_ipv6_are_given_back_however_it_is_said(how: str, kind: int) -> None:
    lab = Lab(learns=True)
    given = addresses6(SIX, preferred=60, valid=60) + prefix6(PREFIX, 60)
    lab.send(1, message6(7, given, server=True))
    assert {prefix for _, prefix, _ in lab.engine.bindings(lab.ports[0])} == {f"{SIX}/128", PREFIX}
    release = message6(kind, GIVEN6[how])
    assert lab.send(0, message6(kind, GIVEN6[how], sport=5000), release) == [bytes(release)]
    assert lab.drops() == {"guard-dhcp-client": 1}
    assert lab.engine.bindings(lab.ports[0]) == []


async def test_what_is_given_to_another_is_nobodys_at_other_switches(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The server's last word counts wherever the two guests are; a network of its own is another's."""
    other = "02:00:00:00:00:0b"

    def guest(switch: str, mac: str, **keys: object) -> dict[str, object]:
        nic = {"network": "red", "switch": switch, "mac": mac, "nic": {"kind": "pipe"}, **keys}
        return {"kind": "external", "nics": [nic]}

    fabric = {
        "name": "lab",
        "networks": {"red": {"subnets": ["10.0.0.0/24"], "gateway": "10.0.0.254"}},
        "switches": {"left": {}, "right": {}, "alone": {}},
        "links": [{"ends": ["left", "right"]}],
        "guests": {
            "one": guest("left", GUEST, ip="dhcp"),
            "other": guest("right", other, ip="dhcp"),
            "third": guest("alone", "02:00:00:00:00:0c", ip="dhcp"),
            "server": guest("right", SERVER, ip=[SERVES], guard={"dhcp_server": "allow"}),
        },
    }
    async with vnet.Fabric.from_dict(fabric) as running:

        def has(name: str) -> list[str]:
            return [prefix for _, prefix, _ in running.engine.bindings(running.port(name).number)]

        vlan = running.port("third").wanted.vlan
        assert vlan is not None
        running.engine.bind(running.port("third").number, vlan, f"{OWN}/32", None)
        for mac, name in ((GUEST, "one"), (other, "other")):
            hello = message(1)
            hello.src = mac
            hello[BOOTP].chaddr = bytes.fromhex(mac.replace(":", ""))
            await end(running, name).send(bytes(hello))
            await trio.sleep(0.01)
            await end(running, "server").send(bytes(acknowledges(OWN, mac)))
            await trio.sleep(0.01)
            assert has(name) == [f"{OWN}/32"]
        assert has("one") == []
        assert has("third") == [f"{OWN}/32"]
