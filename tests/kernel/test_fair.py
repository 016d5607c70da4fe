"""An uplink that is slower than its guests: who floods it costs those who don't next to nothing.

Counted is what leaves by the wire between a frame's sending and its leaving, not how long it takes: that
is the same on any machine, and at the wire's rate it is the time.
"""

from __future__ import annotations

import socket
import struct
import time

import pytest
import trio

from nics.packet import Packet
from nics.pipe import Pipe, PipeEnd
from tests.kernel.lab import Lab
from tests.kernel.test_packet import BROADCAST, ETHERTYPE, Wire, wire
from tests.needs import needs_root, needs_tool
from vnet._native import PortConfig

pytestmark = [needs_root, needs_tool("ip"), needs_tool("tc")]

SLOW = ["tc", "qdisc", "add", "dev", "phys", "root", "tbf", "rate", "10mbit", "burst", "3kb", "limit", "4mb"]
SO_TIMESTAMPNS = 35
SHORT = 60
AHEAD = 700
"""Short frames that may go first: what the socket holds, which is first come, first served, the shaper's
burst, and a turn. In all they take 59 KB of the wire.
"""


async def guest(here: Lab, number: int, switch: int | None = None) -> PipeEnd:
    opened = await Pipe().open(here.place(number))
    on = here.switch if switch is None else switch
    here.engine.add_port(opened.door, on, PortConfig(vlan=10, mtu=1500))
    assert isinstance(opened.far, PipeEnd)
    return opened.far


def frame(number: int, length: int) -> bytes:
    """A broadcast of a guest."""
    return (BROADCAST + bytes([2, 0, 0, 0, 0, number]) + ETHERTYPE).ljust(length, b"\0")


async def congest(made: Wire, flooder: PipeEnd) -> None:
    """Have a guest send short frames until the uplink takes no more of it."""
    lost = made.counters()["drops"].get("tx-full", 0)
    with trio.fail_after(50):
        while made.counters()["drops"].get("tx-full", 0) == lost:
            try:
                for _ in range(1000):
                    flooder.handle.send(frame(8, SHORT))
            except BlockingIOError:
                await trio.sleep(0.001)


def arrived(notes: list[tuple[int, int, bytes]]) -> int:
    """When the kernel had a frame, in nanoseconds since the epoch."""
    (data,) = (data for level, kind, data in notes if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS))
    seconds, nanoseconds = struct.unpack("@ll", data)
    return int(seconds * 1_000_000_000 + nanoseconds)


@pytest.mark.parametrize("length", [SHORT, 1514])
async def test_a_flood_of_short_frames_holds_nobody_else_up(length: int) -> None:
    async with wire(Packet) as made:
        await made.run(*SLOW)
        flooder, quiet = [await guest(made.here, number) for number in (8, 9)]
        made.packet.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
        world = trio.socket.from_stdlib_socket(made.packet)
        made.packet.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        passed = []
        for _ in range(5):
            await congest(made, flooder)
            quiet.handle.send(frame(9, length))
            # What left before is not counted, however late it is looked at.
            begun = time.clock_gettime_ns(time.CLOCK_REALTIME)
            passed.append(0)
            with trio.fail_after(50):
                while True:
                    data, notes, _, _ = await world.recvmsg(2000, 64)
                    if data[11] == 9:
                        break
                    passed[-1] += arrived(notes) >= begun
        # Ten thousand short ones were waiting: nothing of the quiet guest was lost, or came late.
        assert max(passed) <= AHEAD, passed


@pytest.mark.parametrize("linked", [False, True], ids=["its-switch", "another-switch"])
async def test_each_guest_has_its_share_whatever_it_sends(linked: bool) -> None:
    async with wire(Packet) as made:
        await made.run(*SLOW)
        switch = made.here.switch
        if linked:
            other, trunk = made.here.engine.add_switch(), PortConfig(tagged=[10], mtu=1500)
            made.here.engine.add_link(switch, trunk, other, trunk, [(1, 2)])
            switch = other
        guests = [await guest(made.here, number, switch) for number in (7, 8, 9)]
        lengths = {7: 1514, 8: SHORT, 9: 300}
        made.packet.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)
        world = trio.socket.from_stdlib_socket(made.packet)
        sent = dict.fromkeys(lengths, 0)

        async def flood(number: int, end: PipeEnd) -> None:
            while True:
                try:
                    end.handle.send(frame(number, lengths[number]))
                except BlockingIOError:
                    await trio.sleep(0.001)

        async with trio.open_nursery() as nursery:
            for number, end in zip(lengths, guests, strict=True):
                nursery.start_soon(flood, number, end)
            with trio.fail_after(50):
                await made.until("it is congested", lambda: "tx-full" in made.counters()["drops"])
                for _ in range(1000):  # what the socket held before it was congested
                    await world.recv(2000)
                while sum(sent.values()) < 300_000:
                    number = (await world.recv(2000))[11]
                    sent[number] += lengths[number] + 24
            nursery.cancel_scope.cancel()
        fair = sum(sent.values()) / 3
        assert all(abs(share - fair) < fair / 10 for share in sent.values()), sent
