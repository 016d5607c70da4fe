"""`vnet check`, as people and programs read it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from vnet.check import Proof, matrix
from vnet.cli import main
from vnet.topology import Topology

FILE = """\
name: lab
networks: {red: {subnets: [10.0.0.0/24]}, blue: {subnets: [10.0.0.0/24]}}
groups: {shut: {}}
guests:
  web: {nics: [{network: red}]}
  db: {nics: [{network: red, groups: shut}]}
  far: {nics: [{network: blue}]}
expect:
  - {from: db, to: web, reach: true}
  - {from: web, to: [db, far], reach: WANTED}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "lab.yaml"
    path.write_text(FILE.replace("WANTED", "false"))
    return path


def test_all_holds(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(file)]) == 0
    told = capsys.readouterr().out
    assert "  1  web     -  .\n  2  db   #     .\n  3  far  .  .\n" in told
    assert "expected: 3 of 3 hold" in told
    assert max(map(len, told.splitlines())) <= 80


def test_something_does_not(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(FILE.replace("WANTED", "true"))
    assert main(["check", str(file)]) == 1
    told = capsys.readouterr().out
    assert f"{file}:10:5: web reaches db: found: only frames such as ARP pass, no packets\n" in told
    assert re.search(rf"no rule of the groups of db\.0 \(shut\) .*\({file}:6:\d+\)", told)
    assert f"{file}:10:5: web reaches far: found: isolated\n" in told


def test_why(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(file), "--why", "web", "far"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("web -> far: isolated\n")
    assert f"no VLAN in common ({file}:7:26)" in told
    assert main(["check", str(file), "--why", "web", "fra"]) == 2
    assert "there is no guest 'fra' (did you mean far?)" in capsys.readouterr().err


def test_json(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(file), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert set(document) == {"name", "ok", "expect", "pairs", "mirrors", "openings"}
    assert document["ok"] is True
    assert len(document["pairs"]) == 6
    pair = document["pairs"][0]
    assert (pair["from"], pair["to"], pair["reach"], pair["ethernet"]) == ("web", "db", "no", True)
    assert pair["why"][0]["key"] == "guests.db.nics[0].network"
    assert document["expect"][0]["place"].endswith("lab.yaml:9:5")


def test_a_file_that_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.yaml").write_text("name: x\nexpect: [{from: a, to: b, reach: true}]\n")
    assert main(["check", str(tmp_path / "x.yaml")]) == 2
    assert "x.yaml:2:17: expect[0].from[0]: no guest" in capsys.readouterr().err


def test_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.yaml").write_text("name: x\nnetworks: {red: {}}\n")
    assert main(["check", str(tmp_path / "x.yaml")]) == 0
    assert capsys.readouterr().out == "x: no guests, so there is nobody to reach\n"


def crowd(tenants: int, each: int) -> Proof:
    topology = Topology("crowd")
    for tenant in range(tenants):
        topology.network(f"net{tenant}", subnets="10.0.0.0/16")
        for number in range(each):
            topology.guest(f"t{tenant}-{number}", network=f"net{tenant}")
    return Proof(topology)


def test_a_crowd_is_folded() -> None:
    told = matrix.lines(crowd(4, 12))
    assert told[1].split() == ["1", "t0-0", "...", "t0-11", "(12)", "#", ".", ".", "."]
    assert max(map(len, told)) <= 80


def test_a_larger_crowd_is_told_in_words() -> None:
    told = matrix.lines(crowd(30, 3))
    assert told[:2] == ["t0-0 ... t0-2 (3)", "  # reaches: t0-0 ... t0-2 (3)"]
