"""Several cables between two switches that are one link, in virtual time."""

from __future__ import annotations

import logging
import random
from typing import Any

import pytest
import trio
import trio.testing

import vnet
from nics.errors import BadInput
from vnet.guests import StackGuest


def pair(cables: Any = ({}, {}), bond: dict[str, Any] | None = None, **link: Any) -> vnet.Topology:
    """Two switches, and four guests at each."""
    return vnet.Topology.from_dict(
        {
            "name": "pair",
            "seed": 5,
            "networks": {"red": {"vlan": 10, "subnets": ["10.0.1.0/24"]}},
            "switches": {"left": {}, "right": {}},
            "links": [
                {
                    "ends": ["left", "right"],
                    "cables": list(cables),
                    **({"bond": bond} if bond else {}),
                    **link,
                }
            ],
            "guests": {
                f"{side}{number}": {"nics": [{"network": "red", "switch": side}]}
                for side in ("left", "right")
                for number in range(4)
            },
        }
    )


def ends(fabric: vnet.Fabric) -> list[dict[str, Any]]:
    ports = {port["port"]: port for port in fabric.status()["ports"]}
    return [ports["left-right.a"], ports["left-right.b"]]


def used(fabric: vnet.Fabric) -> list[list[str]]:
    """The cables in use, at either end."""
    return [[m["name"] for m in end["bond"]["members"] if m["distributing"]] for end in ends(fabric)]


def stack(fabric: vnet.Fabric, name: str) -> StackGuest:
    guest = fabric.guests[name]
    assert isinstance(guest, StackGuest)
    return guest


async def all_pairs(fabric: vnet.Fabric) -> None:
    for number in range(4):
        for other in range(4):
            assert await stack(fabric, f"left{number}").ping(stack(fabric, f"right{other}")) == 0


@pytest.mark.parametrize("mode", ["lacp", "active-backup", "static"])
async def test_several_cables_are_one_link(autojump_clock: trio.testing.MockClock, mode: str) -> None:
    async with vnet.Fabric(pair([{}, {}, {}], {"mode": mode})) as fabric:
        await all_pairs(fabric)
        a, b = ends(fabric)
        assert [end["carrier"] for end in (a, b)] == [True, True]
        assert a["carries"] == ["left-right.1", "left-right.2", "left-right.3"]
        active = a["carries"][:1] if mode == "active-backup" else a["carries"]
        assert used(fabric) == [active, active]
        # No frame came twice, none went round: what was sent at one end is what came in at the other.
        assert (a["tx"], a["rx"]) == (b["rx"], b["tx"])
        assert {"left-right.a", "left-right.b"} >= {
            entry["port"] for entry in fabric.fdb() if entry["port"].startswith("left-right")
        }
        if mode == "lacp":
            assert a["bond"]["partner"] == b["bond"]["members"][0]["actor"]["system"]
        if mode != "active-backup":
            assert all(member["tx"]["frames"] > 0 for end in (a, b) for member in end["bond"]["members"])


