"""Expectations of tests, each when it holds and when it does not; and what can't live in virtual time."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest
import trio
import trio.testing

import vnet
from vnet.testing import assert_isolated, assert_path, assert_reachable, eventually, expect_frames, path

LAB: dict[str, Any] = {
    "name": "lab",
    "networks": {"lan": {"subnets": ["10.0.0.0/24", "fd00::/64"]}, "other": {"subnets": ["10.0.0.0/24"]}},
    "groups": {
        "web": {"ingress": [{"protocol": "tcp", "ports": 80}]},
        "client": {"egress": [{}]},
        "mute": {"egress": []},
    },
    "switches": {"s1": {}, "s2": {}},
    "links": [{"ends": ["s1", "s2"]}],
    "guests": {
        "a": {"nics": [{"network": "lan", "switch": "s1"}]},
        "b": {"nics": [{"network": "lan", "switch": "s2"}]},
        "w": {"nics": [{"network": "lan", "switch": "s1", "groups": "web"}]},
        "alone": {"nics": [{"network": "other", "switch": "s1"}]},
        "client": {"nics": [{"network": "lan", "switch": "s1", "groups": "client"}]},
        "closed": {"nics": [{"network": "lan", "switch": "s1", "groups": "mute"}]},
    },
}


async def test_reachable_and_isolated(autojump_clock: trio.testing.MockClock) -> None:
    async with vnet.Fabric.from_dict(LAB) as fabric:
        await assert_reachable(fabric, ["a", "b"], "w", protocol="tcp", port=80)
        await assert_isolated(fabric, "?", "alone")
        # Not answered is not enough: a group keeps packets back, but they hear each other's broadcasts.
        for keys in ({}, {"protocol": "udp"}):
            with pytest.raises(AssertionError, match=r"frames of (a|closed) left a port of"):
                await assert_isolated(fabric, "a", "closed", **keys)
            await assert_isolated(fabric, "a", "closed", frames=False, **keys)
        with pytest.raises(AssertionError, match="w reaches b"):
            await assert_isolated(fabric, "b", "w", protocol="udp", frames=False)
        with pytest.raises(AssertionError, match="a does not reach alone"):
            await assert_reachable(fabric, "a", "alone", within=1)
        with pytest.raises(AssertionError, match="a reaches b"):
            await assert_isolated(fabric, "a", "b", frames=False)
        with pytest.raises(vnet.BadInput, match=r"there is no guest 'alon' \(did you mean alone\?\)"):
            await assert_reachable(fabric, "a", "alon")


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"via": "w"}, "assert.via: unknown key"),
        ({"network": "lan"}, "assert.network: unknown key"),
        ({"protocol": "ethernet"}, "frames are not tried by an assertion"),
        ({"protocol": "icmp", "port": 7}, "assert.port: port without a protocol that has ports"),
    ],
)
async def test_what_is_not_tried_is_refused(
    autojump_clock: trio.testing.MockClock, keys: dict[str, Any], told: str
) -> None:
    async with vnet.Fabric.from_dict(LAB) as fabric:
        for hold in (assert_reachable, assert_isolated):
            with pytest.raises(vnet.BadInput, match=told):
                await hold(fabric, "a", "b", **keys)
            with pytest.raises(AssertionError, match="it means no two guests"):
                await hold(fabric, "a", "a")


async def test_who_can_not_be_made_to_talk_is_told(autojump_clock: trio.testing.MockClock) -> None:
    document = copy.deepcopy(LAB)
    nic = {"network": "lan", "switch": "s1", "nic": {"kind": "pipe"}}
    document["guests"]["ours"] = {"kind": "external", "nics": [nic]}
    async with vnet.Fabric.from_dict(document) as fabric:
        for hold in (assert_reachable, assert_isolated):
            for ends in (("a", "ours"), ("ours", "a")):
                with pytest.raises(vnet.BadInput, match="ours is external: only stack and netns guests"):
                    await hold(fabric, *ends)


async def test_a_program_that_waits_to_be_spoken_to_is_reached(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with vnet.Fabric.from_dict(LAB) as fabric:
        b, w, client = (fabric.guests[name] for name in ("b", "w", "client"))
        async with await w.listen_tcp(80), await b.listen_tcp(53):
            await assert_reachable(fabric, "a", "w", protocol="tcp", port=80, within=1)
            async with await client.open_tcp_stream(w, 80):
                pass
            with pytest.raises(AssertionError, match="client reaches w"):
                await assert_isolated(fabric, "client", "w", protocol="tcp", port=80, frames=False)
            # Who serves one protocol is stood in for with the other, as often as it is asked.
            for _ in range(2):
                await assert_reachable(fabric, "a", "b", protocol="udp", port=53, within=1)


async def test_a_program_that_never_answers_is_reached(autojump_clock: trio.testing.MockClock) -> None:
    async with vnet.Fabric.from_dict(LAB) as fabric:
        b, closed = (fabric.guests[name] for name in ("b", "closed"))
        async with await b.host().udp_socket(514) as log, await closed.host().udp_socket(514):
            await assert_reachable(fabric, "a", "b", protocol="udp", port=514, within=1)
            assert (await log.receive_from())[0]
            with pytest.raises(AssertionError, match="a reaches b"):
                await assert_isolated(fabric, "a", "b", protocol="udp", port=514, frames=False)
            with pytest.raises(AssertionError, match="a does not reach closed"):
                await assert_reachable(fabric, "a", "closed", protocol="udp", port=514, within=1)


async def test_what_arrives_without_an_answer_arrives(autojump_clock: trio.testing.MockClock) -> None:
    """By each protocol and version of IP, from one switch to the other alone: the neighbours are known."""
    document = copy.deepcopy(LAB)
    async with vnet.Fabric.from_dict(document) as fabric:
        for family in (4, 6):
            await assert_reachable(fabric, "a", "b", family=family)
        document["links"] = [{"ends": ["s1", "s2"], "impair": {"b_to_a": {"loss": "100 %"}}}]
        await fabric.apply(vnet.Topology.from_dict(document))
        for family in (4, 6):
            for keys in ({"protocol": "icmp"}, {"protocol": "tcp", "port": 90}, {"protocol": "udp"}):
                with pytest.raises(AssertionError, match="a does not reach b"):
                    await assert_reachable(fabric, "a", "b", family=family, within=0, **keys)
                with pytest.raises(AssertionError, match="a reaches b"):
                    await assert_isolated(fabric, "a", "b", family=family, frames=False, **keys)


async def test_many_may_be_isolated(autojump_clock: trio.testing.MockClock) -> None:
    guests = {f"many{n}": {"nics": [{"network": "crowd" if n < 880 else "late"}]} for n in range(900)}
    subnets = {"subnets": ["10.0.0.0/16"]}
    document = {
        "name": "crowd",
        "networks": {"crowd": subnets, "late": subnets, "other": subnets},
        "groups": {"web": {"ingress": [{"protocol": "tcp", "ports": 80}]}},
        "guests": {
            **guests,
            "alone": {"nics": [{"network": "other"}]},
            "w": {"nics": [{"network": "late", "groups": "web"}]},
        },
    }
    async with vnet.Fabric.from_dict(document) as fabric:
        await assert_isolated(fabric, "many*", "alone", protocol="icmp")
        # Those for whom the first filter has no room are listened to as well.
        with pytest.raises(AssertionError, match=r"frames of many800, .* and 92 more left a port of w"):
            await assert_isolated(fabric, "many*", "w", protocol="icmp")


async def test_a_slow_path_is_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    links = [{"ends": ["s1", "s2"], "impair": {"delay": "400 ms"}}]
    async with vnet.Fabric.from_dict({**LAB, "links": links}) as fabric:
        await assert_reachable(fabric, "a", "b", protocol="tcp", port=80, within=20)
        begun = trio.current_time()
        await assert_isolated(fabric, "a", "alone", within=60)
        # Whom nothing reaches is not listened for any longer than before.
        assert trio.current_time() - begun < 10


async def test_paths(autojump_clock: trio.testing.MockClock) -> None:
    async with vnet.Fabric.from_dict(LAB) as fabric:
        await assert_path(fabric, "a", "b", ["s1", "s2"])
        await assert_path(fabric, "b", "a", ["s2", "s1"])
        with pytest.raises(AssertionError, match="a to b: by s1, s2, expected s1"):
            await assert_path(fabric, "a", "b", ["s1"], within=0)
        with pytest.raises(AssertionError, match=r"a to alone: .* no answer"):
            await assert_path(fabric, "a", "alone", ["s1"], within=0)
        for ends in (("a", "aloner"), ("aloner", "a")):
            with pytest.raises(vnet.BadInput, match=r"no guest 'aloner' \(did you mean alone\?\)"):
                await path(fabric, *ends)
            with pytest.raises(vnet.BadInput, match=r"no guest 'aloner'"):
                await assert_path(fabric, *ends, ["s1"], within=5)


async def test_frames_are_counted(autojump_clock: trio.testing.MockClock, tmp_path: Path) -> None:
    async with vnet.Fabric.from_dict(LAB) as fabric:
        a, b = fabric.guests["a"], fabric.guests["b"]
        async with expect_frames(
            fabric, "b", filter="icmp", least=2, most=2, keep=tmp_path / "b.pcapng"
        ) as seen:
            await a.ping(b)
            assert seen.count == 2
        assert (tmp_path / "b.pcapng").stat().st_size > 200
        with pytest.raises(AssertionError, match="1 frames at b, icmp; expected at least 2"):
            async with expect_frames(fabric, "b", filter="icmp", direction="out", least=2):
                await a.ping(b)
        with pytest.raises(AssertionError, match="4 frames at all, icmp; expected at most 3"):
            async with expect_frames(fabric, most=3, filter="icmp"):
                await a.ping(b)


@pytest.mark.parametrize("driver", ["trio", "thread"])
async def test_what_was_sent_counts(driver: Literal["trio", "thread"]) -> None:
    """Though the block ends before the engine had a turn."""
    async with vnet.Fabric.from_dict(LAB, driver=driver) as fabric:
        a, b = fabric.guests["a"], fabric.guests["b"]
        await a.ping(b)
        udp = await a.host().udp_socket()
        for _ in range(20):
            with pytest.raises(AssertionError, match="1 frames at b, udp; expected at most 0"):
                async with expect_frames(fabric, "b", filter="udp", most=0):
                    await udp.send_to(b"x", str(b.ip), 53)
            async with expect_frames(fabric, "b", filter="udp", least=1, most=1):
                await udp.send_to(b"x", str(b.ip), 53)


async def test_eventually(autojump_clock: trio.testing.MockClock) -> None:
    async with vnet.Fabric.from_dict(LAB) as fabric:
        await fabric.set_link("s1-s2", up=False)
        begun = trio.current_time()
        async with trio.open_nursery() as nursery:

            async def mend() -> None:
                await trio.sleep(2)
                await fabric.set_link("s1-s2", up=True)

            nursery.start_soon(mend)
            await eventually(lambda: fabric.guests["a"].ping(fabric.guests["b"], timeout=0.1))
        assert 2 <= trio.current_time() - begun < 3.5
        with pytest.raises(AssertionError, match=r"did not hold within 1 s"):
            await eventually(lambda: fabric.ports["a.0"].carrier is False, timeout=1)
        with pytest.raises(vnet.Unreachable):
            await eventually(lambda: fabric.guests["a"].ping(fabric.guests["alone"], timeout=0.1), timeout=1)


async def test_eventually_ends_also_when_what_it_asks_does_not(
    autojump_clock: trio.testing.MockClock,
) -> None:
    begun = trio.current_time()
    with trio.fail_after(60):
        with pytest.raises(AssertionError, match=r"did not hold within 5 s; the last time it did not end"):
            await eventually(trio.sleep_forever, timeout=5)
        asked = 0

        async def check() -> None:
            nonlocal asked
            asked += 1
            if asked > 1:
                await trio.sleep_forever()
            raise OSError("not yet")

        with pytest.raises(OSError, match="not yet"):
            await eventually(check, timeout=5)
        assert trio.current_time() - begun == pytest.approx(10)
        # Asked once, it may take what it takes.
        await eventually(partial(trio.sleep, 3), timeout=0)


@pytest.mark.parametrize(
    ("document", "line"),
    [
        (
            {"guests": {"v": {"kind": "netns", "nics": [{"network": "n"}]}}},
            "guests.v.kind: netns guests have a clock of their own",
        ),
        (
            {
                "guests": {
                    "v": {
                        "kind": "external",
                        "nics": [{"network": "n", "nic": {"kind": "stream", "socket": "s"}}],
                    }
                }
            },
            r"guests.v.nics\[0\].nic: what is behind a stream NIC has a clock of its own",
        ),
        (
            {"uplinks": {"wan": {"nic": {"kind": "packet", "interface": "no-such"}, "native": "n"}}},
            "uplinks.wan.nic: what is behind a packet NIC has a clock of its own",
        ),
        ({"engine": {"driver": "thread"}}, "driver: thread has a clock of its own; in virtual time use trio"),
    ],
    ids=["netns", "machine", "uplink", "driver"],
)
async def test_what_has_a_clock_of_its_own_is_refused(
    autojump_clock: trio.testing.MockClock, document: dict[str, Any], line: str
) -> None:
    made = {"name": "mixed", "networks": {"n": {"subnets": ["10.0.0.0/24"]}}, **document}
    with pytest.raises(vnet.BadInput, match=line):
        async with vnet.Fabric.from_dict(made):
            raise AssertionError("it runs")


async def test_it_is_refused_later_too(autojump_clock: trio.testing.MockClock) -> None:
    async with vnet.Fabric.from_dict(LAB) as fabric:
        with pytest.raises(vnet.BadInput, match="behind a tap NIC has a clock of its own"):
            await fabric.attach("v", network="lan", switch="s1", nic=vnet.Tap())
        assert "v" not in fabric.guests
