"""What links do to frames: exact in virtual time, the same again with the same seed."""

from __future__ import annotations

import contextlib
import hashlib
import math
import random
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing

import vnet
from nics.errors import BadInput
from vnet import drive

MS = 0.001


def pair(impair: dict[str, Any] | None = None, *, seed: int = 1, **keys: Any) -> vnet.Topology:
    """Two switches, a guest at each, and a link."""
    topology = vnet.Topology("pair", seed=seed).network("lan", subnets=["10.0.0.0/24"])
    topology.switch("left").switch("right").link("left", "right", impair=impair or {}, **keys)
    return topology.guest("a", network="lan", switch="left").guest("b", network="lan", switch="right")


def drops(fabric: vnet.Fabric, port: str) -> dict[str, int]:
    status = {entry["port"]: entry for entry in fabric.status()["ports"]}
    found: dict[str, int] = status[port]["drops"]
    return found


async def test_a_delay_is_exact(autojump_clock: trio.testing.MockClock) -> None:
    impair = {"a_to_b": {"delay": "7 ms"}, "b_to_a": {"delay": "12 ms"}}
    async with vnet.Fabric(pair(impair)) as fabric:
        a, b = fabric.guests["a"], fabric.guests["b"]
        await a.ping(b)  # and finds out the address
        assert await a.ping(b) == pytest.approx(19 * MS, abs=1e-9)
        assert await b.ping(a) == pytest.approx(19 * MS, abs=1e-9)


async def test_a_rate_is_exact(autojump_clock: trio.testing.MockClock) -> None:
    async with vnet.Fabric(pair({"rate": "1 Mbit/s"})) as fabric:
        a, b = fabric.guests["a"], fabric.guests["b"]
        await a.ping(b)
        # 14 of Ethernet, 4 of the tag, 20 of IP, 8 of ICMP, 954 of data: 1,000 bytes, 8 ms each way.
        assert await a.ping(b, size=954) == pytest.approx(16 * MS, abs=1e-9)


async def test_a_delay_is_as_long_years_later(autojump_clock: trio.testing.MockClock) -> None:
    """Then a float can't tell nanoseconds apart, and not each deadline of the engine is a time of trio's."""
    autojump_clock.jump(3 * 365 * 86_400)
    async with vnet.Fabric(pair({"delay": "1 ms", "jitter": "300 us"})) as fabric:
        a, b = fabric.guests["a"], fabric.guests["b"]
        await a.ping(b)
        for _ in range(100):
            assert 1.4 * MS < await a.ping(b) < 2.6 * MS
            await trio.sleep(12.3 * MS)
        assert fabric.engine.turns < 10_000


@pytest.mark.parametrize("years", [0, 0.25, 0.3, 1, 30, 500])
def test_a_moment_is_no_earlier_than_its_nanoseconds(years: float) -> None:
    dice = random.Random(5)
    begin = int(years * 365 * 86_400 * drive.NANO)
    for _ in range(1000):
        at = begin + dice.randrange(10**12)
        seconds = drive.moment(at)
        assert round(seconds * drive.NANO) >= at
        assert seconds == at / drive.NANO or round(math.nextafter(seconds, 0) * drive.NANO) < at


async def test_tcp_gets_through_a_bad_link(autojump_clock: trio.testing.MockClock) -> None:
    impair = {
        "delay": "10 ms", "jitter": "3 ms", "distribution": "pareto", "loss": "1 %", "duplicate": "1 %",
        "reorder": "1 %", "corrupt": "0.5 %", "rate": "20 Mbit/s",
        "bursts": {"begin": "0.1 %", "end": "25 %"},
        "queue": {"packets": 100, "aqm": "codel"},
    }  # fmt: skip
    data = hashlib.shake_256(b"data").digest(2_000_000)
    async with vnet.Fabric(pair(impair)) as fabric, trio.open_nursery() as nursery:
        a, b = fabric.guests["a"], fabric.guests["b"]
        listener = await b.listen_tcp(80)
        received = bytearray()
        complete = trio.Event()

        async def serve() -> None:
            async with await listener.accept() as stream:
                async for chunk in stream:
                    received.extend(chunk)
            complete.set()

        nursery.start_soon(serve)
        async with await a.open_tcp_stream(b, 80) as stream:
            await stream.send_all(data)
        with trio.fail_after(600):
            await complete.wait()
        await listener.aclose()
        assert bytes(received) == data
        assert drops(fabric, "left-right.a")["impair-loss"] > 5


async def test_a_schedule_is_kept_to_the_nanosecond(autojump_clock: trio.testing.MockClock) -> None:
    schedule = [
        {"from": "10 s", "to": "12 s", "up": False},
        {"from": "30 s", "to": "40 s", "impair": {"loss": "100 %"}},
        {"from": "50 s", "impair": {"a_to_b": {"delay": "100 ms"}}},
    ]
    async with vnet.Fabric(pair({"delay": "1 ms"}, schedule=schedule)) as fabric:
        begun = trio.current_time()
        a, b = fabric.guests["a"], fabric.guests["b"]

        async def reaches(at: float) -> bool:
            await trio.sleep_until(begun + at)
            try:
                await a.ping(b, timeout=0.5)
            except vnet.Unreachable:
                return False
            return True

        def carrier() -> bool:
            return all(end["carrier"] for end in fabric.status()["ports"] if end["kind"] == "link")

        assert await reaches(1)
        assert await reaches(9.99)
        await trio.sleep_until(begun + 10)
        await trio.testing.wait_all_tasks_blocked()
        assert not carrier()
        assert not await reaches(11)
        await trio.sleep_until(begun + 12)
        await trio.testing.wait_all_tasks_blocked()
        assert carrier()
        assert await reaches(12.5)
        assert not await reaches(30)
        assert drops(fabric, "left-right.a")["impair-loss"] > 0
        assert await reaches(40.5)
        await trio.sleep_until(begun + 51)
        assert await a.ping(b) == pytest.approx(101 * MS, abs=1e-9)


