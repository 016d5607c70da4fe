"""`vnet graph`: everything is in the picture once, nothing covers anything, and it is always the same."""

from __future__ import annotations

import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings

import topologies
from tests.vnet.topology.strategies import documents
from vnet.cli import main
from vnet.graph import svg
from vnet.graph.draw import attribute, colours, text
from vnet.graph.layout import LONGEST, place
from vnet.graph.picture import Box, Picture, shortened
from vnet.graph.read import impairment, read
from vnet.graph.route import route
from vnet.topology import Impair, Topology

SVG = "{http://www.w3.org/2000/svg}"


def fabric() -> Topology:
    """Every kind of thing that a picture has."""
    found = Topology("fabric").network("red", vlan=10, subnets=["10.0.0.0/24"]).network("blue", vlan=20)
    for name in ("leaf1", "leaf2", "leaf3", "spine", "alone"):
        found.switch(name)
    found.link("leaf1", "spine", impair={"delay": "2 ms", "jitter": "200 us", "loss": "0.1 %"})
    found.link("leaf1", "spine", name="second", impair={"rate": "1 Gbit/s"})
    found.link("leaf2", "spine", impair={"a_to_b": {"delay": "5 ms"}, "b_to_a": {"loss": "1 %"}})
    found.link("leaf3", "spine", networks=["red"])
    found.link("leaf1", "leaf2", up=False)
    found.guest("web", network="red", switch="leaf1")
    found.guest("shell", kind="netns", network="blue", switch="leaf1")
    found.guest(
        "vm", kind="external", network="blue", switch="leaf2", nic={"kind": "stream", "socket": "v<&.sock"}
    )
    found.guest(
        "router",
        nics=[{"trunk": ["red", "blue"], "native": "red", "switch": "spine"},
              {"network": "blue", "switch": "leaf3"}],
    )  # fmt: skip
    found.uplink(
        "wan", nic={"kind": "packet", "interface": "e<t>h&\"'"}, native="red", tagged=["blue"], switch="spine"
    )
    return found


def large() -> Topology:
    """Two hundred nodes: spines, leaves, and guests of a dozen tenants."""
    spines, leaves = [f"spine-{n}" for n in range(4)], [f"leaf-{n}" for n in range(16)]
    keys: dict[str, Any] = {
        "name": "large",
        "networks": {f"tenant-{index}": {"subnets": [f"10.{index}.0.0/16"]} for index in range(12)},
        "switches": {name: {} for name in (*spines, *leaves)},
        "links": [
            {"ends": [leaf, spine], "impair": {"delay": f"{number + 1} ms", "loss": "0.1 %"}}
            for number, leaf in enumerate(leaves)
            for spine in spines
        ],
        "guests": {
            f"guest-{n}": {"nics": [{"network": f"tenant-{n % 12}", "switch": f"leaf-{n % 16}"}]}
            for n in range(180)
        },
    }
    return Topology.from_dict(keys)


def ring() -> Topology:
    """Switches without a middle, and a chord."""
    found = Topology("ring").network("lan")
    for index in range(9):
        found.switch(f"s{index}")
    for index in range(9):
        found.link(f"s{index}", f"s{(index + 1) % 9}", impair={"delay": f"{index + 1} ms"})
        found.guest(f"g{index}", network="lan", switch=f"s{index}")
    return found.link("s3", "s6", impair={"loss": "1 %"})


def star() -> Topology:
    """More switches around one than can stand in a row."""
    found = Topology("star").network("lan").switch("hub")
    for index in range(60):
        found.switch(f"s{index}").link("hub", f"s{index}", impair={"delay": f"{index + 1} ms"})
        found.guest(f"a{index}", network="lan", switch=f"s{index}")
        found.guest(f"b{index}", network="lan", switch=f"s{index}")
    return found


def mesh() -> Topology:
    """Every switch linked to every other, and names as long as they may be."""
    found = Topology("mesh").network("n" * 63)
    names = [f"{'s' * 60}-{index}" for index in range(8)]
    for name in names:
        found.switch(name).guest(f"g{name[1:]}", network="n" * 63, switch=name)
    for a, b in combinations(names, 2):
        found.link(a, b, impair={"a_to_b": {"delay": "3 ms"}})
    return found


