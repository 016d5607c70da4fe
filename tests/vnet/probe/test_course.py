"""`vnet test`: it passes where the fabric is as proved, and finds every way in which it is not."""

from __future__ import annotations

import copy
import json
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import attrs
import pytest

import topologies
import vnet.port
from tests.needs import needs_tun
from vnet._native import Guard
from vnet.check import Proof
from vnet.check.watched import may_see
from vnet.cli import main
from vnet.probe.course import Options, run
from vnet.probe.honest import Maker, honest
from vnet.probe.leased import leases
from vnet.probe.result import Result
from vnet.topology import Topology

TWO = {
    "name": "two",
    "networks": {
        "red": {"vlan": 10, "subnets": ["10.0.10.0/24", "fd00:10::/64"]},
        "blue": {"vlan": 20, "subnets": ["10.0.10.0/24"]},
    },
    "groups": {"web": {"ingress": [{"protocol": "tcp", "ports": 80}]}},
    "guests": {
        "a": {"nics": [{"network": "red"}]},
        "b": {"nics": [{"network": "red"}]},
        "c": {"nics": [{"network": "blue"}]},
        "d": {"kind": "external", "nics": [{"trunk": ["red", "blue"], "native": "red", "groups": "web"}]},
    },
}


def probed(document: dict[str, Any] | None = None, **options: Any) -> Result:
    return run(Topology.from_dict(document or TWO), Options(**options))


def texts(result: Result, part: str) -> list[str]:
    return [str(finding) for each in result.parts if each.name == part for finding in each.findings]


def test_a_mirror_shows_what_it_is_said_to_show_and_nothing_of_others() -> None:
    document = copy.deepcopy(TWO)
    document["guests"]["ids"] = {"nics": [{"mirrors": ["watch"]}]}
    document["mirrors"] = {"watch": {"networks": ["red"], "to": "ids"}}
    assert [str(finding) for finding in probed(document, virtual=True).findings] == []
    topology = Topology.from_dict(document)
    ground = Proof(topology).ground
    (blue,) = ground.ears["c"]
    (red,) = ground.ears["a"]
    assert (may_see(ground, blue), may_see(ground, red)) == (frozenset(), {"ids.0"})


@pytest.mark.parametrize("name", topologies.names())
def test_ready_topologies_are_as_proved(name: str) -> None:
    topology = topologies.load(name)
    if "packet" in {uplink.nic.kind for uplink in topology.uplinks.values()}:
        topology.uplinks = {}
    result = run(topology, Options(virtual=True, folder=topologies.path(name).parent))
    assert [str(finding) for finding in result.findings] == []
    assert result.virtual
    frames, talk = (part for part in result.parts if part.name in ("frames", "talk"))
    assert frames.probes
    addressed = [guest for guest in topology.guests.values() if not any(nic.dhcp for nic in guest.nics)]
    if len(addressed) > 1:
        assert talk.probes


def test_as_proved() -> None:
    result = probed()
    assert [str(finding) for finding in result.findings] == []
    assert Counter(part.name for part in result.parts) == {"expect": 1, "frames": 1, "talk": 1}
    assert result.parts[1].notes == ["stood in for: d"]


def sabotage(monkeypatch: pytest.MonkeyPatch, of: str, **changes: Any) -> None:
    """The switch is told something else about a port than the topology says."""
    real = vnet.port.port_config

    def other(wanted: Any, **options: Any) -> Any:
        return real(attrs.evolve(wanted, **changes) if wanted.name == of else wanted, **options)

    monkeypatch.setattr("vnet.apply.port_config", other)


def test_a_port_in_the_wrong_vlan(monkeypatch: pytest.MonkeyPatch) -> None:
    sabotage(monkeypatch, "c.0", vlan=10)
    result = probed()
    assert any(
        "arrived at c.0, where the proof lets nothing of it pass" in t for t in texts(result, "frames")
    )
    assert any("c -> a: " in text and " works, where" in text for text in texts(result, "talk"))


