"""What the operator cuts and mends: it holds, whatever `apply` does meanwhile or afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

import vnet
from nics.errors import BadInput
from nics.pipe import PipeEnd
from vnet import apply, drive
from vnet.topology import actions

Hook = Callable[[actions.Action], Awaitable[None]]


def swapped(red: int, blue: int) -> vnet.Topology:
    """Two tenants at two switches, and the VLANs that they have."""
    topology = vnet.Topology("cut", seed=1)
    topology.network("red", vlan=red).network("blue", vlan=blue)
    topology.switch("left").switch("right").link("left", "right", name="core", cables=[{}, {}])
    for name, network, switch in (("b", "blue", "left"), ("a", "red", "left"), ("c", "red", "right")):
        topology.guest(name, kind="external", network=network, switch=switch, nic=vnet.Pipe())
    return topology


def far(fabric: vnet.Fabric, guest: str) -> PipeEnd:
    end = fabric.port(guest).opened.far
    assert isinstance(end, PipeEnd)
    return end


def broadcast(fabric: vnet.Fabric, guest: str) -> bytes:
    mac = bytes.fromhex(fabric.port(guest).wanted.mac.replace(":", ""))
    return b"\xff" * 6 + mac + b"\x88\xb5".ljust(48, b"\0")


def heard(fabric: vnet.Fabric, guest: str) -> list[bytes]:
    """What has come out at a guest."""
    while fabric.engine.turn(drive.now()) == 0:
        pass
    found: list[bytes] = []
    while True:
        try:
            found.append(far(fabric, guest).receive_nowait())
        except trio.WouldBlock:
            return found


@contextlib.contextmanager
def after_each(hook: Hook) -> Iterator[None]:
    """Have something happen after each step that an `apply` takes."""
    take = apply._take

    async def taken(fabric: vnet.Fabric, action: actions.Action) -> None:
        await take(fabric, action)
        await hook(action)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(apply, "_take", taken)
        yield


@pytest.mark.parametrize("name", ["a.0", "c", "core", "core.2"])
@pytest.mark.parametrize("cut", [False, True])
async def test_what_is_mended_while_vlans_move_lets_nobody_meet(
    autojump_clock: trio.testing.MockClock, name: str, cut: bool
) -> None:
    async with vnet.Fabric(swapped(10, 20)) as fabric:
        await fabric.set_link(name, not cut)
        spoken = broadcast(fabric, "b")

        async def mend(action: actions.Action) -> None:
            await fabric.set_link(name, True)
            fabric.send("b", spoken)
            assert not heard(fabric, "a")
            assert not heard(fabric, "c")

        with after_each(mend):
            done = await fabric.apply(swapped(20, 10))
        assert sum("up" in line for line in done) == 6, "all guests are parked, and all come back"
        # Whoever was parked has its link again, its guest's carrier included.
        await trio.sleep(10)
        assert all(port["carrier"] and port["link"] == "up" for port in fabric.status()["ports"])
        await far(fabric, "a").send(broadcast(fabric, "a"))
        assert heard(fabric, "c") == [broadcast(fabric, "a")]


async def test_what_is_cut_while_vlans_move_stays_cut(autojump_clock: trio.testing.MockClock) -> None:
    async with vnet.Fabric(swapped(10, 20)) as fabric:

        async def cut(action: actions.Action) -> None:
            await fabric.set_link("a", False)

        with after_each(cut):
            await fabric.apply(swapped(20, 10))
        fabric.send("c", broadcast(fabric, "c"))
        assert not heard(fabric, "a")
        await trio.testing.wait_all_tasks_blocked()
        (status,) = (port for port in fabric.status()["ports"] if port["port"] == "a.0")
        assert (status["carrier"], status["link"]) == (False, "down")


def linked(**keys: Any) -> vnet.Topology:
    """The same with another link."""
    topology = swapped(10, 20)
    topology.links = (
        vnet.Topology("x").link("left", "right", name="core", **{"cables": [{}, {}], **keys}).links
    )
    return topology


def without() -> vnet.Topology:
    topology = swapped(10, 20)
    topology.links = []
    return topology


def down(fabric: vnet.Fabric) -> set[str]:
    """What status has down: ports and cables of several."""
    ports = fabric.status()["ports"]
    cables = [cable for port in ports if port["bond"] for cable in port["bond"]["members"]]
    found = {port["port"] for port in ports if port["link"] == "down"}
    return found | {cable["name"] for cable in cables if cable["link"] == "down"}


async def fails(fabric: vnet.Fabric, wanted: vnet.Topology) -> None:
    """Change to that and a guest more, which can't be."""
    nic = {"kind": "pcap", "read": "/proc/no/such"}
    failing = wanted.copy().guest("z", kind="external", network="red", nic=nic)
    with pytest.MonkeyPatch.context() as patch:
        # It would be seen before anything is done.
        patch.setattr(apply.beforehand, "look", lambda *_: None)
        with pytest.raises(vnet.VnetError, match="/proc/no/such"):
            await fabric.apply(failing)