EXAMPLES = {
    **{name: topologies.load(name) for name in topologies.names()},
    "fabric": fabric(),
    "large": large(),
    "ring": ring(),
    "star": star(),
    "mesh": mesh(),
}


@pytest.fixture(params=EXAMPLES)
def topology(request: pytest.FixtureRequest) -> Topology:
    return EXAMPLES[request.param]


def placed(topology: Topology) -> Picture:
    picture = read(topology.resolve())
    route(picture, place(picture))
    return picture


def drawn(root: ElementTree.Element, what: str) -> list[str]:
    return [group.attrib["data-name"] for group in root.iter(f"{SVG}g") if group.get("class") == what]


def everything_once(topology: Topology) -> ElementTree.Element:
    resolved = topology.resolve()
    root = ElementTree.fromstring(svg(topology))
    assert root.tag == f"{SVG}svg"
    for what, names in (
        ("switch", resolved.switches), ("guest", resolved.guests), ("uplink", resolved.uplinks),
        ("link", resolved.links),
    ):  # fmt: skip
        assert sorted(drawn(root, what)) == sorted(names)
    said = [element.text or "" for group in root.iter(f"{SVG}g") if group.get("class") == "legend"
            for element in group.iter(f"{SVG}text")]  # fmt: skip
    for network in resolved.networks.values():
        assert (
            sum(line.startswith(f"{shortened(network.name, LONGEST)}: VLAN {network.vlan}") for line in said)
            == 1
        )
    return root


def nothing_overlaps(picture: Picture) -> None:
    boxes: list[Box] = list(picture.panels.values())
    boxes += [cable.label for cable in picture.cables if cable.label is not None]
    for some in (boxes, picture.nodes):
        for one, other in combinations(some, 2):
            assert not one.overlaps(other), (one, other)
    for panel in picture.panels.values():
        assert 0 <= panel.x <= panel.right <= picture.width
        assert 0 <= panel.y <= panel.bottom <= picture.height
        for section in panel.sections:
            assert panel.x < section.x < section.right < panel.right
            assert panel.y < section.y < section.bottom < panel.bottom
            for node in section.nodes:
                assert section.x < node.x < node.right < section.right
                assert section.y < node.y < node.bottom < section.bottom
        for one, other in combinations(panel.sections, 2):
            assert not one.overlaps(other)


def test_everything_is_there_once(topology: Topology) -> None:
    everything_once(topology)


def test_nothing_covers_anything(topology: Topology) -> None:
    nothing_overlaps(placed(topology))


def test_every_label_finds_room(topology: Topology) -> None:
    wanted = [cable.name for cable in read(topology.resolve()).cables if cable.label is not None]
    assert [cable.name for cable in placed(topology).cables if cable.label is not None] == wanted


def test_links_end_at_their_switches_and_cross_none(topology: Topology) -> None:
    picture = placed(topology)
    for cable in picture.cables:
        touched = set()
        for x, y in (cable.points[0], cable.points[-1]):
            touched |= {
                name for name, panel in picture.panels.items()
                if panel.x < x < panel.right and y in (panel.y, panel.bottom)
            }  # fmt: skip
        assert touched == set(cable.ends)
        for (x1, y1), (x2, y2) in zip(cable.points, cable.points[1:], strict=False):
            for step in range(1, 100):
                x, y = x1 + (x2 - x1) * step / 100, y1 + (y2 - y1) * step / 100
                for panel in picture.panels.values():
                    assert not (panel.x < x < panel.right and panel.y < y < panel.bottom)


@settings(max_examples=30)
@given(documents())
def test_any_topology(document: dict[str, Any]) -> None:
    topology = Topology.from_dict(document)
    everything_once(topology)
    nothing_overlaps(placed(topology))


