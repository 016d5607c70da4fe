"""Scenarios: every kind of step, when it holds and when it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nics.errors import BadInput
from vnet.probe.course import Options, run
from vnet.scenario import Told
from vnet.topology import Topology

LAB: dict[str, Any] = {
    "name": "steps",
    "networks": {"lan": {"subnets": ["10.0.0.0/24", "fd00::/64"]}, "far": {"subnets": ["10.9.0.0/24"]}},
    "groups": {"web": {"ingress": [{"protocol": "tcp", "ports": "80-81"}]}},
    "guests": {
        "a": {"nics": [{"network": "lan"}]},
        "b": {"nics": [{"network": "lan"}]},
        "w": {"nics": [{"network": "lan", "groups": "web"}]},
        "f": {"nics": [{"network": "far"}]},
    },
}

BARE = {"nics": [{"network": "lan", "ip": []}]}


def played(*steps: dict[str, Any], folder: Path = Path(), **parts: Any) -> list[Told]:
    topology = Topology.from_dict({**LAB, **parts, "scenario": list(steps)})
    result = run(topology, Options(probe=False, folder=folder))
    assert result.virtual
    return result.parts[-1].steps


def a_to_b(**keys: Any) -> dict[str, Any]:
    return {"from": "a", "to": "b", **keys}


def test_what_can_not_be_probed_is_said_to_be_so() -> None:
    uplinks = {"wan": {"nic": {"kind": "pipe"}, "native": "lan"}}
    (told,) = played({"assert": {"from": "a", "to": "wan", "reach": True}}, uplinks=uplinks)
    assert told.failure is None
    assert told.text.startswith("nothing to probe: ")


@pytest.mark.parametrize("reach", [True, False])
@pytest.mark.parametrize("named", ["a", "a*"])
def test_nobody_is_asked_to_reach_itself(named: str, reach: bool) -> None:
    (told,) = played({"assert": {"from": "a", "to": named, "reach": reach}})
    assert told.failure == "it means no two guests, and nobody is asked to reach itself"


@pytest.mark.parametrize(
    ("step", "text"),
    [
        ({"ping": a_to_b(count=5)}, "5 of 5 answered, median "),
        ({"ping": a_to_b(family=6)}, "1 of 1 answered"),
        ({"ping": a_to_b(rtt="1 ms")}, "1 of 1 answered"),
        ({"transfer": a_to_b(size="100 kB")}, "100000 bytes in "),
        ({"transfer": a_to_b(least="1 Mbit/s")}, "1048576 bytes in "),
        ({"transfer": {"from": "a", "to": "w", "port": 80}}, "1048576 bytes in "),
        ({"wait": "1 h"}, ""),
        ({"converge": "1 s"}, "after 0.0"),
        ({"assert": a_to_b(reach=True)}, "1 pair"),
        ({"assert": {"from": "*", "to": "f", "reach": False}}, "3 pairs"),
        ({"assert": {"from": "a", "to": "w", "reach": True, "protocol": "tcp", "port": [80, 81]}}, "1 pair"),
        ({"assert": {"from": "a", "to": "w", "reach": False, "protocol": "udp"}}, "1 pair"),
        ({"assert": {"from": "a", "to": "w", "reach": False, "protocol": "icmp", "family": 6}}, "1 pair"),
        # Of a range, all that rules tell apart; and without any, of all ports.
        ({"assert": {"from": "a", "to": "w", "reach": True, "protocol": "tcp", "port": "80-81"}}, "1 pair"),
        ({"assert": {"from": "a", "to": "w", "reach": True, "protocol": "tcp"}}, "1 pair"),
        ({"assert": {"from": "a", "to": "w", "reach": False, "protocol": "tcp", "port": "82-99"}}, "1 pair"),
        ({"link": {"name": "b.0", "state": "down"}}, ""),
    ],
)
def test_holds(step: dict[str, Any], text: str) -> None:
    (told,) = played(step)
    assert told.failure is None
    assert told.text.startswith(text)


def test_the_answer_of_a_neighbour_with_the_same_address_is_not_that_of_whom_a_step_names() -> None:
    nics = [{"network": "near", "ip": ["10.0.0.7"]}], [{"network": "other", "ip": ["10.0.0.7"]}]
    parts = {
        "networks": {name: {"subnets": ["10.0.0.0/24"]} for name in ("near", "other")},
        "groups": {},
        "guests": {
            "a": {"nics": [{"network": "near", "ip": ["10.0.0.2"]}]},
            "twin": {"nics": nics[0]},
            "b": {"nics": nics[1]},
        },
    }
    asked = [
        {"assert": a_to_b(reach=False)},
        {"assert": a_to_b(reach=False, protocol="udp")},
        {"assert": {"from": "a", "to": "twin", "reach": True}},
        {"ping": {"from": "a", "to": "twin"}},
    ]
    assert [told.failure for told in played(*asked, **parts)] == [None] * 4
    (told,) = played({"ping": a_to_b()}, **parts)
    assert "0 of 1 answered" in (told.failure or "")
    (told,) = played({"transfer": a_to_b()}, **parts)
    assert "in network near, that is twin's" in (told.failure or "")


@pytest.mark.parametrize(
    ("step", "failure"),
    [
        (
            {"ping": {"from": "a", "to": "f", "count": 2, "timeout": "2 s"}},
            "0 of 2 answered; at most 0 %",
        ),
        ({"ping": {"from": "a", "to": "f", "loss": "50 %"}}, "0 of 1 answered; at most 50 % may be lost"),
        ({"transfer": {"from": "a", "to": "w", "port": 82, "within": "3 s"}}, "0 of 1048576 bytes in 3 s"),
        ({"transfer": a_to_b(most="1 kbit/s")}, "that is more than 0.001 Mbit/s"),
        ({"assert": a_to_b(reach=False, within="1 s")}, "a reaches b"),
        ({"assert": {"from": "a", "to": "f", "reach": True, "within": "1 s"}}, "a does not reach f"),
        (
            {"assert": {"from": "a", "to": "w", "reach": True, "protocol": "tcp", "port": [80, 82]}},
            "a does not reach w",
        ),
        (
            {"assert": {"from": "a", "to": "w", "reach": False, "protocol": "tcp", "port": "70-90"}},
            "a reaches w",
        ),
        ({"assert": {"from": "a", "to": "w", "reach": False, "protocol": "tcp"}}, "a reaches w"),
        (
            {"assert": {"from": "a", "to": "w", "reach": True, "protocol": "tcp", "port": "80-90"}},
            "a does not reach w",
        ),
        ({"apply": "nowhere.yaml"}, "nowhere.yaml: No such file or directory"),
    ],
)
def test_does_not_hold(step: dict[str, Any], failure: str) -> None:
    told, after = played(step, {"wait": "1 s"})
    assert failure in (told.failure or "")
    assert after.skipped


def test_a_cable_that_is_pulled() -> None:
    steps = played(
        {"link": {"name": "b", "state": "down"}},
        {"assert": a_to_b(reach=False)},
        {"converge": "5 s"},
        {"name": "back", "at": "1 h", "link": {"name": "b", "state": "up"}},
        {"assert": a_to_b(reach=True)},
    )
    assert [step.failure for step in steps] == [None] * 5
    assert steps[3].title == "back"


def test_what_does_not_converge() -> None:
    parts = {
        "switches": {"s1": {}, "s2": {}},
        "links": [{"name": "core", "ends": ["s1", "s2"]}],
        "guests": {"a": {"nics": [{"network": "lan", "switch": "s1"}]},
                   "b": {"nics": [{"network": "lan", "switch": "s2"}]}},
        "groups": {},
    }  # fmt: skip
    steps = played(
        {"converge": "5 s"},
        {"link": {"name": "core", "state": "down"}},
        {"converge": "5 s"},
        {"assert": a_to_b(reach=True, within="2 s")},
        **parts,
    )
    # Who is cut off need not converge.
    assert [bool(step.failure) for step in steps] == [False, False, False, True], (
        "who is cut off needs not converge"
    )


FAR_APART: dict[str, Any] = {
    "switches": {"s1": {}, "s2": {}},
    "links": [{"name": "core", "ends": ["s1", "s2"], "impair": {"delay": "700 ms"}}],
    "guests": {"a": {"nics": [{"network": "lan", "switch": "s1"}]},
               "b": {"nics": [{"network": "lan", "switch": "s2"}]}},
    "groups": {},
}  # fmt: skip


@pytest.mark.parametrize(
    "step",
    [
        {"converge": "20 s"},
        {"assert": a_to_b(reach=True, protocol="icmp", within="20 s")},
        {"assert": a_to_b(reach=True, protocol="tcp", within="20 s")},
        {"assert": a_to_b(reach=True, protocol="udp", port=[80, 81], within="20 s")},
    ],
)
def test_a_path_may_be_slow(step: dict[str, Any]) -> None:
    (told,) = played(step, **FAR_APART)
    assert told.failure is None
    assert 1.4 < told.seconds < 19


def test_who_comes_back_late_is_found_soon() -> None:
    """Also while a long try, which began before, still waits for its answer."""
    cut = {"from": "0 s", "to": "13 s", "up": False}
    links = [{"name": "core", "ends": ["s1", "s2"], "schedule": [cut]}]
    step = {"assert": a_to_b(reach=True, protocol="tcp", family=4, within="30 s")}
    (told,) = played(step, **{**FAR_APART, "links": links})
    assert told.failure is None
    assert 13 <= told.seconds < 13.5


def test_another_topology(tmp_path: Path) -> None:
    other = Topology.from_dict({**LAB, "scenario": []})
    other.guest("b", network="far")
    (tmp_path / "other.yaml").write_text(other.to_yaml())
    steps = played(
        {"assert": a_to_b(reach=True)},
        {"apply": "other.yaml"},
        {"assert": a_to_b(reach=False)},
        {"assert": {"from": "b", "to": "f", "reach": True}},
        folder=tmp_path,
    )
    assert [step.failure for step in steps] == [None] * 4


def other_file(folder: Path, **parts: Any) -> None:
    (folder / "other.yaml").write_text(Topology.from_dict({**LAB, **parts}).to_yaml())


@pytest.mark.parametrize(
    ("step", "failure"),
    [
        ({"ping": a_to_b()}, "there is no guest 'b'"),
        ({"transfer": a_to_b()}, "there is no guest 'b'"),
        ({"assert": a_to_b(reach=True)}, "there is no guest 'b'"),
        ({"assert": a_to_b(reach=False)}, "there is no guest 'b'"),
        ({"assert": {"from": ["a", "w*"], "to": "f", "reach": False}}, "there is no guest like 'w*'"),
        ({"link": {"name": "b.0", "state": "down"}}, "b.0"),
        ({"run": {"guest": "b", "command": ["true"]}}, "there is no guest 'b'"),
        # A name that only another file could have is looked for when it is played.
        ({"ping": {"from": "a", "to": "nobody"}}, "there is no guest 'nobody'"),
        ({"assert": {"from": "a", "to": "nobody*", "reach": True}}, "there is no guest like 'nobody*'"),
    ],
)
def test_another_file_lacks_a_guest(step: dict[str, Any], failure: str, tmp_path: Path) -> None:
    other_file(tmp_path, guests={name: LAB["guests"][name] for name in "af"}, groups={})
    applied, told = played({"apply": "other.yaml"}, step, folder=tmp_path)
    assert applied.failure is None
    assert failure in (told.failure or "")
    assert "\n" not in (told.failure or "")


@pytest.mark.parametrize(
    ("step", "failure"),
    [
        ({"ping": {"from": "a", "to": "f", "family": 6}}, "f has no IPv6 address"),
        # As all of them at once.
        ({"ping": a_to_b(count=5, interval="0 s", loss="100 %")}, "b has no address"),
        ({"transfer": a_to_b()}, "b has no address"),
    ],
)
def test_another_file_has_nobody_at_an_address(step: dict[str, Any], failure: str, tmp_path: Path) -> None:
    other_file(tmp_path, guests={**LAB["guests"], "b": BARE})
    applied, told = played({"apply": "other.yaml"}, step, folder=tmp_path)
    assert applied.failure is None
    assert told.failure == failure


def test_another_file_brings_a_guest(tmp_path: Path) -> None:
    other_file(tmp_path, guests={**LAB["guests"], "c": {"nics": [{"network": "lan"}]}})
    steps = played(
        {"apply": "other.yaml"},
        {"ping": {"from": "a", "to": "c"}},
        {"transfer": {"from": "c", "to": "b", "size": "10 kB"}},
        {"assert": {"from": "c", "to": "f", "reach": False}},
        {"link": {"name": "c.0", "state": "down"}},
        {"assert": {"from": "a", "to": "c", "reach": False}},
        folder=tmp_path,
    )
    assert [step.failure for step in steps] == [None] * 6


def test_another_file_is_stood_in_for_as_the_first(tmp_path: Path) -> None:
    """Guests that somebody else starts, and namespaces in virtual time; and no interface is an uplink."""
    parts: dict[str, Any] = {
        "guests": {
            **LAB["guests"],
            "b": {"kind": "external", "nics": [{"network": "lan", "nic": {"kind": "tap"}}]},
            "n": {"kind": "netns", "nics": [{"network": "lan"}]},
        },
        "uplinks": {"wan": {"nic": {"kind": "packet", "interface": "no-such"}, "native": "lan"}},
    }
    other_file(tmp_path, **{**parts, "guests": {**parts["guests"], "c": {"nics": [{"network": "lan"}]}}})
    steps = [
        {"apply": "other.yaml"},
        {"ping": a_to_b()},
        {"ping": {"from": "c", "to": "n"}},
        {"assert": {"from": "a", "to": ["b", "wan"], "reach": True}},
    ]
    topology = Topology.from_dict({**LAB, **parts, "scenario": steps})
    result = run(topology, Options(virtual=True, probe=False, folder=tmp_path))
    told = result.parts[-1].steps
    assert [step.failure for step in told] == [None] * 4
    # Only what is new came: the uplink and the others are what they were.
    assert told[0].text == "2 steps"


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ({}, "scenario[0]: a step that does nothing, expected ping, transfer, link, run"),
        (
            {"wait": "1 s", "converge": "1 s"},
            "[0].converge: converge beside wait, expected one thing",
        ),
        ({"link": {"name": "c.0", "state": "up"}}, 'scenario[0].link.name: no link "c.0", expected a, b, w'),
        (
            {"run": {"guest": "a", "command": ["true"]}},
            "run.guest: a is of kind stack, expected a guest",
        ),
        ({"assert": {"from": "x", "to": "b", "reach": True}}, 'scenario[0].assert.from[0]: no guest "x"'),
        ({"assert": a_to_b(reach=True, protocol="ethernet")}, "frames are not tried by an assertion"),
        (
            {"ping": {"from": "a", "to": "f", "family": 6}},
            "scenario[0].ping.family: f has no IPv6 address, expected 4",
        ),
        ({"ping": {"from": "a", "to": "bare"}}, "scenario[0].ping.to: bare has no address, expected a guest"),
        ({"transfer": {"from": "a", "to": "bare"}}, "scenario[0].transfer.to: bare has no address"),
    ],
)
def test_wrong_steps(step: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInput) as error:
        Topology.from_dict({**LAB, "guests": {**LAB["guests"], "bare": BARE}, "scenario": [step]})
    assert told in str(error.value)


def test_written_as_read() -> None:
    steps = [
        {"name": "x", "at": "10 s", "ping": a_to_b(count=3)},
        {"assert": a_to_b(reach=True, protocol="tcp", port=[80])},
        {"wait": "1 h"},
    ]
    topology = Topology.from_dict({**LAB, "scenario": steps})
    again = Topology.from_text(topology.to_yaml())
    assert again == topology
