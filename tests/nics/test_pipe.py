"""Frames to and from Python."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import ARP, Ether

import vnet
from nics.door import Place
from nics.errors import BadInput
from nics.pipe import Pipe, PipeEnd

DRIVERS = pytest.mark.parametrize("driver", ["trio", "thread"])
LAN = {"name": "pipes", "networks": {"lan": {"subnets": ["10.0.0.0/24"]}}}


def fabric(driver: str = "trio") -> vnet.Fabric:
    return vnet.Fabric.from_dict(LAN, driver=driver)


async def two_ends(fabric: vnet.Fabric, **keys: int) -> tuple[PipeEnd, PipeEnd]:
    return tuple(
        [await fabric.attach(name, network="lan", nic=Pipe(**keys), guard="off") for name in ("a", "b")]
    )


def frame(number: int = 0) -> bytes:
    return bytes.fromhex("ffffffffffff 020000000001 88b5") + number.to_bytes(46)


@DRIVERS
async def test_frames_go_from_end_to_end_in_order(driver: str) -> None:
    async with fabric(driver) as running:
        a, b = await two_ends(running)

        async def send() -> None:
            for number in range(5000):
                await a.send(frame(number))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            for number in range(1000):
                assert await b.receive() == frame(number)
            nursery.cancel_scope.cancel()


async def test_anything_that_makes_bytes_of_itself_is_a_frame() -> None:
    async with fabric() as running:
        a, b = await two_ends(running)
        packet = Ether(dst="ff:ff:ff:ff:ff:ff", src="02:00:00:00:00:01") / ARP(pdst="10.0.0.9")
        for value in (packet, bytes(packet), bytearray(bytes(packet)), memoryview(bytes(packet))):
            await a.send(value)
            assert await b.receive() == bytes(packet)
        for wrong in (60, "ff" * 30, None):
            with pytest.raises(TypeError, match="a frame is bytes"):
                await a.send(wrong)
        with pytest.raises(ValueError, match="more bytes than any network carries"):
            await a.send(bytes(100_000))


async def test_scapy_packets_and_a_stack_talk() -> None:
    async with fabric() as running:
        await running.attach("web", network="lan", ip=["10.0.0.11"])
        probe = await running.attach("probe", network="lan", ip=["10.0.0.12"], nic=Pipe())
        mac = running.guests["probe"].mac
        await probe.send(
            Ether(src=mac, dst="ff:ff:ff:ff:ff:ff") / ARP(hwsrc=mac, psrc="10.0.0.12", pdst="10.0.0.11")
        )
        with trio.fail_after(30):
            async for data in probe:
                answer = Ether(data)
                if ARP in answer and answer[ARP].op == 2:
                    break
        assert (answer.src, answer.psrc) == (running.guests["web"].mac, "10.0.0.11")
        ping = (
            Ether(src=mac, dst=answer.src)
            / IP(src="10.0.0.12", dst="10.0.0.11")
            / ICMP(id=7, seq=9)
            / b"data"
        )
        await probe.send(ping)
        with trio.fail_after(30):
            while ICMP not in (echo := Ether(await probe.receive())):
                pass
        assert (echo[ICMP].type, echo[ICMP].id, echo[ICMP].seq, bytes(echo[ICMP].payload)) == (
            0,
            7,
            9,
            b"data",
        )
        checksum = echo[ICMP].chksum
        del echo[ICMP].chksum
        assert Ether(bytes(echo))[ICMP].chksum == checksum


async def test_a_full_pipe_waits_and_a_full_reader_drops(autojump_clock: trio.testing.MockClock) -> None:
    async with fabric() as running:
        a, b = await two_ends(running, limit=10)
        for number in range(100):
            await a.send(frame(number))
        await trio.testing.wait_all_tasks_blocked()
        got = []
        while True:
            try:
                got.append(b.receive_nowait())
            except trio.WouldBlock:
                break
        assert got == [frame(number) for number in range(10)]
        drops = running.status()["ports"][1]["drops"]
        assert drops == {"tx-full": 90}


async def test_receiving_is_safe_to_cancel() -> None:
    async with fabric() as running:
        a, b = await two_ends(running)
        for _ in range(20):
            with trio.move_on_after(0.001):
                await b.receive()
        await a.send(frame(1))
        with trio.fail_after(30):
            assert await b.receive() == frame(1)


@DRIVERS
async def test_both_ways_to_end(driver: str) -> None:
    async with fabric(driver) as running:
        a, b = await two_ends(running)
        ended = []

        async def read(end: PipeEnd) -> None:
            async for _ in end:
                pass
            ended.append(end)

        async def read_closed(end: PipeEnd) -> None:
            with pytest.raises(trio.ClosedResourceError):
                await end.receive()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, a)
            nursery.start_soon(read_closed, b)
            await trio.testing.wait_all_tasks_blocked(0.01)
            await b.aclose()
            await running.detach("a")
        assert ended == [a]
        with pytest.raises(trio.BrokenResourceError, match=r"a\.0 was removed"):
            await a.send(frame())
        with pytest.raises(trio.ClosedResourceError):
            await b.send(frame())
        # The port is still there, without carrier.
        assert [port["carrier"] for port in running.status()["ports"]] == [False]
        assert repr(b) == "<PipeEnd b.0 closed>"


@pytest.mark.parametrize("limit", [0, -1, 1 << 21, "many"])
def test_a_bad_limit_is_refused(limit: int) -> None:
    with pytest.raises(BadInput, match="expected a number of frames"):
        Pipe(limit=limit)


async def test_a_pipe_carries_what_its_port_may(place: Place) -> None:
    opened = await Pipe().open(place)
    assert opened.door.kind == "pipe"
    assert isinstance(opened.far, PipeEnd)