async def test_a_cable_fails_and_nobody_notices(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with vnet.Fabric(pair()) as fabric:
        await all_pairs(fabric)
        known = fabric.fdb()
        caplog.set_level(logging.INFO, "vnet")
        await fabric.set_link("left-right.1", False)
        # No address is forgotten, no frame lost: every ping is answered at once.
        await all_pairs(fabric)
        assert used(fabric) == [["left-right.2"], ["left-right.2"]]
        places = [{(e["switch"], e["mac"], e["port"]) for e in entries} for entries in (known, fabric.fdb())]
        assert places[0] == places[1]
        assert all(not drop["reason"].startswith("tx-no-carrier") for drop in fabric.drops())
        told = [record.getMessage() for record in caplog.records]
        assert "left-right.a: left-right.1 is not in use any more: set down" in told
        await fabric.set_link("left-right.2", False)
        await trio.testing.wait_all_tasks_blocked()
        assert [end["carrier"] for end in ends(fabric)] == [False, False]
        with pytest.raises(vnet.Unreachable):
            await stack(fabric, "left0").ping(stack(fabric, "right0"), timeout=1)
        await fabric.set_link("left-right.1", True)
        await trio.sleep(1)
        await all_pairs(fabric)
        assert used(fabric) == [["left-right.1"], ["left-right.1"]]


@pytest.mark.parametrize(
    "bond", [{}, {"timeout": "short"}, {"control": "coupled"}, {"mode": "static"}], ids=str
)
async def test_a_link_added_late_carries_the_first_frame(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture, bond: dict[str, Any]
) -> None:
    """The engine may have been asleep for long: what the ends agreed upon is not old because of that."""
    topology = pair(bond=bond)
    alone = vnet.Topology.from_dict({**topology.to_dict(), "links": []})
    async with vnet.Fabric(alone) as fabric:
        await trio.sleep(1000)
        caplog.set_level(logging.INFO, "vnet")
        await fabric.apply(topology)
        await all_pairs(fabric)
        await trio.sleep(1000)
        await all_pairs(fabric)
        assert not [drop for drop in fabric.drops() if drop["port"].startswith("left-right")]
        assert sorted(caplog.messages) == ["left-right.a: carrier up", "left-right.b: carrier up"]


@pytest.mark.parametrize("cables", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("control", ["independent", "coupled"])
async def test_every_cable_of_a_new_link_is_in_use_at_once(
    autojump_clock: trio.testing.MockClock, cables: int, control: str
) -> None:
    async with vnet.Fabric(pair([{}] * cables, {"control": control})) as fabric:
        assert used(fabric) == [[f"left-right.{number + 1}" for number in range(cables)]] * 2


async def test_they_agree_in_real_time_too(caplog: pytest.LogCaptureFixture) -> None:
    """The engine's own thread turns it, and nobody waits for anything but what is to happen."""

    async def until(wanted: list[str]) -> None:
        with trio.fail_after(30):
            while used(fabric) != [wanted] * 2:  # noqa: ASYNC110
                await trio.sleep(0.001)

    async with vnet.Fabric(pair([{}, {}, {}], {"timeout": "short"})) as fabric:
        assert fabric.driver == "thread"
        assert used(fabric) == [["left-right.1", "left-right.2", "left-right.3"]] * 2
        left, right = stack(fabric, "left0"), stack(fabric, "right0")
        await left.ping(right, timeout=10)
        caplog.set_level(logging.INFO, "vnet")
        await fabric.set_link("left-right.2", False)
        assert used(fabric) == [["left-right.1", "left-right.3"]] * 2, "both ends know at once"
        await left.ping(right, timeout=10)
        await fabric.set_link("left-right.2", True)
        await until(["left-right.1", "left-right.2", "left-right.3"])
        await left.ping(right, timeout=10)
        # Silence in the middle, and what was silent speaks again.
        deaf = pair([{"impair": {"loss": "100 %"}}, {}, {}], {"timeout": "short"})
        await fabric.apply(deaf)
        await until(["left-right.2", "left-right.3"])
        await left.ping(right, timeout=10)
        await fabric.apply(pair([{}, {}, {}], {"timeout": "short"}))
        await until(["left-right.1", "left-right.2", "left-right.3"])
        assert not any("carrier down" in message for message in caplog.messages)
        assert any("left-right.1 is not in use any more: its partner" in m for m in caplog.messages)


async def test_fewer_than_the_least_are_none(autojump_clock: trio.testing.MockClock) -> None:
    async with vnet.Fabric(pair([{}, {}, {}], {"min_links": 2})) as fabric:
        await fabric.set_link("left-right.1", False)
        await all_pairs(fabric)
        await fabric.set_link("left-right.3", False)
        await trio.testing.wait_all_tasks_blocked()
        assert [end["carrier"] for end in ends(fabric)] == [False, False]


async def test_silence_in_the_middle_is_noticed(autojump_clock: trio.testing.MockClock) -> None:
    """Carrier stays, and nothing arrives, one way: only LACP can tell."""
    cut = {"schedule": [{"from": "10 s", "to": "40 s", "impair": {"a_to_b": {"loss": "100 %"}}}]}
    async with vnet.Fabric(pair([cut, {}], {"timeout": "short"})) as fabric:
        await trio.sleep(9)
        assert used(fabric) == [["left-right.1", "left-right.2"]] * 2
        await trio.sleep(10)
        assert used(fabric) == [["left-right.2"]] * 2
        await all_pairs(fabric)
        assert all(end["carrier"] for end in ends(fabric))
        await trio.sleep(25)
        assert used(fabric) == [["left-right.1", "left-right.2"]] * 2


async def test_a_cable_may_differ_from_the_link(autojump_clock: trio.testing.MockClock) -> None:
    slow = {"impair": {"delay": "7 ms"}}
    async with vnet.Fabric(pair([{}, slow], {"mode": "active-backup"}, impair={"delay": "2 ms"})) as fabric:
        await trio.sleep(1)
        left, right = stack(fabric, "left0"), stack(fabric, "right0")
        await left.ping(right)
        assert await left.ping(right) == pytest.approx(0.004)
        await fabric.set_link("left-right.1", False)
        assert await left.ping(right) == pytest.approx(0.014)
        await fabric.apply(pair([{}, {}], {"mode": "active-backup"}, impair={"delay": "2 ms"}))
        # What the operator cut stays cut.
        assert await left.ping(right) == pytest.approx(0.004)
        assert used(fabric) == [["left-right.2"]] * 2


async def test_a_tree_sees_one_link(autojump_clock: trio.testing.MockClock) -> None:
    topology = pair([{}, {}])
    for name in ("left", "right"):
        topology.switches[name] = vnet.Topology("x").switch(name, stp="rstp").switches[name]
    topology.link("left", "right", name="spare")
    async with vnet.Fabric(topology) as fabric:
        await trio.sleep(40)
        await all_pairs(fabric)
        ports = [port for switch in fabric.switches() for port in switch["stp"]["ports"].items()]
        assert sorted(name for name, _ in ports) == ["left-right.a", "left-right.b", "spare.a", "spare.b"]
        assert [name for name, port in ports if port["state"] != "forwarding"] in (["spare.a"], ["spare.b"])
        changes = fabric.switches()[0]["stp"]["changes"]
        await fabric.set_link("left-right.2", False)
        await trio.sleep(5)
        assert fabric.switches()[0]["stp"]["changes"] == changes
        await all_pairs(fabric)


async def test_a_flow_keeps_its_order_while_cables_come_and_go(
    autojump_clock: trio.testing.MockClock,
) -> None:
    topology = pair([{}, {}, {}, {}])
    chance = random.Random(3)
    async with vnet.Fabric(topology) as fabric:
        sender = await fabric.attach("sender", network="red", switch="left", nic=vnet.Pipe())
        receiver = await fabric.attach("receiver", network="red", switch="right", nic=vnet.Pipe())
        source, target = (
            bytes.fromhex(fabric.guests[name].mac.replace(":", "")) for name in ("sender", "receiver")
        )
        await receiver.send(b"\xff" * 6 + target + b"\x88\xb5".ljust(48, b"\0"))
        await sender.receive()
        seen = []
        for number in range(2000):
            if number % 50 == 0:
                # One cable stays all the time.
                await fabric.set_link(f"left-right.{chance.randint(2, 4)}", chance.random() < 0.6)
                await trio.sleep(1.5 if number % 200 == 0 else 0)
            await sender.send(target + source + b"\x88\xb5" + number.to_bytes(4, "big").ljust(46, b"\0"))
            frame = await receiver.receive()
            seen.append(int.from_bytes(frame[14:18], "big"))
        assert seen == list(range(2000))


async def test_explain_names_the_cable(autojump_clock: trio.testing.MockClock) -> None:
    async with vnet.Fabric(pair()) as fabric:
        await all_pairs(fabric)
        left, right = fabric.guests["left0"], fabric.guests["right0"]
        frame = bytes.fromhex((right.mac + left.mac).replace(":", "")) + b"\x88\xb5".ljust(48, b"\0")
        steps, reached = fabric.explain("left0", frame)
        assert reached == ["right0.0"]
        told = "\n".join(map(str, steps))
        assert "left-right.1" in told or "left-right.2" in told, told


@pytest.mark.parametrize(
    ("cables", "bond", "told"),
    [
        ([{}, {}], {"min_links": 3}, "links[0].bond.min_links: 3 of 2 cables, expected at most 2"),
        ([{}, {}, {}], {"min_links": 3, "max_links": 2}, "min_links: 3, and at most 2 are in use"),
        ([{}, {}], {"mode": "static", "timeout": "short"}, "timeout with mode static, expected mode: lacp"),
        ([{}, {}], {"mode": "802.3ad"}, "expected lacp, active-backup or static"),
        ([], None, "cables: an empty list, expected a list of cables, at least 1"),
    ],
)
def test_mistakes_are_told(cables: list[Any], bond: dict[str, Any] | None, told: str) -> None:
    with pytest.raises(BadInput) as caught:
        pair(cables, bond)
    assert told in str(caught.value)


def test_a_bond_needs_cables() -> None:
    with pytest.raises(BadInput, match="a bond of one cable, expected cables: a list of cables"):
        vnet.Topology.from_dict(
            {
                "name": "x",
                "switches": {"a": {}, "b": {}},
                "links": [{"ends": ["a", "b"], "bond": {"min_links": 1, "hash": "l2"}}],
            }
        )


def test_what_was_read_is_written() -> None:
    topology = pair(
        [{}, {"impair": {"a_to_b": {"delay": "0 s"}}, "up": False, "priority": 7}],
        {"min_links": 2, "passive": "b"},
        impair={"delay": "5 ms"},
    )
    assert vnet.Topology.from_dict(topology.to_dict()) == topology


@pytest.mark.parametrize(
    ("uplink", "told"),
    [
        (
            {"nics": ["eth1", "eth2"], "nic": "eth1"},
            "uplinks.wan.nics: nic and nics, expected one of the two",
        ),
        (
            {"nic": "eth1", "bond": {"mode": "lacp"}},
            "uplinks.wan.bond: a bond of one NIC, expected nics: a list",
        ),
        ({}, "uplinks.wan: an uplink without nic, expected nic: a mapping with kind"),
        ({"nics": ["eth1"], "bond": {"min_links": 2}}, "bond.min_links: 2 of 1 NIC, expected at most 1"),
        ({"nics": ["eth1"], "bond": {"primary": 1}}, "primary with mode lacp, expected mode: active-backup"),
        (
            {"nics": ["eth1", "eth2"], "bond": {"mode": "active-backup", "min_links": 2}},
            "one is in use with mode active-backup, expected 1",
        ),
        ({"nics": ["eth1", "eth1"]}, "interface eth1 is uplinks.wan.nics[0]'s already"),
    ],
)
def test_mistakes_of_uplinks_are_told(uplink: dict[str, Any], told: str) -> None:
    def nic(name: str) -> dict[str, str]:
        return {"kind": "packet", "interface": name}

    keys: dict[str, Any] = dict(uplink)
    if "nics" in keys:
        keys["nics"] = [nic(name) for name in keys["nics"]]
    if "nic" in keys:
        keys["nic"] = nic(keys["nic"])
    document = {"name": "x", "networks": {"red": {}}, "uplinks": {"wan": {**keys, "native": "red"}}}
    with pytest.raises(BadInput) as caught:
        vnet.Topology.from_dict(document)
    assert told in str(caught.value)


def test_a_bond_of_uplinks_is_written_as_it_was_read() -> None:
    nics = [{"kind": "packet", "interface": "eth1"}, {"kind": "tap", "name": "t0"}]
    uplink = {"nics": nics, "bond": {"mode": "active-backup", "primary": 2}, "native": "red"}
    document = {"name": "x", "networks": {"red": {}}, "uplinks": {"wan": uplink}}
    topology = vnet.Topology.from_dict(document)
    assert topology.to_dict()["uplinks"]["wan"] == uplink
    assert vnet.Topology.from_dict(topology.to_dict()) == topology
