"""The switches between two network namespaces: each is started, and is gone after the block.

The namespaces have 10.77.0.1 and 10.77.0.2. No switch is pinned to a core: the scheduler places it, as it
does in use.
"""

# ruff: noqa: D102 - what `serve` does is said once, at Switch

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import attrs

from tools.bench import ovs
from tools.bench.processes import Failed, Missing, living_in, running
from tools.bench.rounds import ROOT

LOAD = ROOT / "target/release/doors-load"
ADDRESSES = ("10.77.0.1", "10.77.0.2")
_DEADLINE = 30.0


@attrs.frozen
class Pair:
    """Two namespaces with a network between them."""

    namespaces: tuple[str, ...]
    """As in `ip netns`; the world behind an uplink is the last."""
    processes: tuple[int, ...] = ()
    """What makes up the switch; a kernel's has none."""

    def inside(self, end: int, *words: str) -> list[str]:
        """The command line that runs `words` in one of them."""
        return ["nsenter", f"--net=/run/netns/{self.namespaces[end]}", "--", *words]

    def pinned(self, end: int, *words: str) -> list[str]:
        """The same on a core of its own, so that one end always has to wake the other across cores. Left to
        itself the scheduler at times puts all on one core, which is ten times faster, and at times not.
        """
        cores = sorted(os.sched_getaffinity(0))
        return self.inside(end, "taskset", "-c", str(cores[end % len(cores)]), *words)


class Switch:
    """One way to join two namespaces. `serve` yields them with a network that works."""

    name = ""

    def serve(self, folder: Path) -> contextlib.AbstractContextManager[Pair]:
        raise NotImplementedError


def command(*words: str, check: bool = True) -> str:
    """Run something short; its standard output. Raises Failed."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    if check and done.returncode:
        raise Failed(f"{shlex.join(words)}: {done.stderr.strip()}")
    return done.stdout


def need(program: str, package: str) -> None:
    """Raise Missing where a program isn't installed."""
    if shutil.which(program) is None:
        raise Missing(f"no {program}: apt install {package}")


@contextlib.contextmanager
def namespaces(*names: str) -> Iterator[None]:
    """Empty namespaces. What a veth pair has out here goes with what it has in there, and at once."""
    try:
        for name in names:
            command("ip", "netns", "add", name)
            command("ip", "-n", name, "link", "set", "lo", "up")
        yield
    finally:
        for near in ("b0", "b1", "phys"):
            command("ip", "link", "del", near, check=False)
        for name in names:
            command("ip", "netns", "del", name, check=False)


def give(namespace: str, interface: str, address: str) -> None:
    """Bring an interface that is there already up in its namespace, as `eth0`."""
    command("ip", "-n", namespace, "link", "set", interface, "name", "eth0", check=interface != "eth0")
    command("ip", "-n", namespace, "address", "add", f"{address}/24", "dev", "eth0")
    command("ip", "-n", namespace, "link", "set", "eth0", "up")


def move(interfaces: Sequence[str], ends: Sequence[str]) -> None:
    """Give each end the interface that is its."""
    for interface, end, address in zip(interfaces, ends, ADDRESSES, strict=True):
        command("ip", "link", "set", interface, "netns", end)
        give(end, interface, address)


def connected(pair: Pair, to: str = ADDRESSES[1]) -> Pair:
    """Wait until the first end reaches the other. Raises Failed."""
    end = time.monotonic() + _DEADLINE
    while time.monotonic() < end:
        words = pair.inside(0, "ping", "-c", "1", "-W", "1", to)
        if subprocess.run(words, capture_output=True, check=False).returncode == 0:
            return pair
    raise Failed("the two ends do not reach each other")


_ENDS = ("bench-a", "bench-b")


def pairs(ends: Sequence[str]) -> None:
    """A veth pair for each end: `bNUMBER` stays here, for a switch."""
    for number, (end, address) in enumerate(zip(ends, ADDRESSES, strict=True)):
        command("ip", "link", "add", f"b{number}", "type", "veth", "peer", "name", f"v{number}")
        command("sysctl", "-qw", f"net.ipv6.conf.b{number}.disable_ipv6=1", check=False)
        command("ip", "link", "set", f"b{number}", "up")
        command("ip", "link", "set", f"v{number}", "netns", end)
        give(end, f"v{number}", address)


