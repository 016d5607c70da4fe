"""Wireshark's extcap, driven by tshark: it lists our ports, captures by a filter, and stops cleanly."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.command import vnet
from tests.needs import needs_tool

pytestmark = [needs_tool("tshark"), pytest.mark.deadline(180)]

LAB = """
name: {name}
networks: {{red: {{subnets: [10.7.0.0/24]}}}}
guests:
  a: {{nics: [{{network: red, ip: [10.7.0.11]}}]}}
  b: {{nics: [{{network: red, ip: [10.7.0.12]}}]}}
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A running fabric, and the program installed where this user's tshark looks."""
    name = f"ext{os.getpid()}"
    monkeypatch.setenv("WIRESHARK_EXTCAP_DIR", str(tmp_path / "extcap"))
    file = tmp_path / "lab.yaml"
    file.write_text(LAB.format(name=name))
    vnet("up", str(file), "-d")
    try:
        assert "installed" in vnet("extcap", "--install")
        yield name
        assert "removed" in vnet("extcap", "--remove")
        assert "not installed" in vnet("extcap", "--remove")
    finally:
        vnet("down", name)


def test_tshark_lists_and_captures(lab: str, tmp_path: Path) -> None:
    told = subprocess.run(["tshark", "-D"], capture_output=True, text=True, timeout=50).stdout
    for word in (f"vnet:{lab}:all", f"vnet:{lab}:red", f"vnet:{lab}:a.0", "port b.0, stack 10.7.0.12"):
        assert word in told, told
    assert f"vnet:{lab}:a.0" in vnet("extcap")

    links = subprocess.run(
        ["tshark", "-i", f"vnet:{lab}:a.0", "-L"], capture_output=True, text=True, timeout=50
    )
    assert "EN10MB" in links.stdout + links.stderr

    file = tmp_path / "got.pcapng"
    capture = subprocess.Popen(
        ["tshark", "-i", f"vnet:{lab}:a.0", "-f", "icmp", "-c", "4", "-w", str(file)],
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while capture.poll() is None:
        assert time.monotonic() < deadline
        vnet("ping", "a", "b", "-c", "1", "-W", "20", "-n", lab)
    assert capture.stderr is not None
    told = capture.stderr.read()
    capture.stderr.close()
    assert capture.returncode == 0, told
    read = subprocess.run(
        ["tshark", "-r", str(file), "-T", "fields", "-e", "frame.interface_name", "-e", "_ws.col.Protocol"],
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert [
        line for line in read.stderr.splitlines() if line and not line.startswith("Running as user")
    ] == []
    assert {line.split()[-1] for line in read.stdout.splitlines()} == {"ICMP"}
    assert len(read.stdout.splitlines()) == 4


def test_a_filter_is_checked_before_anything_starts(lab: str) -> None:
    def asked(text: str) -> subprocess.CompletedProcess[str]:
        words = ["--extcap-interface", f"vnet:{lab}:all", "--extcap-capture-filter", text]
        return subprocess.run(
            [sys.executable, "-m", "vnet.extcap", *words], capture_output=True, text=True, timeout=50
        )

    assert asked("tcp port 80").stdout == ""
    assert "syntax error" in asked("tcp prot 80").stdout
    words = ["--capture", "--fifo", "/dev/null", "--extcap-interface", f"vnet:{lab}:nothing"]
    wrong = subprocess.run(
        [sys.executable, "-m", "vnet.extcap", *words], capture_output=True, text=True, timeout=50
    )
    assert (wrong.returncode, "there is no port, guest, network or switch 'nothing'" in wrong.stderr) == (
        1,
        True,
    )
