"""A whole fabric in its sandbox: what its process may still do, and that everything works all the same."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.command import vnet
from tests.kernel.nobody import REPOSITORY, UID, as_nobody
from tests.needs import needs_root, needs_tool, needs_tun, needs_userns
from vnet.control.client import Client
from vnet.runtime import CONTROL

NAME = f"sbx{os.getpid()}"
pytestmark = pytest.mark.deadline(120)

PLAIN = """
name: {name}
networks: {{red: {{subnets: [10.7.0.0/24]}}}}
guests:
  web: {{nics: [{{network: red, ip: 10.7.0.11}}]}}
  app: {{nics: [{{network: red, ip: 10.7.0.12}}]}}
  vm: {{kind: external, nics: [{{network: red, nic: {{kind: stream, socket: vm.sock}}}}]}}
  vu: {{kind: external, nics: [{{network: red, nic: {{kind: vhost-user, socket: vu.sock}}}}]}}
  dg: {{kind: external, nics: [{{network: red, nic: {{kind: dgram, local: dg.sock}}}}]}}
{more}
"""
NETNS = "  {name}: {{kind: netns, nics: [{{network: red, ip: 10.7.0.{host}}}]}}"


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Any]:
    def write(*more: str) -> str:
        path = tmp_path / "lab.yaml"
        path.write_text(PLAIN.format(name=NAME, more="\n".join(more)))
        return str(path)

    yield write
    subprocess.run([sys.executable, "-m", "vnet", "down", NAME], capture_output=True, timeout=50, check=False)


def threads(pid: int) -> Iterator[dict[str, str]]:
    """What the kernel says of each thread."""
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        yield {
            key: value.strip()
            for key, _, value in (line.partition(":") for line in status.read_text().splitlines())
        }


def status() -> dict[str, Any]:
    # Asked for again and again by those who wait: a process for each would be most of what they wait for.
    with Client(Path("/run/vnet", NAME, CONTROL)) as client:
        document: dict[str, Any] = client.call("status")
    return document


def limits(pid: int) -> dict[str, list[str]]:
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return {line[:26].strip(): line[26:].split() for line in lines}


@needs_root
@pytest.mark.parametrize("mode", ["default", "strict"])
def test_a_fabric_without_the_kernel_s_help_keeps_no_privilege(file: Any, mode: str) -> None:
    vnet("up", file(), "-d", "--sandbox", mode)
    document = status()
    shown = list(threads(document["pid"]))
    assert len(shown) >= 2
    for thread in shown:
        sets = {thread[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
        assert (sets, thread["NoNewPrivs"], thread["Seccomp"]) == ({"0" * 16}, "1", "2")
    bounds = limits(document["pid"])
    assert bounds["Max core file size"][:2] == ["0", "0"]
    assert int(bounds["Max open files"][1]) <= 65_536
    assert document["sandbox"]["capabilities"] == []
    assert document["sandbox"]["mode"] == mode
    assert f"\nsandbox {mode}: no new privileges, system calls filtered, " in vnet("status", NAME)

    assert "1 received" in vnet("ping", "web", "app", "-c", "1", "-W", "20", "-n", NAME)
    vnet("attach", "late", "--network", "red", "--nic", "kind=stream,socket=late.sock", "-n", NAME)
    refused = vnet("apply", file(NETNS.format(name="ns", host=13)), code=2)
    # With the place in the file, as all else that is wrong in it.
    assert re.match(r"\S+/lab\.yaml:\d+:\d+: guests\.ns\.nics\[0\]: netns needs CAP_NET_ADMIN, ", refused)
    assert len(refused.splitlines()) == 1
    assert status()["sandbox"]["refused"] == {}
    vnet("down", NAME)
    assert not Path("/run/vnet", NAME).exists()


@needs_root
def test_without_descriptors_it_can_be_looked_at_and_brought_down(file: Any) -> None:
    vnet("up", file(), "-d")
    # That of this client is left, for whoever asks next.
    with Client(Path("/run/vnet", NAME, CONTROL)) as client:
        pid = client.call("status")["pid"]
        there = {int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir()}
        free = next(number for number in itertools.count() if number not in there)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (free, free))
    assert "\nsandbox default: no new privileges, " in vnet("status", NAME)
    assert vnet("down", NAME) == f"{NAME} is down.\n"


PLUGS = """
name: {name}
networks: {{red: {{vlan: 10, subnets: [10.7.0.0/24]}}, blue: {{vlan: 20, subnets: [10.7.0.0/24]}}}}
guests:
  web: {{nics: [{{network: red, ip: 10.7.0.11}}]}}
  far: {{nics: [{{network: blue, ip: 10.7.0.12}}]}}
