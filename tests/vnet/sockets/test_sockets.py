"""Sockets of guests as programs use them, all in virtual time."""

from __future__ import annotations

import errno
import functools
import select
import socket as stdlib
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.socket as tsocket
import trio.testing

import vnet

pytestmark = pytest.mark.usefixtures("autojump_clock")

LAN = {"lan": {"subnets": ["10.0.0.0/24", "fd00::/64"], "gateway": []}}


@asynccontextmanager
async def network(**more: Any) -> AsyncIterator[vnet.Fabric]:
    document: dict[str, Any] = {
        "name": "net",
        "networks": {**LAN, "dmz": {"subnets": ["10.1.0.0/24", "fd01::/64"]}},
        "guests": {
            "a": {"nics": [{"network": "lan", "ip": ["10.0.0.11", "fd00::11"]}]},
            "b": {"nics": [{"network": "lan", "ip": ["10.0.0.12", "fd00::12"]}]},
            "both": {
                "nics": [
                    {"network": "lan", "ip": ["10.0.0.13", "fd00::13"]},
                    {"network": "dmz", "ip": ["10.1.0.13", "fd01::13"]},
                ]
            },
            "c": {"nics": [{"network": "dmz", "ip": ["10.1.0.14", "fd01::14"]}]},
        },
        **more,
    }
    async with vnet.Fabric.from_dict(document) as fabric:
        yield fabric


@asynccontextmanager
async def inside(name: str) -> AsyncIterator[vnet.Fabric]:
    async with network() as fabric, fabric.guests[name].as_network():
        yield fabric


async def sock(fabric: vnet.Fabric, guest: str, kind: int, address: str = "", port: int = 0) -> Any:
    """A socket of a guest, bound."""
    async with fabric.guests[guest].as_network():
        family = tsocket.AF_INET6 if ":" in address else tsocket.AF_INET
        made = tsocket.socket(family, kind)
        await made.bind((address, port))
        return made


def number(caught: pytest.ExceptionInfo[OSError]) -> int | None:
    return caught.value.errno


# -- whose network -------------------------------------------------------------------------------


async def test_each_task_has_the_network_of_who_started_it(autojump_clock: trio.testing.MockClock) -> None:
    async with network() as fabric:
        names: dict[str, list[str]] = {"a": [], "b": [], "outside": []}

        async def look(where: str) -> None:
            for _ in range(3):
                with tsocket.socket(tsocket.AF_INET, tsocket.SOCK_DGRAM) as made:
                    names[where].append(repr(made))
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look, "outside")
            for guest in ("a", "b"):
                async with fabric.guests[guest].as_network() as entered:
                    assert entered is fabric.guests[guest]
                    nursery.start_soon(look, guest)
            with tsocket.socket() as real:
                # Outside it is the machine's own again.
                assert type(real).__module__ == "trio._socket"
        assert all("of a," in name for name in names["a"])
        assert all("of b," in name for name in names["b"])
        assert all("vnet" not in name for name in names["outside"])


async def test_blocks_nest_and_one_is_entered_once(autojump_clock: trio.testing.MockClock) -> None:
    async with network() as fabric:
        block = fabric.guests["a"].as_network()
        async with block:
            async with fabric.guests["b"].as_network():
                with tsocket.socket() as made:
                    assert "of b," in repr(made)
            with tsocket.socket() as made:
                assert "of a," in repr(made)
            with pytest.raises(RuntimeError, match="entered already"):
                await block.__aenter__()
        with tsocket.socket() as made:
            assert "vnet" not in repr(made)


async def test_another_factory_and_resolver_stay_outside(autojump_clock: trio.testing.MockClock) -> None:
    class Factory(trio.abc.SocketFactory):
        def socket(self, family: Any = None, type: Any = None, proto: Any = None) -> Any:  # noqa: A002
            return "theirs"

    class Resolver(trio.abc.HostnameResolver):
        async def getaddrinfo(self, *_: Any) -> Any:
            return ["theirs"]

        async def getnameinfo(self, *_: Any) -> Any:
            return ("theirs", "too")

    tsocket.set_custom_socket_factory(Factory())
    tsocket.set_custom_hostname_resolver(Resolver())
    async with inside("a"):
        with tsocket.socket() as made:
            assert "of a," in repr(made)
        assert (await tsocket.getaddrinfo("b", 80))[0][4][0] == "fd00::12"
    assert tsocket.socket() == "theirs"  # type: ignore[comparison-overlap]
    assert await tsocket.getaddrinfo("b", 80) == ["theirs"]
    assert await tsocket.getnameinfo(("10.0.0.12", 80), 0) == ("theirs", "too")


