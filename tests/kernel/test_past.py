"""The past written down by itself, by a fabric in a process of its own that has given up what it can."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.needs import needs_tool
from tests.vnet.test_capture import run
from vnet import runtime

NAME = f"past{os.getpid()}"
LAB = {
    "name": NAME,
    "recorder": {
        "files": 2,
        "file_size": "4 MiB",
        "dump": [
            {"on": "drop", "reason": "guard"},
            {"on": "drop", "reason": "tag-not-allowed", "over": "3 /s"},
            {"on": "carrier-loss"},
        ],
    },
    "networks": {"red": {"subnets": ["10.7.0.0/24"]}},
    "guests": {
        "web": {"nics": [{"network": "red", "ip": "10.7.0.11"}]},
        "vm": {
            "kind": "external",
            "nics": [{"network": "red", "nic": {"kind": "stream", "socket": "vm.sock"}}],
        },
    },
}
PATIENCE = 50.0


def vnet(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "vnet", *words], capture_output=True, text=True, timeout=50, check=False
    )
    # `send` says by 1 that the frame was dropped.
    assert done.returncode == 0 or words[0] == "send", (words, done.stdout, done.stderr)
    return done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """The fabric runs; where its past is written."""
    file = tmp_path / "lab.json"
    file.write_text(json.dumps(LAB))
    vnet("up", str(file), "-d", "--sandbox", "strict")
    yield Path(os.environ["XDG_STATE_HOME"]) / "vnet" / NAME / "past"
    vnet("down", NAME)


def wait(found: Any) -> Any:
    """What `found` returns once that is something."""
    deadline = time.monotonic() + PATIENCE
    while not (value := found()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return value


@needs_tool("tshark")
def test_a_confined_fabric_writes_its_past_down(folder: Path) -> None:
    def file(cause: str) -> Path:
        return Path(wait(lambda: next(folder.glob(f"*-{cause}.pcapng"), None)))

    vnet("send", "-n", NAME, "web", "Ether(src='02:00:00:00:00:66')/IP(dst='10.7.0.12')/UDP()")
    guard = file("guard-web.0")
    assert "guard-mac" in run("tshark", "-r", guard, "-T", "fields", "-e", "frame.comment")
    # Three in a second are nothing yet.
    tagged = "Ether()/Dot1Q(vlan=7)/IP(dst='10.7.0.12')/UDP()"
    vnet("send", "-n", NAME, "web", tagged, "-c", "3")
    assert [path.name for path in folder.iterdir()] == [guard.name]
    vnet("send", "-n", NAME, "web", tagged, "-c", "20")
    over = file("tag-not-allowed-web.0")
    assert len(run("tshark", "-r", over, "-Y", 'frame.comment contains "tag-not-allowed"').splitlines()) > 3
    with socket.socket(socket.AF_UNIX) as machine:
        machine.connect(str(runtime.base() / NAME / "vm.sock"))
        status = ["status", NAME, "--json"]
        wait(lambda: all(port["carrier"] for port in json.loads(vnet(*status))["ports"]))
    file("carrier-loss-vm.0")
    wait(lambda: not guard.exists())
    kept = sorted(path.name.partition("-")[2] for path in folder.iterdir())
    assert kept == ["carrier-loss-vm.0.pcapng", "tag-not-allowed-web.0.pcapng"], "the oldest went"
