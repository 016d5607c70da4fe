"""A VLAN that passes to another network: what was learned in it does not, and who stays notices nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import ARP, Dot1Q, Ether

import vnet
from tests.vnet.test_cut import after_each, fails, far, heard
from vnet import leases as notes
from vnet.topology import Topology, actions

BROADCAST = "ff:ff:ff:ff:ff:ff"
MAC = {name: f"02:00:00:00:00:0{name}" for name in "abcd"}


def lab(vlans: Mapping[str, int], **nics: dict[str, Any]) -> Topology:
    """Networks with the same addresses, and guests with a NIC each."""
    networks = {name: {"vlan": vlan, "subnets": ["10.0.0.0/24"]} for name, vlan in vlans.items()}
    guests = {
        name: {"kind": "external", "nics": [{"nic": {"kind": "pipe"}, "mac": MAC[name], **keys}]}
        for name, keys in nics.items()
    }
    return Topology.from_dict(
        {"name": "lab", "networks": networks, "groups": {"shut": {"ingress": []}}, "guests": guests}
    )


def leases(fabric: vnet.Fabric) -> list[tuple[int, str]]:
    return [(vlan, prefix) for vlan, prefix, _ in fabric.engine.bindings(fabric.port("a").number)]


def announces(vlan: int | None = None) -> bytes:
    """Guest a says that it has the address that it got by DHCP."""
    link = Ether(src=MAC["a"], dst=BROADCAST)
    link = link if vlan is None else link / Dot1Q(vlan=vlan)
    return bytes(link / ARP(op=2, hwsrc=MAC["a"], psrc="10.0.0.77", pdst="10.0.0.77", hwdst=BROADCAST))


async def hears(fabric: vnet.Fabric, sender: str, frame: bytes, receiver: str) -> bool:
    await far(fabric, sender).send(frame)
    return bool(heard(fabric, receiver))


async def test_a_lease_is_not_good_in_another_network_that_has_the_vlan(autojump_clock: Any) -> None:
    def tenants(network: str) -> Topology:
        return lab(
            {network: 10}, a={"network": network, "ip": "dhcp"}, b={"network": network, "ip": "10.0.0.2"}
        )

    async with vnet.Fabric(tenants("red")) as fabric:
        fabric.engine.bind(fabric.port("a").number, 10, "10.0.0.77/32", None)
        assert await hears(fabric, "a", announces(), "b")
        done = await fabric.apply(tenants("green"))
        assert "VLAN 10 passes from red to green" in done
        assert leases(fabric) == []
        assert not await hears(fabric, "a", announces(), "b")
        assert fabric.port("a").counters()["drops"] == {"guard-arp": 1}


@pytest.mark.parametrize("undone", [False, True])
async def test_a_lease_goes_with_its_network(autojump_clock: Any, undone: bool) -> None:
    def tenants(red: int, blue: int) -> Topology:
        both = {"trunk": ["red", "blue"]}
        return lab(
            {"red": red, "blue": blue}, a={**both, "native": "red", "ip": "dhcp"}, b={**both, "guard": "off"}
        )

    async with vnet.Fabric(tenants(10, 20)) as fabric:
        fabric.engine.bind(fabric.port("a").number, 10, "10.0.0.77/32", None)
        fabric.engine.bind(fabric.port("a").number, 20, "10.0.0.78/32", None)
        if undone:
            await fails(fabric, tenants(20, 10))
        else:
            await fabric.apply(tenants(20, 30))
        red, blue = (10, 20) if undone else (20, 30)
        assert leases(fabric) == [(red, "10.0.0.77/32"), (blue, "10.0.0.78/32")]
        assert await hears(fabric, "a", announces(), "b")
        assert not await hears(fabric, "a", announces(blue), "b")


async def test_nothing_is_noted_of_leases_between_two_steps(autojump_clock: Any, tmp_path: Path) -> None:
    def tenants(red: int, blue: int) -> Topology:
        return lab({"red": red, "blue": blue}, a={"trunk": ["red", "blue"], "native": "red", "ip": "dhcp"})

    file = tmp_path / notes.FILE

    async def look(action: actions.Action) -> None:
        if isinstance(action, actions.HandOver):
            await trio.sleep(3 * notes.EVERY)
            assert not file.exists()

    async with vnet.Fabric(tenants(10, 20)) as fabric, trio.open_nursery() as nursery:
        fabric.engine.bind(fabric.port("a").number, 10, "10.0.0.77/32", None)
        nursery.start_soon(notes.keep, fabric, file)
        await trio.testing.wait_all_tasks_blocked()
        with after_each(look):
            await fabric.apply(tenants(20, 10))
        nursery.cancel_scope.cancel()
    (noted,) = json.loads(file.read_text())["leases"]
    assert (noted["network"], noted["prefix"]) == ("red", "10.0.0.77/32")


async def test_a_connection_is_not_one_of_another_network_that_has_the_vlan(autojump_clock: Any) -> None:
    def tenants(red: int, blue: int) -> Topology:
        trunk = {"trunk": ["red", "blue"], "guard": "off", "groups": "shut"}
        same = {"ip": "10.0.0.2"}
        return lab(
            {"red": red, "blue": blue}, a=trunk, b={"network": "red", **same}, c={"network": "blue", **same}
        )

    def question(to: str, port: int, vlan: int) -> bytes:
        link = Ether(src=MAC["a"], dst=MAC[to]) / Dot1Q(vlan=vlan)
        return bytes(link / IP(src="10.0.0.9", dst="10.0.0.2") / UDP(sport=port, dport=53) / b"who")

    def answer(by: str, port: int) -> bytes:
        link = Ether(src=MAC[by], dst=MAC["a"])
        return bytes(link / IP(src="10.0.0.2", dst="10.0.0.9") / UDP(sport=53, dport=port) / b"you")

    async with vnet.Fabric(tenants(10, 20)) as fabric:
        assert await hears(fabric, "a", question("b", 1000, 10), "b")
        assert await hears(fabric, "b", answer("b", 1000), "a")
        await fabric.apply(tenants(20, 10))
        assert await hears(fabric, "a", question("c", 2000, 10), "c")
        assert await hears(fabric, "c", answer("c", 2000), "a")
        assert not await hears(fabric, "c", answer("c", 1000), "a")
        assert fabric.port("a").counters()["drops"] == {"group-ingress": 1}


def building(red: int, blue: int, **link: Any) -> Topology:
    """Networks across two switches, and a wire; green's VLAN stays."""
    topology = Topology("building", seed=1)
    topology.network("red", vlan=red).network("blue", vlan=blue).network("green", vlan=99)
    topology.switch("left", stp="stp").switch("right", stp="stp").link("left", "right", name="core", **link)
    for name, network, switch in (
        ("r", "red", "left"),
        ("b", "blue", "right"),
        ("g", "green", "left"),
        ("h", "green", "right"),
    ):
        topology.guest(name, kind="external", network=network, switch=switch, nic=vnet.Pipe())
    return topology.uplink("wan", nic=vnet.Pipe(), native="red", tagged=["blue", "green"], switch="left")


