"""UDP of guests as programs use it, all in virtual time."""

from __future__ import annotations

import errno
import socket as stdlib
import struct

import pytest
import trio
import trio.socket as tsocket
import trio.testing

from tests.vnet.sockets.net import network, number, sock

pytestmark = pytest.mark.usefixtures("autojump_clock")


@pytest.mark.parametrize(("one", "two"), [("10.0.0.11", "10.0.0.12"), ("fd00::11", "fd00::12")])
async def test_udp_there_and_back(autojump_clock: trio.testing.MockClock, one: str, two: str) -> None:
    async with network() as fabric:
        server = await sock(fabric, "b", tsocket.SOCK_DGRAM, "::" if ":" in one else "", 53)
        client = await sock(fabric, "a", tsocket.SOCK_DGRAM, one)
        with server, client:
            assert await client.sendto(b"long question", (two, 53)) == 13
            data, sender = await server.recvfrom(4)
            assert (data, sender[0]) == (b"long", one)
            await client.sendto(b"long question", (two, 53))
            data, _, flags, sender = await server.recvmsg(4)
            assert flags & tsocket.MSG_TRUNC
            await server.sendmsg([b"ans", b"wer"], [], 0, sender)
            assert (await client.recvfrom(100))[0] == b"answer"
            # Corked: several calls, one datagram.
            await client.sendto(b"in ", tsocket.MSG_MORE, (two, 53))
            await client.sendto(b"pieces", (two, 53))
            assert (await server.recv(100)) == b"in pieces"


async def test_a_connected_udp_socket_hears_its_peer_alone(autojump_clock: trio.testing.MockClock) -> None:
    async with network() as fabric:
        server = await sock(fabric, "b", tsocket.SOCK_DGRAM, "", 53)
        stranger = await sock(fabric, "both", tsocket.SOCK_DGRAM, "", 53)
        client = await sock(fabric, "a", tsocket.SOCK_DGRAM)
        with server, stranger, client:
            await client.connect(("10.0.0.12", 53))
            assert client.getpeername() == ("10.0.0.12", 53)
            assert client.getsockname()[0] == "10.0.0.11"
            await client.send(b"to b")
            _, name = await server.recvfrom(10)
            await stranger.sendto(b"forged", name)
            await trio.sleep(0.1)
            await server.sendto(b"true", name)
            assert await client.recv(10) == b"true"
            # When nobody is there any more, it is told, once.
            server.close()
            await client.send(b"again")
            with pytest.raises(ConnectionRefusedError):
                await client.recv(10)
            await fabric.set_link("b.0", up=False)
            await client.connect(("10.0.0.77", 53))
            await client.send(b"anybody?")
            with pytest.raises(OSError) as caught:
                await client.recv(10)
            assert number(caught) == errno.EHOSTUNREACH


