"""The switches that are compared: each is started, serves vhost-user sockets, and is gone afterwards.

All of them have their data path on core 1; the load has core 0.
"""

# ruff: noqa: D102 - what `serve` does is said once, at Switch

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import attrs

from tools.bench import hugepages, ovs
from tools.bench.processes import FABRIC, Missing, appear, living_in, running

CORE = 1
MEGABYTES = 768
"""Huge pages that OVS and testpmd are given."""
PAGES = 900
"""Huge pages that a peer and the load need together."""


@attrs.frozen
class Wanted:
    """How a switch is started. `guard`, `recorder` and `flows` are vnet's alone."""

    ports: int = 2
    jumbo: bool = False
    """For frames of 9,000 bytes."""
    guard: bool = True
    recorder: bool = True
    flows: int = 0
    """Of so many frames one is looked at for the export of flows; 0: none."""
    ahead: bool = False
    """Ahead of everything else on the machine."""


WANTED = Wanted()


class Switch:
    """One way to switch.

    `serve` starts it as it is wanted, yields its sockets, and ends it with the block.
    """

    name = ""
    jumbo = True
    """Whether it takes frames of 9,000 bytes as it is started for all the others."""
    process: subprocess.Popen[bytes] | None = None
    """While it serves."""

    def serve(self, folder: Path, wanted: Wanted = WANTED) -> contextlib.AbstractContextManager[list[Path]]:
        raise NotImplementedError


class Vnet(Switch):
    """vnet: access ports in one VLAN, learning, counters, drop accounting, adaptive polling; guarded.

    The guard of each of the two that talk knows 1,000 MAC addresses with their IP address.
    """

    name = "vnet"
    MACS = 1000

    def __init__(self, *, poll: str = "adaptive") -> None:
        self.engine: dict[str, object] = {"driver": "thread", "cpu": CORE, "poll": poll}

    def _guest(self, number: int, socket: Path, guard: bool) -> dict[str, object]:
        nic: dict[str, object] = {"kind": "vhost-user", "role": "server", "socket": str(socket)}
        ip = f"10.0.{number // 200}.{number % 200 + 1}"
        # As the load has them: a number, and 1 or 2 at the end.
        own = f"02:00:00:00:00:{number + 1:02x}"
        described: dict[str, object] = {"network": "n", "nic": nic, "mac": own, "ip": [ip]}
        if not guard:
            described["guard"] = "off"
        elif number < 2:
            macs = [f"02:00:00:{n >> 8:02x}:{n & 255:02x}:{number + 1:02x}" for n in range(1, self.MACS)]
            described["guard"] = {"allow": [{"mac": mac, "ip": ip} for mac in macs]}
        return {"kind": "external", "nics": [described]}

    @contextlib.contextmanager
    def serve(self, folder: Path, wanted: Wanted = WANTED) -> Iterator[list[Path]]:
        sockets = [folder / f"vnet{number}.sock" for number in range(wanted.ports)]
        network = {"vlan": 10, "mtu": 9000, "subnets": ["10.0.0.0/16"], "gateway": "10.0.255.254"}
        document = {
            "name": FABRIC,
            "engine": self.engine,
            "networks": {"n": network},
            "guests": {
                f"g{number}": self._guest(number, path, wanted.guard) for number, path in enumerate(sockets)
            },
        }
        if not wanted.recorder:
            document["recorder"] = "off"
        if wanted.flows:
            document["flows"] = {"collector": "127.0.0.1:4739", "sample": wanted.flows}
        file = folder / "bench.yaml"
        file.write_text(json.dumps(document))  # JSON is YAML too
        log = folder / "vnet.log"
        argv = [sys.executable, "-m", "vnet", "up", str(file)]
        with running(argv, log, ahead=wanted.ahead, env=living_in(folder)) as process:
            appear(sockets, process, log)
            self.process = process
            yield sockets
        self.process = None


class VnetAwake(Vnet):
    """vnet on CPUs that never rest, as it asks the kernel."""

    name = "vnet-awake"

    def __init__(self, *, poll: str = "adaptive") -> None:
        super().__init__(poll=poll)
        self.engine["wake"] = "0 s"


