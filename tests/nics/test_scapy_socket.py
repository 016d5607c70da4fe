"""scapy's own ways of working, at the end of a pipe."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest
import trio
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP, ARP_am, Ether
from scapy.sendrecv import AsyncSniffer, sniff

import vnet
from nics.pipe import Pipe, PipeEnd
from nics.scapy_socket import scapy_socket
from nics.stack import Host

T = TypeVar("T")
MAC = "02:00:00:00:99:99"
pytestmark = pytest.mark.parametrize("driver", ["trio", "thread"])


@asynccontextmanager
async def lab(driver: str) -> AsyncIterator[tuple[Host, PipeEnd, Any]]:
    document = {
        "name": "scapy",
        "networks": {"lan": {"subnets": ["10.0.0.0/24", "fd00::/64"]}},
        "guests": {"web": {"nics": [{"network": "lan", "ip": ["10.0.0.11", "fd00::11"]}]}},
    }
    async with vnet.Fabric.from_dict(document, driver=driver) as fabric:
        nic = await fabric.attach(
            "probe", network="lan", mac=MAC, ip=["10.0.0.99", "fd00::99"], nic=Pipe(), guard="off"
        )
        with scapy_socket(nic) as socket:
            yield fabric.guests["web"].host(), nic, socket


async def in_thread(function: Callable[[], T]) -> T:
    with trio.fail_after(50):
        return await trio.to_thread.run_sync(function)


async def unanswered(host: Host, target: str) -> None:
    """Have `host` ask for the MAC address of nobody."""
    with pytest.raises(vnet.Unreachable):
        await host.ping(target, timeout=0.3)


def arp(socket: Any) -> str:
    """The stack's MAC address, asked for."""
    question = Ether(src=MAC, dst="ff:ff:ff:ff:ff:ff") / ARP(hwsrc=MAC, psrc="10.0.0.99", pdst="10.0.0.11")
    answer = socket.sr1(question, timeout=30, verbose=0)
    assert answer is not None
    assert answer[ARP].psrc == "10.0.0.11"
    return answer[ARP].hwsrc


async def test_sr1_asks_and_is_answered(driver: str) -> None:
    async with lab(driver) as (_, _, socket):

        def work() -> None:
            mac = arp(socket)
            ether = Ether(src=MAC, dst=mac)
            ping = ether / IP(src="10.0.0.99", dst="10.0.0.11") / ICMP(id=1, seq=2) / (b"x" * 1000)
            answer = socket.sr1(ping, timeout=30, verbose=0)
            assert answer[ICMP].type == 0
            assert bytes(answer[ICMP].payload) == b"x" * 1000
            # Nobody listens: a reset, and "port unreachable".
            syn = ether / IP(src="10.0.0.99", dst="10.0.0.11") / TCP(sport=1000, dport=80, flags="S", seq=7)
            answer = socket.sr1(syn, timeout=30, verbose=0)
            assert (str(answer[TCP].flags), answer[TCP].ack) == ("RA", 8)
            closed = ether / IP(src="10.0.0.99", dst="10.0.0.11") / UDP(sport=1000, dport=9) / b"?"
            answer = socket.sr1(closed, timeout=30, verbose=0)
            assert (answer[ICMP].type, answer[ICMP].code) == (3, 3)
            # IPv6: a neighbour, and its echo.
            ask = Ether(src=MAC, dst="33:33:ff:00:00:11") / IPv6(src="fd00::99", dst="ff02::1:ff00:11")
            ask /= ICMPv6ND_NS(tgt="fd00::11") / ICMPv6NDOptSrcLLAddr(lladdr=MAC)
            answer = socket.sr1(ask, timeout=30, verbose=0)
            assert answer[ICMPv6ND_NA].tgt == "fd00::11"
            ping6 = ether / IPv6(src="fd00::99", dst="fd00::11") / ICMPv6EchoRequest(id=3, data=b"six")
            answer = socket.sr1(ping6, timeout=30, verbose=0)
            assert answer[ICMPv6EchoReply].data == b"six"
            # And nobody answers for what is not there.
            nobody = Ether(src=MAC, dst="ff:ff:ff:ff:ff:ff") / ARP(hwsrc=MAC, pdst="10.0.0.77")
            assert socket.sr1(nobody, timeout=0.2, verbose=0) is None

        await in_thread(work)


