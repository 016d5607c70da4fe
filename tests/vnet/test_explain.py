"""What `vnet explain` says, in words; that it is true is tried in `explained/`."""

from __future__ import annotations

import pytest

import vnet
from vnet import spelling
from vnet.cli import explain
from vnet.explain import dotted

FABRIC = {
    "name": "x",
    "networks": {
        "red": {"vlan": 10, "subnets": ["10.0.0.0/24"], "gateway": []},
        "blue": {"vlan": 20, "subnets": ["10.0.0.0/24"], "gateway": []},
        "shy": {"vlan": 30, "private": True},
    },
    "groups": {"web": {"ingress": [{"protocol": "tcp", "ports": [80]}], "egress": [{}]}},
    "switches": {"left": {}, "right": {}},
    "links": [{"ends": ["left", "right"]}],
    "guests": {
        "a": {"network": "red", "switch": "left", "ip": ["10.0.0.1"]},
        "b": {"network": "red", "switch": "right", "ip": ["10.0.0.2"]},
        "c": {"network": "red", "switch": "left", "ip": ["10.0.0.3"], "groups": ["web"]},
        "d": {"network": "blue", "switch": "left", "ip": ["10.0.0.1"]},
        "e": {"network": "shy", "switch": "left"},
        "f": {"network": "shy", "switch": "left"},
        "t": {"trunk": ["red", "blue"], "native": "red", "switch": "right", "guard": "off"},
    },
}


def document():
    guests = {
        name: {"kind": "external", "nics": [nic | {"nic": {"kind": "pipe"}}]}
        for name, nic in FABRIC["guests"].items()
    }
    return FABRIC | {"guests": guests}


def explained(fabric, port, text):
    ports = fabric.status()["ports"]
    mine = next(entry for entry in ports if entry["port"] == port)
    frame = spelling.frame(text, mine, ports)
    steps, reaches = fabric.explain(port, frame)
    return frame, steps, reaches


def ends(steps):
    """Why the frame was dropped on its way in, and where that is in the topology."""
    return [(step.reason, dotted(step.path) if step.path else "") for step in steps if step.reason]


async def test_the_steps_of_a_frame_across_a_link(autojump_clock):
    async with vnet.Fabric.from_dict(document()) as fabric:
        _, steps, reaches = explained(fabric, "a.0", "ARP(pdst='10.0.0.2')")
        told = [(step.check, step.port) for step in steps if step.check in ("in", "out")]
        link = sorted(name for name in fabric.ports if name not in {f"{g}.0" for g in FABRIC["guests"]})
        assert told[0] == ("in", "a.0")
        assert {port for check, port in told if check == "out"} >= {"b.0", "t.0"}, (told, link)
        assert [port for check, port in told if check == "in"][1:] != []
        assert "it belongs to VLAN 10 (red)" in [step.text for step in steps]
        assert set(reaches) >= {"b.0", "t.0"}
        assert not {"d.0", "e.0", "f.0"} & set(reaches)


def test_what_is_printed_fits_80_columns(capsys):
    step = {"depth": 1, "port": "b.0", "reason": None, "path": None, "place": None}
    long = "the destination is a group address: to every member that takes it, and to some that have asked"
    lost = step | {"reason": "tx-no-carrier", "place": f"{'folder/' * 9}lab.yaml:10:12"}
    steps = [
        step | {"check": "in", "depth": 0, "text": "left: in at a.0"},
        step | {"check": "destination", "text": long},
        lost | {"check": "out", "text": "not out of b.0: the NIC has no carrier"},
    ]
    explain.show({"steps": steps, "reaches": []})
    assert capsys.readouterr().out.splitlines() == [
        "left: in at a.0",
        "  ✓ destination  the destination is a group address: to every member that takes",
        "                 it, and to some that have asked",
        "  ✗ out          not out of b.0: the NIC has no carrier (tx-no-carrier)",
        f"                 [{lost['place']}]",
        "It would leave nowhere.",
    ]


async def test_each_reason_has_the_key_that_is_behind_it(autojump_clock):
    async with vnet.Fabric.from_dict(document()) as fabric:
        _, steps, reaches = explained(
            fabric, "a.0", "Ether(src='02:00:00:00:00:66')/IP(dst='10.0.0.2')/UDP()"
        )
        assert (ends(steps), reaches) == ([("guard-mac", "guests.a.nics[0].guard")], [])
        _, steps, reaches = explained(fabric, "a.0", "Ether()/Dot1Q(vlan=20)/IP(dst='10.0.0.2')/UDP()")
        assert (ends(steps), reaches) == ([("tag-not-allowed", "guests.a.nics[0].network")], [])
        assert steps[-1].text.startswith("a tagged frame")


async def test_asking_changes_nothing(autojump_clock):
    async with vnet.Fabric.from_dict(document()) as fabric:
        before = fabric.status()["ports"], fabric.fdb()
        for port in fabric.ports:
            if port in {f"{guest}.0" for guest in FABRIC["guests"]}:
                explained(fabric, port, "Ether(dst='ff:ff:ff:ff:ff:ff')/IP(dst='255.255.255.255')/UDP()")
        assert (fabric.status()["ports"], fabric.fdb()) == before


async def test_a_bpdu_is_for_the_switch_itself(autojump_clock):
    tree = {"switches": {"left": {"stp": "rstp"}, "right": {"stp": "rstp"}}}
    async with vnet.Fabric.from_dict(document() | tree) as fabric:
        frame = bytes.fromhex("0180c2000000" + "020000000077" + "0027424203") + bytes(40)
        steps, reaches = fabric.explain("t.0", frame)
        assert (steps[-1].check, reaches) == ("switch", [])
        assert dotted(steps[-1].path) == "switches.right.stp"


async def test_a_limit_that_leaves_what_a_guest_sends_where_it_is_is_told(autojump_clock):
    slow = {"network": "lan", "limits": {"egress": {"rate": "10 kbit/s"}}}
    guests = {"a": {"nics": [slow]}, "b": {"nics": [{"network": "lan"}]}}
    lab = {"name": "lab", "networks": {"lan": {"subnets": ["10.0.0.0/24"]}}, "guests": guests}
    async with vnet.Fabric.from_dict(lab) as fabric:
        a, b = fabric.guests["a"], fabric.guests["b"]
        frame = bytes.fromhex((b.mac + a.mac).replace(":", "") + "88b5") + bytes(46)
        await a.ping(b)
        assert "late" not in str(fabric.explain("a.0", frame))
        with pytest.raises(vnet.Unreachable):
            await a.ping(b, size=30_000, timeout=1)
        assert "it may be late" in str(fabric.explain("a.0", frame))


async def test_a_cable_that_may_lose_it_and_makes_it_late_is_told(autojump_clock):
    bad = {"links": [{"ends": ["left", "right"], "impair": {"loss": "10 %", "delay": "5 ms"}}]}
    async with vnet.Fabric.from_dict(document() | bad) as fabric:
        _, steps, _ = explained(fabric, "a.0", "ARP(pdst='10.0.0.2')")
        crossing = [step.text for step in steps if "over the link to" in step.text]
        assert crossing
        assert all(text.endswith("; it may be late and may be lost") for text in crossing)
        assert not any("may be lost" in step.text for step in steps if step.port == "b.0")
