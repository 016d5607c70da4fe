"""The forwarding database as the topology has it: static addresses, and limits that change while it runs."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import trio
import trio.testing

import vnet
from vnet import Fabric, Topology

PROBE = "02:00:00:00:00:0a"


def lab(switch: dict[str, Any] | None = None, **probe: Any) -> dict[str, Any]:
    """A stack guest, and a pipe whose NIC has the keys of `probe`."""
    nic = {"network": "red", "mac": PROBE, "ip": ["10.0.0.10"], "nic": {"kind": "pipe"}, **probe}
    return {
        "name": "static",
        "networks": {"red": {"vlan": 10, "subnets": ["10.0.0.0/24"]}, "blue": {"vlan": 20}},
        "guests": {
            "web": {"nics": [{"network": "red", "ip": ["10.0.0.11"]}]},
            "probe": {"kind": "external", "nics": [nic]},
            "third": {
                "kind": "external",
                "nics": [{"network": "red", "nic": {"kind": "pipe"}, "guard": "off"}],
            },
        },
        "switches": {"s1": switch or {}},
    }


def known(fabric: Fabric, port: str = "probe") -> set[tuple[int, str]]:
    """The VLANs in which a port's addresses are known, and how."""
    return {(entry["vlan"], entry["kind"]) for entry in fabric.fdb(port=port)}


def frame(to: str, source: str) -> bytes:
    """Of an EtherType for experiments."""
    return bytes.fromhex((to + source).replace(":", "")) + b"\x88\xb5" + bytes(46)


async def heard(end: vnet.PipeEnd) -> bool:
    """Whether a frame of ours came to `end`. In virtual time, when all that was on its way has arrived."""
    await trio.sleep(0.001)
    found = False
    with contextlib.suppress(trio.WouldBlock):
        while True:
            found |= end.receive_nowait()[12:14] == b"\x88\xb5"
    return found


async def test_a_static_address_is_known_before_it_spoke(autojump_clock: trio.testing.MockClock) -> None:
    for static in (True, False):
        async with Fabric.from_dict(lab(static=static)) as fabric:
            probe, third = (fabric.port(name).opened.far for name in ("probe", "third"))
            ear = await fabric.attach("ear", network="red", nic=vnet.Pipe(), guard="off")
            assert known(fabric) == ({(10, "static")} if static else set())
            # Nobody else hears what is for it, though it never said a word.
            await third.send(frame(PROBE, fabric.guests["third"].mac))
            assert await heard(probe)
            assert await heard(ear) != static


@pytest.mark.parametrize("sticky", [False, True])
async def test_its_station_elsewhere(autojump_clock: trio.testing.MockClock, sticky: bool) -> None:
    async with Fabric.from_dict(lab(static=True, sticky=sticky)) as fabric:
        third = fabric.port("third")
        await third.opened.far.send(frame(fabric.guests["web"].mac, PROBE))
        await trio.sleep(0.001)
        assert known(fabric) == {(10, "sticky" if sticky else "static")}
        assert third.counters()["drops"] == ({"station-sticky": 1} if sticky else {})


async def test_entries_follow_the_topology(autojump_clock: trio.testing.MockClock) -> None:
    async with Fabric.from_dict(lab()) as fabric:
        for keys, wanted in (
            ({"static": True}, {(10, "static")}),
            ({"static": True, "sticky": True}, {(10, "sticky")}),
            ({"static": True, "network": None, "trunk": ["red", "blue"], "native": "red"},
             {(10, "static"), (20, "static")}),
            ({"static": True, "network": "blue", "ip": []}, {(20, "static")}),
            ({"static": True, "up": False}, {(10, "static")}),
            ({}, set()),
        ):  # fmt: skip
            document = lab(**keys)
            nic = document["guests"]["probe"]["nics"][0]
            if nic["network"] is None:
                del nic["network"]
            await fabric.apply(Topology.from_dict(document))
            assert known(fabric) == wanted, keys
        await fabric.apply(Topology.from_dict(lab(static=True)))
        await fabric.detach("probe")
        assert [entry for entry in fabric.fdb() if entry["mac"] == PROBE] == []


async def test_a_change_that_is_undone_leaves_the_entries_as_they_were() -> None:
    async with Fabric.from_dict(lab(static=True)) as fabric:
        document = lab({"fdb_limit": 1, "ageing": "10 s"}, static=False)
        document["guests"]["bad"] = {
            "kind": "external",
            "nics": [{"network": "red", "nic": {"kind": "stream", "socket": "/proc/no/such"}}],
        }
        with pytest.raises(vnet.VnetError, match="/proc/no/such"):
            await fabric.apply(Topology.from_dict(document))
        assert known(fabric) == {(10, "static")}
        assert fabric.topology.switches["s1"].fdb_limit == 1 << 20


async def test_limits_and_ageing_change_while_it_runs(autojump_clock: trio.testing.MockClock) -> None:
    async with Fabric.from_dict(lab()) as fabric:
        third = fabric.port("third").opened.far
        for number in range(20):
            await third.send(frame("ff:ff:ff:ff:ff:ff", f"02:00:00:00:01:{number:02x}"))
            await trio.sleep(1)
        assert len(fabric.fdb(port="third")) == 20
        # What was heard last is kept; what is beyond the limit is forwarded and not learned.
        told = await fabric.apply(Topology.from_dict(lab({"vlan_limit": 8})))
        assert told == ["change switch s1: vlan_limit 262144 -> 8"]
        last = [f"02:00:00:00:01:{number:02x}" for number in range(12, 20)]
        assert [entry["mac"] for entry in fabric.fdb(port="third")] == last
        await fabric.apply(Topology.from_dict(lab({"fdb_limit": 5})))
        assert [entry["mac"] for entry in fabric.fdb()] == last[3:]
        # Entries keep their age: four of them are older than 2 s, and the rest go when it is their time.
        await fabric.apply(Topology.from_dict(lab({"ageing": "2.5 s"})))
        assert [entry["mac"] for entry in fabric.fdb()] == last[6:]
        await trio.sleep(1)
        assert [entry["mac"] for entry in fabric.fdb()] == last[7:]
        await trio.sleep(1)
        assert fabric.fdb() == []


async def test_a_switch_that_went_and_came_again_has_its_new_settings() -> None:
    def named(name: str, **keys: Any) -> Topology:
        return Topology("lab").network("red").switch(name, **keys)

    async with Fabric(named("s1").guest("a", network="red")) as fabric:
        await fabric.apply(named("s2").guest("a", network="red"))
        await fabric.apply(named("s1", fdb_limit=1).guest("a", network="red", static=True))
        await fabric.attach("b", network="red")
        assert [entry["kind"] for entry in fabric.fdb()] == ["static"]


async def test_of_the_database_one_port_or_network_is_asked_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with Fabric.from_dict(lab(static=True)) as fabric:
        fabric.engine.fdb_set(fabric.port("third").number, 10, "02:00:00:00:00:0b")
        everything = fabric.fdb()
        assert len(everything) == 2
        for port in ("third", "probe"):
            of_it = [entry for entry in everything if entry["port"] == f"{port}.0"]
            assert fabric.fdb(port=port) == of_it != []
        assert fabric.fdb(network="red") == everything
        assert fabric.fdb(network="blue") == []
