"""A bond as a person uses it: from a file, in real time, cables down and up, seen by `vnet status`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vnet.cli import main

NAME = f"bonded{os.getpid()}"
FILE = """
name: {name}
networks: {{red: {{subnets: [10.0.1.0/24]}}}}
switches: {{left: {{}}, right: {{}}}}
links:
  - ends: [left, right]
    cables: [{cables}]
    bond: {{{bond}}}
guests:
  a: {{nics: [{{network: red, switch: left}}]}}
  b: {{nics: [{{network: red, switch: right}}]}}
"""
CABLE = re.compile(r"(left-right\.\d) (in use|set down|no carrier|takes in only|[a-z]+)")
COUNT = 4
PATIENCE = 60
Run = Callable[..., str]


@pytest.fixture
def vnet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Run]:
    """Runs a command, which must succeed; its output. A test that failed leaves no fabric either."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "run").mkdir(mode=0o700)

    def run(*words: str) -> str:
        code = main([*words])
        said = capsys.readouterr()
        assert code == 0, f"vnet {' '.join(words)}: {said.out}{said.err}"
        return str(said.out)

    yield run
    main(["down", NAME])


def cables(vnet: Run) -> dict[str, str]:
    """What `vnet status` says of each cable, the same at either end."""
    told = CABLE.findall(" ".join(vnet("status", NAME).split()))
    one, other = dict(told[: len(told) // 2]), dict(told[len(told) // 2 :])
    assert one.keys() == other.keys(), told
    return {name: f"{one[name]}, {other[name]}" for name in one}


def until(look: Callable[[], Any], wanted: Any) -> None:
    """Look until that is what is seen."""
    deadline = time.monotonic() + PATIENCE
    while (found := look()) != wanted:
        assert time.monotonic() < deadline, f"{found}, and not {wanted}"
        time.sleep(0.02)  # the fabric is another process, which has to get on


def ends(vnet: Run) -> list[dict[str, Any]]:
    """The link's two ports in `vnet status --json`."""
    ports: list[dict[str, Any]] = json.loads(vnet("status", NAME, "--json"))["ports"]
    return [port for port in ports if port["port"].startswith("left-right")]


def answers(vnet: Run) -> None:
    assert " 0 % lost" in vnet("ping", "a", "b", "-c", "3", "-i", "0.01", "-W", "30", "-n", NAME)


@pytest.mark.deadline(240)
def test_cables_go_and_come_back(vnet: Run, tmp_path: Path) -> None:
    names = [f"left-right.{number + 1}" for number in range(COUNT)]
    file = tmp_path / "bonded.yaml"

    def write(first: str) -> str:
        file.write_text(
            FILE.format(name=NAME, cables=", ".join([first] + ["{}"] * (COUNT - 1)), bond="timeout: short")
        )
        return str(file)

    def doing(**other: str) -> dict[str, str]:
        both = dict.fromkeys(names, "in use, in use")
        return both | {f"left-right.{number.removeprefix('n')}": told for number, told in other.items()}

    def do() -> dict[str, str]:
        return cables(vnet)

    # In a process of its own, which leaves the fabric's behind.
    argv = [sys.executable, "-m", "vnet", "up", "-d", write("{}")]
    subprocess.run(argv, check=True, timeout=PATIENCE, stdout=subprocess.DEVNULL)
    until(do, doing())
    answers(vnet)
    vnet("link", names[1], "down", "-n", NAME)
    until(do, doing(n2="set down, set down"))
    answers(vnet)
    vnet("link", names[1], "up", "-n", NAME)
    until(do, doing())
    answers(vnet)
    # By the file: a cable that is down in it, and up again.
    vnet("apply", write("{up: false}"))
    until(do, doing(n1="set down, set down"))
    answers(vnet)
    vnet("apply", write("{}"))
    until(do, doing())
    # All at once: no carrier, and then it is as before.
    vnet("link", "left-right", "down", "-n", NAME)
    until(lambda: [end["carrier"] for end in ends(vnet)], [False, False])
    vnet("link", "left-right", "up", "-n", NAME)
    until(do, doing())
    answers(vnet)
    sent = [member["tx"]["frames"] for end in ends(vnet) for member in end["bond"]["members"]]
    assert all(sent), "every cable has carried something, LACP's own at least"
    assert "is down" in vnet("down", NAME)