def says(fabric: vnet.Fabric, guest: str, text: bytes) -> bytes:
    mac = bytes.fromhex(fabric.port(guest).wanted.mac.replace(":", ""))
    return b"\xff" * 6 + mac + b"\x88\xb5" + text.ljust(48, b"\0")


async def test_who_stays_loses_nothing(autojump_clock: Any) -> None:
    async with vnet.Fabric(building(10, 20)) as fabric:
        await trio.sleep(60)
        fabric.send("g", says(fabric, "g", b"before"))
        assert heard(fabric, "h")
        steps = []

        async def watch(action: actions.Action) -> None:
            steps.append(action)
            fabric.send("g", says(fabric, "g", b"green"))
            assert [frame[14:19] for frame in heard(fabric, "h")] == [b"green"]
            on_wire = [frame for frame in heard(fabric, "wan") if b"green" in frame]
            assert len(on_wire) == 1
            # Who was in one of the VLANs that pass meets nobody.
            fabric.send("r", says(fabric, "r", b"red"))
            assert not heard(fabric, "b")

        with after_each(watch):
            await fabric.apply(building(20, 10))
        assert [str(step) for step in steps if isinstance(step, actions.HandOver)] == [
            "VLAN 10 passes from red to blue, VLAN 20 passes from blue to red"
        ]
        assert all(port["link"] == "up" for port in fabric.status()["ports"])


@pytest.mark.parametrize("cables", [1, 2])
async def test_what_is_on_a_link_is_lost_with_its_vlan_alone(autojump_clock: Any, cables: int) -> None:
    slow = {"impair": {"delay": "1 s"}}
    link = slow if cables == 1 else {"cables": [slow, slow], "bond": {"mode": "static"}}
    async with vnet.Fabric(building(10, 20, **link)) as fabric:
        await trio.sleep(60)
        for guest in ("r", "g"):
            await far(fabric, guest).send(says(fabric, guest, guest.encode() * 4))
        heard(fabric, "b")
        await fabric.apply(building(20, 10, **link))
        await trio.sleep(2)
        assert not [frame for frame in heard(fabric, "b") if b"rrrr" in frame]
        assert len([frame for frame in heard(fabric, "h") if b"gggg" in frame]) == 1
        assert fabric.status()["ports"][-2]["drops"] == {"tx-not-member": 1}