OTHERS = [
    linked(bond={"mode": "active-backup"}),
    linked(cables=[{}, {}, {}]),
    linked(cables=[{"impair": {"delay": "1 ms"}}, {}]),
]
"""Other links of that name: made anew, and changed in place."""


@pytest.mark.parametrize("other", [*OTHERS, without()], ids=["bond", "cables", "impair", "none"])
@pytest.mark.parametrize(
    ("name", "shown"),
    [("core", {"core.a", "core.b"}), ("core.b", {"core.a", "core.b"}), ("core.2", {"core.2"})],
)
async def test_a_link_that_is_cut_stays_so(
    autojump_clock: trio.testing.MockClock, name: str, shown: set[str], other: vnet.Topology
) -> None:
    async with vnet.Fabric(linked()) as fabric:
        await fabric.set_link(name, False)
        await fails(fabric, other)
        assert down(fabric) == shown
        if other.links:
            await fabric.apply(other)
            assert down(fabric) == shown
            await fabric.set_link(name, True)
            assert not down(fabric)
            return
        # Who comes under the name of one that went before is somebody else.
        await fabric.apply(other)
        await fabric.apply(linked())
        assert not down(fabric)


def bonded(primary: int, **keys: Any) -> vnet.Topology:
    nics = [{"kind": "dgram", "local": f"{number}.sock"} for number in (1, 2)]
    bond = {"mode": "active-backup", "primary": primary}
    return vnet.Topology("bonded").network("red").uplink("wan", nics=nics, bond=bond, native="red", **keys)


async def test_a_cable_of_an_uplink_that_is_cut_stays_so(tmp_path: Path) -> None:
    async with vnet.Fabric(bonded(1), runtime=tmp_path / "f") as fabric:
        await fabric.set_link("wan.2", False)
        assert down(fabric) == {"wan.2"}
        await fails(fabric, bonded(2))
        assert down(fabric) == {"wan.2"}
        done = await fabric.apply(bonded(2))
        assert [line.split()[0] for line in done] == ["remove", "add"]
        assert down(fabric) == {"wan.2"}
        await fabric.set_link("wan.2", True)
        assert not down(fabric)


@pytest.mark.parametrize(
    ("name", "shown", "keys"),
    [
        ("a", {"a.0"}, {}),
        ("core", {"core.a", "core.b"}, {"up": False}),
        ("core.2", {"core.2"}, {"cables": [{}, {"up": False}]}),
    ],
)
async def test_what_the_topology_has_down_is_set_up_there_alone(
    autojump_clock: trio.testing.MockClock, name: str, shown: set[str], keys: dict[str, Any]
) -> None:
    wanted = linked(**keys)
    if not keys:
        wanted.guest("a", kind="external", network="red", switch="left", nic=vnet.Pipe(), up=False)
    async with vnet.Fabric(wanted) as fabric:
        for cut in (False, True):
            assert down(fabric) == shown
            with pytest.raises(
                BadInput, match=r"^(a\.0|core|core\.2): the topology has it down; take `up: false`"
            ):
                await fabric.set_link(name, True)
            fabric.send("c", broadcast(fabric, "c"))
            assert bool(heard(fabric, "a")) == (name == "core.2")
            if cut:
                await fabric.set_link(name, False)
            await fabric.apply(linked())
            assert down(fabric) == (shown if cut else set())
            await fabric.apply(wanted)
        await fabric.apply(linked())
        await fabric.set_link(name, True)
        assert not down(fabric)


async def test_a_cable_between_nics_that_the_topology_has_down_is_mended_there_alone(
    autojump_clock: trio.testing.MockClock,
) -> None:
    topology = vnet.Topology("pair").network("red").guest("a", network="red").guest("b", network="red")
    async with vnet.Fabric(topology.link("a.0", "b.0", name="x", up=False)) as fabric:
        for name in ("x", "a", "b.0"):
            with pytest.raises(BadInput, match=r"^a\.0: the topology has it down"):
                await fabric.set_link(name, True)
        assert down(fabric) == {"a.0", "b.0"}


async def test_what_was_cut_is_whole_when_a_fabric_is_entered_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    fabric = vnet.Fabric(linked())
    async with fabric:
        for name in ("a", "core", "core.2"):
            await fabric.set_link(name, False)
        assert down(fabric) == {"a.0", "core.a", "core.b", "core.2"}
    async with fabric:
        assert not down(fabric)