async def test_other_kinds_of_guests_say_that_they_have_none() -> None:
    fabric = vnet.Fabric.from_dict({"name": "x", "networks": LAN})
    async with fabric:
        await fabric.attach("probe", network="lan", nic=vnet.Pipe())
        with pytest.raises(vnet.BadInput, match="probe is external: only a stack guest's network"):
            fabric.guests["probe"].as_network()


async def test_unix_sockets_are_the_machines(autojump_clock: trio.testing.MockClock) -> None:
    async with inside("a"):
        with tsocket.socket(tsocket.AF_UNIX) as made:
            assert made.family == tsocket.AF_UNIX


@pytest.mark.parametrize(
    ("family", "kind", "proto", "code"),
    [
        (stdlib.AF_NETLINK, stdlib.SOCK_DGRAM, 0, errno.EAFNOSUPPORT),
        (stdlib.AF_INET, stdlib.SOCK_RAW, 1, errno.ESOCKTNOSUPPORT),
        (stdlib.AF_INET, stdlib.SOCK_STREAM, stdlib.IPPROTO_UDP, errno.EPROTONOSUPPORT),
    ],
)
async def test_what_a_guest_does_not_speak(family: int, kind: int, proto: int, code: int) -> None:
    async with inside("a"):
        with pytest.raises(OSError) as caught:
            tsocket.socket(family, kind, proto)
        assert number(caught) == code


# -- TCP -----------------------------------------------------------------------------------------


async def test_tcp_by_name_over_both_versions(autojump_clock: trio.testing.MockClock) -> None:
    async with network() as fabric, trio.open_nursery() as nursery:

        async def shout(stream: trio.SocketStream) -> None:
            async with stream:
                async for data in stream:
                    await stream.send_all(data.upper())

        async with fabric.guests["b"].as_network():
            listeners = await nursery.start(trio.serve_tcp, shout, 7)
        assert sorted(listener.socket.getsockname()[0] for listener in listeners) == ["0.0.0.0", "::"]
        async with fabric.guests["a"].as_network():
            for host in ("b", "b.lan", "10.0.0.12", "fd00::12"):
                async with await trio.open_tcp_stream(host, 7) as stream:
                    await stream.send_all(host.encode())
                    await stream.send_eof()
                    assert b"".join([data async for data in stream]) == host.upper().encode()
        nursery.cancel_scope.cancel()


async def test_happy_eyeballs_go_on_to_the_next_address(autojump_clock: trio.testing.MockClock) -> None:
    async with network() as fabric, trio.open_nursery() as nursery:
        async with fabric.guests["b"].as_network():
            await nursery.start(functools.partial(trio.serve_tcp, host="0.0.0.0"), none, 7)
        async with fabric.guests["a"].as_network():
            async with await trio.open_tcp_stream("b", 7) as stream:
                assert stream.socket.getpeername() == ("10.0.0.12", 7)
            with pytest.raises(OSError, match="all attempts to connect to b:8 failed") as caught:
                await trio.open_tcp_stream("b", 8)
            causes = caught.value.__cause__
            assert isinstance(causes, ExceptionGroup)
            assert [type(cause) for cause in causes.exceptions] == [ConnectionRefusedError] * 2
        nursery.cancel_scope.cancel()


async def none(stream: trio.SocketStream) -> None:
    await stream.aclose()


async def test_errors_are_the_systems(autojump_clock: trio.testing.MockClock) -> None:
    async with inside("a"):
        for host, code, seconds in [
            ("10.0.0.12", errno.ECONNREFUSED, 0),
            ("10.0.0.99", errno.EHOSTUNREACH, 3),
            ("192.0.2.1", errno.ENETUNREACH, 0),
        ]:
            begun = trio.current_time()
            with (
                tsocket.socket() as made,
                pytest.raises(OSError, match=f"Error connecting to .'{host}', 9") as caught,
            ):
                await made.connect((host, 9))
            assert number(caught) == code
            assert trio.current_time() - begun == pytest.approx(seconds, abs=0.2)


async def test_an_attempt_that_nobody_answers_times_out(autojump_clock: trio.testing.MockClock) -> None:
    guests = {"a": {"nics": [{"network": "lan"}]}, "b": {"nics": [{"network": "lan", "groups": "mute"}]}}
    mute = {"mute": {"ingress": [{"protocol": "icmp"}], "egress": []}}
    async with network(guests=guests, groups=mute) as fabric, fabric.guests["a"].as_network():
        begun = trio.current_time()
        with tsocket.socket() as made, pytest.raises(TimeoutError):
            await made.connect((str(fabric.guests["b"].addresses[0]), 9))
        assert trio.current_time() - begun == pytest.approx(127, abs=1)


