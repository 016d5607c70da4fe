"""What the cable of a guest's NIC does to frames, in virtual time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

import vnet
from nics.errors import BadInput

FRAME = bytes.fromhex("020000000002 020000000001 88b5") + bytes(46)


def two(cord: dict[str, Any] | None = None, schedule: Any = ()) -> vnet.Topology:
    """Two hosts, and apart from them two pipes; the first ones have a cable that does something."""
    topology = vnet.Topology("cords", seed=5)
    topology.network("red", subnets=["10.0.0.0/24"]).network("quiet")
    keys: dict[str, Any] = {"impair": cord} if cord else {}
    keys |= {"schedule": schedule} if schedule else {}
    topology.guest("a", network="red", **keys)
    topology.guest("b", network="red")
    for name, mac, own in (("x", "02:00:00:00:00:01", keys), ("y", "02:00:00:00:00:02", {})):
        topology.guest(name, kind="external", network="quiet", mac=mac, nic=vnet.Pipe(), guard="off", **own)
    return topology


def far(fabric: vnet.Fabric, name: str) -> Any:
    return fabric.guests[name].ports[f"{name}.0"].opened.far


async def test_both_ways_have_their_own_delay(autojump_clock: trio.testing.MockClock) -> None:
    cord = {"egress": {"delay": "10 ms"}, "ingress": {"delay": "25 ms"}}
    async with vnet.Fabric(two(cord)) as fabric:
        a, b = fabric.guests["a"], fabric.guests["b"]
        await a.ping(b)
        assert await a.ping(b) == pytest.approx(0.035, abs=1e-9)
        assert await b.ping(a) == pytest.approx(0.035, abs=1e-9)
        begun = trio.current_time()
        await far(fabric, "x").send(FRAME)
        assert await far(fabric, "y").receive() == FRAME
        assert trio.current_time() - begun == pytest.approx(0.010, abs=1e-9)
        # Changed while it runs; what is on its way arrives as it was sent, and nothing overtakes it.
        await far(fabric, "x").send(FRAME)
        await fabric.apply(two())
        assert await far(fabric, "y").receive() == FRAME
        assert trio.current_time() - begun == pytest.approx(0.020, abs=1e-9)
        assert await a.ping(b) == 0


async def test_loss_is_what_was_asked_for(autojump_clock: trio.testing.MockClock) -> None:
    """A chi-square test, with seeded dice: of 20,000 frames, 5 % are lost each way, independently."""
    async with vnet.Fabric(two({"loss": "5 %"})) as fabric:
        x, y = far(fabric, "x"), far(fabric, "y")
        back = FRAME[6:12] + FRAME[:6] + FRAME[12:]
        for here, there, frame in ((x, y, FRAME), (y, x, back)):
            sent, got = 20_000, 0
            before = fabric.port("x").counters()["drops"].get("impair-loss", 0)
            for _ in range(sent // 50):
                for _ in range(50):
                    await here.send(frame)
                with trio.move_on_after(0.001):
                    while True:
                        await there.receive()
                        got += 1
            lost = fabric.port("x").counters()["drops"]["impair-loss"] - before
            assert got + lost == sent
            expected = sent * 0.05
            chi2 = (lost - expected) ** 2 / expected + (got - (sent - expected)) ** 2 / (sent - expected)
            assert chi2 < 10.83, lost  # one degree of freedom, p = 0.001


async def test_a_schedule_takes_the_carrier(autojump_clock: trio.testing.MockClock) -> None:
    schedule = [
        {"from": "10 s", "to": "12 s", "up": False},
        {"from": "30 s", "impair": {"ingress": {"loss": "100 %"}}},
    ]
    async with vnet.Fabric(two(schedule=schedule)) as fabric:
        a, b = fabric.guests["a"], fabric.guests["b"]
        assert await a.ping(b) == 0
        await trio.sleep_until(10.5)
        assert not fabric.port("a").carrier
        with pytest.raises(vnet.Unreachable):
            await b.ping(a, timeout=0.5)
        assert fabric.port("a").counters()["drops"]["tx-no-carrier"] > 0
        # What the operator cut stays so, whatever the schedule says.
        await fabric.set_link("x", False)
        await trio.sleep_until(12.5)
        assert fabric.port("a").carrier
        assert await b.ping(a) == 0
        await far(fabric, "x").send(FRAME)
        await trio.sleep_until(29)
        assert fabric.port("x").counters()["drops"]["port-down"] == 1
        await fabric.set_link("x", True)
        await far(fabric, "x").send(FRAME)
        assert await far(fabric, "y").receive() == FRAME
        await trio.sleep_until(31)
        with pytest.raises(vnet.Unreachable):
            await a.ping(b, timeout=1)


async def test_a_rate_a_queue_and_super_frames(autojump_clock: trio.testing.MockClock) -> None:
    """TCP through 8 Mbit/s: the in-process guests' super-frames are cut before the wire."""
    async with vnet.Fabric(two({"rate": "8 Mbit/s"})) as fabric:
        listener = await fabric.guests["b"].listen_tcp(80)
        begun = trio.current_time()

        async def take() -> int:
            stream = await listener.accept()
            count = 0
            async for data in stream:
                count += len(data)
            return count

        async with trio.open_nursery() as nursery:
            done: list[int] = []

            async def taking() -> None:
                done.append(await take())
                nursery.cancel_scope.cancel()

            nursery.start_soon(taking)
            stream = await fabric.guests["a"].open_tcp_stream(fabric.guests["b"], 80)
            await stream.send_all(bytes(1_000_000))
            await stream.send_eof()
        assert done == [1_000_000]
        # A million bytes at a million bytes a second, headers on top.
        assert 1.0 < trio.current_time() - begun < 1.4


