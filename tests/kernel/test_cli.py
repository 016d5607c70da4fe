"""The command line as a person uses it: real processes, namespaces and TAPs."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.command import vnet
from tests.needs import needs_root, needs_tun
from vnet import state

pytestmark = [needs_root, needs_tun]

TENANTS = """
name: {name}
networks:
  red: {{vlan: 10, subnets: [10.7.0.0/24, "fd00:7::/64"]}}
  blue: {{vlan: 20, subnets: [10.7.0.0/24]}}
guests:
  a: {{kind: netns, nics: [{{network: red, ip: [10.7.0.11]}}]}}
  b: {{kind: netns, nics: [{{network: red, ip: [10.7.0.12]}}]}}
  c: {{kind: netns, nics: [{{network: blue, ip: [10.7.0.13]}}]}}
{more}
"""


File = Callable[..., str]
"""Write a fabric's file, with what is beside the usual and its name; the path."""


@pytest.fixture
def name() -> Iterator[str]:
    """A fabric's name that no other test uses. It is brought down even when the test failed."""
    name = f"cli{os.getpid()}"
    yield name
    subprocess.run([sys.executable, "-m", "vnet", "down", name], capture_output=True, timeout=50)


@pytest.fixture
def file(tmp_path: Path, name: str) -> File:
    def write(more: str = "", which: str = name) -> str:
        path = tmp_path / f"{which}.yaml"
        path.write_text(TENANTS.format(name=which, more=more))
        return str(path)

    return write


def status(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(vnet("status", name, "--json"))
    return document


def namespaces(name: str) -> list[str]:
    return [path.name for path in Path("/run/netns").glob(f"vnet-{name}.*")]


def test_a_day_in_the_life_of_a_fabric(name: str, file: File, tmp_path: Path) -> None:
    assert "is up: 3 guests, 3 ports" in vnet("up", file(), "-d")
    assert f"named {name} is running" in vnet("up", file(), "-d", code=1)
    assert len(namespaces(name)) == 3
    document = status(name)
    assert document["name"] == name
    assert [port["port"] for port in document["ports"]] == ["a.0", "b.0", "c.0"]
    assert all(port["carrier"] and port["kind"] == "tap" for port in document["ports"])

    assert "2 received, 0 % lost" in vnet("ping", "a", "b", "-c", "2", "-W", "20", "-i", "0.01", "-n", name)
    assert "1 received" in vnet("ping", "a", "b", "-6", "-c", "1", "-W", "20", "-n", name)
    assert "no answer" in vnet("ping", "a", "c", "-c", "1", "-W", "0.3", "-n", name, code=1)
    assert "did you mean a?" in vnet("ping", "aa", "b", "-n", name, code=2)
    reply = json.loads(vnet("ping", "b", "10.7.0.11", "-c", "1", "-W", "20", "--json", "-n", name))
    assert (reply["sent"], reply["received"]) == (1, 1)

    assert "10.7.0.11/24" in vnet("exec", "-n", name, "a", "--", "ip", "addr")
    vnet("exec", "-n", name, "a", "--", "sh", "-c", "exit 7", code=7)
    entries = json.loads(vnet("fdb", name, "--network", "red", "--json"))
    assert {entry["port"] for entry in entries} == {"a.0", "b.0"}
    assert {entry["network"] for entry in entries} == {"red"}

    capture = tmp_path / "x.pcapng"
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "vnet",
            "capture",
            "a",
            "-w",
            str(capture),
            "-f",
            "icmp",
            "-c",
            "2",
            "-n",
            name,
        ]
    )
    while not capture.exists() or capture.stat().st_size == 0:
        assert process.poll() is None
        time.sleep(0.01)
    vnet("ping", "a", "b", "-c", "1", "-W", "20", "-n", name)
    assert process.wait(50) == 0

    # What is wrong with a capture leaves files as they are.
    before = capture.read_bytes()
    assert "no port, guest, network or switch 'nobody'" in vnet(
        "capture", "nobody", "-w", str(capture), "-n", name, code=2
    )
    assert capture.read_bytes() == before
    vnet("capture", "-f", "no filter", "-w", str(tmp_path / "new.pcapng"), "-n", name, code=2)
    assert not (tmp_path / "new.pcapng").exists()

    past = tmp_path / "past.pcapng"
    past.write_bytes(bytes(1 << 20))
    told = json.loads(
        vnet("capture", "a", "--past", "1 min", "-f", "icmp", "-w", str(past), "--json", "-n", name)
    )
    assert told["written"] >= 4
    assert told["bytes"] == past.stat().st_size
    assert "expected all, or a time" in vnet("capture", "--past", "soon", "-w", str(past), "-n", name, code=2)
    decoded = vnet("capture", "a", "--past", "all", "-f", "icmp", "-c", "1", "--decode", "-n", name)
    assert decoded.count("ICMP") == 1

    vnet("link", "b", "down", "-n", name)
    assert "no answer" in vnet("ping", "a", "b", "-c", "1", "-W", "0.3", "-n", name, code=1)
    vnet("link", "b.0", "up", "-n", name)
    vnet("ping", "a", "b", "-c", "1", "-W", "20", "-n", name)

    assert "probe.0 is up: tap, vt-" in vnet(
        "attach", "probe", "--network", "red", "--nic", f"kind=tap,name=vt-{os.getpid() % 10000}", "-n", name
    )
    assert any(port["port"] == "probe.0" for port in status(name)["ports"])
    vnet("detach", "probe", "-n", name)
    assert not any(port["port"] == "probe.0" for port in status(name)["ports"])
    assert "there is no guest" in vnet("detach", "probe", "-n", name, code=2)

    assert "is down" in vnet("down", name)
    assert namespaces(name) == []
    assert not Path(f"/run/vnet/{name}").exists()


