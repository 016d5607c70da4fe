"""Uplinks of a fabric, with a pipe in place of a physical network: what leaves there and what comes in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    IPv6,
)
from scapy.layers.l2 import ARP, Dot1Q, Ether

import vnet
from nics.pipe import PipeEnd
from vnet import announce, uplinks
from vnet.errors import BadInput
from vnet.topology import Topology
from vnet.topology.plan import plan
from vnet.uplinks import stations

WORLD = "02:ff:00:00:00:01"
BROADCAST = "ff:ff:ff:ff:ff:ff"


def lab(**uplink: Any) -> Topology:
    """Two tenants with the same addresses, and a wire."""
    topology = Topology("lab", seed=1)
    topology.network("red", vlan=10, subnets="10.0.0.0/24")
    topology.network("blue", vlan=20, subnets="10.0.0.0/24")
    for name, network in (("r", "red"), ("b", "blue")):
        topology.guest(name, network=network, ip="10.0.0.2", mac=f"02:00:00:00:00:0{'12'[network == 'blue']}")
    keys = {"nic": vnet.Pipe(), "native": "red", "tagged": ["blue"], **uplink}
    return topology.uplink("wan", **{key: value for key, value in keys.items() if value is not None})


def request(vid: int | None = None, source: str = WORLD) -> bytes:
    """An ARP request for 10.0.0.2 from the wire."""
    tag = Ether(dst=BROADCAST, src=source) / Dot1Q(vlan=vid) if vid else Ether(dst=BROADCAST, src=source)
    return bytes(tag / ARP(op=1, hwsrc=source, psrc="10.0.0.1", pdst="10.0.0.2"))


async def answer(wire: PipeEnd) -> tuple[str, int | None]:
    """Who answers, and the VLAN id in which."""
    while True:
        frame = Ether(await wire.receive())
        if ARP in frame and frame[ARP].op == 2:
            return frame.src, frame[Dot1Q].vlan if Dot1Q in frame else None


@pytest.mark.usefixtures("autojump_clock")
async def test_networks_native_tagged_and_translated() -> None:
    async with vnet.Fabric(lab()) as fabric:
        wire = fabric.ports["wan"].opened.far
        assert isinstance(wire, PipeEnd)
        await wire.send(request())
        assert await answer(wire) == ("02:00:00:00:00:01", None)
        await wire.send(request(20))
        assert await answer(wire) == ("02:00:00:00:00:02", 20)
        # Another number on the wire, while it runs; the old one means nothing any more.
        done = await fabric.apply(lab(vlans={"blue": 120}))
        assert [line.split(":")[0] for line in done] == ["change uplink wan"]
        for vid in (20, 121):
            await wire.send(request(vid))
        await wire.send(request(120))
        assert await answer(wire) == ("02:00:00:00:00:02", 120)
        drops = fabric.ports["wan"].counters()["drops"]
        assert drops == {"vlan-not-member": 2}
        await wire.send(request(10))
        assert await answer(wire) == ("02:00:00:00:00:01", None), "the native one may come tagged, too"


@pytest.mark.usefixtures("autojump_clock")
async def test_storms_from_the_physical_network() -> None:
    async with vnet.Fabric(lab(storm={"broadcast": "40 /s"})) as fabric:

        async def passed(count: int) -> int:
            """How many of so many broadcasts, at once."""
            wire = fabric.ports["wan"].opened.far
            assert isinstance(wire, PipeEnd)
            port = fabric.ports["wan"]
            before = port.counters()
            for _ in range(count):
                await wire.send(request())
            while port.counters()["rx_frames"] < before["rx_frames"] + count:
                await trio.lowlevel.checkpoint()
            return port.counters()["forwarded"] - before["forwarded"]

        assert await passed(100) == 5, "a tenth of a second's worth, and the one that exceeds it"
        assert fabric.ports["wan"].counters()["drops"] == {"storm-broadcast": 95}
        steps, reached = fabric.explain("wan", request())
        assert (steps[-1].reason, steps[-1].path) == ("storm-broadcast", ("uplinks", "wan", "storm"))
        assert reached == []
        await trio.sleep(10)
        assert await passed(100) == 5, "all senders there together, however long they were silent"
        await fabric.apply(lab())
        assert await passed(100) == 100


@pytest.mark.usefixtures("autojump_clock")
async def test_a_guest_talks_with_the_world_and_is_never_heard_from_there() -> None:
    async with vnet.Fabric(lab()) as fabric:
        wire = fabric.ports["wan"].opened.far
        assert isinstance(wire, PipeEnd)

        async def world() -> None:
            while True:
                frame = Ether(await wire.receive())
                if ARP in frame and frame[ARP].op == 1 and frame[ARP].pdst == "10.0.0.9":
                    await wire.send(bytes(frame))  # a reflection, as of a loop
                    reply = ARP(op=2, hwsrc=WORLD, psrc="10.0.0.9", hwdst=frame.src, pdst="10.0.0.2")
                    await wire.send(bytes(Ether(dst=frame.src, src=WORLD) / reply))
                elif ICMP in frame:
                    assert frame.src == "02:00:00:00:00:01"
                    echo = IP(src="10.0.0.9", dst="10.0.0.2") / ICMP(
                        type=0, id=frame[ICMP].id, seq=frame[ICMP].seq
                    )
                    await wire.send(
                        bytes(Ether(dst=frame.src, src=WORLD) / echo / bytes(frame[ICMP].payload))
                    )

        async with trio.open_nursery() as nursery:
            nursery.start_soon(world)
            await fabric.guests["r"].ping("10.0.0.9")
            nursery.cancel_scope.cancel()
        assert fabric.ports["wan"].counters()["drops"] == {"uplink-own": 1}
        assert fabric.ports["b.0"].counters()["tx_frames"] == 0
        (entry,) = fabric.fdb(port="wan")
        assert (entry["mac"], entry["network"], entry["port"]) == (WORLD, "red", "wan")


def far_off() -> Topology:
    """A guest at one switch, a wire at another, and one between them; two links may be cut."""
    topology = Topology("far", seed=1).network("red", vlan=10, subnets="10.0.0.0/24")
    for name in ("left", "middle", "right"):
        topology.switch(name)
    topology.link("left", "middle").link("middle", "right")
    topology.guest("r", network="red", ip="10.0.0.2", mac="02:00:00:00:00:01", switch="right")
    topology.guest("l", network="red", ip="10.0.0.3", mac="02:00:00:00:00:03", switch="left")
    return topology.uplink("wan", nic=vnet.Pipe(), native="red", switch="left")


@pytest.mark.usefixtures("autojump_clock")
async def test_a_guest_at_another_switch_is_never_heard_from_there() -> None:
    own = "02:00:00:00:00:01"
    async with vnet.Fabric(far_off()) as fabric:
        wire = fabric.ports["wan"].opened.far
        assert isinstance(wire, PipeEnd)

        async def taken_in() -> bool:
            """Whether what says that it comes from the guest is."""
            before = fabric.ports["wan"].counters()
            await wire.send(request(source=own))
            await trio.sleep(0.001)
            after = fabric.ports["wan"].counters()
            dropped = after["drops"].get("uplink-own", 0) - before["drops"].get("uplink-own", 0)
            assert after["rx_frames"] == before["rx_frames"] + 1
            return dropped == 0

        # Whether somebody has heard it or not.
        for switch in (0, 1, 2):
            fabric.engine.fdb_flush(switch)
        assert not await taken_in()
        assert await fabric.guests["r"].ping(fabric.guests["l"]) == 0
        assert not await taken_in()
        # Behind a cut it may be reached by the wire; mended, it is not out there any more.
        await fabric.set_link("middle-right", up=False)
        assert await taken_in()
        assert any(entry["mac"] == own and entry["port"] == "wan" for entry in fabric.fdb(network="red"))
        await fabric.set_link("middle-right", up=True)
        assert not any(entry["mac"] == own and entry["port"] == "wan" for entry in fabric.fdb(network="red"))
        assert not await taken_in()
        # When it goes, its address is anybody's.
        await fabric.detach("r")
        assert await taken_in()


@pytest.mark.usefixtures("autojump_clock")
async def test_status_and_capture_know_it(tmp_path: Path) -> None:
    async with vnet.Fabric(lab()) as fabric:
        wire = fabric.ports["wan"].opened.far
        assert isinstance(wire, PipeEnd)
        status = {port["port"]: port for port in fabric.status()["ports"]}["wan"]
        assert (status["guest"], status["network"], status["trunk"]) == ("", "red", ["red", "blue"])
        async with fabric.capture(tmp_path / "wan.pcapng", "wan"):
            await wire.send(request(20))
            await answer(wire)
        assert (tmp_path / "wan.pcapng").stat().st_size > 300


@pytest.mark.usefixtures("autojump_clock")
async def test_comes_and_goes_while_the_rest_runs() -> None:
    without = lab()
    del without.uplinks["wan"]
    async with vnet.Fabric(without) as fabric:
        assert await fabric.apply(lab()) == ["add uplink wan (pipe) in red, blue"]
        assert "wan" in fabric.ports
        assert await fabric.apply(without) == ["remove uplink wan"]
        assert list(fabric.ports) == ["r.0", "b.0"]


@pytest.mark.usefixtures("autojump_clock")
async def test_the_world_is_told_where_a_guest_is_when_it_comes_and_when_the_uplink_does() -> None:
    topology = lab().network("green", vlan=30, subnets=["10.1.0.0/24", "fd00:1::/64"])
    topology.uplink("wan", nic=vnet.Pipe(), native="green", tagged=["red", "blue"])
    async with vnet.Fabric(topology) as fabric:
        wire = fabric.ports["wan"].opened.far
        assert isinstance(wire, PipeEnd)

        async def heard(*addresses: str) -> dict[str, Ether]:
            """What is announced, by address, until all of these were."""
            found: dict[str, Ether] = {}
            with trio.fail_after(5):
                while not found.keys() >= set(addresses):
                    frame = Ether(await wire.receive())
                    if ARP in frame and frame[ARP].psrc == frame[ARP].pdst:
                        found[frame[ARP].psrc] = frame
                    elif ICMPv6ND_NA in frame and frame[IPv6].dst == "ff02::1":
                        found[frame[ICMPv6ND_NA].tgt] = frame
            return found

        await heard("10.0.0.2")  # of r and b, when the fabric came up
        await fabric.attach("new", network="green", ip=["10.1.0.7", "fd00:1::7"], mac="02:00:00:00:00:77")
        for _ in range(2):
            told = await heard("10.1.0.7", "fd00:1::7")
            assert told["10.1.0.7"].src == "02:00:00:00:00:77"
            assert Dot1Q not in told["10.1.0.7"]
            advertisement = told["fd00:1::7"]
            assert (advertisement.src, advertisement[ICMPv6ND_NA].O) == ("02:00:00:00:00:77", 1)
            given = advertisement[ICMPv6ND_NA].cksum
            del advertisement[ICMPv6ND_NA].cksum
            assert Ether(bytes(advertisement))[ICMPv6ND_NA].cksum == given
            # The same once more, as when the uplink's carrier comes.
            uplinks.introduce(fabric, ["wan"])
        # A guest has another address, then the wire another VLAN.
        topology.guest("new", network="green", ip="10.1.0.8", mac="02:00:00:00:00:77")
        await fabric.apply(topology)
        assert (await heard("10.1.0.8"))["10.1.0.8"].src == "02:00:00:00:00:77"
        other = Topology.from_dict(
            topology.to_dict()
            | {"uplinks": {"wan": {"nic": {"kind": "pipe"}, "native": "red", "tagged": ["green"]}}}
        )
        await fabric.apply(other)
        assert (await heard("10.1.0.8"))["10.1.0.8"][Dot1Q].vlan == 30
        assert not [port for port in fabric.ports.values() if "guard-arp" in port.counters()["drops"]]


def test_without_an_address_it_says_so_in_reverse_in_every_vlan() -> None:
    topology = lab().network("bare", vlan=40)
    topology.guest("t", nics=[{"trunk": ["red", "bare"], "native": "bare", "mac": "02:00:00:00:00:08"}])
    tagged, plain = sorted(
        announce.frames(topology.resolve().ports["t.0"]), key=lambda frame: frame[12:14] != b"\x81\x00"
    )
    assert (Ether(tagged)[Dot1Q].vlan, Ether(tagged)[Dot1Q].type) == (10, 0x8035)
    assert (Ether(plain).type, Ether(plain).src) == (0x8035, "02:00:00:00:00:08")


def test_a_plan_leads_there_and_back() -> None:
    before, after = lab().resolve(), lab(tagged=["red"], native=None).resolve()
    actions = plan(before, after)
    model = before
    for action in actions:
        model = action.on(model)
    assert model == after
    for action in reversed(actions):
        model = action.inverse().on(model)
    assert model == before


def test_whose_frames_are_taken_in() -> None:
    topology = lab(native="red", tagged=["blue"])
    topology.guest(
        "more", network="red", guard={"allow": [{"mac": "02:00:00:00:00:77"}]}, mac="02:00:00:00:00:07"
    )
    resolved = topology.resolve()
    ports, wan = list(resolved.ports.values()), resolved.uplinks["wan"]
    known = [f"02:00:00:00:00:{end}" for end in ("01", "02", "07", "77")]
    assert stations([*ports, wan], wan) == known
    blue = lab(native="blue", tagged=None).resolve()
    assert stations(blue.ports.values(), blue.uplinks["wan"]) == [known[1]]
    for guard in ("off", {"promiscuous": "allow"}, {"mac_changes": "allow"}, {"forged_transmits": "allow"}):
        topology.guest("any", network="blue", guard=guard)
        assert stations(topology.resolve().ports.values(), wan) is None


@pytest.mark.parametrize(
    ("uplink", "told"),
    [
        ({"vlans": {"red": 5}}, 'vlans.red: "red" is not tagged there'),
        (
            {"tagged": ["blue", "green"], "vlans": {"blue": 7, "green": 7}},
            "vlans.green: 7 is network blue's already",
        ),
        ({"tagged": ["blue", "green"], "vlans": {"blue": 30}}, "both have VLAN 30 on the wire"),
        ({"native": None, "tagged": []}, "an uplink without networks"),
        ({"nic": {"kind": "stack"}}, "stack for an uplink"),
    ],
)
def test_what_is_wrong_is_told(uplink: dict[str, Any], told: str) -> None:
    topology = lab().network("green", vlan=30)
    keys = {"nic": vnet.Pipe(), "native": "red", "tagged": ["blue"], **uplink}
    with pytest.raises(BadInput) as error:
        topology.uplink("wan", **{key: value for key, value in keys.items() if value}).resolve()
    assert told in str(error.value)


def test_a_name_of_its_own() -> None:
    topology = lab().guest("wan", network="red")
    with pytest.raises(BadInput, match="wan is a guest's name too"):
        topology.resolve()