@pytest.mark.parametrize(
    "what",
    [
        "frame as ",
        "arp that claims ",
        "neighbour advertisement that claims ",
        "router advertisement",
        "DHCP offer",
        "DHCPv6 reply",
        "IGMP query",
        "udp 7 as ",
    ],
)
def test_a_guard_that_is_not_there(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    sabotage(monkeypatch, "a.0", guard=None)
    assert any(text.startswith(f"a -> b: {what}") for text in texts(probed(), "frames"))


def test_a_guard_with_another_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "vnet.port.guard", lambda wanted: Guard("02:00:00:00:00:99") if wanted.name == "a.0" else None
    )
    result = probed()
    assert any(
        "a -> b: broadcast in VLAN 10 did not arrive at b.0" in text for text in texts(result, "frames")
    )
    assert any(" fails, where it has to work" in text for text in texts(result, "talk"))


def test_a_trunk_that_takes_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    document = json.loads(json.dumps(TWO))
    document["guests"]["d"]["nics"][0] = {"trunk": ["red"], "native": "red"}
    sabotage(monkeypatch, "d.0", trunk=(("red", 10), ("blue", 20)))
    found = texts(probed(document), "frames")
    assert any("d -> c: tag of VLAN 20 (blue) arrived at c.0" in text for text in found)


def test_groups_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    sabotage(monkeypatch, "d.0", policy=None)
    result = probed()
    assert any("a -> d: tcp 81" in text and "arrived" in text for text in texts(result, "frames"))
    assert any("a -> d: tcp 81" in text and "works" in text for text in texts(result, "talk"))


def test_expectations_that_do_not_hold() -> None:
    result = probed({**TWO, "expect": [{"from": "a", "to": "c", "reach": True}]})
    assert texts(result, "expect") == ["a -> c: a reaches c is expected, and the proof says: isolated"]


def test_tested_twice_it_is_the_same() -> None:
    one, other = probed(), probed()
    assert [(p.name, p.probes, p.pairs) for p in one.parts] == [
        (p.name, p.probes, p.pairs) for p in other.parts
    ]


# -- the command line ----------------------------------------------------------------------------