async def test_a_reset_is_told(autojump_clock: trio.testing.MockClock) -> None:
    async with inside("a"):
        left, right = await connected()
        with left, right:
            right.setsockopt(tsocket.SOL_SOCKET, tsocket.SO_LINGER, struct.pack("ii", 1, 0))
            right.close()
            with pytest.raises(ConnectionResetError):
                await left.recv(1)


async def connected() -> tuple[Any, Any]:
    """Two ends of a connection over the guest's loopback."""
    with tsocket.socket() as listener:
        await listener.bind(("127.0.0.1", 0))
        listener.listen()
        left = tsocket.socket()
        await left.connect(listener.getsockname())
        right, name = await listener.accept()
        assert name == left.getsockname() == right.getpeername()
        return left, right


async def test_ports_are_taken_and_given_back(autojump_clock: trio.testing.MockClock) -> None:
    async with inside("a"):
        with tsocket.socket() as first, tsocket.socket() as second, tsocket.socket() as third:
            await first.bind(("", 0))
            port = first.getsockname()[1]
            assert 32768 <= port < 61000
            # Bound is taken, before anybody listens.
            for address in ("", "127.0.0.1", "10.0.0.11"):
                with pytest.raises(OSError) as caught:
                    await second.bind((address, port))
                assert number(caught) == errno.EADDRINUSE
            with pytest.raises(OSError) as caught:
                await second.bind(("10.0.0.12", port))
            assert number(caught) == errno.EADDRNOTAVAIL
            # Nobody listens yet, so nobody gets in.
            with pytest.raises(ConnectionRefusedError):
                await third.connect(("127.0.0.1", port))
            first.close()
            await second.bind(("", port))
            with pytest.raises(OSError) as caught:
                await second.bind(("", 0))
            assert number(caught) == errno.EINVAL


