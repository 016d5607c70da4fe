"""Socket options of guests, and a guest with several NICs, all in virtual time."""

from __future__ import annotations

import errno
import struct
from typing import Any

import pytest
import trio
import trio.socket as tsocket
import trio.testing

from tests.vnet.sockets.net import inside, network, number, sock

pytestmark = pytest.mark.usefixtures("autojump_clock")


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
