"""Topologies that are made by parameters: they are what they say, as proved, and they carry packets."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

import topologies
import vnet
from nics.errors import BadInput
from topologies.__main__ import main as print_them
from topologies.builders import BUILDERS, COMMON
from vnet.cli import main
from vnet.probe.course import Options
from vnet.probe.course import run as course
from vnet.topology import Topology

README = (Path(topologies.__file__).parent / "README.md").read_text()

MADE = [
    # What is asked for; switches, guests and links; a guest and the farthest that it reaches.
    ("single?hosts=3", 0, 3, 0, "h1", "h3"),
    ("single?", 0, 2, 0, "h1", "h2"),
    ("star?arms=3&hosts=2", 4, 6, 3, "h1", "h6"),
    ("linear?switches=5", 5, 5, 4, "h1", "h5"),
    ("tree?depth=3&fanout=2", 7, 8, 6, "h1", "h8"),
    ("ring?switches=6", 6, 6, 6, "h1", "h4"),
    ("ring?switches=20&stp=stp", 20, 20, 20, "h1", "h11"),
    ("leaf-spine?spines=2&leaves=4&hosts=3", 6, 12, 8, "h1", "h12"),
    ("fat-tree", 20, 16, 32, "h1", "h16"),
    ("fat-tree?k=2&hosts=3", 5, 6, 4, "h1", "h6"),
    ("tenants?tenants=3&hosts=2", 0, 6, 0, "t3-h1", "t3-h2"),
    ("router-on-a-stick?networks=3", 0, 7, 0, "n2-h1", "n2-h2"),
    ("dual-homed?servers=2", 2, 6, 0, "right-h1", "server2"),
]


async def test_the_largest_ring_heals(autojump_clock: trio.testing.MockClock) -> None:
    """Cut open it is a row, and whoever is at the far end still hears of the root."""
    async with vnet.Fabric(topologies.build("ring", switches=20)) as fabric:
        await trio.sleep(5)
        await fabric.guests["h1"].ping(fabric.guests["h20"])
        root = {switch["switch"]: switch["stp"]["root_port"] for switch in fabric.switches()}
        (name,) = (name for name, port in root.items() if port is None)
        number = int(name[1:])
        await fabric.set_link(f"{name}-s{number % 20 + 1}", up=False)
        await trio.sleep(60)
        await fabric.guests["h1"].ping(fabric.guests["h20"])
        assert len({switch["stp"]["root"] for switch in fabric.switches()}) == 1


def test_a_shared_uplink_keeps_tenants_apart() -> None:
    """It has an interface, which is not there: so what it says is proved, and tried without it."""
    topology = topologies.build("shared-uplink", tenants=3, interface="nic0")
    assert topology.uplinks["wan"].tagged == ("t1", "t2", "t3")
    assert len(topology.guests) == 6
    result = course(topology, Options())
    assert result.virtual
    assert not [finding for part in result.parts for finding in part.findings]


def unreached(name: str) -> tuple[str, str] | None:
    """Two guests that never meet, where a topology has such."""
    return {
        "tenants": ("t1-h1", "t2-h1"),
        "router-on-a-stick": ("n1-h1", "n2-h1"),
        "dual-homed": ("left-h1", "right-h1"),
    }.get(name)


@pytest.mark.parametrize(("asked", "switches", "guests", "links", "one", "other"), MADE)
async def test_made(
    asked: str,
    switches: int,
    guests: int,
    links: int,
    one: str,
    other: str,
    autojump_clock: trio.testing.MockClock,
) -> None:
    topology = topologies.load(asked)
    assert (len(topology.switches), len(topology.guests), len(topology.links)) == (switches, guests, links)
    assert topology == Topology.from_file(f"topology:{asked}"), "also when written and read"
    name, _, query = asked.partition("?")
    words = topologies.builders.parameters(query, "")
    assert topology == topologies.build(name, **words)
    assert topology.expect
    async with vnet.Fabric(topology) as fabric:
        # A spanning tree opens its ports; by the older protocol after twice the forward delay.
        await trio.sleep(60 if "stp=stp" in asked else 5)
        await fabric.guests[one].ping(fabric.guests[other])
        if links >= switches > 0:
            shut = [
                port
                for switch in fabric.switches()
                for port in switch["stp"]["ports"].values()
                if port["state"] != "forwarding"
            ]
            assert len(shut) == links - switches + 1, "a tree is left"
        if pair := unreached(name):
            with pytest.raises(vnet.Unreachable):
                await fabric.guests[pair[0]].ping(fabric.guests[pair[1]], timeout=1)


@pytest.mark.parametrize("asked", [made[0] for made in MADE])
def test_who_reaches_whom_is_as_expected(asked: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", f"topology:{asked}"]) == 0
    assert " hold" in capsys.readouterr().out


def test_all_are_made_and_documented() -> None:
    assert {asked.partition("?")[0] for asked, *_ in MADE} | {"shared-uplink"} == set(BUILDERS)
    for builder in BUILDERS.values():
        (row,) = (line for line in README.splitlines() if line.startswith(f"| `{builder.name}` |"))
        assert builder.doc in row
        for key in builder.parameters:
            # Without a default, what it is when it is left out stands beside it.
            assert (f"`{key.name}`" if key.default is None else f"`{key.name}={key.default}`") in row
    for key in COMMON:
        assert f"`{key.name}`" in README


@pytest.mark.parametrize("name", list(BUILDERS))
def test_sizes_are_told_beforehand(name: str) -> None:
    builder = BUILDERS[name]
    topology = builder.build({})
    switches, guests = builder.size({key.name: key.default for key in builder.parameters})
    assert (max(1, len(topology.switches)), len(topology.guests)) == (switches, guests)


@pytest.mark.parametrize(
    "asked",
    [
        "single?hosts=1024",
        "tree?depth=5&fanout=4",
        "tree?depth=8&fanout=2",
        "leaf-spine?spines=32&leaves=64&hosts=16",
        "fat-tree?k=12",
        "router-on-a-stick?networks=64&hosts=4",
        "dual-homed?servers=256&hosts=256",
        "tenants?tenants=64&hosts=0",
        "fat-tree?k=2",
        "ring?hosts=0",
        "star?hosts=0",
        "linear?switches=1&hosts=0",
        "leaf-spine?hosts=0",
        "router-on-a-stick?hosts=0",
        "dual-homed?hosts=0",
        "tenants?tenants=1&hosts=1",
    ],
)
def test_the_largest_and_the_smallest_resolve(asked: str) -> None:
    assert Topology.from_file(f"topology:{asked}") == topologies.load(asked)


def test_common_parameters() -> None:
    topology = topologies.build("star", kind="netns", name="lab-2", seed=7)
    assert (topology.name, topology.seed) == ("lab-2", 7)
    assert {guest.kind for guest in topology.guests.values()} == {"netns"}
    assert topologies.load("star?kind=netns&name=lab%2D2&seed=7") == topology


def test_a_name_alone_is_the_file() -> None:
    assert "web" in topologies.load("single").guests
    assert "h1" in topologies.load("single?").guests


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (
            "leaf-spine?spins=2",
            'leaf-spine: "spins": no such parameter, expected spines, leaves, hosts, stp, kind, name or seed'
            " (did you mean spines?)",
        ),
        ("leaf-spine?leaves=99", "leaf-spine: leaves: 99, expected a number from 1 to 64"),
        ("leaf-spine?leaves=four", 'leaf-spine: leaves: "four", expected a number from 1 to 64'),
        ("leaf-spine?leaves=", 'leaf-spine: leaves: "", expected a number from 1 to 64'),
        ("leaf-spine?leaves", 'leaf-spine: "leaves", expected PARAMETER=VALUE, several with & between'),
        ("ring?switches=4&switches=5", 'ring: "switches": given twice, expected once'),
        ("ring?switches=-4", "ring: switches: -4, expected a number from 3 to 20"),
        ("ring?stp=rtsp", 'ring: stp: "rtsp", expected rstp, stp or none (did you mean rstp?)'),
        ("ring?name=A", 'ring: name: "A", expected a name of up to 32 of a-z, 0-9 and -'),
        ("fat-tree?k=5", "fat-tree: k: 5, expected a number from 2 to 12, even"),
        ("tree?depth=8&fanout=64", "tree: 4467856773185 switches, expected at most 512"),
        ("star?arms=256&hosts=256", "star: 65536 guests, expected at most 1024"),
        ("vm?hosts=2", "vm: a file without parameters, expected nothing after its name"),
    ],
)
def test_wrong_parameters(asked: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadInput) as error:
        topologies.load(asked)
    assert str(error.value) == f"topology:{told}"
    for command in ("check", "up", "test"):
        assert main([command, f"topology:{asked}"]) == 2
        assert capsys.readouterr().err.endswith(f"topology:{told}\n")


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(BadInput) as error:
        topologies.build("ring", switches=1, hots=2)
    assert len(str(error.value).splitlines()) == 2


def test_an_unknown_builder() -> None:
    with pytest.raises(BadInput, match=r"topology:leafspine: no such .*\(did you mean leaf-spine\?\)$"):
        topologies.load("leafspine")
    with pytest.raises(BadInput, match=r"\(did you mean fat-tree\?\)$"):
        topologies.load("fattree?k=4")
    with pytest.raises(BadInput, match=r"topology:vm: no such .*, expected single, "):
        topologies.build("vm")


def test_tested_with_packets(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", "topology:linear?switches=3", "--virtual"]) == 0


def test_printed_as_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert print_them(["topology:ring?switches=3"]) == 0
    file = tmp_path / "ring.yaml"
    file.write_text(capsys.readouterr().out)
    assert Topology.from_file(file) == topologies.build("ring", switches=3)
    assert print_them([]) == 0
    told = capsys.readouterr().out
    assert all(f"{name}: " in told for name in BUILDERS)
    assert print_them(["rin?"]) == 2
    assert "did you mean ring?" in capsys.readouterr().err
