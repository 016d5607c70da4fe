"""Mininet's and containerlab's networks: what becomes of them, that they run, and what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import trio
import trio.testing

import vnet
from nics.errors import BadInput
from vnet.cli import main
from vnet.testing import assert_reachable
from vnet.topology import Topology
from vnet.topology.foreign import convert

LAB = Path(__file__).with_name("lab.py")

CLAB = """
name: routed
topology:
  defaults: {kind: linux}
  kinds: {linux: {image: alpine}}
  nodes:
    web: {exec: [ip addr add 10.1.0.1/24 dev eth1, sysctl -w net.ipv4.ip_forward=1]}
    db: {exec: ["ip -6 address add fd00:1::2/64 dev eth1", "ip addr add 10.1.0.2/24 dev eth1"]}
    lone: {}
    br0: {kind: bridge}
    br1: {kind: ovs-bridge}
  links:
    - endpoints: ["web:eth1", "br0:port1"]
    - endpoints: ["br0:port2", "br1:port1"]
    - type: veth
      endpoints: [{node: db, interface: eth1}, {node: br1, interface: port2}]
    - endpoints: ["lone:eth1", "web:eth2"]
"""


async def test_a_topo_of_mininets(autojump_clock: trio.testing.MockClock) -> None:
    topology = Topology.from_file(f"mininet:{LAB}:Diamond?hosts=3&slow=20ms")
    assert sorted(topology.guests) == ["h1", "h2", "h3"]
    assert sorted(topology.switches) == ["s1", "s2", "s3", "s4"]
    assert {switch.stp for switch in topology.switches.values()} >= {"rstp"}
    words = {tuple(link["ends"]): link.get("impair") for link in topology.to_dict()["links"]}
    assert words["s3", "s4"] == {
        "delay": "20 ms",
        "jitter": "2 ms",
        "loss": "1 %",
        "rate": "10 Mbit/s",
        "queue": {"packets": 50},
    }
    # What the cable of a host does, its NIC does.
    assert topology.to_dict()["guests"]["h1"]["nics"][0]["impair"] == {"delay": "1 ms"}
    async with vnet.Fabric(topology) as fabric:
        assert [guest.ip for guest in fabric.guests.values()] == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
        await assert_reachable(fabric, "*", "*", within=30)
        assert await fabric.guests["h1"].ping(fabric.guests["h2"]) >= 0.002
    assert "mininet" not in sys.modules or hasattr(sys.modules["mininet"], "__file__")


def test_hosts_joined_by_a_cable() -> None:
    found = convert(f"mininet:{LAB}:Pair?kind=netns")
    assert found.notes == ["host Left_Host: cpu is left out"]
    said = found.topology.to_dict()
    assert said["guests"]["left-host"]["kind"] == "netns"
    (nic,) = said["guests"]["left-host"]["nics"]
    assert (nic["ip"], nic["mac"]) == (["192.168.7.1"], "00:00:00:00:00:11")
    assert said["networks"]["lan"]["subnets"] == ["192.168.7.0/24"]
    assert said["links"] == [{"ends": ["left-host.0", "right.0"], "impair": {"delay": "5 ms"}}]
    assert all("impair" not in nic for guest in said["guests"].values() for nic in guest["nics"])


def test_names_of_topos_and_parameters() -> None:
    topology = Topology.from_file(f"mininet:{LAB}:mine?n=4")
    assert (len(topology.guests), len(topology.switches), len(topology.links)) == (4, 4, 3)


async def test_containerlab(autojump_clock: trio.testing.MockClock, tmp_path: Path) -> None:
    file = tmp_path / "routed.clab.yml"
    file.write_text(CLAB)
    found = convert(f"containerlab:{file}")
    assert found.topology.name == "routed"
    assert found.notes == [
        'web: image, exec "sysctl -w net.ipv4.ip_forward=1" is left out',
        "db: image is left out",
        "lone: image is left out",
    ]
    assert sorted(found.topology.switches) == ["br0", "br1"]
    async with vnet.Fabric(found.topology) as fabric:
        await assert_reachable(fabric, "web", "db", family=4)
        assert [str(address) for address in fabric.guests["db"].addresses] == ["fd00:1::2", "10.1.0.2"]
        assert fabric.guests["lone"].addresses == []


def test_addresses_and_mtus_as_containerlabs_files_have_them(tmp_path: Path) -> None:
    file = tmp_path / "lab.clab.yml"
    file.write_text(
        """
