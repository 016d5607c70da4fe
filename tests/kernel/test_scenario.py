"""Scenarios in namespaces: commands inside, links that namespaces see go down, in real time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.needs import needs_root, needs_tool, needs_tun
from vnet import runtime
from vnet.probe.course import Options, run
from vnet.topology import Topology

pytestmark = [needs_tun, needs_root, needs_tool("ping")]


def topology(*steps: dict[str, Any]) -> Topology:
    return Topology.from_dict(
        {
            "name": f"scen-{os.getpid()}",
            "networks": {"lan": {"subnets": ["10.0.0.0/24"]}},
            "guests": {
                "a": {"kind": "netns", "nics": [{"network": "lan", "ip": "10.0.0.11"}]},
                "b": {"kind": "netns", "nics": [{"network": "lan", "ip": "10.0.0.12"}]},
                "c": {"nics": [{"network": "lan"}]},
            },
            "scenario": list(steps),
        }
    )


SERVER = """
import socket, sys
tcp, udp = socket.create_server(("", 80)), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
udp.bind(("", 514))
open(sys.argv[1], "w").close()
while True:
    tcp.accept()[0].recv(100)
"""


@needs_tool("python3")
def test_programs_are_reached_that_do_not_speak_first(tmp_path: Path) -> None:
    program, there = tmp_path / "server.py", tmp_path / "ready"
    program.write_text(SERVER)
    ready = f"until test -e {there}; do sleep 0.05; done"
    server = ["python3", str(program), str(there)]
    asked = [("tcp", 80), ("udp", 514)]
    assertions = [
        {"from": "a", "to": "b", "reach": reach, "protocol": protocol, "port": port, "within": "1 s"}
        for reach in (True, False)
        for protocol, port in asked
    ]
    for number, assertion in enumerate(assertions):
        result = run(
            topology(
                {"run": {"guest": "b", "command": server, "background": True}},
                {"run": {"guest": "b", "command": ["sh", "-c", ready]}},
                {"assert": assertion},
            ),
            Options(probe=False),
        )
        told = result.parts[-1].steps[-1]
        assert told.failure == (None if number < len(asked) else "a reaches b")
        there.unlink()


@pytest.mark.parametrize("command", [["no-such-program"], ["false"]])
def test_a_command_that_fails_in_the_background_fails_the_scenario(command: list[str]) -> None:
    result = run(
        topology(
            {"run": {"guest": "a", "command": command, "background": True}},
            # It is noticed sooner, or the deadline of the test is.
            *[{"wait": "100 ms"}] * 500,
        ),
        Options(probe=False),
    )
    steps = result.parts[-1].steps
    failures = [step.failure for step in steps if step.failure]
    assert len(failures) == 1
    assert failures[0].startswith(f"in the background: {command[0]} failed in ")
    assert steps[-1].skipped


def test_a_signal_leaves_nothing_behind(tmp_path: Path) -> None:
    made = topology({"run": {"guest": "a", "command": ["hostname"]}}, {"wait": "1 h"})
    (tmp_path / "lab.yaml").write_text(made.to_yaml())
    command = [sys.executable, "-m", "vnet", "test", "--scenario", str(tmp_path / "lab.yaml")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            while "hostname" not in (line := process.stdout.readline()):
                assert line, "it ended"
            assert left(made.name)
            process.terminate()
            assert process.wait(50) == 128 + signal.SIGTERM
        finally:
            process.kill()
    assert not left(made.name)


def left(name: str) -> list[Path]:
    """The folders and namespaces of a fabric that is tested."""
    return [*runtime.base().glob(f"{name}-test*"), *Path("/run/netns").glob(f"vnet-{name}-test.*")]


def test_a_command_may_end_with_its_guest(tmp_path: Path) -> None:
    other = topology()
    del other.guests["a"]
    (tmp_path / "other.yaml").write_text(other.to_yaml())
    result = run(
        topology(
            {"run": {"guest": "a", "command": ["sleep", "1000"], "background": True}},
            {"apply": "other.yaml"},
            {"ping": {"from": "b", "to": "c"}},
        ),
        Options(probe=False, folder=tmp_path),
    )
    assert [step.failure for step in result.parts[-1].steps] == [None] * 3


def test_commands_run_in_namespaces() -> None:
    # The kernel tells it a moment later; the deadline of the test bounds it.
    cut = "until ip -o link show dev eth0 | grep NO-CARRIER; do sleep 0.05; done"
    result = run(
        topology(
            {"run": {"guest": "a", "command": ["sleep", "1000"], "background": True}},
            {"run": {"guest": "a", "command": ["ping", "-c", "1", "-W", "20", "10.0.0.12"]}},
            {"run": {"guest": "b", "command": ["hostname"]}},
            {"ping": {"from": "a", "to": "c", "count": 3, "interval": "10 ms"}},
            {"transfer": {"from": "c", "to": "b", "size": "1 MB"}},
            {"link": {"name": "b.0", "state": "down"}},
            {"run": {"guest": "b", "command": ["sh", "-c", cut]}},
            {"assert": {"from": "a", "to": "b", "reach": False}},
            {"link": {"name": "b.0", "state": "up"}},
            {"converge": "40 s"},
            {"run": {"guest": "a", "command": ["sh", "-c", "exit 3"]}},
            {"wait": "1 s"},
        ),
        Options(probe=False),
    )
    assert not result.virtual
    steps = result.parts[-1].steps
    assert [step.failure for step in steps[:10]] == [None] * 10
    assert steps[0].text == "in the background"
    assert steps[2].text == "b"
    assert "3" in (steps[10].failure or "")
    assert steps[11].skipped
