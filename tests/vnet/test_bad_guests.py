"""Guests that vanish, send rubbish, flood or stop reading, next to a pair that must not notice.

The bad guests are real sockets at `stream` NICs in the same VLAN as the good pair.
"""

from __future__ import annotations

import contextlib
import random
import struct
from contextlib import asynccontextmanager

import pytest
import trio
import trio.socket

from vnet import Fabric

ROUNDS = 30


def topology(runtime_kind: str = "stream"):
    bad = {
        name: {
            "kind": "external",
            "nics": [{"network": "red", "nic": {"kind": "stream", "socket": f"{name}.sock"}}],
        }
        for name in ("vanisher", "babbler", "flooder", "sulker")
    }
    good = {name: {"nics": [{"network": "red"}]} for name in ("web", "db")}
    return {"name": "bad", "networks": {"red": {"subnets": ["10.9.0.0/24"]}}, "guests": {**good, **bad}}


def framed(frame: bytes) -> bytes:
    return struct.pack("!I", len(frame)) + frame


def broadcast(mac: str, size: int = 60) -> bytes:
    return (b"\xff" * 6 + bytes.fromhex(mac.replace(":", "")) + b"\x88\xb5").ljust(size, b"\0")


@asynccontextmanager
async def connected(path):
    with trio.socket.socket(trio.socket.AF_UNIX) as connection:
        await connection.connect(path)
        yield trio.SocketStream(connection)


async def vanish(path, mac):
    """Connects, sends half a frame, and is gone; again and again."""
    for round_ in range(ROUNDS):
        # Too early, the one before is not given up yet, and it is refused.
        with contextlib.suppress(OSError, trio.BrokenResourceError):
            async with connected(path) as stream:
                await stream.send_all(framed(broadcast(mac))[: 5 + round_])
        await trio.lowlevel.checkpoint()


async def babble(path, mac):
    """Lengths that are no lengths."""
    dice = random.Random(1)
    for _ in range(ROUNDS):
        # It is hung up on, and after some of that let wait.
        with contextlib.suppress(OSError, trio.BrokenResourceError):
            async with connected(path) as stream:
                length = dice.choice([0, 70_000, 0xFFFFFFFF])
                await stream.send_all(struct.pack("!I", length) + dice.randbytes(500))
                while await stream.receive_some(1 << 20):
                    pass


async def flood(path, mac):
    """As many broadcasts as the socket takes, and never a read."""
    async with connected(path) as stream:
        burst = framed(broadcast(mac)) * 500
        for _ in range(200):
            await stream.send_all(burst)


async def sulk(path, mac):
    """Connects and never reads."""
    async with connected(path) as stream:
        await stream.send_all(framed(broadcast(mac)))
        await trio.sleep_forever()


@pytest.mark.deadline(120)
@pytest.mark.parametrize("driver", ["thread", "trio"])
async def test_a_good_pair_does_not_notice(tmp_path, driver):
    async with Fabric.from_dict(topology(), runtime=tmp_path / "run", driver=driver) as fabric:
        web, db = fabric.guests["web"], fabric.guests["db"]
        listener = await db.listen_tcp(80)
        size, received = 32 << 20, 0

        async def serve():
            nonlocal received
            async with await listener.accept() as stream:
                while data := await stream.receive_some(1 << 18):
                    received += len(data)

        async with trio.open_nursery() as nursery:
            for name, act in (
                ("vanisher", vanish),
                ("babbler", babble),
                ("flooder", flood),
                ("sulker", sulk),
            ):
                nursery.start_soon(act, str(fabric.runtime / f"{name}.sock"), fabric.guests[name].mac)
            async with trio.open_nursery() as good:
                good.start_soon(serve)
                async with await web.open_tcp_stream(db, 80) as stream:
                    for _ in range(size >> 18):
                        await stream.send_all(bytes(1 << 18))
                    await stream.send_eof()
                for _ in range(20):
                    await web.ping(db, timeout=30)
            # The flood is over when all of it was taken in.
            while fabric.port("flooder").counters()["rx_frames"] < 100_000:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        assert received == size
        ports = {port["guest"]: port for port in fabric.status()["ports"]}
        assert ports["babbler"]["drops"]["door-malformed"] >= 1
        assert ports["sulker"]["drops"]["tx-full"] > 0
        for name in ports:
            counted = fabric.port(name).counters()
            ingress = {"no-member", "runt", "giant", "source-multicast", "same-port"}
            lost = sum(n for reason, n in counted["drops"].items() if reason in ingress)
            assert counted["rx_frames"] == counted["forwarded"] + lost, name
