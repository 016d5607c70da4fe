"""TCP connections of guests that are there: silence, peeking, descriptors, closing."""

from __future__ import annotations

import array
import errno
import select

import pytest
import trio
import trio.socket as tsocket
import trio.testing

from tests.vnet.sockets.net import connected, inside, network, number, sock
from vnet.sockets.tcp import Tcp

pytestmark = pytest.mark.usefixtures("autojump_clock")


async def test_a_silent_peer_is_asked_and_given_up(autojump_clock: trio.testing.MockClock) -> None:
    async with network() as fabric, fabric.guests["a"].as_network():
        listener = await sock(fabric, "b", tsocket.SOCK_STREAM, "", 80)
        listener.listen()
        with listener, tsocket.socket() as client:
            await client.connect(("10.0.0.12", 80))
            peer, _ = await listener.accept()
            client.setsockopt(tsocket.SOL_SOCKET, tsocket.SO_KEEPALIVE, 1)
            client.setsockopt(tsocket.IPPROTO_TCP, tsocket.TCP_KEEPIDLE, 60)
            client.setsockopt(tsocket.IPPROTO_TCP, tsocket.TCP_KEEPINTVL, 10)
            client.setsockopt(tsocket.IPPROTO_TCP, tsocket.TCP_KEEPCNT, 3)
            with peer:
                # It answers, for as long as it is there.
                with trio.move_on_after(1000) as scope:
                    await client.recv(1)
                assert scope.cancelled_caught
                await fabric.set_link("b.0", up=False)
                begun = trio.current_time()
                with pytest.raises(TimeoutError):
                    await client.recv(1)
                assert 30 <= trio.current_time() - begun <= 100


async def test_peeking_takes_nothing(autojump_clock: trio.testing.MockClock) -> None:
    async with inside("a"):
        left, right = await connected()
        with left, right:
            assert not right.is_readable()
            await left.sendmsg([b"he", b"llo"])
            assert await right.recv(3, tsocket.MSG_PEEK) == b"hel"
            assert right.is_readable()
            data = bytearray(10)
            assert await right.recv_into(data, 4) == 4
            assert bytes(data[:4]) == b"hell"
            assert await right.recvmsg(10) == (b"o", [], 0, None)
            left.shutdown(tsocket.SHUT_WR)
            assert left.did_shutdown_SHUT_WR
            assert await right.recv(1) == b""
            with pytest.raises(BrokenPipeError):
                await left.send(b"x")
            right.shutdown(tsocket.SHUT_RD)
            await right.send(b"still")
            assert await left.recv(10) == b"still"


async def test_of_much_to_send_no_call_copies_more_than_it_may_take(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed: list[int] = []
    send = Tcp.send
    monkeypatch.setattr(Tcp, "send", lambda self, data: handed.append(len(data)) or send(self, data))
    much = memoryview(array.array("I", range(1 << 20))).cast("B")
    async with inside("a"):
        left, right = await connected()
        received = bytearray()
        async with trio.SocketStream(right) as stream, trio.open_nursery() as nursery:

            async def write() -> None:
                with left:
                    assert await left.send(b"") == 0
                    # Items that are no bytes count as the bytes that they are made of.
                    assert await left.send(array.array("I", [7])) == 4
                    await trio.SocketStream(left).send_all(much)
                    rest = much
                    while rest:
                        rest = rest[await left.sendmsg([b"", rest, rest[:0]]) :]

            nursery.start_soon(write)
            async for data in stream:
                received += data
    assert received == bytes(array.array("I", [7])) + bytes(much) * 2
    assert max(handed) <= 256 << 10
    # And a call takes what there is room for, not a little each.
    assert len(handed) < 200


async def test_the_descriptor_can_be_polled(autojump_clock: trio.testing.MockClock) -> None:
    async with inside("a"):
        left, right = await connected()
        with left:
            poll = select.poll()
            poll.register(right.fileno(), select.POLLIN)
            assert poll.poll(0) == []
            await left.send(b"xy")
            await trio.testing.wait_all_tasks_blocked()
            assert poll.poll(0)
            assert await right.recv(1) == b"x"
            assert poll.poll(0)
            assert await right.recv(1) == b"y"
            assert poll.poll(0) == []
            twin = right.dup()
            right.close()
            assert right.fileno() == -1
            await twin.send(b"z")
            assert await left.recv(1) == b"z"
            twin.close()
            assert await left.recv(1) == b""


async def test_closing_wakes_who_waits(autojump_clock: trio.testing.MockClock) -> None:
    async with inside("a"):
        left, right = await connected()
        with left, right:
            async with trio.open_nursery() as nursery:

                async def receive() -> None:
                    with pytest.raises(trio.ClosedResourceError):
                        await right.recv(1)

                nursery.start_soon(receive)
                await trio.testing.wait_all_tasks_blocked()
                with pytest.raises(trio.BusyResourceError):
                    await right.recv(1)
                right.close()
            for call in (right.recv(1), right.send(b"x"), right.connect(("127.0.0.1", 1))):
                with pytest.raises(OSError) as caught:
                    await call
                assert number(caught) == errno.EBADF


async def test_a_guest_that_left_has_no_network(autojump_clock: trio.testing.MockClock) -> None:
    async with network() as fabric, fabric.guests["b"].as_network():
        with tsocket.socket(type=tsocket.SOCK_DGRAM) as made, tsocket.socket(type=tsocket.SOCK_DGRAM) as idle:
            await made.bind(("", 53))
            async with trio.open_nursery() as nursery:

                async def receive() -> None:
                    with pytest.raises(OSError, match="b left the network") as caught:
                        await made.recv(1)
                    assert number(caught) == errno.ENETDOWN

                nursery.start_soon(receive)
                await trio.testing.wait_all_tasks_blocked()
                await fabric.detach("b")
            with pytest.raises(OSError) as caught:
                await idle.sendto(b"x", ("10.0.0.11", 1))
            assert number(caught) == errno.ENETDOWN


async def test_forgotten_sockets_are_told(autojump_clock: trio.testing.MockClock) -> None:
    async with inside("a"):
        made = tsocket.socket()
        with pytest.warns(ResourceWarning, match="unclosed <vnet socket of a"):
            made.__del__()  # type: ignore[attr-defined]
