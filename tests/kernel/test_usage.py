"""Bills of a fabric on a real interface: what the kernel's own stack sent, over a kill of the process."""

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
from tests.needs import needs_root, needs_tool
from vnet import usage

pytestmark = [needs_root, needs_tool("ip")]

NAME = f"bill{os.getpid()}"
PHYS, WORLD = f"ph{os.getpid()}", f"world{os.getpid()}"
FILE = f"""
name: {NAME}
networks: {{red: {{subnets: [10.7.0.0/24], mtu: 1500}}}}
switches: {{left: {{}}, right: {{}}}}
links: [{{ends: [left, right]}}]
guests:
  web: {{kind: netns, nics: [{{network: red, switch: left, ip: 10.7.0.11}}]}}
  app: {{kind: netns, nics: [{{network: red, switch: right, ip: 10.7.0.12}}]}}
uplinks: {{wan: {{switch: right, nic: {{kind: packet, interface: {PHYS}}}, native: red}}}}
"""
MEGABYTES = 20
HEADERS = 14 + 20 + 32
"""Ethernet, IPv4, TCP with timestamps."""
SEGMENT = 1448
LISTEN = """
import socket
server = socket.create_server(("10.7.0.{host}", 9000))
print("ready", flush=True)
conn, _ = server.accept()
while conn.recv(1 << 20): pass
"""
POUR = f"""
import socket
with socket.create_connection(("10.7.0.{{host}}", 9000)) as sock:
    for _ in range({MEGABYTES}): sock.sendall(bytes(1_000_000))
"""


def run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, timeout=50)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[str]:
    path = tmp_path / "lab.yaml"
    path.write_text(FILE)
    run("ip", "netns", "add", WORLD)
    run("ip", "link", "add", PHYS, "type", "veth", "peer", "name", "eth0", "netns", WORLD)
    run("ip", "link", "set", PHYS, "up")
    run("ip", "-n", WORLD, "address", "add", "10.7.0.99/24", "dev", "eth0")
    run("ip", "-n", WORLD, "link", "set", "eth0", "up")
    yield str(path)
    subprocess.run([sys.executable, "-m", "vnet", "down", NAME], capture_output=True, timeout=50, check=False)
    run("ip", "link", "del", PHYS)
    run("ip", "netns", "del", WORLD)


def told() -> dict[str, Any]:
    return {nic["guest"]: nic for nic in json.loads(vnet("usage", "-n", NAME, "--json"))["nics"]}


def port(name: str) -> dict[str, Any]:
    ports = json.loads(vnet("status", NAME, "--json"))["ports"]
    found: dict[str, Any] = next(each for each in ports if each["port"] == name)
    return found


def pour(receiver: list[str], host: int) -> None:
    """MEGABYTES from web, by TCP."""
    listener = subprocess.Popen(
        [*receiver, sys.executable, "-c", LISTEN.format(host=host)], stdout=subprocess.PIPE, text=True
    )
    with listener:
        assert listener.stdout is not None
        assert listener.stdout.readline() == "ready\n"
        vnet("exec", "-n", NAME, "web", "--", sys.executable, "-c", POUR.format(host=host))
        assert listener.wait(50) == 0


def is_billed(before: dict[str, Any], now: dict[str, Any]) -> None:
    """For MEGABYTES of TCP in whole segments, however they were cut on the way; a few were sent twice."""
    frames, size = (now[key] - before[key] for key in ("frames", "bytes"))
    least = MEGABYTES * 1_000_000 // SEGMENT
    assert least <= frames <= 1.1 * least + 100
    assert size == pytest.approx(MEGABYTES * 1_000_000 / least * frames + HEADERS * frames, rel=0.02)


def test_tcp_is_billed_as_its_segments_and_apart(file: str) -> None:
    vnet("up", file, "-d")
    before = told()
    pour(["ip", "netns", "exec", WORLD], 99)
    now = told()
    is_billed(before["web"]["egress"]["uplink"], now["web"]["egress"]["uplink"])
    assert now["web"]["egress"]["fabric"]["bytes"] - before["web"]["egress"]["fabric"]["bytes"] < 10_000
    answers = now["web"]["ingress"]["uplink"]["frames"] - before["web"]["ingress"]["uplink"]["frames"]
    assert 20 < answers < MEGABYTES * 1_000_000 // SEGMENT
    # The uplink has counted super-frames, so it has fewer, and without their headers fewer bytes.
    assert (
        MEGABYTES * 1_000_000
        < port("wan")["tx"]["bytes"]
        <= told()["web"]["egress"]["uplink"]["bytes"] + 10_000
    )
    before = told()
    pour([sys.executable, "-m", "vnet", "exec", "-n", NAME, "app", "--"], 12)
    now = told()
    is_billed(before["web"]["egress"]["fabric"], now["web"]["egress"]["fabric"])
    is_billed(before["app"]["ingress"]["fabric"], now["app"]["ingress"]["fabric"])
    assert now["web"]["egress"]["uplink"]["bytes"] - before["web"]["egress"]["uplink"]["bytes"] < 10_000
    vnet("down", NAME)


def test_figures_outlive_a_kill_and_an_orderly_end(file: str) -> None:
    from vnet import state

    kept = state.folder(NAME) / usage.FILE
    vnet("up", file, "-d")
    vnet("exec", "-n", NAME, "web", "--", "ping", "-q", "-c", "20", "-i", "0.01", "-s", "1000", "10.7.0.99")
    sure = told()["web"]
    assert sure["egress"]["uplink"]["bytes"] >= 20 * 1042 <= sure["ingress"]["uplink"]["bytes"]
    # Noted within EVERY seconds.
    deadline = time.monotonic() + usage.EVERY + 40
    while usage.read(kept)["web.0"].before[1][1] < sure["egress"]["uplink"]["bytes"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    pid = json.loads(vnet("status", NAME, "--json"))["pid"]
    os.kill(pid, signal.SIGKILL)
    while Path(f"/proc/{pid}").exists():
        time.sleep(0.01)  # the deadline of the test bounds it
    # While nobody runs, too.
    assert told()["web"]["egress"]["uplink"]["bytes"] >= sure["egress"]["uplink"]["bytes"]
    vnet("up", file, "-d")
    again = told()["web"]
    assert again["since"] == sure["since"]
    assert again["egress"]["uplink"]["bytes"] >= sure["egress"]["uplink"]["bytes"]
    # An orderly end loses nothing at all.
    vnet("exec", "-n", NAME, "web", "--", "ping", "-q", "-c", "5", "-i", "0.01", "-s", "1000", "10.7.0.99")
    sure = told()["web"]
    vnet("down", NAME)
    assert told()["web"]["egress"]["uplink"]["bytes"] >= sure["egress"]["uplink"]["bytes"]
    assert told()["web"]["gone"] is not None
    vnet("up", file, "-d")
    assert told()["web"]["egress"]["uplink"]["bytes"] >= sure["egress"]["uplink"]["bytes"]
    assert "web.0" in vnet("usage", "-n", NAME, "web")
    assert (
        "did you mean web?"
        in subprocess.run(
            [sys.executable, "-m", "vnet", "usage", "-n", NAME, "wab"],
            capture_output=True,
            text=True,
            check=False,
        ).stderr
    )
    vnet("down", NAME)
