"""Several switches and the links between them, in virtual time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from scapy.utils import RawPcapNgReader, rdpcap

import vnet
from nics.errors import BadInput
from vnet.cli.status import row, rules, trees


def chain(count: int, **keys: Any) -> vnet.Topology:
    """Switches in a row, a guest of two networks at each."""
    topology = vnet.Topology("chain", seed=3, **keys)
    topology.network("red", vlan=10, subnets=["10.0.1.0/24"]).network(
        "blue", vlan=20, subnets=["10.0.1.0/24"]
    )
    for number in range(1, count + 1):
        topology.switch(f"s{number}")
        for network in ("red", "blue"):
            topology.guest(f"{network}{number}", network=network, switch=f"s{number}")
        if number > 1:
            topology.link(f"s{number - 1}", f"s{number}")
    return topology


async def test_guests_reach_their_network_across_many_switches(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with vnet.Fabric(chain(40)) as fabric:
        begun = trio.current_time()
        assert await fabric.guests["red1"].ping(fabric.guests["red40"]) == 0
        # Also the many hops take no time at all.
        assert trio.current_time() == begun
        # The same address is another guest's in the other network.
        with pytest.raises(vnet.Unreachable):
            await fabric.guests["blue1"].ping("10.0.1.250", timeout=1)
        entries = {(entry["switch"], entry["port"]) for entry in fabric.fdb(network="red")}
        assert ("s20", "s19-s20.b") in entries
        assert ("s20", "s20-s21.a") in entries
        assert all(entry["mac"] != fabric.guests["red1"].mac for entry in fabric.fdb(port="s1-s2.a"))


async def test_a_switch_and_a_link_are_captured_by_their_names(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    switch, link = tmp_path / "switch.pcapng", tmp_path / "link.pcapng"
    async with vnet.Fabric(chain(3)) as fabric:
        async with fabric.capture(switch, "s2"), fabric.capture(link, "s1-s2"):
            await fabric.guests["red1"].ping(fabric.guests["red3"])
        past = await fabric.past(tmp_path / "past.pcapng", "s2")
        assert past["written"] > 0
    assert ports_of(switch) == {"red2.0", "blue2.0", "s1-s2.b", "s2-s3.a"}
    assert ports_of(link) == {"s1-s2.a", "s1-s2.b"}


def ports_of(path: Path) -> set[str]:
    """The ports at which a capture has frames."""
    with RawPcapNgReader(str(path)) as reader:
        return {meta.ifname.decode() for _, meta in reader}


async def test_status_shows_both_ends(autojump_clock: trio.testing.MockClock) -> None:
    async with vnet.Fabric(chain(2)) as fabric:
        await fabric.guests["red1"].ping(fabric.guests["red2"])
        ports = {port["port"]: port for port in fabric.status()["ports"]}
        a, b = ports["s1-s2.a"], ports["s1-s2.b"]
        assert (a["switch"], a["peer"], a["vlans"], a["kind"]) == ("s1", "s1-s2.b", [10, 20], "link")
        assert a["carrier"]
        assert b["carrier"]
        assert a["tx"] == b["rx"]
        assert a["rx"] == b["tx"]
        assert a["tx"]["frames"] > 0
        assert a["mac"] != b["mac"]
        assert [row(ports[port])[1] for port in ("s1-s2.a", "red1.0")] == ["link", "stack"]
        assert list(rules(list(ports.values()))) == []


async def test_a_link_is_captured_with_its_tags(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    async with vnet.Fabric(chain(2), runtime=tmp_path) as fabric:
        async with fabric.capture(tmp_path / "link.pcapng", "s1-s2", filter="vlan 20 and (arp or icmp)"):
            await fabric.guests["blue1"].ping(fabric.guests["blue2"])
        frames = [bytes(frame) for frame in rdpcap(str(tmp_path / "link.pcapng"))]
    # ARP and its answer, echo and its reply, each as it leaves one end and comes in at the other.
    assert len(frames) == 8
    assert all(frame[12:16] == b"\x81\x00\x00\x14" for frame in frames)


async def test_a_cut_link_carries_nothing_and_is_mended(autojump_clock: trio.testing.MockClock) -> None:
    async with vnet.Fabric(chain(3)) as fabric:
        one, three = fabric.guests["red1"], fabric.guests["red3"]
        await one.ping(three)
        await fabric.set_link("s2-s3.b", False)
        await trio.testing.wait_all_tasks_blocked()
        ports = {port["port"]: port for port in fabric.status()["ports"]}
        for end in ("s2-s3.a", "s2-s3.b"):
            assert (ports[end]["link"], ports[end]["carrier"]) == ("down", False)
        assert not fabric.fdb(port="s2-s3.a")
        with pytest.raises(vnet.Unreachable):
            await one.ping(three, timeout=1)
        await fabric.set_link("s2-s3", True)
        await one.ping(three)


async def test_links_come_go_and_change_while_it_runs(autojump_clock: trio.testing.MockClock) -> None:
    async with vnet.Fabric(chain(2)) as fabric:
        one, two = (fabric.guests[name] for name in ("red1", "red2"))
        longer = chain(3)
        done = await fabric.apply(longer)
        assert "add link s2-s3 between s2 and s3" in done
        await one.ping(fabric.guests["red3"])
        before = fabric.status()["engine"]["turns"]
        assert await fabric.apply(longer) == []
        assert fabric.status()["engine"]["turns"] >= before

        only_blue = chain(3)
        only_blue.links[1] = vnet.Topology("x").network("blue").link("s2", "s3", networks=["blue"]).links[0]
        assert await fabric.apply(only_blue) == ["change link s2-s3: vlans 10 20 -> 20"]
        with pytest.raises(vnet.Unreachable):
            await one.ping(fabric.guests["red3"], timeout=1)
        await fabric.guests["blue1"].ping(fabric.guests["blue3"])

        assert "remove link s2-s3" in await fabric.apply(chain(2))
        await one.ping(two)
        assert "s2-s3.a" not in {port["port"] for port in fabric.status()["ports"]}


async def test_what_fails_leaves_the_links_as_they_were(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    async with vnet.Fabric(chain(2), runtime=tmp_path) as fabric:
        wanted = chain(3)
        wanted.links.pop(0)
        wanted.guest(
            "vm",
            kind="external",
            network="red",
            switch="s3",
            nic={"kind": "pcap", "read": str(tmp_path / "missing")},
        )
        with pytest.raises(vnet.VnetError):
            await fabric.apply(wanted)
        assert list(fabric.links) == ["s1-s2"]
        await fabric.guests["red1"].ping(fabric.guests["red2"])


async def test_a_parallel_link_has_a_name_of_its_own() -> None:
    topology = chain(2).link("s1", "s2", up=False).link("s1", "s2", name="spare", up=False)
    assert list(topology.resolve().links) == ["s1-s2", "s1-s2-2", "spare"]


@pytest.mark.parametrize(
    ("link", "line"),
    [
        ({"ends": ["s1", "s9"]}, 'links[0].ends[1]: no switch "s9", expected s1 or s2'),
        ({"ends": ["s1", "s1"]}, "links[0].ends: s1 twice, expected two switches"),
        ({"ends": ["s1", "s2"], "networks": ["rad"]}, 'links[0].networks[0]: no network "rad"'),
        ({"ends": ["s1", "s2"], "name": "red"}, "links[0].name: a link called red, which is a network"),
        ({"ends": ["s1", "s2"], "name": "all"}, "links[0].name: a link called all, which is every port"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_links_are_told(link: dict[str, Any], line: str) -> None:
    document = {"name": "x", "networks": {"red": {}}, "switches": {"s1": {}, "s2": {}}, "links": [link]}
    with pytest.raises(BadInput) as error:
        vnet.Topology.from_dict(document)
    assert str(error.value).startswith(line)


def test_status_tells_of_trees_in_80_columns() -> None:
    def port(role: str, state: str) -> dict[str, object]:
        return {"role": role, "state": state, "refused": False}

    ports = {f"a-b-{n}.a": port("designated", "forwarding") for n in range(5)}
    ports["a-c.a"] = port("alternate", "discarding")
    root = {"id": "8000.02", "root": "8000.02", "root_port": None, "ports": ports}
    other = {"id": "9000.03", "root": "8000.02", "root_port": "a-b-0.b", "ports": {}}
    blank, *lines = trees([{"switch": n, "stp": t} for n, t in (("a", root), ("b", other), ("c", None))])
    assert not blank
    assert max(map(len, lines)) <= 80
    text = " ".join(line.strip() for line in lines)
    assert "a, spanning tree: the root; a-b-0.a designated, a-b-1.a designated" in text
    assert "a-c.a alternate (discarding) b, spanning tree: the root is behind a-b-0.b; no port" in text


def test_status_has_an_address_a_line() -> None:
    counted = {"frames": 0, "bytes": 0}
    told = {
        "port": "a.0",
        "kind": "stack",
        "network": "red",
        "trunk": [],
        "vlan": 10,
        "mac": "02:00:00:00:00:01",
    }
    told |= {"ip": ["10.0.0.1", "fd00::1"], "carrier": True, "link": "up", "rx": counted, "tx": counted}
    assert "10.0.0.1\nfd00::1" in row(told | {"drops": {}})