class Testpmd(Switch):
    """DPDK's testpmd in mode `io`: from one port to the other, nothing looked at."""

    name = "testpmd"
    jumbo = False

    @contextlib.contextmanager
    def serve(self, folder: Path, wanted: Wanted = WANTED) -> Iterator[list[Path]]:
        if (command := shutil.which("dpdk-testpmd")) is None:
            raise Missing("no dpdk-testpmd: apt install dpdk-dev")
        _huge_pages()
        sockets = [folder / f"testpmd{number}.sock" for number in range(2)]
        argv = [command, "--lcores", f"0@0,1@{CORE}", "--main-lcore", "0", "-m", "512", "--no-pci"]
        argv += ["--in-memory", "--single-file-segments", "--log-level=4"]
        for number, path in enumerate(sockets):
            argv += ["--vdev", f"net_vhost{number},iface={path}"]
        argv += ["--", "-i", "--nb-cores=1", "--forward-mode=io", "--auto-start", "--rxd=1024", "--txd=1024"]
        if wanted.jumbo:
            argv += ["--mbuf-size=9600", "--total-num-mbufs=16384"]
        log = folder / "testpmd.log"
        # It ends when its standard input does.
        with running(argv, log, ahead=wanted.ahead, stdin=subprocess.PIPE) as process:
            appear(sockets, process, log)
            time.sleep(2)
            self.process = process
            yield sockets
        self.process = None


class OvsDpdk(Switch):
    """Open vSwitch with DPDK: an instance of its own, two ports, L2 learning (NORMAL)."""

    name = "ovs"
    jumbo = False
    tag: tuple[str, ...] = ()

    @contextlib.contextmanager
    def serve(self, folder: Path, wanted: Wanted = WANTED) -> Iterator[list[Path]]:
        _huge_pages()
        settings = {
            "dpdk-init": "true",
            "dpdk-lcore-mask": "0x1",
            "pmd-cpu-mask": hex(1 << CORE),
            "dpdk-socket-mem": str(MEGABYTES),
            "dpdk-extra": "--no-pci --file-prefix=vnetbench",
        }
        try:
            with ovs.instance(folder, settings, ahead=wanted.ahead) as instance:
                instance.vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev",
                               "other_config:mac-table-size=8192")  # fmt: skip
                mtu = ["mtu_request=9000"] if wanted.jumbo else []
                for number in range(2):
                    instance.vsctl("add-port", "br0", f"vu{number}", *self.tag, "--",
                                   "set", "Interface", f"vu{number}", "type=dpdkvhostuser", *mtu)  # fmt: skip
                time.sleep(1)
                self.process = instance.process
                yield [instance.home / f"vu{number}" for number in range(2)]
        finally:
            self.process = None
            _sweep("vnetbench")


class OvsVlan(OvsDpdk):
    """The same with two access ports of VLAN 10."""

    name = "ovs-vlan"
    tag = ("tag=10",)


class Command(Switch):
    """Any other program that serves two sockets: words with `{a}` and `{b}` for their paths."""

    def __init__(self, name: str, command: str) -> None:
        self.name = name
        self.command = command

    @contextlib.contextmanager
    def serve(self, folder: Path, wanted: Wanted = WANTED) -> Iterator[list[Path]]:
        a, b = sockets = [folder / f"{self.name}{number}.sock" for number in range(2)]
        argv = shlex.split(self.command.format(a=a, b=b))
        log = folder / f"{self.name}.log"
        with running(argv, log, ahead=wanted.ahead) as process:
            appear(sockets, process, log)
            time.sleep(0.2)
            self.process = process
            yield sockets
        self.process = None


def _huge_pages() -> None:
    if hugepages.free() * 2 < MEGABYTES:
        raise Missing(f"{MEGABYTES} MB of huge pages: `sysctl vm.nr_hugepages={PAGES}` as root")


def _sweep(prefix: str) -> None:
    """DPDK leaves its files behind when it is ended by a signal."""
    for left in Path("/dev/hugepages").glob(f"{prefix}*"):
        left.unlink(missing_ok=True)
