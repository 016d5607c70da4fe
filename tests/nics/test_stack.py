"""In-process TCP/IP hosts: their sockets as trio's own, over a real switch."""

from __future__ import annotations

import errno
import hashlib
import ipaddress
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

import vnet
from nics.door import Place
from nics.errors import BadInput, NicError, Unreachable
from nics.stack import Host, Stack
from nics.stack_sockets import TcpStream

DRIVERS = pytest.mark.parametrize("driver", ["trio", "thread"])


def topology(count: int, **network: object) -> vnet.Topology:
    guests = {f"g{n}": {"nics": [{"network": "lan"}]} for n in range(1, count + 1)}
    networks = {"lan": {"subnets": ["10.0.0.0/16", "fd00::/64"], **network}}
    return vnet.Topology.from_dict({"name": "hosts", "networks": networks, "guests": guests})


@asynccontextmanager
async def hosts(count: int, driver: str = "trio", **network: object) -> AsyncIterator[list[Host]]:
    async with vnet.Fabric(topology(count, **network), driver=driver) as fabric:
        yield [guest.host() for guest in fabric.guests.values()]


def address(host: Host, version: int = 4) -> str:
    return next(str(a.ip) for a in host.addresses if a.version == version and not a.is_link_local)


async def connected(one: Host, two: Host, version: int = 4) -> tuple[TcpStream, TcpStream]:
    async with await two.listen_tcp(0) as listener:
        client = await one.open_tcp_stream(address(two, version), listener.port)
        return client, await listener.accept()


# -- streams are trio's ----------------------------------------------------------------------------


async def test_streams_are_two_way_streams_as_trio_means_it(autojump_clock: trio.testing.MockClock) -> None:
    async with hosts(2) as (one, two):

        async def pair() -> tuple[TcpStream, TcpStream]:
            return await connected(one, two)

        async def clogged() -> tuple[TcpStream, TcpStream]:
            left, right = await connected(one, two)
            for stream in (left, right) * 2:
                # In virtual time that is when nothing moves any more. A sender is only woken for
                # room that is worth it; the second time takes the rest.
                with trio.move_on_after(0.2):
                    while True:
                        await stream.send_all(bytes(1 << 20))
            return left, right

        await trio.testing.check_two_way_stream(pair, clogged)
        await trio.testing.check_half_closeable_stream(pair, clogged)


async def test_streams_are_streams_under_the_thread_driver_too() -> None:
    async with hosts(2, "thread") as (one, two):

        async def pair() -> tuple[TcpStream, TcpStream]:
            return await connected(one, two)

        await trio.testing.check_half_closeable_stream(pair, None)


