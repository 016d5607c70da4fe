"""VLAN tags at an uplink's interface, byte for byte: 802.1Q and 802.1ad, both ways, and with offloads."""

from __future__ import annotations

import contextlib
import os
import socket
import struct

import pytest
import trio

from nics.packet import Packet
from nics.pipe import Pipe, PipeEnd
from nics.tap import Tap
from tests.kernel.packet_peer import TP_STATUS_VLAN_VALID, PacketPeer, packet_socket
from tests.kernel.test_packet import BROADCAST, ETHERTYPE, STATION, WORLD, Kind, Wire, kind, want, wire
from tests.needs import needs_root, needs_tool
from vnet._native import PortConfig

__all__ = ["kind"]
pytestmark = [needs_root, needs_tool("ip")]

PACKET_VNET_HDR = 15
TAGS = ("88a80005", "88a8e005", "81000005", "8100000581000007", "88a8000581000007", "81000007")
"""What the uplink has: 802.1Q VLAN 5 is a network, and all else is VLAN 10's own business, but VLAN 7."""


async def heard(made: Wire, end: PipeEnd) -> bytes:
    """The next frame; nobody here tells the end of news."""
    frames: list[bytes] = []

    def some() -> bool:
        with contextlib.suppress(trio.WouldBlock):
            frames.append(end.receive_nowait())
        return bool(frames)

    await made.until("a frame", some)
    return frames[0]


def network(tags: str) -> int | None:
    """The VLAN of a frame."""
    if tags.startswith("8100"):
        return 5 if tags.startswith("81000005") else None
    return 10


async def guest(made: Wire, number: int, config: PortConfig) -> PipeEnd:
    opened = await Pipe().open(made.here.place(number))
    made.here.engine.add_port(opened.door, made.here.switch, config)
    assert isinstance(opened.far, PipeEnd)
    return opened.far


@pytest.mark.parametrize("target", [BROADCAST, STATION], ids=["group", "station"])
async def test_tags_pass_as_they_are_on_the_wire(kind: Kind, target: bytes) -> None:
    async with wire(kind) as made:
        made.here.engine.set_port(made.guest.port, PortConfig(tagged=[5], native=10, mtu=1508, uplink=True))
        want(made.guest.opened, [STATION])
        ends = {
            5: await guest(made, 5, PortConfig(tagged=[5], mtu=1508)),
            10: await guest(made, 6, PortConfig(vlan=10, mtu=1508)),
        }
        for vlan, end in ends.items():  # so that the station is known in both
            tag = b"" if vlan == 10 else bytes.fromhex("81000005")
            await end.send((BROADCAST + STATION + tag + ETHERTYPE).ljust(60, b"\0"))
        for number, tags in enumerate(TAGS):
            payload = ETHERTYPE + number.to_bytes(2) + os.urandom(50)
            made.packet.send(target + WORLD + bytes.fromhex(tags) + payload)
            if (inside := network(tags)) is not None:
                assert await heard(made, ends[inside]) == target + WORLD + bytes.fromhex(tags) + payload, tags
        await made.until("a drop", lambda: made.counters()["drops"].get("vlan-not-member") == 1)
        # And out again, by a kernel that tells the outer tag beside the frame.
        namespace = made.guest.namespace
        async with packet_socket(namespace, "world") as heard_by:
            world = PacketPeer(namespace, made.here.place(9), "world", heard_by)
            for number, tags in enumerate(TAGS):
                if (inside := network(tags)) is None:
                    continue
                payload = ETHERTYPE + number.to_bytes(2) + os.urandom(50)
                await ends[inside].send(WORLD + STATION + bytes.fromhex(tags) + payload)
                with trio.fail_after(30):
                    expected = WORLD + STATION + bytes.fromhex(tags) + payload
                    assert await world.receive() == expected, tags


@pytest.mark.parametrize("tags", ["", "88a80005", "88a8000581000007"])
async def test_a_checksum_that_is_left_to_us_is_where_it_belongs_behind_tags(kind: Kind, tags: str) -> None:
    async with wire(kind) as made:
        made.here.engine.set_port(made.guest.port, PortConfig(tagged=[5], native=10, mtu=1508, uplink=True))
        end = await guest(made, 5, PortConfig(vlan=10, mtu=1508))
        front = BROADCAST + WORLD + bytes.fromhex(tags) + b"\x08\x00"
        ip = bytes.fromhex("4500002e00004000401100000a0000010a000002")
        udp = struct.pack("!HHH", 9, 9, 26)
        payload = os.urandom(18)
        pseudo = ip[12:20] + struct.pack("!BBH", 0, 17, 26)
        header = struct.pack("<BBHHHHH", 1, 0, 0, 0, len(front) + 20, 6, 0)[:10]
        with await made.guest.namespace.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
            sender.setsockopt(263, PACKET_VNET_HDR, 1)
            sender.bind(("world", 3))
            sender.send(header + front + ip + udp + struct.pack("!H", total(pseudo)) + payload)
        arrived = await heard(made, end)
        at = len(front) + 20
        assert arrived[: at + 6] == front + ip + udp
        assert arrived[at + 8 :] == payload
        assert total(pseudo + arrived[at:]) == 0xFFFF


def total(data: bytes) -> int:
    """The one's complement sum (RFC 1071), not inverted."""
    words: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while words >> 16:
        words = (words & 0xFFFF) + (words >> 16)
    return words


async def test_a_super_frame_behind_a_service_tag_stays_whole_both_ways() -> None:
    async with wire(Packet) as made:
        inner = await made.here.guest(Tap())
        ends = ((made.guest.namespace, "world"), (inner.namespace, "eth0"))
        for (sends, by), (hears, at) in (ends, ends[::-1]):
            target = bytes.fromhex("02000000" + os.urandom(2).hex())
            front = target + STATION + bytes.fromhex("88a80005") + b"\x08\x00"
            ip = bytes.fromhex("450013b00000400040060000" + "0a000001" + "0a000002")
            tcp = bytes.fromhex("04d20050000000000000000050100200") + bytes(4)
            payload = os.urandom(5000)
            whole = len(front) + 40
            header = struct.pack("<BBHHHH", 1, 1, whole, 1000, len(front) + 20, 16)
            async with packet_socket(hears, at) as plain:
                plain.setsockopt(263, PACKET_VNET_HDR, 1)
                receiver = trio.socket.from_stdlib_socket(plain)
                with await sends.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
                    sender.setsockopt(263, PACKET_VNET_HDR, 1)
                    sender.bind((by, 3))
                    sender.send(header + front + ip + tcp + payload)
                frame = b""
                with trio.fail_after(30):
                    while not frame[10:].startswith(target):
                        frame, notes, _, _ = await receiver.recvmsg(70_000, 256)
            # The kernel tells the outer tag beside the frame, and places without it.
            status, _, _, _, _, tci, tpid = struct.unpack("IIIHHHH", notes[0][2])
            assert (status & TP_STATUS_VLAN_VALID, tci, tpid) == (TP_STATUS_VLAN_VALID, 5, 0x88A8)
            flags, gso, _, size, start, offset = struct.unpack("<BBHHHH", frame[:10])
            assert (flags, gso, size, start, offset) == (1, 1, 1000, len(front) - 4 + 20, 16)
            assert frame[10:22] + frame[22:44][:2] == target + STATION + b"\x08\x00"
            assert frame.endswith(payload)
            assert len(frame) == 10 + whole - 4 + len(payload)