async def test_impairments_change_while_it_runs(autojump_clock: trio.testing.MockClock) -> None:
    async with vnet.Fabric(pair()) as fabric:
        a, b = fabric.guests["a"], fabric.guests["b"]
        assert await a.ping(b) == 0
        done = await fabric.apply(pair({"delay": "5 ms"}))
        assert done == ["change link left-right: a_to_b delay 0 s -> 5 ms, b_to_a delay 0 s -> 5 ms"]
        assert await a.ping(b) == pytest.approx(10 * MS, abs=1e-9)
        await fabric.apply(pair({"loss": "100 %"}))
        with pytest.raises(vnet.Unreachable):
            await a.ping(b, timeout=1)
        await fabric.apply(pair())
        assert await a.ping(b) == 0


async def test_a_network_that_takes_over_a_vlan_hears_nothing_that_was_on_its_way(
    autojump_clock: trio.testing.MockClock,
) -> None:
    def topology(red: int, blue: int) -> vnet.Topology:
        found = vnet.Topology("swap").network("red", vlan=red).network("blue", vlan=blue)
        found.switch("left").switch("right").link("left", "right", impair={"delay": "5 s"})
        found.guest("r", kind="external", network="red", switch="left", nic=red_pipe)
        return found.guest("b", kind="external", network="blue", switch="right", nic=blue_pipe)

    red_pipe, blue_pipe = vnet.Pipe(), vnet.Pipe()
    async with vnet.Fabric(topology(10, 20)) as fabric:
        source, sink = (fabric.guests[name].ports[f"{name}.0"].opened.far for name in ("r", "b"))
        mac = bytes.fromhex(fabric.guests["r"].mac.replace(":", ""))
        await source.send(b"\xff" * 6 + mac + b"\x88\xb5" + bytes(46))
        await trio.sleep(1)
        await fabric.apply(topology(20, 10))
        with pytest.raises(trio.TooSlowError), trio.fail_after(60):
            await sink.receive()
        assert drops(fabric, "left-right.a")["tx-not-member"] == 1


def run_once(folder: Path, seed: int) -> bytes:
    """A conversation over a bad link, as it was captured."""
    folder.mkdir()
    impair = {
        "delay": "5 ms", "jitter": "2 ms", "distribution": "normal", "loss": "5 %", "duplicate": "2 %",
        "reorder": "2 %", "corrupt": "1 %", "rate": "5 Mbit/s",
    }  # fmt: skip

    async def main() -> None:
        async with (
            vnet.Fabric(pair(impair, seed=seed), runtime=folder) as fabric,
            fabric.capture(folder / "all.pcapng", "all"),
            trio.open_nursery() as nursery,
        ):
            for number in range(100):
                await trio.sleep(0.01)
                nursery.start_soon(try_ping, fabric, 60 + number)

    async def try_ping(fabric: vnet.Fabric, size: int) -> None:
        with contextlib.suppress(vnet.Unreachable):
            await fabric.guests["a"].ping(fabric.guests["b"], timeout=1, size=size)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return (folder / "all.pcapng").read_bytes()


def test_the_same_seed_gives_the_same_fates(tmp_path: Path) -> None:
    first = run_once(tmp_path / "one", 1)
    assert len(first) > 20_000
    assert run_once(tmp_path / "two", 1) == first
    assert run_once(tmp_path / "three", 2) != first


@pytest.mark.parametrize(
    ("link", "line"),
    [
        ({"impair": {"reorder": "1 %"}}, "links[0].impair: reorder without delay"),
        (
            {"schedule": [{"from": "2 s", "to": "1 s", "up": False}]},
            "links[0].schedule[0].to: an end before its beginning, expected a time after from",
        ),
        ({"schedule": [{"from": "2 s"}]}, "links[0].schedule[0]: a change of nothing, expected up or impair"),
    ],
    ids=["reorder", "backwards", "nothing"],
)
def test_nonsense_is_told(link: dict[str, Any], line: str) -> None:
    document = {"name": "x", "switches": {"a": {}, "b": {}}, "links": [{"ends": ["a", "b"], **link}]}
    with pytest.raises(BadInput) as error:
        vnet.Topology.from_dict(document)
    assert str(error.value).startswith(line)


def test_what_is_written_reads_the_same() -> None:
    schedule = [{"from": "1 s", "to": "2 s", "up": False, "impair": {"a_to_b": {"loss": 0}}}]
    topology = pair({"delay": "5 ms", "bursts": {"begin": "1 %", "end": "10 %"}}, schedule=schedule)
    again = vnet.Topology.from_text(topology.to_yaml())
    assert attrs.evolve(again) == topology