@DRIVERS
@pytest.mark.parametrize("version", [4, 6])
async def test_much_data_arrives_as_it_was_sent(driver: str, version: int) -> None:
    size, chunk = 64 << 20, 1 << 20
    data = bytes(i * 7 % 256 for i in range(4096)) * (chunk // 4096)
    sums = {}

    async def send(name: str, stream: TcpStream) -> None:
        for _ in range(size // chunk):
            await stream.send_all(data)
        await stream.send_eof()

    async def receive(name: str, stream: TcpStream) -> None:
        digest = hashlib.sha256()
        while got := await stream.receive_some():
            digest.update(got)
        sums[name] = digest.hexdigest()

    async with hosts(2, driver) as (one, two):
        client, server = await connected(one, two, version)
        async with trio.open_nursery() as nursery:
            for name, stream in (("client", client), ("server", server)):
                nursery.start_soon(send, name, stream)
                nursery.start_soon(receive, name, stream)
        await client.aclose()
        await server.aclose()
    expected = hashlib.sha256(data * (size // chunk)).hexdigest()
    assert sums == {"client": expected, "server": expected}


async def test_names_and_states() -> None:
    async with hosts(2) as (one, two):
        client, server = await connected(one, two, 6)
        assert client.local == server.remote
        assert client.remote == server.local
        assert client.local[0] == address(one, 6)
        assert (client.state, server.state) == ("ESTABLISHED", "ESTABLISHED")
        await client.send_eof()
        assert await server.receive_some() == b""
        await server.send_all(b"still here")
        assert await client.receive_some() == b"still here"
        assert (client.state, server.state) == ("FIN-WAIT-2", "CLOSE-WAIT")
        await server.aclose()
        assert await client.receive_some() == b""
        assert server.state == "CLOSED"
        assert repr(server).startswith("<TcpStream g2.0 ")
        await client.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await client.receive_some()


async def test_a_source_can_be_chosen() -> None:
    async with hosts(2) as (one, two):
        link_local = str(one.addresses[-1].ip)
        async with await two.listen_tcp(80, host=two.addresses[-1].ip) as listener:
            stream = await one.open_tcp_stream(
                two.addresses[-1].ip, 80, local_host=link_local, local_port=4000
            )
            assert stream.local == (link_local, 4000)
            assert (await listener.accept()).remote == (link_local, 4000)
            with pytest.raises(OSError, match="already in use"):
                await one.open_tcp_stream(
                    str(two.addresses[-1].ip) + "%eth0", 80, local_host=link_local, local_port=4000
                )
        with pytest.raises(OSError, match="not an address of this guest") as caught:
            await one.open_tcp_stream(address(two), 80, local_host="10.99.0.1")
        assert caught.value.errno == errno.EADDRNOTAVAIL
        with pytest.raises(ValueError, match="IP address"):
            await one.open_tcp_stream("localhost", 80)
        with pytest.raises(ValueError, match="port"):
            await one.open_tcp_stream(address(two), 1 << 16)


@DRIVERS
async def test_an_echo_server(driver: str) -> None:
    async def echo(stream: TcpStream) -> None:
        async with stream:
            async for data in stream:
                await stream.send_all(data)

    async def ask(host: Host, server: str, number: int, answers: list[bytes]) -> None:
        async with await host.open_tcp_stream(server, 7) as stream:
            await stream.send_all(b"%d" % number)
            answers.append(await stream.receive_some())

    async with hosts(3, driver) as (server, *clients), trio.open_nursery() as nursery:
        listeners = await nursery.start(server.serve_tcp, echo, 7)
        assert listeners[0].port == 7
        answers: list[bytes] = []
        async with trio.open_nursery() as asking:
            for number in range(100):
                asking.start_soon(ask, clients[number % 2], address(server), number, answers)
        assert sorted(answers, key=int) == [b"%d" % number for number in range(100)]
        nursery.cancel_scope.cancel()


# -- what fails ------------------------------------------------------------------------------------


async def test_nobody_listens() -> None:
    async with hosts(2) as (one, two):
        for version in (4, 6):
            with pytest.raises(ConnectionRefusedError) as caught:
                await one.open_tcp_stream(address(two, version), 80)
            assert str(caught.value).endswith(
                f"{address(two, version)} port 80 from g1.0: connection refused"
            )
        assert one.handle.socket_count() == 0


async def test_nobody_is_there(autojump_clock: trio.testing.MockClock) -> None:
    async with hosts(1) as (host,):
        for there in ("10.0.9.9", "fd00::9999"):
            begun = trio.current_time()
            with pytest.raises(Unreachable, match=f"{there} port 80 from g1.0: no route to host") as caught:
                await host.open_tcp_stream(there, 80)
            assert caught.value.errno == errno.EHOSTUNREACH
            assert isinstance(caught.value, OSError)
            assert trio.current_time() - begun == pytest.approx(3.0, abs=0.001)
            with pytest.raises(Unreachable, match="no answer in 1 s"):
                await host.ping(there)
            with pytest.raises(Unreachable, match="No route to host"):
                await host.ping(there, timeout=10)
        with pytest.raises(Unreachable) as caught:
            await host.open_tcp_stream("255.255.255.255", 80)
        assert caught.value.errno == errno.ENETUNREACH


async def test_cancelled_and_forgotten_sockets_are_given_back(autojump_clock: trio.testing.MockClock) -> None:
    async with hosts(2) as (one, two):
        with trio.move_on_after(1) as scope:
            await one.open_tcp_stream("10.0.9.9", 80)
        assert scope.cancelled_caught
        with trio.move_on_after(1) as scope:
            await one.ping("10.0.9.9", timeout=math.inf)
        assert scope.cancelled_caught
        assert one.handle.socket_count() == 0

        client, server = await connected(one, two)
        with trio.move_on_after(1) as scope:
            await client.receive_some()
        assert scope.cancelled_caught
        await server.send_all(b"later")
        assert await client.receive_some() == b"later"
        await client.aclose()
        await server.aclose()
        await trio.sleep(30)
        assert (one.handle.socket_count(), two.handle.socket_count()) == (0, 0)


async def test_a_reset_breaks_the_other_end() -> None:
    async with hosts(2) as (one, two):
        client, server = await connected(one, two)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.abort)
            with pytest.raises(trio.BrokenResourceError, match="connection reset by peer"):
                await server.receive_some()
        with pytest.raises(trio.BrokenResourceError):
            await server.send_all(b"x")
        await client.abort()
        await server.aclose()


async def test_closing_a_listener_ends_who_waits_for_it() -> None:
    async with hosts(2) as (one, two):
        listener = await two.listen_tcp(80)
        with pytest.raises(OSError, match="already in use"):
            await two.listen_tcp(80)
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def accept() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await listener.accept()

            await trio.testing.wait_all_tasks_blocked()
            await listener.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await listener.accept()
        with pytest.raises(ConnectionRefusedError):
            await one.open_tcp_stream(address(two), 80)
        await (await two.listen_tcp(80)).aclose()


@DRIVERS
async def test_a_guest_that_is_detached_breaks_its_sockets(driver: str) -> None:
    async with vnet.Fabric(topology(2), driver=driver) as fabric:
        one, two = (guest.host() for guest in fabric.guests.values())
        client, server = await connected(one, two)
        listener = await one.listen_tcp(80)
        udp = await one.udp_socket()

        async def broken(error: type[Exception], function: object) -> None:
            with pytest.raises(error):
                await function()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(broken, trio.BrokenResourceError, client.receive_some)
            nursery.start_soon(broken, trio.ClosedResourceError, listener.accept)
            nursery.start_soon(broken, trio.ClosedResourceError, udp.receive_from)
            nursery.start_soon(broken, Unreachable, lambda: one.ping("10.0.9.9", timeout=math.inf))
            nursery.start_soon(broken, OSError, lambda: one.open_tcp_stream("10.0.9.9", 1))
            await trio.testing.wait_all_tasks_blocked(0.05)
            await fabric.detach("g1")
        for resource in (client, listener, udp):
            await resource.aclose()
        with pytest.raises(OSError, match="closed"):
            await one.listen_tcp(80)
        await server.aclose()


# -- UDP and ICMP ----------------------------------------------------------------------------------


@DRIVERS
@pytest.mark.parametrize("version", [4, 6])
async def test_datagrams_and_pings(driver: str, version: int) -> None:
    async with hosts(2, driver) as (one, two):
        server = await two.udp_socket(53)
        client = await one.udp_socket()
        for size in (0, 1, 1400, 9000, 60_000):
            await client.send_to(bytes(size), address(two, version), 53)
            data, (host, port), to = await server.receive()
            assert (len(data), host, port, to) == (
                size,
                address(one, version),
                client.port,
                address(two, version),
            )
            await server.send_to(data[::-1], host, port)
            assert await client.receive_from() == (bytes(size), (address(two, version), 53))
            assert await one.ping(address(two, version), timeout=30, size=size) >= 0
        assert address(two, version) in map(str, one.neighbours)
        assert server.lost == 0
        with pytest.raises(OSError, match="too long"):
            await client.send_to(bytes(70_000), address(two, version), 53)
        await client.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await client.send_to(b"x", address(two, version), 53)


async def test_multicast() -> None:
    async with hosts(3) as (one, two, three):
        sockets = [await host.udp_socket(5353) for host in (one, two, three)]
        for group in ("224.0.0.251", "ff02::fb"):
            sockets[1].join(group)
            await sockets[0].send_to(b"who?", group, 5353)
            data, _, to = await sockets[1].receive()
            assert (data, to) == (b"who?", group)
            sockets[1].leave(group)
            with pytest.raises(OSError, match="not possible"):
                sockets[1].leave(group)
        await sockets[0].send_to(b"all", "10.0.255.255", 5353)
        assert (await sockets[1].receive_from())[0] == b"all"
        assert (await sockets[2].receive_from())[0] == b"all"


async def test_many_datagrams_wait_for_room(autojump_clock: trio.testing.MockClock) -> None:
    async with hosts(2) as (one, two):
        server = await two.udp_socket(53)
        client = await one.udp_socket()
        await one.ping(address(two), timeout=30)

        async def send() -> None:
            for number in range(5000):
                await client.send_to(b"%d" % number * 100, address(two), 53)

        received = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            # The last ones may be lost, after which none comes: then it is quiet.
            with trio.move_on_after(1) as quiet:
                while received + server.lost < 5000:
                    await server.receive_from()
                    received += 1
                    quiet.deadline = trio.current_time() + 1
        assert received + server.lost == 5000
        assert received > 1000


# -- the description -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "keys", [{"receive_buffer": 100}, {"send_buffer": 1 << 30}, {"send_buffer": "1 MiB"}]
)
def test_a_bad_description_is_refused(keys: dict[str, int]) -> None:
    with pytest.raises(BadInput, match="expected bytes in"):
        Stack(**keys)


@pytest.mark.parametrize(
    ("addresses", "line"),
    [
        (("224.0.0.1/24",), "224.0.0.1 with this prefix can't be a host's address"),
        (("10.0.0.1/33",), "10.0.0.1 with this prefix"),
        (("10.0.0.1/x",), "no valid prefix length"),
    ],
)
async def test_a_host_that_can_not_be_is_refused(place: Place, addresses: tuple[str, ...], line: str) -> None:
    place = Place(port="vm.0", runtime=Path(), netlink=place.netlink, mac=place.mac, addresses=addresses)
    with pytest.raises(NicError, match=line):
        await Stack().open(place)


async def test_a_host_has_its_addresses(place: Place) -> None:
    place = Place(
        port="vm.0",
        runtime=Path(),
        netlink=place.netlink,
        mac="02:00:00:00:00:01",
        addresses=("10.0.0.1/24",),
    )
    opened = await Stack().open(place)
    assert isinstance(opened.far, Host)
    assert opened.far.addresses == [
        ipaddress.ip_interface("10.0.0.1/24"),
        ipaddress.ip_interface("fe80::ff:fe00:1/64"),
    ]
    assert opened.far.neighbours == {}