class Vnet(Switch):
    """vnet: two namespaces in one network, its guard, counters and drop accounting on."""

    name = "vnet"

    def __init__(self, poll: str = "adaptive") -> None:
        self.poll = poll

    @contextlib.contextmanager
    def serve(self, folder: Path) -> Iterator[Pair]:
        guests = {
            name: {"kind": "netns", "nics": [{"network": "n", "ip": [address]}]}
            for name, address in zip("ab", ADDRESSES, strict=True)
        }
        with fabric(folder, topology(guests, self.poll)) as process:
            ends = ("vnet-bench.a", "vnet-bench.b")
            yield connected(Pair(ends, (process.pid,)))


@contextlib.contextmanager
def fabric(folder: Path, document: dict[str, object]) -> Iterator[subprocess.Popen[bytes]]:
    """A running fabric, once it is up. Raises Failed."""
    file, log = folder / "bench.yaml", folder / "vnet.log"
    file.write_text(json.dumps(document))  # JSON is YAML too
    argv, env = [sys.executable, "-m", "vnet"], living_in(folder)
    with running([*argv, "up", str(file)], log, env=env) as process:
        end = time.monotonic() + _DEADLINE
        words = [*argv, "status", str(document["name"])]
        while subprocess.run(words, capture_output=True, check=False, env=env).returncode:
            if process.poll() is not None or time.monotonic() > end:
                raise Failed(f"vnet did not come up:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)
        yield process


class VnetVeth(Switch):
    """vnet with a veth pair for each namespace and AF_PACKET or AF_XDP at its near end, instead of a TAP."""

    def __init__(self, kind: str = "packet", poll: str = "adaptive") -> None:
        self.name = "vnet-veth" if kind == "packet" else f"vnet-{kind}"
        self.kind = kind
        self.poll = poll

    @contextlib.contextmanager
    def serve(self, folder: Path) -> Iterator[Pair]:
        with namespaces(*_ENDS):
            pairs(_ENDS)
            guests = {}
            for number, (end, address) in enumerate(zip(_ENDS, ADDRESSES, strict=True)):
                (link,) = json.loads(command("ip", "-n", end, "-json", "link", "show", "eth0"))
                nic = {"kind": self.kind, "interface": f"b{number}"}
                described = {"network": "n", "ip": [address], "mac": link["address"], "nic": nic}
                guests[f"g{number}"] = {"kind": "external", "nics": [described]}
            with fabric(folder, topology(guests, self.poll)) as process:
                yield connected(Pair(_ENDS, (process.pid,)))


class VnetUplink(Switch):
    """vnet: namespaces in one network, and the world behind one uplink, a packet socket on a veth pair."""

    GUESTS = 50
    WORLD = "10.77.0.253"

    def __init__(self, name: str = "vnet", rate: str | None = None, poll: str = "adaptive") -> None:
        self.name = name
        self.rate = rate
        """What the uplink carries in a second, as `tc` has it; None: as much as it can."""
        self.poll = poll

    @contextlib.contextmanager
    def serve(self, folder: Path) -> Iterator[Pair]:
        guests: dict[str, object] = {
            f"g{number}": {"kind": "netns", "nics": [{"network": "n", "ip": [f"10.77.0.{number + 1}"]}]}
            for number in range(self.GUESTS)
        }
        document = topology(guests, self.poll)
        document["uplinks"] = {"wan": {"nic": {"kind": "packet", "interface": "phys"}, "native": "n"}}
        with namespaces("bench-world"):
            command("ip", "link", "add", "phys", "type", "veth", "peer", "name", "world")
            command("ip", "link", "set", "phys", "up")
            if self.rate is not None:
                words = ("root", "tbf", "rate", self.rate, "burst", "16kb", "limit", "1mb")
                command("tc", "qdisc", "add", "dev", "phys", *words)
            command("ip", "link", "set", "world", "netns", "bench-world")
            give("bench-world", "world", self.WORLD)
            with fabric(folder, document) as process:
                ends = (*(f"vnet-bench.{name}" for name in guests), "bench-world")
                yield connected(Pair(ends, (process.pid,)), self.WORLD)


def topology(guests: Mapping[str, object], poll: str) -> dict[str, object]:
    """Guests in one network."""
    return {
        "name": "bench",
        "engine": {"driver": "thread", "poll": poll},
        "networks": {"n": {"subnets": ["10.77.0.0/24"], "gateway": "10.77.0.254"}},
        "guests": guests,
    }


class Veth(Switch):
    """A veth pair from one namespace to the other: no switch."""

    name = "veth"

    @contextlib.contextmanager
    def serve(self, folder: Path) -> Iterator[Pair]:
        with namespaces(*_ENDS):
            command("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1")
            move(("v0", "v1"), _ENDS)
            yield connected(Pair(_ENDS))


class Bridge(Switch):
    """The kernel's bridge, with veth pairs."""

    name = "bridge"

    @contextlib.contextmanager
    def serve(self, folder: Path) -> Iterator[Pair]:
        with namespaces(*_ENDS):
            try:
                command("ip", "link", "add", "br0", "type", "bridge")
                pairs(_ENDS)
                for number in range(2):
                    command("ip", "link", "set", f"b{number}", "master", "br0")
                command("ip", "link", "set", "br0", "up")
                yield connected(Pair(_ENDS))
            finally:
                command("ip", "link", "del", "br0", check=False)


class Vde(Switch):
    """vde_switch with two TAPs of its own."""

    name = "vde"

    @contextlib.contextmanager
    def serve(self, folder: Path) -> Iterator[Pair]:
        need("vde_switch", "vde2")
        socket = folder / "vde"
        argv = ["vde_switch", "-s", str(socket), "-x", "-tap", "t0", "-tap", "t1"]
        with namespaces(*_ENDS), running(argv, folder / "vde.log", stdin=subprocess.PIPE) as process:
            appears(["t0", "t1"], process, folder / "vde.log")
            move(("t0", "t1"), _ENDS)
            yield connected(Pair(_ENDS, (process.pid,)))
        shutil.rmtree(socket, ignore_errors=True)


class Ovs(Switch):
    """Open vSwitch in user space, with TAPs, L2 learning and its TCP segmentation offload."""

    name = "ovs-tso"

    @contextlib.contextmanager
    def serve(self, folder: Path) -> Iterator[Pair]:
        settings = {"userspace-tso-enable": "true"}
        with namespaces(*_ENDS), ovs.instance(folder, settings) as instance:
            instance.vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev")
            for name in ("t0", "t1"):
                instance.vsctl("add-port", "br0", name, "--", "set", "Interface", name, "type=internal")
            appears(["t0", "t1"], instance.process, folder / "ovs.log")
            move(("t0", "t1"), _ENDS)
            yield connected(Pair(_ENDS, (instance.process.pid,)))


class Taps(Switch):
    """A program that makes two TAPs, `t0` and `t1`: the copier, or any other."""

    def __init__(self, name: str, argv: str) -> None:
        self.name = name
        self.argv = argv

    @contextlib.contextmanager
    def serve(self, folder: Path) -> Iterator[Pair]:
        argv = shlex.split(self.argv.format(a="t0", b="t1"))
        log = folder / f"{self.name}.log"
        with namespaces(*_ENDS), running(argv, log) as process:
            appears(["t0", "t1"], process, log)
            move(("t0", "t1"), _ENDS)
            yield connected(Pair(_ENDS, (process.pid,)))


def appears(interfaces: Sequence[str], process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until interfaces are there. Raises Failed."""
    end = time.monotonic() + _DEADLINE
    while not all(Path("/sys/class/net", name).exists() for name in interfaces):
        if process.poll() is not None or time.monotonic() > end:
            raise Failed(f"{process.args!r} did not come up:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.02)


def all_of_them(poll: str) -> list[Switch]:
    """Those that are known, ours first, which is started with `poll`."""
    copier = Taps("copier", f"{LOAD} copy {{a}} {{b}}")
    return [
        Vnet(poll),
        VnetVeth("packet", poll),
        VnetVeth("xdp", poll),
        copier,
        Ovs(),
        Vde(),
        Bridge(),
        Veth(),
    ]