topology:
  defaults: {kind: linux}
  nodes:
    a: {exec: ["ip a a 10.0.0.1/24 dev eth1", "sh -c 'ip -6 addr replace dev eth1 fd00::1/64'"]}
    b: {exec: ["bash -c \\"ip addr add 10.0.0.2/24 dev eth1\\""]}
  links: [{endpoints: ["a:eth1", "b:eth1"], mtu: 9000}]
"""
    )
    found = convert(f"containerlab:{file}")
    assert found.notes == []
    (a,), (b,) = (guest["nics"] for guest in found.topology.to_dict()["guests"].values())
    assert (a["ip"], a["mtu"]) == (["10.0.0.1", "fd00::1"], 9000)
    assert (b["ip"], b["mtu"]) == (["10.0.0.2"], 9000)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("mininet:no.py:X", "no.py: no such file; expected mininet:FILE.py:CLASS"),
        (f"mininet:{LAB}:Nope", '"Nope": no such topology, expected Diamond, Pair, Fails or mine'),
        (f"mininet:{LAB}:Diamond?wings=2", "TypeError: .*wings"),
        (f"mininet:{LAB}:Diamond?slow=soon", 'link s3 s4: delay: "soon", expected a time such as 5ms'),
        (f"mininet:{LAB}:Fails", r"lab.py:\d+: ValueError: link a b: there is no a"),
        (f"mininet:{LAB}:Diamond?kind=vm", 'kind: "vm", expected stack or netns'),
        ("containerlab:no.yml", "no.yml: No such file or directory"),
    ],
)
def test_what_is_wrong(name: str, line: str) -> None:
    with pytest.raises(BadInput, match=line):
        convert(name)


def test_what_a_file_of_python_says_is_no_output_and_where_it_ends_is_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    head = "from mininet.topo import Topo\nprint('*** loading')\n"
    Path("lab.py").write_text(
        f"{head}class T(Topo):\n"
        " def build(self):\n"
        "  print('*** making')\n"
        "  self.addLink(self.addHost('a'), self.addHost('b'))\n"
    )
    assert main(["convert", "mininet:lab.py:T", "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["topology"]["name"] == "t"
    assert told.err.startswith("*** loading\n*** making\n")
    Path("lab.py").write_text(f"{head}raise SystemExit(5)\n")
    with pytest.raises(BadInput, match=r"^lab.py:3: SystemExit: 5$"):
        convert("mininet:lab.py:T")


def test_what_has_no_counterpart_is_refused_in_lines(tmp_path: Path) -> None:
    file = tmp_path / "lab.clab.yml"
    file.write_text(
        """
topology:
  nodes:
    r1: {kind: nokia_srlinux}
    h: {kind: linux, exec: [ip addr add hello dev eth1]}
    s: {kind: linux, exec: ip a}
  links:
    - endpoints: ["r1:e1-1", "h:eth1"]
    - endpoints: ["h:eth2", "host:veth0"]
    - endpoints: ["h:eth2"]
    - {type: macvlan, endpoint: {node: h, interface: eth3}, host-interface: eth0}
"""
    )
    with pytest.raises(BadInput) as caught:
        convert(f"containerlab:{file}")
    assert str(caught.value).replace(f"{file}: ", "").splitlines() == [
        'topology.nodes.r1.kind: "nokia_srlinux" has no counterpart here, expected linux, bridge, ovs-bridge',
        'topology.nodes.h.exec: "hello" is not an address',
        'topology.nodes.s.exec: "ip a", expected a list of commands',
        'topology.links[1].endpoints: "host" is no node',
        "topology.links[2].endpoints: expected two, each NODE:INTERFACE",
        'topology.links[3].type: "macvlan" has no counterpart here, expected veth',
    ]


@pytest.mark.parametrize(
    ("text", "line"), [("[" * 5000, "nested too deep"), ("name: 2026-02-30", "day is out of range")]
)
def test_what_can_not_be_read_is_told(tmp_path: Path, text: str, line: str) -> None:
    file = tmp_path / "lab.clab.yml"
    file.write_text(text)
    with pytest.raises(BadInput, match=f"{file}: {line}"):
        convert(f"containerlab:{file}")


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["convert", f"mininet:{LAB}:Pair", "-o", str(tmp_path / "pair.yaml")]) == 0
    told = capsys.readouterr()
    assert told.err == "note: host Left_Host: cpu is left out\n"
    assert Topology.from_file(tmp_path / "pair.yaml") == Topology.from_file(f"mininet:{LAB}:Pair")
    assert main(["convert", f"mininet:{LAB}:mine", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["topology"]["name"] == "mine"
    assert main(["convert", "mininet:no.py"]) == 2
