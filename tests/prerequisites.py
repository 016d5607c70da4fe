"""What the tests need beside Python and Rust packages, where Debian has it, and what for.

    python3 -m tests.prerequisites             say what is missing; exit 1 when something is
    python3 -m tests.prerequisites --install   get it, where this is Debian and we are root

The guests' kernel is downloaded and unpacked, not installed (`tools/guest/kernel.py`), and needs no
root. Standard library only: `make` runs this before there is a `.venv`.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from typing import NamedTuple

from tools.guest import kernel


class Tool(NamedTuple):
    command: str
    package: str
    why: str


TOOLS = (
    Tool("arping", "iputils-arping", "ARP for another's address, as an attacker sends it"),
    Tool("busybox", "busybox-static", "the user space of the QEMU guests"),
    Tool("dnsmasq", "dnsmasq-base", "a DHCP server and router that nobody asked for"),
    Tool("dpdk-testpmd", "dpdk-dev", "virtio-user, a client of vhost-user sockets that is no machine"),
    Tool("dnsmasq", "dnsmasq-base", "a real DHCP server"),
    Tool("ethtool", "ethtool", "offloads and driver statistics of real interfaces"),
    Tool("git", "git", "what belongs into a source distribution"),
    Tool("ip", "iproute2", "namespaces and interfaces, as an administrator makes them"),
    Tool("iperf3", "iperf3", "TCP and UDP throughput between real guests"),
    Tool("ovs-vsctl", "openvswitch-switch", "a real partner for link aggregation"),
    Tool("mausezahn", "netsniff-ng", "floods, foreign tags and control protocols"),
    Tool("nfcapd", "nfdump", "a collector of flows, and another reader of IPFIX"),
    Tool("ping", "iputils-ping", "reachability of real guests"),
    Tool("qemu-ga", "qemu-guest-agent", "commands in real guests, by their agent"),
    Tool("qemu-system-x86_64", "qemu-system-x86", "real Linux guests"),
    Tool("radvd", "radvd", "router advertisements that nobody asked for"),
    Tool("socat", "socat", "TCP transfers of real guests"),
    Tool("tcpdump", "tcpdump", "what really arrives at an interface"),
    Tool("tshark", "tshark", "an outside judge of the captures that vnet writes"),
    Tool("unshare", "util-linux", "unprivileged user namespaces"),
    Tool("vde_plug", "vde2", "a foreign VDE plug"),
    Tool("vde_switch", "vde2", "a foreign VDE switch"),
    Tool("dpipe", "vde2", "a cable between two plugs"),
    Tool("slirpvde", "vde2", "NAT and a DHCP server that plug in"),
)


def which(command: str) -> str | None:
    """The path of a command, also when an ordinary user's PATH leaves out the system folders."""
    return shutil.which(command, path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin")


def remedy(command: str) -> str:
    """How to get a command: a clause for a person, to put behind another."""
    package = next((tool.package for tool in TOOLS if tool.command == command), None)
    return f"; Debian has it in {package}" if package is not None else ""


def missing() -> list[Tool]:
    return [tool for tool in TOOLS if which(tool.command) is None]


def _apt(*words: str) -> None:
    command = ["apt-get", *words]
    print("+ " + shlex.join(command), flush=True)
    subprocess.run(command, check=True, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})


def packages(*, install: bool) -> bool:
    """Whether every tool is here; install what is missing, if we can, else say how."""
    wanted = missing()
    if not wanted:
        return True
    print("The tests need these Debian packages, which are not here yet:")
    for tool in wanted:
        print(f"  {tool.package:<18} {tool.why}")
    words = ["install", "--yes", "--no-install-recommends", *(tool.package for tool in wanted)]
    if not install or os.geteuid() != 0 or shutil.which("apt-get") is None:
        print("Install them with:\n  sudo apt-get update && sudo apt-get " + shlex.join(words))
        return False
    _apt("update", "-q")
    _apt(*words)
    for tool in missing():
        print(f"{tool.package} is installed, yet there is no {tool.command}", file=sys.stderr)
    return not missing()


def guest_kernel(*, install: bool) -> bool:
    """Whether the guests have a kernel; fetch it, if we can, else say how."""
    if kernel.find() is not None:
        return True
    if not install or shutil.which("apt-get") is None or which("busybox") is None:
        print(f"The QEMU guests need a kernel. Install it with:\n  sudo apt-get install {kernel.PACKAGE}")
        return False
    if os.geteuid() == 0:
        _apt("update", "-q")
    print(f"Fetching the kernel of the QEMU guests, {kernel.PACKAGE}; it is not installed, only unpacked:")
    print(f"  {kernel.fetch().image}")
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description="Say, or get, what the tests need.")
    parser.add_argument("--install", action="store_true", help="get it (Debian, as root)")
    install = parser.parse_args().install
    try:
        good = packages(install=install)
        return 0 if guest_kernel(install=install) and good else 1
    except subprocess.CalledProcessError as error:
        print(f"{shlex.join(map(str, error.cmd))} failed with exit code {error.returncode}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
