"""Spanning trees of running fabrics, in virtual time: loops are cut, cuts are healed, nothing melts."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import trio
import trio.testing

import vnet
from nics.errors import BadInput
from vnet.cli.status import trees


def ring(count: int, stp: str = "rstp", impair: dict[str, Any] | None = None, **keys: Any) -> vnet.Topology:
    """Switches in a ring, a guest at each."""
    topology = vnet.Topology("ring", seed=5).network("lan", subnets=["10.0.0.0/16"])
    for number in range(count):
        topology.switch(f"s{number}", stp=stp, **keys)
    for number in range(count):
        topology.guest(f"g{number}", network="lan", switch=f"s{number}")
        topology.link(f"s{number}", f"s{(number + 1) % count}", impair=impair or {})
    return topology


def blocked(fabric: vnet.Fabric) -> list[str]:
    """Ports that are kept from forwarding, but for those of cut cables."""
    return [
        name
        for switch in fabric.switches()
        for name, port in switch["stp"]["ports"].items()
        if port["state"] != "forwarding" and port["role"] != "disabled"
    ]


async def test_a_ring_forwards_and_is_cut_at_one_port(autojump_clock: trio.testing.MockClock) -> None:
    async with vnet.Fabric(ring(8)) as fabric:
        await trio.sleep(3)
        assert len(blocked(fabric)) == 1
        trees = [switch["stp"] for switch in fabric.switches()]
        assert len({tree["root"] for tree in trees}) == 1
        assert sum(tree["root_port"] is None for tree in trees) == 1
        for number in range(1, 8):
            await fabric.guests["g0"].ping(fabric.guests[f"g{number}"])
        # Floods went once round, not for ever.
        assert max(port["rx"]["frames"] for port in fabric.status()["ports"]) < 500


@pytest.mark.parametrize("delay", ["0 s", "1 ms"])
async def test_a_ring_of_eight_heals_within_a_second(
    autojump_clock: trio.testing.MockClock, delay: str
) -> None:
    async with vnet.Fabric(ring(8, impair={"delay": delay})) as fabric:
        a, b = fabric.guests["g0"], fabric.guests["g4"]
        await trio.sleep(5)
        worst = 0.0
        for number in range(8):
            cable = f"s{number}-s{(number + 1) % 8}"
            await a.ping(b)
            begun = trio.current_time()
            await fabric.set_link(cable, False)
            while True:
                try:
                    await a.ping(b, timeout=0.05)
                    break
                except vnet.Unreachable:
                    assert trio.current_time() - begun < 1, cable
            worst = max(worst, trio.current_time() - begun)
            await trio.sleep(2)
            assert not blocked(fabric), "a chain has nothing to block"
            await fabric.set_link(cable, True)
            await trio.sleep(5)
            assert len(blocked(fabric)) == 1
        print(f"\nring of 8, links of {delay}: the longest outage was {worst * 1000:.1f} ms")


async def test_the_older_protocol_heals_too(autojump_clock: trio.testing.MockClock) -> None:
    async with vnet.Fabric(ring(4, "stp")) as fabric:
        a, b = fabric.guests["g0"], fabric.guests["g2"]
        await trio.sleep(5)
        with pytest.raises(vnet.Unreachable):
            await a.ping(b, timeout=1)
        await trio.sleep(35)
        await a.ping(b)
        assert len(blocked(fabric)) == 1
        await fabric.set_link("s0-s1", False)
        await trio.sleep(55)
        await a.ping(b)


async def test_a_hundred_switches(autojump_clock: trio.testing.MockClock) -> None:
    topology = ring(100)
    for number in range(0, 100, 5):
        topology.link(f"s{number}", f"s{(number * 7 + 31) % 100}")
    async with vnet.Fabric(topology) as fabric:
        # Twenty hops away (17.14) the information would be too old: this ring is cut short by chords.
        await trio.sleep(20)
        assert len({switch["stp"]["root"] for switch in fabric.switches()}) == 1
        assert len(blocked(fabric)) == 21
        await fabric.guests["g0"].ping(fabric.guests["g50"])


async def test_priority_and_cost_are_settings_that_change_while_it_runs(
    autojump_clock: trio.testing.MockClock,
) -> None:
    def topology(root: int, dear: bool) -> vnet.Topology:
        found = ring(3)
        found.switch(f"s{root}", stp="rstp", priority=4096)
        found.links.pop()
        return found.link("s2", "s0", stp={"cost": 5000} if dear else {})

    async with vnet.Fabric(topology(0, False)) as fabric:
        await trio.sleep(3)
        trees = {switch["switch"]: switch["stp"] for switch in fabric.switches()}
        assert trees["s0"]["root_port"] is None
        assert (trees["s2"]["root_port"], trees["s2"]["cost"]) == ("s2-s0.a", 2000)
        await fabric.apply(topology(0, True))
        await trio.sleep(3)
        trees = {switch["switch"]: switch["stp"] for switch in fabric.switches()}
        assert (trees["s2"]["root_port"], trees["s2"]["cost"]) == ("s1-s2.b", 4000)
        await fabric.apply(topology(1, True))
        await trio.sleep(10)
        trees = {switch["switch"]: switch["stp"] for switch in fabric.switches()}
        assert trees["s1"]["root_port"] is None
        assert trees["s1"]["root"].startswith("1000.")
        await fabric.guests["g0"].ping(fabric.guests["g2"])


async def test_a_blocked_port_names_the_reason(autojump_clock: trio.testing.MockClock) -> None:
    async with vnet.Fabric(ring(3)) as fabric:
        await trio.sleep(3)
        (port,) = blocked(fabric)
        with pytest.raises(vnet.Unreachable):
            await fabric.guests["g0"].ping("10.0.99.99", timeout=1)
        drops = {entry["port"]: entry["drops"] for entry in fabric.status()["ports"]}
        assert drops[port].get("stp-blocked", 0) > 0


async def test_a_guarded_guest_takes_no_part(autojump_clock: trio.testing.MockClock) -> None:
    pipe, loose = vnet.Pipe(), vnet.Pipe()
    topology = vnet.Topology("lone").network("lan").switch("s1", stp="rstp")
    topology.guest("kept", kind="external", network="lan", nic=pipe)
    topology.guest("free", kind="external", network="lan", nic=loose, guard="off")
    async with vnet.Fabric(topology) as fabric:
        await trio.sleep(10)
        (switch,) = fabric.switches()
        assert list(switch["stp"]["ports"]) == ["free.0"]
        assert switch["stp"]["ports"]["free.0"]["edge"]
        free, kept = (fabric.guests[name].ports[f"{name}.0"].opened.far for name in ("free", "kept"))
        hello = await free.receive()
        assert hello[:6] == bytes.fromhex("0180c2000000")
        # It claims to be a better root.
        claim = bytearray(hello)
        claim[17 + 5 : 17 + 13] = claim[17 + 17 : 17 + 25] = bytes(8)
        claim[6:12] = bytes.fromhex(fabric.guests["kept"].mac.replace(":", ""))
        await kept.send(bytes(claim))
        await trio.sleep(1)
        assert fabric.switches()[0]["stp"]["root"] == switch["stp"]["id"]
        await free.send(bytes(claim))
        await trio.sleep(1)
        assert fabric.switches()[0]["stp"]["root"] == "0000.00:00:00:00:00:00"


async def test_bpdu_guard(autojump_clock: trio.testing.MockClock) -> None:
    topology = vnet.Topology("lone").network("lan").switch("s1", stp="rstp")
    stp = {"edge": True, "bpdu_guard": True}
    topology.guest("free", kind="external", network="lan", nic=vnet.Pipe(), guard="off", stp=stp)
    async with vnet.Fabric(topology) as fabric:
        free = fabric.guests["free"].ports["free.0"].opened.far
        hello = await free.receive()
        await free.send(hello)
        await trio.sleep(1)
        port = fabric.switches()[0]["stp"]["ports"]["free.0"]
        assert (port["refused"], port["role"], port["state"]) == (True, "disabled", "discarding")
        assert "free.0 out of service (BPDU guard)" in "\n".join(trees(fabric.switches()))
        # An operator has it back; the guest's carrier changes nothing.
        await fabric.set_link("free.0", False)
        await fabric.set_link("free.0", True)
        await trio.sleep(1)
        port = fabric.switches()[0]["stp"]["ports"]["free.0"]
        assert (port["refused"], port["role"], port["state"]) == (False, "designated", "forwarding")
        await free.send(hello)
        await trio.sleep(1)
        assert fabric.switches()[0]["stp"]["ports"]["free.0"]["refused"]


@pytest.mark.parametrize(
    ("switch", "line"),
    [
        ({"priority": 5000}, "switches.s1.priority: 5000, expected a multiple of 4096 such as 4096"),
        ({"max_age": "40 s"}, "switches.s1.max_age: too long for forward_delay"),
        ({"hello": "10 s"}, "switches.s1.max_age: too short for hello"),
        ({"hello": "1500 ms"}, "switches.s1.hello: a part of a second"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_settings_are_told(switch: dict[str, Any], line: str) -> None:
    with pytest.raises(BadInput) as error:
        vnet.Topology.from_dict({"name": "x", "switches": {"s1": {"stp": "rstp", **switch}}})
    assert str(error.value).startswith(line)


async def test_a_loop_without_a_tree_is_cut_and_reported(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with vnet.Fabric(ring(3, "none")) as fabric:
        a, b = fabric.guests["g0"], fabric.guests["g2"]
        for _ in range(3):
            with contextlib.suppress(vnet.Unreachable):
                await a.ping(b, timeout=1)
        assert caplog.text.count("a storm: ") == 1, "the loop is cut at one place"
        assert "stp: rstp" in caplog.text
        await a.ping(b)
        await fabric.guests["g1"].ping(b)
        frames = sum(port["rx"]["frames"] for port in fabric.status()["ports"])
        assert frames < 100_000
        # It is opened again, and blocked again for longer.
        await trio.sleep(12)
        for _ in range(3):
            with contextlib.suppress(vnet.Unreachable):
                await b.ping("10.0.99.99", timeout=1)
        assert "blocked for 20 s" in caplog.text


async def test_two_parallel_links_without_a_tree(autojump_clock: trio.testing.MockClock) -> None:
    topology = ring(2, "none")
    async with vnet.Fabric(topology) as fabric:
        for _ in range(5):
            with contextlib.suppress(vnet.Unreachable):
                await fabric.guests["g0"].ping(fabric.guests["g1"], timeout=1)
        await fabric.guests["g0"].ping(fabric.guests["g1"])


async def test_many_guests_that_look_for_one_another_are_no_storm(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    topology = vnet.Topology("crowd").network("lan", subnets=["10.0.0.0/16"])
    topology.switch("s1").switch("s2").link("s1", "s2")
    for number in range(200):
        topology.guest(f"g{number}", network="lan", switch="s1" if number % 2 else "s2")
    async with vnet.Fabric(topology) as fabric, trio.open_nursery() as nursery:
        guests = list(fabric.guests.values())
        for number in range(1000):
            nursery.start_soon(guests[number % 200].ping, guests[number * 7 % 199])
    assert "storm" not in caplog.text
