"""Flows as a collector hears of them: what tshark makes of the messages of a running fabric."""

from __future__ import annotations

import socket
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

import vnet
from nics.errors import BadInput
from tests.needs import needs_tool
from tests.vnet.test_capture import run
from vnet.flows import message

DOCUMENT: dict[str, Any] = {
    "name": "flows",
    "networks": {"red": {"vlan": 10, "subnets": ["10.0.0.0/24", "fd00::/64"], "gateway": []}},
    "guests": {
        "a": {"nics": [{"network": "red", "ip": ["10.0.0.1", "fd00::1"], "mac": "02:00:00:00:00:01"}]},
        "b": {"nics": [{"network": "red", "ip": ["10.0.0.2", "fd00::2"], "mac": "02:00:00:00:00:02"}]},
        "p": {
            "kind": "external",
            "nics": [{"network": "red", "nic": {"kind": "pipe"}, "mac": "02:00:00:00:00:03"}],
        },
    },
}
FORGED = bytes.fromhex("020000000002" + "020000000066" + "88b5") + bytes(46)


class Collector:
    """A socket that listens, and all that came."""

    def __init__(self, port: int = 0) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind(("127.0.0.1", port))
        self.address = f"127.0.0.1:{self.socket.getsockname()[1]}"

    def took(self) -> list[bytes]:
        found = []
        while True:
            try:
                found.append(self.socket.recv(65536))
            except BlockingIOError:
                return found


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.socket.close()


def exporting(collector: Collector, **keys: Any) -> dict[str, Any]:
    return DOCUMENT | {"flows": {"collector": collector.address, "sample": 1, **keys}}


def pcap(path: Path, datagrams: list[bytes], port: int = message.PORT) -> Path:
    """The datagrams as a capture of UDP/IPv4, for tshark."""
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for data in datagrams:
            udp = struct.pack("!HHHH", 5555, port, 8 + len(data), 0) + data
            ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0) + bytes([127, 0, 0, 1]) * 2
            frame = bytes(12) + b"\x08\x00" + ip + udp
            file.write(struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame)
    return path


async def talk(fabric: vnet.Fabric) -> None:
    """Pings of both families, and a frame that the guard drops."""
    a, b = fabric.guests["a"], fabric.guests["b"]
    for _ in range(10):
        await a.ping("10.0.0.2")
        await a.ping("fd00::2")
    for _ in range(3):
        fabric.send("p.0", FORGED)
    assert b


@needs_tool("tshark")
async def test_tshark_reads_every_field(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, collector: Collector
) -> None:
    async with vnet.Fabric.from_dict(exporting(collector)) as fabric:
        await talk(fabric)
        await trio.sleep(20)
        told = fabric.status()["flows"]
        a, b = fabric.port("a.0").number, fabric.port("b.0").number
        assert a != b
    datagrams = collector.took()
    assert max(map(len, datagrams)) <= message.MOST
    assert (told["messages"], told["unsent"], told["lost"]) == (len(datagrams), 0, 0)
    file = pcap(tmp_path / "x.pcap", datagrams)
    assert run("tshark", "-r", file, "-Y", "_ws.malformed || _ws.expert.severity >= 0x600000") == ""
    text = run("tshark", "-r", file, "-V")
    for said in (
        "Systematic count-based Sampling (1)",
        "Sampling Packet Space: 0",
        "Sampling interval: 1",
        "a.0",
        "ForwardingStatus: Drop",
        "ACL Deny",
        "SrcAddr: 10.0.0.1",
        "DstAddr: fd00::2",
        "Vlan Id: 10",
        "Source Mac Address: 02:00:00:00:00:66",
        "Observation Domain Id: 1",
    ):
        assert said in text, said


def records(datagrams: list[bytes]) -> list[tuple[int, int, tuple[int, ...], bytes]]:
    """(domain, template, the common numbers, the rest) of each flow's record."""
    found = []
    lengths = {number: sum(length for _, length in fields) for number, fields in message.FIELDS.items()}
    for datagram in datagrams:
        version, length, _, _, domain = struct.unpack_from("!HHIII", datagram)
        assert (version, length) == (10, len(datagram))
        at = 16
        while at < length:
            number, size = struct.unpack_from("!HH", datagram, at)
            body, at = datagram[at + 4 : at + size], at + size
            for start in range(0, len(body) if number in lengths else 0, lengths.get(number, 1)):
                common = message.COMMON_PACK.unpack_from(body, start)
                found.append((domain, number, common, body[start + message.COMMON_PACK.size :]))
    return found