def test_apply_changes_what_is_different_and_nothing_else(name: str, file: File) -> None:
    vnet("up", file(), "-d")
    before = {port["port"]: port for port in status(name)["ports"]}
    assert "like that already" in vnet("apply", file())
    more = "  d: {kind: netns, nics: [{network: blue}]}"
    assert "d" in vnet("apply", file(more))
    vnet("ping", "c", "d", "-c", "1", "-W", "20", "-n", name)
    after = {port["port"]: port for port in status(name)["ports"]}
    assert {port: after[port]["mac"] for port in before} == {port: before[port]["mac"] for port in before}
    vnet("apply", file())
    assert "d.0" not in {port["port"] for port in status(name)["ports"]}
    vnet("down", name)


def test_a_change_that_fails_is_undone(name: str, file: File) -> None:
    vnet("up", file(), "-d")
    more = (
        "  d: {kind: netns, nics: [{network: blue}]}\n"
        "  e: {kind: external, nics: [{network: blue, nic: {kind: tap, name: lo}}]}"
    )
    said = vnet("apply", file(more), code=1)
    assert "lo" in said
    assert [port["port"] for port in status(name)["ports"]] == ["a.0", "b.0", "c.0"]
    assert len(namespaces(name)) == 3
    vnet("ping", "a", "b", "-c", "1", "-W", "20", "-n", name)
    vnet("down", name)


@pytest.mark.parametrize("command", ["up", "down"])
def test_what_a_crash_left_is_cleaned_by_the_next(name: str, file: File, command: str) -> None:
    vnet("up", file(), "-d")
    os.kill(status(name)["pid"], signal.SIGKILL)
    log = state.log_path(name)
    said = log.read_bytes()
    if command == "up":
        assert "is up" in vnet("up", file(), "-d")
        vnet("ping", "a", "b", "-c", "1", "-W", "20", "-n", name)
        vnet("down", name)
        # What it said is what somebody wants to know who finds it gone.
        log = log.with_name(state.LOG_BEFORE)
    else:
        assert f"Its log stays: {log}" in vnet("down", name)
    assert log.read_bytes() == said
    assert namespaces(name) == []
    assert not Path(f"/run/vnet/{name}").exists()


def test_two_fabrics_run_side_by_side(name: str, file: File) -> None:
    other = f"{name}x"
    try:
        vnet("up", file(), "-d")
        vnet("up", file(which=other), "-d")
        assert "name one" in vnet("status", code=2)
        for each in (name, other):
            vnet("ping", "a", "b", "-c", "1", "-W", "20", "-n", each)
        vnet("down", other)
        vnet("ping", "a", "b", "-c", "1", "-W", "20", "-n", name)
        vnet("down", name)
    finally:
        subprocess.run([sys.executable, "-m", "vnet", "down", other], capture_output=True, timeout=50)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_in_the_foreground_a_signal_brings_it_down(name: str, file: File, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "vnet", "up", file()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Whoever runs the tests with nohup has had it ignored, and programs that are started inherit that.
        preexec_fn=functools.partial(signal.signal, signal.SIGHUP, signal.SIG_DFL),
    )
    assert process.stdout is not None
    assert "is up" in process.stdout.readline()
    process.send_signal(number)
    out, err = process.communicate(timeout=50)
    assert process.returncode == 0, out + err
    assert namespaces(name) == []


def test_bad_input_is_told_before_anything_is_touched(name: str, file: File) -> None:
    said = vnet("up", file("  x: {kind: netns, nics: [{network: reed}]}"), "-d", code=2)
    assert f"{name}.yaml:" in said
    assert "did you mean red" in said
    assert namespaces(name) == []