async def test_the_same_seed_gives_the_same_fates(autojump_clock: trio.testing.MockClock) -> None:
    async def fates() -> list[tuple[float, bytes]]:
        cord = {"delay": "1 ms", "jitter": "500 us", "loss": "10 %", "duplicate": "5 %", "corrupt": "5 %",
                "reorder": "5 %"}  # fmt: skip
        found = []

        async def listen(seconds: float) -> None:
            with trio.move_on_after(seconds):
                while True:
                    frame = await far(fabric, "y").receive()
                    found.append((round(trio.current_time() - begun, 9), frame))

        async with vnet.Fabric(two(cord)) as fabric:
            begun = trio.current_time()
            for number in range(200):
                await far(fabric, "x").send(FRAME[:14] + number.to_bytes(4, "big") + FRAME[18:])
                await listen(0.0001)
            await listen(1)
        return found

    first = await fates()
    assert first == await fates()
    assert 150 < len(first) < 210
    assert [data for _, data in first] != sorted(data for _, data in first), "none overtook another"


def test_what_a_cable_can_not_do() -> None:
    with pytest.raises(BadInput, match=r"guests\.a\.nics\[0\]\.impair: reorder without delay"):
        two({"reorder": "1 %"}).check()
    with pytest.raises(BadInput, match=r"guests\.a\.nics\[0\]\.schedule\[0\]\.to: an end before"):
        two(schedule=[{"from": "2 s", "to": "1 s", "up": False}]).check()
    topology = two({"egress": {"loss": "1 %"}}, [{"from": "2 s", "impair": {"ingress": {"delay": "1 ms"}}}])
    assert vnet.Topology.from_dict(topology.to_dict()) == topology


async def test_who_can_not_see_a_cut_cable_is_named_once(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """A line for each guest whose kind of NIC has no word for it, when its schedule comes."""
    cut = [{"from": "1 h", "up": False}]
    doors: dict[str, dict[str, Any]] = {
        "stream": {"kind": "stream", "socket": "s"},
        "dgram": {"kind": "dgram", "local": "d", "remote": "e"},
        "vde": {"kind": "vde", "directory": "v"},
        "listens": {"kind": "vhost-user", "socket": "l"},
        "connects": {"kind": "vhost-user", "socket": "c", "role": "client"},
        "pipe": {"kind": "pipe"},
    }

    def topology(seconds: str, schedule: Any) -> vnet.Topology:
        guests: dict[str, Any] = {
            name: {"kind": "external", "nics": [{"network": "red", "nic": nic, "schedule": schedule}]}
            for name, nic in doors.items()
        }
        guests["stack"] = {"nics": [{"network": "red", "schedule": schedule}]}
        switches = {"main": {"ageing": seconds}}
        return vnet.Topology.from_dict(
            {"name": "blind", "networks": {"red": {}}, "switches": switches, "guests": guests}
        )

    def named() -> list[str]:
        lines = [message for message in caplog.messages if "does not see the carrier go" in message]
        caplog.clear()
        return sorted(line.partition(".")[0] for line in lines)

    async with vnet.Fabric(topology("300 s", []), runtime=tmp_path) as fabric:
        assert named() == []
        await fabric.apply(topology("300 s", cut))
        assert named() == ["dgram", "listens", "stream", "vde"]
        await fabric.apply(topology("200 s", cut))
        assert named() == []
