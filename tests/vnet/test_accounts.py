"""What a guest has a share of is its own, on one switch and over links: it spends nobody else's."""

from __future__ import annotations

from typing import Any

import pytest
import trio.testing
from scapy.layers.igmp import IGMP
from scapy.layers.inet import IP, UDP, IPOption_Router_Alert
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

import vnet

MAC = {name: f"02:00:00:00:00:0{name}" for name in "abcd"}
ADDRESS = {name: f"10.0.10.{ord(name)}" for name in "abcd"}
PARTS = pytest.mark.parametrize("switches", [1, 2, 3])


def lab(switches: int, **network: Any) -> vnet.Topology:
    """a and c are at the last switch, b, that all may send to, and d at the first."""

    def guest(name: str, **keys: Any) -> dict[str, Any]:
        where = {"switch": f"s{switches if name in 'ac' else 1}"} if switches > 1 else {}
        own = {"mac": MAC[name], "ip": [ADDRESS[name]], "connections": 8}
        return {
            "kind": "external",
            "nics": [{"nic": {"kind": "pipe"}, "network": "red", **own, **where, **keys}],
        }

    document: dict[str, Any] = {
        "name": "lab",
        "networks": {"red": {"subnets": ["10.0.10.0/24"], **network}},
        "groups": {"in": {"ingress": [{"protocol": "udp"}]}},
        "guests": {"a": guest("a"), "b": guest("b", groups="in"), "c": guest("c"), "d": guest("d")},
    }
    if switches > 1:
        document["switches"] = {f"s{number + 1}": {} for number in range(switches)}
        document["links"] = [{"ends": [f"s{n}", f"s{n + 1}"]} for n in range(1, switches)]
    return vnet.Topology.from_dict(document)


class Bench:
    def __init__(self, fabric: vnet.Fabric) -> None:
        self.ends: dict[str, Any] = {name: fabric.ports[f"{name}.0"].opened.far for name in MAC}

    async def send(self, source: str, frame: Packet) -> set[str]:
        """Who receives it. In virtual time it is there when nothing more happens."""
        await self.ends[source].send(bytes(Ether(src=MAC[source], dst=frame.dst) / frame.payload))
        await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(0.001)
        heard = set()
        for name, end in self.ends.items():
            while True:
                try:
                    got = Ether(end.receive_nowait())
                except trio.WouldBlock:
                    break
                if UDP in got or (IP in got and got[IP].frag):
                    heard.add(name)
        return heard

    async def hello(self) -> None:
        """Every switch knows where everybody is."""
        for name, mac in MAC.items():
            asks = ARP(op=1, hwsrc=mac, psrc=ADDRESS[name], pdst="10.0.10.1")
            await self.send(name, Ether(dst="ff:ff:ff:ff:ff:ff") / asks)

    async def udp(self, source: str, target: str, sport: int, dport: int) -> bool:
        packet = IP(src=ADDRESS[source], dst=ADDRESS[target]) / UDP(sport=sport, dport=dport) / b"x"
        return target in await self.send(source, Ether(dst=MAC[target]) / packet)


@PARTS
async def test_connections(switches: int, autojump_clock: trio.testing.MockClock) -> None:
    async with vnet.Fabric(lab(switches)) as fabric:
        bench = Bench(fabric)
        await bench.hello()
        kept = 0
        for port in range(1000, 1020):
            if await bench.udp("a", "b", port, 53):
                assert await bench.udp("b", "a", 53, port)
                kept += 1
        assert kept == 8
        assert [entry["port"] for entry in fabric.connections()] == ["a.0"] * 8
        for port in range(2000, 2008):
            assert await bench.udp("b", "d", port, 99), "its own share is untouched"
        assert await bench.udp("c", "b", 3000, 53), "and so is that of who is behind the same link"
        # What a guest had goes with it.
        await fabric.detach("a")
        assert {entry["port"] for entry in fabric.connections()} == {"b.0", "c.0"}


@PARTS
async def test_fragments(switches: int, autojump_clock: trio.testing.MockClock) -> None:
    def part(source: str, number: int, first: bool) -> Packet:
        ip = IP(src=ADDRESS[source], dst=ADDRESS["b"], id=number, proto=17)
        if first:
            ip.flags = "MF"
            return Ether(dst=MAC["b"]) / ip / UDP(sport=1000, dport=53, len=64) / (b"x" * 16)
        ip.frag = 3
        return Ether(dst=MAC["b"]) / ip / (b"y" * 32)

    async with vnet.Fabric(lab(switches)) as fabric:
        bench = Bench(fabric)
        await bench.hello()
        assert await bench.send("c", part("c", 7, first=True)) == {"b"}
        for number in range(1500):
            await bench.send("a", part("a", number, first=True))
        assert await bench.send("c", part("c", 7, first=False)) == {"b"}


@PARTS
async def test_multicast_groups(switches: int, autojump_clock: trio.testing.MockClock) -> None:
    def to(group: str, payload: Packet, **ip: Any) -> Packet:
        mac = "01:00:5e:" + ":".join(f"{int(byte):02x}" for byte in group.split(".")[1:])
        return Ether(dst=mac) / IP(dst=group, **ip) / payload

    def joins(name: str, group: str) -> Packet:
        report = IGMP(type=0x16, gaddr=group)
        return to(group, report, src=ADDRESS[name], ttl=1, options=[IPOption_Router_Alert()])

    multicast = {"unknown": "routers", "nic_groups": 4, "groups": 10, "address": "10.0.10.3"}
    async with vnet.Fabric(lab(switches, multicast=multicast)) as fabric:
        bench = Bench(fabric)
        await trio.sleep(15)
        for number in range(1, 9):
            await bench.send("a", joins("a", f"239.1.1.{number}"))
        for number in range(1, 5):
            await bench.send("c", joins("c", f"239.1.2.{number}"))
        for name, groups, heard in (
            ("a", range(1, 5), True),
            ("a", range(5, 9), False),
            ("c", range(1, 5), True),
        ):
            for number in groups:
                group = f"239.1.{1 if name == 'a' else 2}.{number}"
                got = await bench.send("d", to(group, UDP(sport=1, dport=2) / b"news", src=ADDRESS["d"]))
                assert got == ({name} if heard else set()), group
