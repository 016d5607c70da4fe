"""TCP of guests as programs use it, all in virtual time: connecting, listening, errors."""

from __future__ import annotations

import errno
import functools
import struct

import pytest
import trio
import trio.socket as tsocket
import trio.testing

from tests.vnet.sockets.net import connected, inside, network, number, sock

pytestmark = pytest.mark.usefixtures("autojump_clock")


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