async def test_both_versions_share_a_port_unless_one_speaks_both(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with inside("a"):
        with tsocket.socket() as four, tsocket.socket(tsocket.AF_INET6) as six, tsocket.socket() as client:
            six.setsockopt(tsocket.IPPROTO_IPV6, tsocket.IPV6_V6ONLY, 1)
            await six.bind(("::", 80))
            await four.bind(("", 80))
            four.close()
            six.listen()
            with pytest.raises(ConnectionRefusedError):
                await client.connect(("127.0.0.1", 80))
        with tsocket.socket() as four, tsocket.socket(tsocket.AF_INET6) as six, tsocket.socket() as client:
            await six.bind(("::", 80))
            with pytest.raises(OSError) as caught:
                await four.bind(("", 80))
            assert number(caught) == errno.EADDRINUSE
            six.listen()
            await client.connect(("10.0.0.11", 80))
            accepted, name = await six.accept()
            with accepted:
                assert name[0] == "::ffff:10.0.0.11"
                assert accepted.getsockname()[:2] == ("::ffff:10.0.0.11", 80)


async def test_a_bound_client_speaks_from_there(autojump_clock: trio.testing.MockClock) -> None:
    async with inside("a"):
        with tsocket.socket() as listener, tsocket.socket() as client:
            await listener.bind(("", 80))
            listener.listen(1)
            await client.bind(("10.0.0.11", 5000))
            await client.connect(("127.0.0.1", 80))
            assert client.getsockname() == ("10.0.0.11", 5000)
            with pytest.raises(OSError) as caught:
                await client.connect(("127.0.0.1", 80))
            assert number(caught) == errno.EISCONN


async def test_the_backlog_is_a_limit(autojump_clock: trio.testing.MockClock) -> None:
    async with network() as fabric, fabric.guests["a"].as_network():
        listener = await sock(fabric, "b", tsocket.SOCK_STREAM, "", 80)
        with listener:
            listener.listen(2)
            made = []
            for _ in range(2):
                made.append(tsocket.socket())
                await made[-1].connect(("10.0.0.12", 80))
            with tsocket.socket() as late:
                with trio.move_on_after(5) as scope:
                    await late.connect(("10.0.0.12", 80))
                assert scope.cancelled_caught
                # Its attempt can't be taken back.
                assert late.fileno() == -1
            for each in made:
                each.close()


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


# -- UDP -----------------------------------------------------------------------------------------


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


# -- several NICs --------------------------------------------------------------------------------


async def test_a_guest_with_two_nics_is_one_host(autojump_clock: trio.testing.MockClock) -> None:
    async with network() as fabric:
        server = await sock(fabric, "both", tsocket.SOCK_STREAM, "", 80)
        names = await sock(fabric, "both", tsocket.SOCK_DGRAM, "", 53)
        server.listen()
        with server, names:
            for guest, address in (("a", "10.0.0.13"), ("c", "10.1.0.13")):
                async with fabric.guests[guest].as_network():
                    with tsocket.socket() as client, tsocket.socket(type=tsocket.SOCK_DGRAM) as asker:
                        await client.connect((address, 80))
                        accepted, _ = await server.accept()
                        with accepted:
                            assert accepted.getsockname() == (address, 80)
                        await asker.sendto(guest.encode(), (address, 53))
                        data, sender = await names.recvfrom(10)
                        await names.sendto(data * 2, sender)
                        assert await asker.recv(10) == data * 2
        async with fabric.guests["both"].as_network():
            with tsocket.socket(type=tsocket.SOCK_DGRAM) as made:
                for address, own in (("10.1.0.14", "10.1.0.13"), ("10.0.0.12", "10.0.0.13")):
                    await made.connect((address, 1))
                    assert made.getsockname()[0] == own
                    made.close()
                    made = tsocket.socket(type=tsocket.SOCK_DGRAM)
                made.setsockopt(tsocket.SOL_SOCKET, tsocket.SO_BINDTODEVICE, b"eth1\0")
                await made.bind(("", 99))
                with pytest.raises(OSError):
                    made.setsockopt(tsocket.SOL_SOCKET, tsocket.SO_BINDTODEVICE, b"wlan0\0")
                made.close()


# -- options -------------------------------------------------------------------------------------


async def test_options(autojump_clock: trio.testing.MockClock) -> None:
    async with inside("a"):
        with tsocket.socket() as made:
            get, put = made.getsockopt, made.setsockopt
            assert get(tsocket.SOL_SOCKET, tsocket.SO_TYPE) == tsocket.SOCK_STREAM
            assert get(tsocket.SOL_SOCKET, tsocket.SO_DOMAIN) == tsocket.AF_INET
            assert get(tsocket.SOL_SOCKET, tsocket.SO_PROTOCOL) == tsocket.IPPROTO_TCP
            assert get(tsocket.SOL_SOCKET, tsocket.SO_ERROR) == 0
            assert get(tsocket.SOL_SOCKET, tsocket.SO_RCVBUF) == 256 << 10
            assert get(tsocket.SOL_SOCKET, tsocket.SO_ACCEPTCONN) == 0
            made.listen()
            assert get(tsocket.SOL_SOCKET, tsocket.SO_ACCEPTCONN) == 1
            put(tsocket.IPPROTO_IP, tsocket.IP_TTL, 5)
            assert get(tsocket.IPPROTO_IP, tsocket.IP_TTL, 4) == struct.pack("i", 5)
            for value in (0, 256):
                with pytest.raises(OSError) as caught:
                    put(tsocket.IPPROTO_IP, tsocket.IP_TTL, value)
                assert number(caught) == errno.EINVAL
            with pytest.raises(OSError) as caught:
                put(tsocket.IPPROTO_TCP, tsocket.TCP_CORK, 1)
            assert number(caught) == errno.ENOPROTOOPT


async def test_the_hop_limit_is_on_the_wire(autojump_clock: trio.testing.MockClock, tmp_path: Any) -> None:
    from scapy.layers.inet import IP
    from scapy.utils import rdpcap

    async with network() as fabric:
        path = tmp_path / "hops.pcapng"
        server = await sock(fabric, "b", tsocket.SOCK_STREAM, "", 80)
        server.listen()
        udp = await sock(fabric, "a", tsocket.SOCK_DGRAM)
        async with fabric.guests["a"].as_network():
            tcp = tsocket.socket()
        with server, udp, tcp:
            async with fabric.capture(path, "b"):
                udp.setsockopt(tsocket.IPPROTO_IP, tsocket.IP_TTL, 7)
                await udp.sendto(b"x", ("10.0.0.12", 1))
                tcp.setsockopt(tsocket.IPPROTO_IP, tsocket.IP_TTL, 9)
                await tcp.connect(("10.0.0.12", 80))
                await tcp.send(b"x")
                (await server.accept())[0].close()
                await trio.sleep(0.1)
        hops = {(p[IP].proto, p[IP].ttl) for p in rdpcap(str(path)) if IP in p and p[IP].src == "10.0.0.11"}
        assert {(17, 7), (6, 9)} <= hops
