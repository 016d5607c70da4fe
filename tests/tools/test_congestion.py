"""TCP's congestion control in `tools.bench.doors`: asked for, set at both ends, told with the figures."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.needs import needs_root, needs_tool
from tools.bench import congestion, doors, rounds
from tools.bench.doors_cases import COURSE, SUITES
from tools.bench.doors_switches import Pair, Switch, namespaces
from tools.bench.processes import Failed
from tools.bench.results import Results

ENDS = tuple(f"vt-congestion-{os.getpid()}-{end}" for end in "ab")


def ended(words: str) -> str:
    """What the command says when it refuses this."""
    argv = [sys.executable, "-m", "tools.bench.doors", "--congestion", words]
    done = subprocess.run(
        argv, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "80"}
    )
    assert done.returncode == 2
    assert done.stdout == ""
    return done.stderr.splitlines()[-1]


def test_one_that_is_not_there_is_named_before_anything_is_done() -> None:
    assert "no such congestion control: nonsense; there are " in ended("reno,nonsense")
    assert "no such congestion control: ;" in ended("")


def test_one_that_namespaces_may_not_use_is_told_with_what_allows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tcp_available_congestion_control").write_text("reno bbr cubic\n")
    (tmp_path / "tcp_allowed_congestion_control").write_text("reno bbr\n")
    monkeypatch.setattr(congestion, "_TCP", tmp_path)
    with pytest.raises(SystemExit):
        congestion.chosen(argparse.ArgumentParser(), "bbr,cubic")
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.endswith("sysctl -w net.ipv4.tcp_allowed_congestion_control='reno bbr cubic'")


def test_without_a_word_it_is_the_machines_own() -> None:
    own = Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
    assert congestion.chosen(argparse.ArgumentParser(), None) == [own]
    assert congestion.title(own) == f"TCP by {own}, this machine's own"
    assert congestion.chosen(argparse.ArgumentParser(), f"{own}, reno,{own}") == list(
        dict.fromkeys([own, "reno"])
    )


class Bare(Switch):
    """Namespaces with nothing between them."""

    name = "vnet"

    @contextlib.contextmanager
    def serve(self, folder: Path) -> Iterator[Pair]:
        del folder
        with namespaces(*ENDS):
            yield Pair(ENDS)


def inside(pair: Pair, _: float) -> dict[str, Any]:
    """Which one the ends have."""
    read = ["cat", "/proc/sys/net/ipv4/tcp_congestion_control"]
    ends = [subprocess.check_output(pair.inside(end, *read), text=True).strip() for end in (0, 1)]
    return {"gbps": 1.0, "kpps": 1.0, "ends": ends}


@needs_root
@needs_tool("ip")
def test_it_is_set_at_both_ends_and_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = Results(COURSE)
    cases = {name: attrs.evolve(SUITES["standard"][name], measure=inside) for name in ("TCP, 1 stream",)}
    plain = "64 B, 1 % lost"
    cases[plain] = attrs.evolve(
        SUITES["standard"][plain], measure=lambda pair, seconds: inside(pair, seconds)
    )
    others = [name for name in congestion._known("allowed") if name != congestion.own()]
    names = [*others, congestion.own()]
    doors.once(Bare(), cases, names, tmp_path, 0, results)
    runs = results.runs["TCP, 1 stream"]["vnet"]
    assert [run[congestion.KEY] for run in runs] == names
    assert [run["ends"] for run in runs] == [[name, name] for name in names]
    assert [run[congestion.KEY] for run in results.runs[plain]["vnet"]] == names[:1], "no TCP, so once"
    with Bare().serve(tmp_path) as pair, pytest.raises(Failed, match="nonsense"):
        congestion.use(pair, "nonsense")


def results_of(*runs: tuple[str, str, float]) -> Results:
    """Of one case: congestion control, switch and figure."""
    results = Results(COURSE)
    for control, switch, gbps in runs:
        noted = {congestion.KEY: control} if control else {}
        results.add(switch, "TCP, 1 stream", {"gbps": gbps, **noted})
    return results


def test_each_is_told_and_judged_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "doors.json"
    first = results_of(
        ("cubic", "vnet", 20), ("reno", "vnet", 9), ("cubic", "copier", 10), ("reno", "copier", 10)
    )
    first.save(file)
    again = Results.load(COURSE, file)
    again.add("vnet", "TCP, 1 stream", {"gbps": 7.0})
    options = argparse.Namespace(json=file, append=None, markdown=False, bars=True)
    assert rounds.tell(again, ["left out: vde: why"], options) == 1, "one bar of two is missed"
    said = capsys.readouterr().out.splitlines()
    heads = [at for at, line in enumerate(said) if "TCP" in line and "CPUs, Linux" in line]
    cubic, reno, none = (said[a:b] for a, b in zip(heads, [*heads[1:], len(said)], strict=True))
    assert "; TCP by cubic" in cubic[0]
    assert "; TCP by reno" in reno[0]
    assert none[0].endswith("; TCP's congestion control was not noted")
    assert any(line.startswith("holds   TCP, 1 stream: 2.00x copier") for line in cubic)
    assert any(line.startswith("MISSED  TCP, 1 stream: 0.90x copier") for line in reno)
    assert said[-1] == "left out: vde: why"
    ratios = {"cubic": {"TCP, 1 stream": {"copier": 2.0}}, "reno": {"TCP, 1 stream": {"copier": 0.9}}}
    assert json.loads(file.read_text())["ratios"] == {**ratios, "": {"TCP, 1 stream": {}}}