uplinks:
  one: {{nic: {{kind: vde, directory: one.vde}}, native: red}}
  two: {{nic: {{kind: vde, directory: {folder}/two.vde}}, native: blue}}
  out: {{nic: {{kind: vde, directory: {folder}/not-there-yet, role: client}}, native: blue}}
"""


def carrier(port: str, up: bool) -> None:
    deadline = time.monotonic() + 50
    while {it["port"]: it["carrier"] for it in status()["ports"]}[port] != up:
        assert time.monotonic() < deadline, (port, up)
        time.sleep(0.02)


@contextlib.contextmanager
def running(*argv: str | Path) -> Iterator[None]:
    """A program in a group of its own, which it may have made itself; killed at the end, all of it."""
    process = subprocess.Popen(list(map(str, argv)), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        if process.poll() is None and os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.communicate()


@needs_root
@needs_tool("dpipe")
@needs_tool("vde_switch")
@pytest.mark.parametrize("mode", ["default", "strict"])
def test_plugs_go_in_and_out_once_it_is_closed(file: Any, mode: str) -> None:
    # A short path, as sockets need it.
    with tempfile.TemporaryDirectory(prefix="vnet-") as folder:
        path = Path(file())
        path.write_text(PLUGS.format(name=NAME, folder=folder))
        vnet("up", str(path), "-d", "--sandbox", mode)
        for _ in range(2):
            with running(
                "dpipe", "vde_plug", f"/run/vnet/{NAME}/one.vde", "=", "vde_plug", f"{folder}/two.vde"
            ):
                carrier("one", True)
                carrier("two", True)
                assert "1 received" in vnet("ping", "web", "10.7.0.12", "-c", "1", "-W", "20", "-n", NAME)
            carrier("one", False)
            carrier("two", False)
            with running("vde_switch", "-s", f"{folder}/not-there-yet"):
                carrier("out", True)
                with running(
                    "dpipe",
                    "vde_plug",
                    f"/run/vnet/{NAME}/one.vde",
                    "=",
                    "vde_plug",
                    f"{folder}/not-there-yet",
                ):
                    carrier("one", True)
                    assert "1 received" in vnet("ping", "web", "10.7.0.12", "-c", "1", "-W", "20", "-n", NAME)
            carrier("out", False)
        if mode == "default":
            nic = "kind=vde,directory=late.vde"
            vnet("attach", "late", "--network", "red", "--nic", nic, "-n", NAME)
            vnet("detach", "late", "-n", NAME)
            assert not Path("/run/vnet", NAME, "late.vde").exists()
        assert status()["sandbox"]["refused"] == {}
        vnet("down", NAME)
        assert not Path("/run/vnet", NAME).exists()
        assert not Path(folder, "two.vde").exists()


@needs_root
@needs_tun
def test_namespaces_come_and_go_as_the_file_has_some(file: Any, tmp_path: Path) -> None:
    one = NETNS.format(name="one", host=13)
    vnet("up", file(one), "-d")
    assert status()["sandbox"]["capabilities"] == ["net_admin"]
    vnet("apply", file(one, NETNS.format(name="two", host=14)))
    assert "1 received" in vnet("ping", "one", "two", "-c", "1", "-W", "20", "-n", NAME)
    assert "1 received" in vnet("exec", "-n", NAME, "two", "--", "ping", "-c", "1", "-W", "20", "10.7.0.11")
    captured = tmp_path / "x.pcapng"
    capture = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "vnet",
            "capture",
            "red",
            "-n",
            NAME,
            "-w",
            str(captured),
            "--filter",
            "icmp",
            "-c",
            "1",
        ],
        stderr=subprocess.PIPE,
    )
    while not captured.exists() or not captured.stat().st_size:
        assert capture.poll() is None
        time.sleep(0.01)
    vnet("ping", "web", "two", "-c", "1", "-W", "20", "-n", NAME)
    _, told = capture.communicate(timeout=50)
    assert capture.returncode == 0, told
    assert "packet needs CAP_NET_RAW" in vnet(
        "attach",
        "up",
        "--network",
        "red",
        "--nic",
        "kind=packet,interface=lo",
        "-n",
        NAME,
        code=2,
    )
    vnet("apply", file())
    assert status()["sandbox"]["refused"] == {}
    vnet("down", NAME)
    assert not list(Path("/run/netns").glob(f"vnet-{NAME}.*"))


@needs_root
@needs_tun
def test_what_is_to_come_later_can_be_named(file: Any) -> None:
    path = Path(file())
    path.write_text(path.read_text() + "engine: {keep: [netns]}\n")
    vnet("up", str(path), "-d")
    assert status()["sandbox"]["capabilities"] == ["net_admin"]
    path.write_text(path.read_text().replace("\nengine", NETNS.format(name="ns", host=13) + "\nengine"))
    assert "add guest ns (netns)" in vnet("apply", str(path))
    assert "1 received" in vnet("ping", "web", "ns", "-c", "1", "-W", "20", "-n", NAME)
    vnet("down", NAME)


@needs_root
@needs_tun
def test_off(file: Any) -> None:
    vnet("up", file(), "-d", "--sandbox", "off")
    document = status()
    assert document["sandbox"] == {"mode": "off"}
    assert {thread["NoNewPrivs"] for thread in threads(document["pid"])} == {"0"}
    assert "sandbox off: the process may do what its user may" in vnet("status", NAME)
    vnet("apply", file(NETNS.format(name="ns", host=13)))
    vnet("down", NAME)


USER = """
set -e
python=$1; name=$2
$python -m vnet up - -d
pid=$($python -m vnet status $name --json | $python -c 'import json, sys; print(json.load(sys.stdin)["pid"])')
grep -E '^(NoNewPrivs|Seccomp):' /proc/$pid/status
# Nobody of the same user looks into it, and a command gets into its guests all the same.
ls /proc/$pid/fd > /dev/null 2>&1 && echo "its descriptors are open to all of the user's processes"
$python -m vnet exec -n $name ns -- ping -c 1 -W 20 10.7.0.11 | grep -o '1 received'
$python -m vnet down $name
ls -A $XDG_RUNTIME_DIR
"""


@pytest.fixture
def everybodys() -> Iterator[Path]:
    """A folder that other users can get to, whatever the way to `tmp_path` is like."""
    folder = Path(tempfile.mkdtemp(dir="/dev/shm"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@needs_userns
@pytest.mark.deadline(120)
def test_an_ordinary_user_s_fabric(file: Any, tmp_path: Path, everybodys: Path) -> None:
    topology = Path(file(NETNS.format(name="ns", host=13))).read_text()
    for name in ("run", "state"):
        (everybodys / name).mkdir()
        if os.geteuid() == 0:
            os.chown(everybodys / name, UID, UID)
    environment = {
        **os.environ,
        "XDG_RUNTIME_DIR": str(everybodys / "run"),
        "XDG_STATE_HOME": str(everybodys / "state"),
        "PYTHONPATH": str(REPOSITORY),
    }
    words = as_nobody(tmp_path, "sh", "-c", USER, "sh", sys.executable, NAME)
    done = subprocess.run(
        words, input=topology, capture_output=True, text=True, timeout=100, env=environment, check=False
    )
    told = done.stdout.splitlines()
    assert told[1:] == ["NoNewPrivs:\t1", "Seccomp:\t2", "1 received", f"{NAME} is down."], done.stderr