async def test_sr_matches_many_answers(driver: str) -> None:
    async with lab(driver) as (_, _, socket):

        def work() -> tuple[int, int]:
            ether = Ether(src=MAC, dst=arp(socket)) / IP(src="10.0.0.99", dst="10.0.0.11")
            requests = [ether / ICMP(id=5, seq=number) for number in range(200)]
            answered, unanswered = socket.sr(requests, timeout=30, verbose=0)
            return len(answered), len(unanswered)

        assert await in_thread(work) == (200, 0)


async def test_sniff_and_async_sniffer_see_what_comes(driver: str) -> None:
    async with lab(driver) as (web, _, socket):
        started = threading.Event()

        def watch() -> list[str]:
            found = sniff(
                opened_socket=socket,
                lfilter=lambda p: ARP in p,
                count=3,
                timeout=15,
                started_callback=started.set,
            )
            return [p[ARP].pdst for p in found]

        async with trio.open_nursery() as nursery:
            results: list[list[str]] = []

            @nursery.start_soon
            async def sniffing() -> None:
                results.append(await in_thread(watch))

            await trio.to_thread.run_sync(started.wait)
            for last in (101, 102, 103):
                nursery.start_soon(unanswered, web, f"10.0.0.{last}")
        assert sorted(results[0]) == ["10.0.0.101", "10.0.0.102", "10.0.0.103"]

        started.clear()
        seen = threading.Event()
        sniffer = AsyncSniffer(
            opened_socket=socket,
            lfilter=lambda p: ARP in p and p[ARP].pdst == "10.0.0.104",
            prn=lambda _: seen.set(),
            started_callback=started.set,
        )
        sniffer.start()
        await trio.to_thread.run_sync(started.wait)
        await unanswered(web, "10.0.0.104")
        await trio.to_thread.run_sync(seen.wait)
        found = await in_thread(sniffer.stop)
        assert {p[ARP].pdst for p in found} == {"10.0.0.104"}


async def test_an_answering_machine_answers_a_stack(driver: str) -> None:
    async with lab(driver) as (web, _, socket):
        machine = socket.am(ARP_am, IP_addr="10.0.0.77", ARP_addr=MAC)
        sniffer = await in_thread(machine.bg)
        try:
            # It has a MAC address soon, but answers no pings.
            with trio.fail_after(40):
                while {str(address): mac for address, mac in web.neighbours.items()}.get("10.0.0.77") != MAC:
                    await unanswered(web, "10.0.0.77")
        finally:
            await in_thread(sniffer.stop)


async def test_a_closed_pipe_ends_the_sniffing(driver: str) -> None:
    async with lab(driver) as (_, nic, socket):
        started = threading.Event()

        def watch() -> list[Any]:
            return list(socket.sniff(lfilter=lambda p: False, started_callback=started.set))

        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def sniffing() -> None:
                assert await in_thread(watch) == []

            await trio.to_thread.run_sync(started.wait)
            await nic.aclose()
        with pytest.raises(BrokenPipeError):
            socket.send(Ether())


async def test_closing_the_socket_leaves_the_pipe(driver: str) -> None:
    async with lab(driver) as (web, nic, socket):
        socket.close()
        with pytest.raises(EOFError):
            socket.recv()
        await unanswered(web, "10.0.0.77")
        with trio.fail_after(30):
            while ARP not in Ether(await nic.receive()):
                pass


def test_scapy_is_loaded_by_nobody_else(driver: str) -> None:
    code = "import sys, vnet; [getattr(vnet, name, None) for name in ('Fabric', 'Stack', 'Pipe')]"
    code += "; import nics.scapy_socket; assert not any(m.startswith('scapy') for m in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
