"""The demo: what it shows holds, for people and for machines."""

import json
import subprocess
import sys

import pytest

from vnet.cli import main


@pytest.mark.deadline(120)
def test_the_result_for_machines_is_whole(tmp_path, capsys):
    capture = tmp_path / "demo.pcapng"
    assert main(["demo", "--json", "--size", "4", "-w", str(capture)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["ok"]
    assert result["failures"] == []
    assert len(result["transfers"]) == 4
    assert all(move["intact"] and move["bytes"] == 4 << 20 for move in result["transfers"])
    assert len(result["reachable"]) == 12
    assert all(pair["rtt"] is not None for pair in result["reachable"])
    assert len(result["isolated"]) == 18
    assert not any(pair["answered"] for pair in result["isolated"])
    assert result["probes"] == {"sent": 6, "leaked": 0}
    assert len(result["ports"]) == 6
    assert result["capture"]["frames"] > 10_000
    assert capture.stat().st_size > 1_000_000


@pytest.mark.deadline(120)
def test_people_are_told_the_same(tmp_path):
    words = [sys.executable, "-m", "vnet", "demo", "--size", "64", "-w", "x.pcapng"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for said in ("12 of 12 pairs", "0 of 18 pairs", "0 of 6 frames", "tshark -r", "checksum matches"):
        assert said in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "…" not in done.stdout


def test_what_does_not_hold_fails(monkeypatch, capsys, tmp_path):
    from vnet import demo

    monkeypatch.setattr(demo.Demo, "failures", lambda self: ["red-web reaches blue-web"])
    assert main(["demo", "--json", "--size", "1", "-w", str(tmp_path / "x.pcapng")]) == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False