async def test_a_connected_udp_socket_changes_its_peer_to_one_behind_another_nic(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with network() as fabric:
        a, c = [await sock(fabric, name, tsocket.SOCK_DGRAM, "", 53) for name in ("a", "c")]
        both = await sock(fabric, "both", tsocket.SOCK_DGRAM, "", 5353)
        with a, c, both:
            dmz = struct.pack("4s4s", bytes([239, 1, 2, 3]), bytes([10, 1, 0, 13]))
            both.setsockopt(stdlib.IPPROTO_IP, stdlib.IP_ADD_MEMBERSHIP, dmz)
            for peer, own, there in [(a, "10.0.0.13", "10.0.0.11"), (c, "10.1.0.13", "10.1.0.14")] * 2:
                await both.connect((there, 53))
                assert both.getsockname() == (own, 5353)
                await both.send(b"question")
                with trio.fail_after(10):
                    assert await peer.recvfrom(10) == (b"question", (own, 5353))
                    await peer.sendto(b"answer", (own, 5353))
                    assert await both.recv(10) == b"answer"
            # Back at one NIC: then with all again, at both, and in the group at the other.
            await both.connect(("10.0.0.11", 53))
            await both.connect(())
            assert both.getsockname() == ("0.0.0.0", 5353)
            for peer, there in [(a, "10.0.0.13"), (c, "10.1.0.13"), (c, "239.1.2.3")]:
                await peer.sendto(there.encode(), (there, 5353))
                with trio.fail_after(10):
                    assert await both.recv(20) == there.encode()
            await both.sendto(b"to c", ("10.1.0.14", 53))
            assert await c.recv(10) == b"to c"


async def test_a_port_that_was_given_up_for_a_peer_may_be_taken(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with network() as fabric:
        a = await sock(fabric, "a", tsocket.SOCK_DGRAM, "", 53)
        both = await sock(fabric, "both", tsocket.SOCK_DGRAM, "", 5353)
        with a, both:
            await both.connect(("10.0.0.11", 53))
            async with fabric.guests["both"].as_network():
                other = tsocket.socket(type=tsocket.SOCK_DGRAM)
                other.setsockopt(tsocket.SOL_SOCKET, tsocket.SO_BINDTODEVICE, b"eth1\0")
            with other:
                await other.bind(("", 5353))
                for address in (("10.1.0.14", 53), ()):
                    with pytest.raises(OSError) as caught:
                        await both.connect(address)
                    assert number(caught) == errno.EADDRINUSE
                # Nothing of it is left: it talks with whom it talked before.
                assert both.getpeername() == ("10.0.0.11", 53)
                await both.send(b"still")
                assert await a.recv(10) == b"still"
            await both.connect(("10.1.0.14", 53))
            assert both.getsockname() == ("10.1.0.13", 5353)


async def test_an_error_ends_what_was_corked(autojump_clock: trio.testing.MockClock) -> None:
    async with network() as fabric:
        server = await sock(fabric, "b", tsocket.SOCK_DGRAM, "", 53)
        client = await sock(fabric, "a", tsocket.SOCK_DGRAM)
        with server, client:
            for flags in (tsocket.MSG_MORE, 0):
                await client.sendto(b"begun", tsocket.MSG_MORE, ("10.0.0.12", 53))
                with pytest.raises(OSError) as caught:
                    await client.sendto(bytes(65_527), flags, ("10.0.0.12", 53))
                assert number(caught) == errno.EMSGSIZE
                await client.sendto(b"another", ("10.0.0.12", 53))
                assert await server.recv(100) == b"another"


async def test_broadcasts_must_be_allowed(autojump_clock: trio.testing.MockClock) -> None:
    async with network() as fabric:
        server = await sock(fabric, "b", tsocket.SOCK_DGRAM, "", 6767)
        client = await sock(fabric, "a", tsocket.SOCK_DGRAM)
        with server, client:
            for address in ("<broadcast>", "10.0.0.255"):
                client.setsockopt(tsocket.SOL_SOCKET, tsocket.SO_BROADCAST, 0)
                with pytest.raises(PermissionError):
                    await client.sendto(b"hello", (address, 6767))
                client.setsockopt(tsocket.SOL_SOCKET, tsocket.SO_BROADCAST, 1)
                await client.sendto(b"hello", (address, 6767))
                assert await server.recv(10) == b"hello"


@pytest.mark.parametrize(
    ("group", "key", "request_"),
    [
        (
            "239.1.2.3",
            (stdlib.IPPROTO_IP, stdlib.IP_ADD_MEMBERSHIP),
            struct.pack("4s4s", bytes([239, 1, 2, 3]), bytes(4)),
        ),
        (
            "ff12::77",
            (stdlib.IPPROTO_IPV6, stdlib.IPV6_JOIN_GROUP),
            struct.pack("16sI", stdlib.inet_pton(stdlib.AF_INET6, "ff12::77"), 0),
        ),
    ],
)
async def test_groups(
    autojump_clock: trio.testing.MockClock, group: str, key: tuple[int, int], request_: bytes
) -> None:
    six = ":" in group
    async with network() as fabric:
        sender = await sock(fabric, "a", tsocket.SOCK_DGRAM, "::" if six else "")
        async with fabric.guests["b"].as_network():
            one, two = (tsocket.socket(sender.family, tsocket.SOCK_DGRAM) for _ in range(2))
        with sender, one, two:
            for each in (one, two):
                each.setsockopt(tsocket.SOL_SOCKET, tsocket.SO_REUSEADDR, 1)
                # Joined before it is bound, or after: both are usual.
                if each is one:
                    each.setsockopt(*key, request_)
                await each.bind(("::" if six else "", 5353))
                if each is two:
                    each.setsockopt(*key, request_)
            await sender.sendto(b"all", (group, 5353))
            assert await one.recv(10) == await two.recv(10) == b"all"
            # Who sends from a member hears itself, unless it says that it does not want to.
            await one.sendto(b"me", (group, 5353))
            assert await one.recv(10) == await two.recv(10) == b"me"
            loop = stdlib.IPV6_MULTICAST_LOOP if six else stdlib.IP_MULTICAST_LOOP
            one.setsockopt(key[0], loop, 0)
            await one.sendto(b"not me", (group, 5353))
            await sender.sendto(b"end", (group, 5353))
            assert await one.recv(10) == b"end"
