"""What is kept over a restart, by real processes in their sandbox, one of them killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.command import vnet
from tests.needs import needs_root
from vnet import leases, state

pytestmark = needs_root
NAME = f"again{os.getpid()}"
MAC = "02:00:00:00:00:0a"
FILE = f"""
name: {NAME}
networks: {{red: {{subnets: [10.7.0.0/24]}}}}
guests:
  vm:
    kind: external
    nics: [{{network: red, ip: dhcp, mac: "{MAC}", nic: {{kind: stream, socket: vm.sock}}}}]
"""


@pytest.fixture
def file(tmp_path: Path) -> Iterator[str]:
    path = tmp_path / "lab.yaml"
    path.write_text(FILE)
    yield str(path)
    subprocess.run([sys.executable, "-m", "vnet", "down", NAME], capture_output=True, timeout=50, check=False)


def up(file: str) -> dict[str, Any]:
    vnet("up", file, "-d")
    document: dict[str, Any] = json.loads(vnet("status", NAME, "--json"))
    return document


def test_leases_outlive_a_kill_and_an_orderly_end(file: str) -> None:
    kept = state.folder(NAME) / leases.FILE
    leases.note(kept, [leases.Lease("vm.0", MAC, "red", "10.7.0.9/32", 3600.0)], time.time())
    document = up(file)
    assert document["ports"][0]["ip"] == ["10.7.0.9"]
    os.kill(document["pid"], signal.SIGKILL)
    while Path(f"/proc/{document['pid']}").exists():
        time.sleep(0.01)  # the deadline of the test bounds it
    assert up(file)["ports"][0]["ip"] == ["10.7.0.9"]
    vnet("down", NAME)
    left = json.loads(kept.read_text())["leases"][0]["left"]
    assert 3500 < left < 3600
    assert up(file)["ports"][0]["ip"] == ["10.7.0.9"]
    vnet("down", NAME)
    kept.unlink()
