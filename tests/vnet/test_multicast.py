"""Multicast goes to who asked for it: across switches, in virtual time."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

import vnet
from nics.errors import BadInput
from vnet.cli.status import multicast

GROUP = "239.7.7.7"
GROUP6 = "ff05::7777"
MAC = {GROUP: b"\x01\x00\x5e\x07\x07\x07", GROUP6: b"\x33\x33\x00\x00\x77\x77"}


def row(count: int, **keys: Any) -> vnet.Topology:
    """Switches in a row, with two hosts and an unguarded pipe at each."""
    topology = vnet.Topology("row", seed=4)
    topology.network("red", vlan=10, subnets=["10.0.1.0/24", "fd00:1::/64"], multicast=keys)
    for number in range(1, count + 1):
        topology.switch(f"s{number}")
        for letter in "ab":
            topology.guest(f"{letter}{number}", network="red", switch=f"s{number}")
        topology.guest(
            f"p{number}", kind="external", network="red", switch=f"s{number}", nic=vnet.Pipe(), guard="off"
        )
        if number > 1:
            topology.link(f"s{number - 1}", f"s{number}")
    return topology


def udp(group: str, source: bytes = b"\x02\x00\x00\x00\x00\x99") -> bytes:
    """A datagram to port 4000 of a group, without checksum in IPv4."""
    from scapy.layers.inet import IP, UDP
    from scapy.layers.inet6 import IPv6
    from scapy.layers.l2 import Ether

    header = IP(src="10.0.1.99", dst=group) if "." in group else IPv6(src="fd00:1::99", dst=group)
    ether = Ether(src=source.hex(":"), dst=MAC[group].hex(":"))
    return bytes(ether / header / UDP(sport=4000, dport=4000) / b"news")


def received(fabric: vnet.Fabric) -> dict[str, int]:
    return {name: port.counters()["tx_frames"] for name, port in fabric.ports.items()}


async def reached(fabric: vnet.Fabric, sender: str, frame: bytes) -> set[str]:
    """The ports at which a frame arrives that `sender`'s pipe sends: so often that nothing else could."""
    before = received(fabric)
    for _ in range(20):
        await fabric.guests[sender].ports[f"{sender}.0"].opened.far.send(frame)
    await trio.sleep(0.01)
    return {name for name, count in received(fabric).items() if count >= before[name] + 20}


@pytest.mark.parametrize("group", [GROUP, GROUP6])
async def test_a_group_reaches_its_members_and_no_link_in_vain(
    autojump_clock: trio.testing.MockClock, group: str
) -> None:
    async with vnet.Fabric(row(4, unknown="routers")) as fabric:
        await trio.sleep(5)
        assert await reached(fabric, "p1", udp(group)) == set()
        listener = await fabric.guests["a3"].host().udp_socket(4000)
        listener.join(group)
        await trio.sleep(1)
        ends = {name: end.counters()["tx_frames"] for name, end in fabric.wiring.link_ends().items()}
        assert await reached(fabric, "p1", udp(group)) == {"a3.0"}
        data, address = await listener.receive_from()
        assert (data, address[1]) == (b"news", 4000)
        carried = {n for n, end in fabric.wiring.link_ends().items() if end.counters()["tx_frames"] > ends[n]}
        assert carried == {"s1-s2.a", "s2-s3.a"}
        # Every switch knows where it leads, and says so.
        assert {(m["switch"], m["port"]) for m in fabric.members() if m["group"] == group} == {
            ("s1", "s1-s2.a"),
            ("s2", "s2-s3.a"),
            ("s3", "a3.0"),
            ("s4", "s3-s4.b"),
        }
        # It lives on: who asks is answered. And it ends when it is left.
        await trio.sleep(3600)
        assert await reached(fabric, "p4", udp(group)) == {"a3.0"}
        listener.leave(group)
        await trio.sleep(30)
        assert [member for member in fabric.members() if member["group"] == group] == []
        assert await reached(fabric, "p1", udp(group)) == set()
        assert fabric.port("p1").counters()["drops"]["no-listener"] >= 40


@pytest.mark.parametrize("fast", [False, True], ids=["asked", "fast"])
@pytest.mark.parametrize("group", [GROUP, GROUP6])
async def test_no_link_carries_what_nobody_wants_any_more(
    autojump_clock: trio.testing.MockClock, group: str, fast: bool
) -> None:
    """Wherever it was wanted, at the switch that asks or at another."""
    async with vnet.Fabric(row(3, unknown="routers", fast_leave=fast)) as fabric:
        await trio.sleep(10)
        for number in "123":
            listener = await fabric.guests[f"a{number}"].host().udp_socket(4000)
            listener.join(group)
            await trio.sleep(2)
            assert {m["switch"] for m in fabric.members() if m["group"] == group} == {"s1", "s2", "s3"}
            listener.leave(group)
            await trio.sleep(5)
            assert [m for m in fabric.members() if m["group"] == group] == [], number
            ends = {name: end.counters()["tx_frames"] for name, end in fabric.wiring.link_ends().items()}
            for sender in ("p1", "p2", "p3"):
                assert await reached(fabric, sender, udp(group)) == set()
            carried = [
                n for n, end in fabric.wiring.link_ends().items() if end.counters()["tx_frames"] > ends[n]
            ]
            assert carried == [], number