def test_what_is_said() -> None:
    root = everything_once(fabric())
    said = [element.text for element in root.iter(f"{SVG}text")]
    for words in ("2 ms ±200 us, 0.1 % loss", "1 Gbit/s", "leaf2 → spine: 5 ms", "spine → leaf2: 1 % loss",
                  "only red", "down", "stream", "e<t>h&\"'", "netns: namespace"):  # fmt: skip
        assert said.count(words) == 1, words
    kinds = {group.attrib["data-name"]: group.attrib["data-kind"] for group in root.iter(f"{SVG}g")
             if "data-kind" in group.attrib}  # fmt: skip
    assert kinds == {"web": "stack", "shell": "netns", "vm": "external", "router": "stack", "wan": "uplink"}
    assert drawn(root, "branch") == ["router.1"]


def test_every_impairment_is_told() -> None:
    harsh = Impair(delay=10**6, duplicate=10_000, reorder=20_000, corrupt=30_000, rate=10**6, mtu=1400)
    assert impairment(harsh) == (
        "1 ms, 1 % duplicate, 2 % reorder, 3 % corrupt, 1 Mbit/s, MTU 1400"
    )  # fmt: skip
    assert impairment(Impair()) == ""


def test_hostile_words_are_escaped() -> None:
    bad = "<script>\"'&\x00\x1b\ud800\ufffe]]>"
    root = ElementTree.fromstring(f"<a b={attribute(bad)}>{text(bad)}</a>")
    assert root.text == root.attrib["b"] == "<script>\"'&\ufffd\ufffd\ufffd\ufffd]]>"
    assert len(root) == 0


def test_as_many_colours_as_networks() -> None:
    many = colours([f"n{index}" for index in range(100)])
    assert len(set(many.values())) == 100
    assert all(len(colour) == 7 for colour in many.values())


def test_the_same_file_gives_the_same_bytes(tmp_path: Path) -> None:
    pictures = set()
    for seed in ("1", "2"):
        command = [sys.executable, "-m", "vnet", "graph", "topology:firewall"]
        done = subprocess.run(command, capture_output=True, check=True, env={"PYTHONHASHSEED": seed})
        pictures.add(done.stdout)
    file = tmp_path / "firewall.svg"
    assert main(["graph", "topology:firewall", "-o", str(file)]) == 0
    assert pictures == {file.read_bytes()}


def test_what_is_wrong_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["graph", "topology:cut", "-o", str(tmp_path / "no" / "x.svg")]) == 2
    assert capsys.readouterr().err == f"{tmp_path}/no/x.svg: No such file or directory\n"
    file = tmp_path / "bad.yaml"
    file.write_text("name: bad\nguests: {a: {nics: [{network: none}]}}\n")
    assert main(["graph", str(file)]) == 2
    assert capsys.readouterr().err.startswith(f"{file}:2:")


def test_what_the_cables_of_nics_do_is_drawn() -> None:
    found = Topology("cords").network("red", subnets=["10.0.0.0/24"]).switch("s1")
    found.guest("phone", network="red", ip="10.0.0.9", impair={"delay": "40 ms", "loss": "1 %"})
    both = {"egress": {"delay": "5 ms"}}
    late = [{"from": "10 s", "up": False}]
    found.guest("modem", network="red", ip="10.0.0.8", impair=both, schedule=late)
    found.guest("plain", network="red", ip="10.0.0.7")
    nodes = {node.name: node for node in read(found.resolve()).nodes}
    assert nodes["phone"].detail == "10.0.0.9, 40 ms, 1 % loss"
    assert nodes["phone"].tooltip.endswith("10.0.0.9/24; its cable: 40 ms, 1 % loss")
    assert nodes["modem"].tooltip.endswith("; its cable: sent 5 ms, received unimpaired, 1 change scheduled")
    assert nodes["plain"].detail == "10.0.0.7"
    assert "40 ms, 1 % loss" in svg(found)


def test_several_cables_are_drawn_as_one() -> None:
    found = Topology("bonds").switch("left").switch("right")
    slow = {"impair": {"delay": "7 ms"}}
    found.link(
        "left",
        "right",
        cables=[{}, {}, slow, {"up": False}],
        bond={"mode": "lacp"},
        impair={"rate": "1 Gbit/s"},
    )
    (cable,) = read(found.resolve()).cables
    assert cable.label is not None
    assert cable.label.lines == ("4 cables, LACP", "1, 2, 4: 1 Gbit/s", "3: 7 ms, 1 Gbit/s", "4 down")
