"""Cables from one guest's NIC to another's, without a switch."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio
import trio.testing

import vnet
from nics.errors import BadInput
from vnet.check import Proof
from vnet.graph import svg
from vnet.guests import StackGuest

CABLE = {"ends": ["a.0", "b.0"], "impair": {"a_to_b": {"delay": "5 ms"}, "b_to_a": {"delay": "2 ms"}}}


def topology(*links: dict[str, Any], **more: Any) -> vnet.Topology:
    """Guests a and b with a cable between them; a second NIC of a, c and d at a switch."""
    p2p, lan = {"network": "p2p"}, {"network": "lan"}
    document = {
        "name": "direct",
        "networks": {"p2p": {"subnets": ["10.0.0.0/24"]}, "lan": {"subnets": ["10.1.0.0/24"]}},
        "guests": {
            name: {"nics": nics}
            for name, nics in (("a", [p2p, lan]), ("b", [p2p]), ("c", [lan]), ("d", [p2p]))
        },
        "links": [CABLE, *links],
        **more,
    }
    return vnet.Topology.from_dict(document)


def stack(fabric: vnet.Fabric, name: str) -> StackGuest:
    guest = fabric.guests[name]
    assert isinstance(guest, StackGuest)
    return guest


async def dark(fabric: vnet.Fabric) -> list[str]:
    """The NICs without carrier."""
    await trio.testing.wait_all_tasks_blocked()
    return [port["port"] for port in fabric.status()["ports"] if not port["carrier"]]


async def test_a_cable_leads_from_one_to_the_other_alone(autojump_clock: trio.testing.MockClock) -> None:
    async with vnet.Fabric(topology()) as fabric:
        a, b, c, d = (stack(fabric, name) for name in "abcd")
        await a.ping(b)
        assert await a.ping(b) == pytest.approx(0.007)
        assert await b.ping(a) == pytest.approx(0.007)
        assert await a.ping(c) == 0, "by its other NIC, at the switch"
        for one, other in ((d, b), (d, a), (b, d)):
            with pytest.raises(vnet.Unreachable):
                await one.ping(other, timeout=1)
        # It is captured, explained and billed as any other.
        frame = bytes.fromhex((b.mac + a.mac).replace(":", "")) + b"\x88\xb5".ljust(48, b"\0")
        assert fabric.explain("a.0", frame)[1] == ["b.0"]
        fates = fabric.explain("a.0", b"\xff" * 6 + frame[6:])
        assert fates[1] == ["b.0"], "a broadcast gets nowhere else"
        used = {entry["nic"]: entry for entry in fabric.usage()["nics"]}
        assert used["a.0"]["egress"] == used["b.0"]["ingress"]
        assert used["a.0"]["egress"]["fabric"]["frames"] > 0


async def test_a_guard_is_at_each_end(autojump_clock: trio.testing.MockClock) -> None:
    async with vnet.Fabric(topology()) as fabric:
        forged = b"\xff" * 6 + bytes.fromhex("0200000000aa") + b"\x88\xb5".ljust(48, b"\0")
        assert fabric.send("a.0", forged)["reason"] == "guard-mac"


async def test_it_is_cut_for_both(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    cut = {"schedule": [{"from": "10 s", "to": "12 s", "up": False}]}
    document = topology().to_dict()
    document["links"] = [CABLE | cut]
    wanted = vnet.Topology.from_dict(document)
    async with vnet.Fabric(wanted) as fabric:
        caplog.set_level(logging.INFO, "vnet")
        for name in ("a.0-b.0", "b.0", "a.0"):
            await fabric.set_link(name, False)
            assert await dark(fabric) == ["a.0", "b.0"]
            await fabric.set_link(name, True)
            assert not await dark(fabric)
        await trio.sleep_until(9.9)
        assert not await dark(fabric)
        await trio.sleep_until(10.1)
        assert await dark(fabric) == ["a.0", "b.0"]
        await trio.sleep_until(12.1)
        assert not await dark(fabric)
        await stack(fabric, "a").ping(stack(fabric, "b"))


async def test_it_changes_while_it_runs(autojump_clock: trio.testing.MockClock) -> None:
    async with vnet.Fabric(topology()) as fabric:
        document = topology().to_dict()
        document["links"] = [{"ends": ["b.0", "a.0"], "impair": {"delay": "1 ms"}, "name": "x"}]
        await fabric.apply(vnet.Topology.from_dict(document))
        a, b = stack(fabric, "a"), stack(fabric, "b")
        await a.ping(b)
        assert await a.ping(b) == pytest.approx(0.002)
        document["links"] = []
        await fabric.apply(vnet.Topology.from_dict(document))
        await a.ping(b)
        assert await stack(fabric, "d").ping(b) == 0, "all of them are at the switch now"
        # A guest that holds an end can't be taken away from under it.
        await fabric.apply(topology())
        with pytest.raises(BadInput, match=r'no NIC "b.0"'):
            await fabric.detach("b")


async def test_link_local_frames_pass_where_it_is_transparent(autojump_clock: trio.testing.MockClock) -> None:
    wanted = topology()
    wanted.guest("a", kind="external", nics=[{"network": "p2p", "nic": {"kind": "pipe"}, "guard": "off"}] * 2)
    wanted.links.clear()
    wanted.link("a.0", "b.0", transparent=True)
    async with vnet.Fabric(wanted) as fabric:
        lldp = bytes.fromhex("0180c200000e0200000000aa88cc").ljust(60, b"\0")
        assert fabric.send("a.0", lldp)["reason"] is None
        assert fabric.send("a.1", lldp)["reason"] == "link-local"


def test_it_is_proved_and_drawn() -> None:
    wanted = topology().expecting("a", "b", True).expecting("d", "b", False)
    proof = Proof(wanted, wanted.resolve())
    assert proof.pair("a", "b").ethernet
    assert not proof.pair("d", "b").ethernet
    assert "a.0-b.0" in svg(wanted)


@pytest.mark.parametrize(
    ("link", "told"),
    [
        (
            {"ends": ["a.1", "e.0"]},
            'links[1].ends[1]: no NIC "e.0", expected a.0, a.1, b.0, c.0 or d.0',
        ),
        ({"ends": ["a.1", "b.0"]}, "links[1].ends[1]: b.0 is an end of links[0] already"),
        ({"ends": ["a.1", "a.1"]}, "links[1].ends: a.1 twice, expected two switches, or two NICs"),
        ({"ends": ["a.1", "c"]}, "links[1].ends[1]: guest c, expected switches: s1; or two NICs"),
        ({"ends": ["s1", "c.0"]}, "(a NIC is called c.0; one at a switch needs no link)"),
        ({"ends": ["a.1", "c.0"], "networks": ["p2p"]}, "networks of a link between NICs"),
        ({"ends": ["a.1", "c.0"], "cables": [{}, {}]}, "cables of a link between NICs"),
    ],
)
def test_mistakes_are_told(link: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInput) as caught:
        topology(link)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("nic", "told"),
    [
        ({"network": "lan"}, "a.0 is in p2p, b.0 in lan, expected a network that both are in"),
        (
            {"network": "p2p", "switch": "s1"},
            "guests.b.nics[0].switch: switch of a NIC with a cable of its own",
        ),
        ({"network": "p2p", "impair": {"delay": "1 ms"}}, "expected it at the link, links[0]"),
    ],
)
def test_mistakes_of_its_nics_are_told(nic: dict[str, Any], told: str) -> None:
    guests = {"a": {"nics": [{"network": "p2p"}]}, "b": {"nics": [nic]}}
    with pytest.raises(BadInput) as caught:
        topology(guests=guests)
    assert told in str(caught.value)


def test_what_was_read_is_written() -> None:
    assert vnet.Topology.from_dict(topology().to_dict()) == topology()