async def test_counts_are_those_of_the_ports(
    autojump_clock: trio.testing.MockClock, collector: Collector
) -> None:
    async with vnet.Fabric.from_dict(exporting(collector)) as fabric:
        await talk(fabric)
        await trio.sleep(20)
        ports = {port.number: port.counters() for port in fabric.ports.values()}
    counted: Counter[int] = Counter()
    octets: Counter[int] = Counter()
    dropped = 0
    for _, _, common, _ in records(collector.took()):
        ingress, _, _, _, _, _, status, _, first, last, packets, size = common
        counted[ingress - 1] += packets
        octets[ingress - 1] += size
        dropped += packets if status == message.DENIED else 0
        assert first <= last
    assert counted == {number: port["rx_frames"] for number, port in ports.items() if port["rx_frames"]}
    assert octets == {number: port["rx_bytes"] for number, port in ports.items() if port["rx_frames"]}
    assert dropped == 3


async def test_a_sample_is_every_nth_and_sequences_have_no_gap(
    autojump_clock: trio.testing.MockClock, collector: Collector
) -> None:
    async with vnet.Fabric.from_dict(exporting(collector, sample=7, active="2 s", templates="5 s")) as fabric:
        for _ in range(100):
            fabric.send("p.0", FORGED)
            await trio.sleep(0.1)
        await trio.sleep(20)
        taken = sum(port.counters()["rx_frames"] for port in fabric.ports.values())
        assert fabric.status()["flows"]["sampled"] == taken // 7
    datagrams = collector.took()
    found = records(datagrams)
    assert sum(common[-2] for _, _, common, _ in found) == taken // 7
    said, templates = 0, 0
    for datagram in datagrams:
        (sequence,) = struct.unpack_from("!I", datagram, 8)
        assert sequence == said
        said += len(records([datagram]))
        at = 16
        while at < len(datagram):
            number, size = struct.unpack_from("!HH", datagram, at)
            templates += number == message.TEMPLATES
            # Of options, each record counts, too.
            if number == message.SAMPLING:
                said += 1
            if number == message.INTERFACES:
                body = datagram[at + 4 : at + size]
                while body:
                    body, said = body[5 + body[4] :], said + 1
            at += size
    assert templates >= 5


async def test_a_collector_that_comes_back_misses_nothing_more_and_the_next_outage_is_told(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    collector = Collector()
    port = collector.socket.getsockname()[1]

    def told() -> int:
        return sum("does not take them" in entry.message for entry in caplog.records)

    async with vnet.Fabric.from_dict(exporting(collector, templates="5 s")) as fabric:
        await trio.sleep(20)
        assert told() == 0
        for outage in (1, 2):
            collector.socket.close()
            await trio.sleep(200)
            assert told() == outage
            collector = Collector(port)
            before = fabric.status()["flows"]["messages"]
            await trio.sleep(200)
            assert len(collector.took()) == fabric.status()["flows"]["messages"] - before > 30
    collector.socket.close()


async def test_apply_changes_it_and_a_collector_that_is_away_is_told_once(
    autojump_clock: trio.testing.MockClock, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    away = Collector()
    away.socket.close()
    async with vnet.Fabric.from_dict(exporting(away)) as fabric:
        await talk(fabric)
        await trio.sleep(70)
        assert fabric.status()["flows"]["unsent"] > 0
        assert sum("does not take them" in entry.message for entry in caplog.records) == 1
        await fabric.apply(vnet.Topology.from_dict(exporting(collector, sample=2)))
        await talk(fabric)
        await trio.sleep(20)
        assert collector.took()
        await fabric.apply(vnet.Topology.from_dict(DOCUMENT))
        assert fabric.status()["flows"] == {}
        collector.took()
        await talk(fabric)
        await trio.sleep(20)
        assert not collector.took()


@pytest.mark.parametrize("wrong", ["127.0.0.1", "somewhere:4739", "0.0.0.0:4739", "/run/x.sock", 4739])
def test_a_collector_is_an_address_and_a_port(wrong: object) -> None:
    with pytest.raises(BadInput, match=r"flows\.collector: .* expected an address and UDP port"):
        vnet.Topology.from_dict(DOCUMENT | {"flows": {"collector": wrong}})