def test_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "out.xml"
    assert main(["test", "topology:cut", "--junit", str(report)]) == 0
    told = capsys.readouterr().out
    assert "  4  ok      the cable is cut\n" in told
    assert "13 steps of the scenario: all hold" in told
    root = ElementTree.parse(report).getroot()
    assert [suite.get("name") for suite in root] == ["expect", "frames", "talk", "scenario"]
    assert all(suite.get("failures") == "0" for suite in root)
    assert len(root[3]) == 13
    assert main(["test", "topology:cut", "--json", "--scenario"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["ok"], document["time"]) == (True, "virtual")
    steps = document["parts"][-1]["steps"]
    assert steps[3] == {
        "step": 4, "name": "the cable is cut", "ok": True, "skipped": False, "seconds": 0.0, "text": "",
    }  # fmt: skip


def test_a_failure_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "lab.yaml").write_text(
        json.dumps({**TWO, "expect": [{"from": "a", "to": "b", "reach": False}]})
    )
    report = tmp_path / "lab.xml"
    assert main(["test", str(tmp_path / "lab.yaml"), "--junit", str(report)]) == 1
    text = "a does not reach b is expected, and the proof says: reaches"
    assert f"FAILED: expect: a -> b: {text}\n" in capsys.readouterr().out
    (failure,) = ElementTree.parse(report).getroot().iter("failure")
    assert failure.get("message") == text


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["topology:tenants", "--scenario"], "topology:tenants has no scenario"),
        (["topology:tenants", "--patience", "0"], "expected seconds above 0"),
        (["topology:tenants", "--junit", "/nowhere/x.xml"], "/nowhere/x.xml: No such file"),
    ],
)
def test_wrong_words(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", *words]) == 2
    said = capsys.readouterr()
    assert told in said.err
    # Before anything is tried.
    assert not said.out


def test_what_a_step_applies_is_read_beforehand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text(json.dumps({**TWO, "scenario": [{"wait": "1 s"}, {"apply": "other.yaml"}]}))
    assert main(["test", str(file), "--scenario"]) == 2
    said = capsys.readouterr()
    assert f"scenario[1].apply: {tmp_path}/other.yaml: No such file" in said.err
    assert not said.out


def test_cables_that_lose_frames_lose_none_of_the_probes() -> None:
    """What is lost by intention says nothing of who may reach whom; a scenario has it as it is written."""
    lossy = {"loss": "100 %"}
    late = [{"from": "0 s", "impair": {"delay": "1 h"}}]
    document = copy.deepcopy(TWO)
    document["switches"] = {"main": {}, "other": {}}
    cut = [{"from": "0 s", "up": False}]
    cables = [{"impair": lossy}, {"schedule": late}, {"schedule": cut}]
    document["links"] = [{"ends": ["main", "other"], "cables": cables, "bond": {"mode": "static"}}]
    for name, keys in (("a", {"impair": lossy}), ("c", {"schedule": cut}), ("d", {"switch": "other"})):
        document["guests"][name]["nics"][0] |= keys
    document["scenario"] = [{"assert": {"from": "a", "to": "b", "reach": False}}]
    result = probed(document, virtual=True)
    assert [str(finding) for finding in result.findings] == []
    assert result.virtual


# -- namespaces ----------------------------------------------------------------------------------


@needs_tun
@pytest.mark.deadline(90)
def test_namespaces_in_real_time() -> None:
    document = json.loads(json.dumps(TWO))
    document["name"] = "realtwo"
    document["guests"]["a"]["kind"] = document["guests"]["b"]["kind"] = "netns"
    document["scenario"] = [
        {"run": {"guest": "a", "command": ["ip", "-o", "link"]}},
        {"transfer": {"from": "a", "to": "b", "size": "1 MiB"}},
        {"transfer": {"from": "b", "to": "d", "size": "1 MiB", "port": 80}},
        {"assert": {"from": "a", "to": "d", "reach": False, "protocol": "tcp", "port": 81, "within": "1 s"}},
        {"link": {"name": "b", "state": "down"}},
        {"assert": {"from": "a", "to": "b", "reach": False}},
        {"link": {"name": "b", "state": "up"}},
        {"converge": "40 s"},
    ]
    result = probed(document)
    assert [str(finding) for finding in result.findings] == []
    assert not result.virtual
    assert len(result.parts[-1].steps) == 8


def test_an_uplink_is_a_port_like_others_but_nothing_leaves_by_it():
    wan = {"nic": {"kind": "packet", "interface": "nowhere0"}, "native": "red", "tagged": ["blue"]}
    result = probed(TWO | {"uplinks": {"wan": wan | {"vlans": {"blue": 120}}}})
    assert [str(finding) for finding in result.findings] == []
    assert "without their interfaces, so that nothing leaves this machine: wan" in result.parts[1].notes


def test_an_address_that_goes_with_another_mac_address() -> None:
    """A router's, which several have in turn (VRRP): from its own MAC address a guest may not send as it."""
    document = copy.deepcopy(TWO)
    allow = [{"ip": "10.0.10.1", "mac": "00:00:5e:00:01:0a"}]
    document["guests"]["a"]["nics"][0]["guard"] = {"allow": allow}
    assert [str(finding) for finding in probed(document).findings] == []


def with_a_lease() -> dict[str, Any]:
    document = copy.deepcopy(TWO)
    document["groups"]["near"] = {"ingress": [{"protocol": "udp", "ports": 53, "prefix": "10.0.10.0/24"}]}
    document["guests"]["b"]["nics"][0]["groups"] = "near"
    document["guests"]["e"] = {"kind": "external", "nics": [{"network": "red", "ip": "dhcp"}]}
    return document


def test_who_has_addresses_by_dhcp_is_probed_with_some() -> None:
    result = probed(with_a_lease(), virtual=True)
    assert [str(finding) for finding in result.findings] == []
    proof = Proof(Topology.from_dict(with_a_lease()))
    (address, *_) = leases(proof.resolved)["e.0"]
    told = [probe for probe in honest(Maker(proof, {"e.0": (address,)})) if probe.source.name == "e.0"]
    assert any(probe.what.startswith(f"udp 53 from {address}") and probe.must == {"b.0"} for probe in told)


def test_a_lease_that_the_proof_does_not_think_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vnet.check.voice.taken", lambda port: ())
    found = texts(probed(with_a_lease(), virtual=True), "frames")
    assert any("udp 53 from 10.0.10.254" in text and "the proof lets nothing" in text for text in found)