async def test_one_switch_asks_for_all(autojump_clock: trio.testing.MockClock) -> None:
    async with vnet.Fabric(row(3)) as fabric:
        await trio.sleep(600)
        sides = [side for switch in fabric.switches() for side in switch["multicast"]]
        for protocol in ("igmp", "mld"):
            own = [side for side in sides if side["protocol"] == protocol]
            assert sum(side["ours"] for side in own) == 1
            assert len({side["querier"] for side in own}) == 1
        lines = list(multicast(fabric.switches()))
        assert len(lines) == 7
        assert "asked from 0.0.0.0 (itself)" in "\n".join(lines)
        # It goes, and another one takes over.
        asking = next(s["switch"] for s in fabric.switches() if s["multicast"][0]["ours"])
        other = "s3" if asking != "s3" else "s1"
        link = "s2-s3" if "s3" in (asking, other) and "s2" in (asking, "s2") else "s1-s2"
        await fabric.set_link(link, False)
        await trio.sleep(600)
        assert sum(switch["multicast"][0]["ours"] for switch in fabric.switches()) == 2


async def test_a_new_way_is_found_at_once(autojump_clock: trio.testing.MockClock) -> None:
    """A ring with RSTP: the members are behind another link after a cut."""
    topology = row(4, unknown="routers")
    for name in list(topology.switches):
        topology.switch(name, stp="rstp")
    topology.link("s4", "s1")
    async with vnet.Fabric(topology) as fabric:
        await trio.sleep(10)
        listener = await fabric.guests["a3"].host().udp_socket(4000)
        listener.join(GROUP)
        await trio.sleep(60)
        assert await reached(fabric, "p1", udp(GROUP)) == {"a3.0"}
        for link in ("s1-s2", "s4-s1"):
            await fabric.set_link(link, False)
            # While hosts are asked again, the links carry everything; then what is wanted.
            for wait in (0.2, 1, 10):
                await trio.sleep(wait)
                assert await reached(fabric, "p1", udp(GROUP)) == {"a3.0"}, (link, wait)
            await fabric.set_link(link, True)
            await trio.sleep(60)


async def test_guests_are_no_queriers(autojump_clock: trio.testing.MockClock) -> None:
    topology = row(1, unknown="routers", address="10.0.1.200")
    topology.guest("rogue", kind="external", network="red", nic=vnet.Pipe(), ip="10.0.1.2")
    async with vnet.Fabric(topology) as fabric:
        await trio.sleep(5)
        mac = bytes.fromhex(fabric.port("rogue").wanted.mac.replace(":", ""))
        from scapy.layers.inet import IP
        from scapy.layers.l2 import Ether

        packet = IP(src="10.0.1.2", dst="224.0.0.1", ttl=1, proto=2) / bytes.fromhex(
            "1164ec1e00000000027d0000"
        )
        query = bytes(Ether(src=mac.hex(":"), dst="01:00:5e:00:00:01") / packet)
        await reached(fabric, "rogue", query)
        assert fabric.port("rogue").counters()["drops"] == {"guard-querier": 20}
        side = fabric.switches()[0]["multicast"][0]
        assert (side["querier"], side["ours"], side["routers"]) == ("10.0.1.200", True, [])
        # Who may is one: it has the lower address, and hears what it asked for.
        topology.guest(
            "rogue", kind="external", network="red", nic=vnet.Pipe(), ip="10.0.1.2",
            guard={"querier": "allow"},
        )  # fmt: skip
        await fabric.apply(topology)
        await reached(fabric, "rogue", query)
        side = fabric.switches()[0]["multicast"][0]
        assert (side["querier"], side["ours"], side["routers"]) == ("10.0.1.2", False, ["rogue.0"])
        assert await reached(fabric, "p1", udp(GROUP)) == {"rogue.0"}


async def test_snooping_comes_and_goes_while_it_runs(autojump_clock: trio.testing.MockClock) -> None:
    topology = row(2, snooping=False)
    async with vnet.Fabric(topology) as fabric:
        listener = await fabric.guests["a2"].host().udp_socket(4000)
        listener.join(GROUP)
        everybody = {"a1.0", "b1.0", "a2.0", "b2.0", "p2.0"}
        assert await reached(fabric, "p1", udp(GROUP)) == everybody
        assert fabric.switches()[0]["multicast"] == []
        topology.network(
            "red", vlan=10, subnets=["10.0.1.0/24", "fd00:1::/64"], multicast={"unknown": "routers"}
        )
        done = await fabric.apply(topology)
        assert len(done) == 1
        # Who was there already is asked.
        await trio.sleep(5)
        assert await reached(fabric, "p1", udp(GROUP)) == {"a2.0"}
        steps, ports = fabric.explain("p1", udp(GROUP))
        assert ports == ["a2.0"]
        assert any("those who asked for it" in step.text for step in steps)
        topology.network("red", vlan=11, subnets=["10.0.1.0/24", "fd00:1::/64"])
        await fabric.apply(topology)
        assert await reached(fabric, "p1", udp(GROUP)) == everybody
        assert fabric.members() == []


def test_what_a_querier_can_not_be() -> None:
    for address, found in {
        "10.0.2.1": "is in no subnet of red",
        "10.0.1.1": "is the gateway",
        "10.0.1.255": "is the broadcast address",
        "fd00:1::5": "expected an IPv4 address",
        "10.0.1.50": "is guests.web.nics[0]'s",
    }.items():
        topology = vnet.Topology("t")
        topology.network("red", subnets=["10.0.1.0/24", "fd00:1::/64"], multicast={"address": address})
        topology.guest("web", network="red", ip="10.0.1.50")
        with pytest.raises(BadInput, match=found.replace("[", r"\[").replace("]", r"\]")):
            topology.check()
    said = {"name": "t", "networks": {"red": {"multicast": {"snooping": True}}}}
    assert vnet.Topology.from_dict(said).to_dict() == said
