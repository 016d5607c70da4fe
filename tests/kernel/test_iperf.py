"""Two namespaces as a user has them: `vnet up`, `vnet exec ... iperf3`, and a capture that tshark reads."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel import datagrams
from tests.needs import needs_root, needs_tool, needs_tun

pytestmark = [needs_root, needs_tun, needs_tool("iperf3"), needs_tool("tshark"), pytest.mark.deadline(120)]

NAME = f"iperf{os.getpid()}"
SERVER = {"4": "10.8.0.11", "6": "fd00:8::11"}
DOCUMENT = {
    "name": NAME,
    "networks": {"n": {"subnets": ["10.8.0.0/24", "fd00:8::/64"]}},
    "guests": {
        "server": {"kind": "netns", "nics": [{"network": "n", "ip": list(SERVER.values())}]},
        "client": {"kind": "netns", "nics": [{"network": "n", "ip": ["10.8.0.12", "fd00:8::12"]}]},
    },
}


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "vnet", *words]


def vnet(*words: str) -> str:
    done = subprocess.run(command(*words), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"vnet {shlex.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def fabric(tmp_path: Path) -> Iterator[str]:
    file = tmp_path / "topology.json"
    file.write_text(json.dumps(DOCUMENT))
    vnet("up", str(file), "-d")
    try:
        yield NAME
    finally:
        vnet("down", NAME)


def iperf3(*words: str) -> dict[str, dict[str, float]]:
    """One run from `client` to `server`; what it summed up."""
    serve = command("exec", "-n", NAME, "server", "--", "iperf3", "-s", "-1", "--forceflush")
    with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        for line in server.stdout:
            if "listening" in line:
                break
        told = vnet("exec", "-n", NAME, "client", "--", "iperf3", "-J", *words)
        server.stdout.read()
    return dict(json.loads(told)["end"])


@pytest.mark.parametrize("family", ["4", "6"])
def test_tcp_both_ways(fabric: str, family: str) -> None:
    for direction in ((), ("-R",)):
        done = iperf3("-c", SERVER[family], "-n", "200M", *direction)
        sent, received = done["sum_sent"]["bytes"], done["sum_received"]["bytes"]
        # No speed is promised here, only that it is none of a connection in trouble.
        assert received > 180e6
        assert sent - received < 20e6


@pytest.mark.parametrize("family", ["4", "6"])
def test_udp_arrives(fabric: str, family: str) -> None:
    done = iperf3("-c", SERVER[family], "-u", "-b", "20M", "-l", "1400", "-n", "5M")
    unread = datagrams.unread(vnet("exec", "-n", NAME, "server", "--", "cat", *datagrams.TABLES))
    assert done["sum"]["packets"] > 3500
    assert done["sum"]["lost_packets"] - unread < done["sum"]["packets"] / 20


def test_tshark_reads_what_was_captured_without_a_warning(fabric: str, tmp_path: Path) -> None:
    path = tmp_path / "all.pcapng"
    words = command("capture", "all", "-w", str(path), "-n", NAME)
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as capture:
        assert capture.stderr is not None
        # The file begins with what is captured, as soon as it is.
        while not path.exists() or not path.stat().st_size:
            time.sleep(0.01)
        iperf3("-c", SERVER["4"], "-b", "20M", "-n", "5M")
        iperf3("-c", SERVER["6"], "-u", "-b", "20M", "-l", "1400", "-n", "5M")
        capture.send_signal(signal.SIGINT)
        capture.stderr.read()
    assert capture.returncode == 0
    read = ["tshark", "-r", str(path), "-T", "fields", "-e", "frame.interface_name", "-e", "frame.protocols"]
    done = subprocess.run(read, capture_output=True, text=True, timeout=60, check=True)
    assert not [line for line in done.stderr.splitlines() if not line.startswith("Running as user")]
    frames = [line.split("\t") for line in done.stdout.splitlines()]
    assert {interface for interface, _ in frames} == {"server.0", "client.0"}
    for protocol in ("eth:ethertype:ip:tcp", "eth:ethertype:ipv6:udp"):
        assert sum(found.startswith(protocol) for _, found in frames) > 100
    malformed = ["tshark", "-r", str(path), "-Y", "_ws.malformed"]
    assert subprocess.run(malformed, capture_output=True, text=True, timeout=60, check=True).stdout == ""
