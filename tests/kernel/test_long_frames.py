"""Frames longer than a slot of an uplink's ring come by another way than their tags, and meet them again."""

from __future__ import annotations

import contextlib
import socket
import struct

import trio

from nics.pipe import Pipe, PipeEnd
from tests.kernel.test_packet import BROADCAST, ETHERTYPE, WORLD, Kind, kind, wire
from tests.needs import needs_root, needs_tool
from vnet._native import PortConfig

__all__ = ["kind"]
pytestmark = [needs_root, needs_tool("ip")]

VLANS = (5, 7)
MTU = 3400
FLAPS = 10
LAST = 1 << 31


def frame(vlan: int, number: int) -> bytes:
    tag = struct.pack("!HH", 0x8100, vlan)
    return BROADCAST + WORLD + tag + ETHERTYPE + struct.pack("!HI", vlan, number) + bytes(3000)


async def test_keep_their_vlan_while_the_interface_goes_down_and_up(kind: Kind) -> None:
    async with wire(kind) as made:
        engine = made.here.engine
        for end in ("world", "phys"):
            await made.run("ip", "link", "set", end, "mtu", str(MTU))
        engine.set_port(made.guest.port, PortConfig(tagged=list(VLANS), mtu=MTU, uplink=True))
        ends: dict[int, PipeEnd] = {}
        for vlan in VLANS:
            opened = await Pipe(limit=4000).open(made.here.place(vlan, mtu=MTU))
            engine.add_port(opened.door, made.here.switch, PortConfig(vlan=vlan, mtu=MTU))
            assert isinstance(opened.far, PipeEnd)
            ends[vlan] = opened.far
        heard: dict[int, list[int]] = {vlan: [] for vlan in VLANS}

        def hear() -> bool:
            for vlan, end in ends.items():
                with contextlib.suppress(trio.WouldBlock):
                    while True:
                        came, number = struct.unpack_from("!HI", end.receive_nowait(), 14)
                        assert came == vlan, f"number {number} of VLAN {came} is in VLAN {vlan}"
                        heard[vlan].append(number)
            return all(LAST in numbers for numbers in heard.values())

        flapping = True

        def send() -> None:
            number = 0
            while flapping:
                number += 1
                for vlan in VLANS:
                    with contextlib.suppress(OSError):  # its end is down, or full
                        made.packet.send(frame(vlan, number))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, send)
            try:
                for _ in range(FLAPS):
                    before = made.counters()["rx_frames"]
                    await made.until("traffic", lambda before=before: made.counters()["rx_frames"] > before)
                    for state in ("down", "up"):
                        await made.run("ip", "link", "set", "phys", state)
                    hear()
            finally:
                flapping = False
        await made.until("carrier", lambda: made.carrier)
        while "state UP" not in await made.run("ip", "link", "show", "dev", "world"):  # noqa: ASYNC110
            await trio.sleep(0.01)
        made.packet.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)  # that its end was down is old news
        for vlan in VLANS:
            made.packet.send(frame(vlan, LAST))
        await made.until("the last of each", hear)
        for numbers in heard.values():
            assert numbers == sorted(numbers)
