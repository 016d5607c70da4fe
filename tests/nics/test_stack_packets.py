"""Packet sockets of in-process hosts: whole frames, as they come and go."""

from __future__ import annotations

import errno

import pytest
import trio
import trio.testing
from scapy.layers.inet import ICMP
from scapy.layers.l2 import Ether

from nics.stack import Host
from nics.stack_sockets import PacketSocket
from tests.nics.test_stack import address, hosts


async def test_a_packet_socket_sends_and_hears_whole_frames(autojump_clock: trio.testing.MockClock) -> None:
    async with hosts(3) as (one, two, three):
        everything, ours = await one.packet_socket(), await two.packet_socket(0x88B5)
        frame = bytes.fromhex("ffffffffffff0200000000ee88b5") + bytes(range(46))
        await everything.send(frame)  # its guard would drop it: not its own address
        frame = frame[:6] + bytes.fromhex(mac(one).replace(":", "")) + frame[12:]
        await everything.send(frame)
        assert await ours.receive() == frame
        # Only what it asked for; and the host itself goes on.
        await three.ping(address(two))
        with trio.move_on_after(1) as waited:
            await ours.receive()
        assert waited.cancelled_caught
        # What its port lets through to it: its own pings, and what all hear, but not what others talk.
        await one.ping(address(two))
        seen = [Ether(frame) for frame in await until_quiet(everything)]
        assert {two_way.dst for two_way in seen if ICMP in two_way} == {mac(one)}
        # scapy's packets are taken as they are; lengths are checked.
        await everything.send(Ether(src=mac(one), dst=mac(two), type=0x88B5) / b"hello")
        assert (await ours.receive())[14:19] == b"hello"
        for wrong, code in ((bytes(13), errno.EINVAL), (bytes(1523), errno.EMSGSIZE)):
            with pytest.raises(OSError) as error:
                await everything.send(wrong)
            assert error.value.errno == code
        with pytest.raises(ValueError, match="ethertype"):
            await one.packet_socket(0x10000)


async def test_frames_that_nobody_receives_are_lost_and_counted(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with hosts(2) as (one, two):
        talking, deaf = await one.packet_socket(), await two.packet_socket(0x88B5)
        frame = bytes.fromhex((mac(two) + mac(one)).replace(":", "")) + b"\x88\xb5" + bytes(1486)
        for _ in range(1000):
            await talking.send(frame)
        await trio.sleep(1)
        assert deaf.lost == 1000 - len(await until_quiet(deaf))
        assert deaf.lost > 500
        await talking.send(frame)
        assert await deaf.receive() == frame


async def test_a_closed_packet_socket_ends_whoever_waits(autojump_clock: trio.testing.MockClock) -> None:
    async with hosts(1) as (host,):
        sockets = [await host.packet_socket(0x88B5) for _ in range(2)]

        async def wait(socket: PacketSocket) -> None:
            with pytest.raises(trio.ClosedResourceError):
                await socket.receive()

        async with trio.open_nursery() as nursery:
            for socket in sockets:
                nursery.start_soon(wait, socket)
            await trio.testing.wait_all_tasks_blocked()
            await sockets[0].aclose()
            host.event(0, 0)
            await trio.testing.wait_all_tasks_blocked()
            assert host.handle.socket_count() == 1
            await sockets[1].aclose()
        assert host.handle.socket_count() == 0
        with pytest.raises(trio.ClosedResourceError):
            await sockets[0].send(bytes(60))


def mac(host: Host) -> str:
    """By its link-local address, which is made from it (RFC 4291, appendix A)."""
    local = next(a.ip.packed for a in host.addresses if a.is_link_local)
    return (bytes([local[8] ^ 2]) + local[9:11] + local[13:]).hex(":")


async def until_quiet(socket: PacketSocket) -> list[bytes]:
    """What waits for a packet socket."""
    found: list[bytes] = []
    with trio.move_on_after(0.5):
        async for frame in socket:
            found.append(frame)
    return found
