"""What the tests need beside Python and Rust packages, where Debian has it, and what for.

    python3 tests/prerequisites.py             say what is missing; exit 1 when something is
    python3 tests/prerequisites.py --install   install it when this is Debian and we are root

Standard library only: `make` runs it before there is a `.venv`.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

KERNELS = "vmlinuz-*-cloud-amd64"


class Tool(NamedTuple):
    command: str
    package: str
    why: str


TOOLS = (
    Tool("busybox", "busybox-static", "the user space of the QEMU guests"),
    Tool("ethtool", "ethtool", "offloads and driver statistics of real interfaces"),
    Tool("ip", "iproute2", "namespaces and interfaces, as an administrator makes them"),
    Tool("iperf3", "iperf3", "TCP and UDP throughput between real guests"),
    Tool("ping", "iputils-ping", "reachability of real guests"),
    Tool("qemu-system-x86_64", "qemu-system-x86", "real Linux guests"),
    Tool("tcpdump", "tcpdump", "what really arrives at an interface"),
    Tool("tshark", "tshark", "an outside judge of the captures that vnet writes"),
    Tool("unshare", "util-linux", "unprivileged user namespaces"),
    Tool("vde_plug", "vde2", "a foreign VDE plug"),
)
KERNEL = Tool(KERNELS, "linux-image-cloud-amd64", "the kernel of the QEMU guests")


def which(command: str) -> str | None:
    """The path of a command, also when an ordinary user's PATH leaves out the system folders."""
    return shutil.which(command, path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin")


def guest_kernel() -> Path | None:
    """The newest installed Debian cloud kernel whose modules are there too."""
    found = sorted(Path("/boot").glob(KERNELS), key=lambda path: path.stat().st_mtime)
    found = [k for k in found if Path("/lib/modules", k.name.removeprefix("vmlinuz-")).is_dir()]
    return found[-1] if found else None


def remedy(command: str) -> str:
    """How to get a command: a clause for a person, to put behind another."""
    package = next((tool.package for tool in TOOLS if tool.command == command), None)
    return f"; Debian has it in {package}" if package is not None else ""


def missing() -> list[Tool]:
    wanted = [tool for tool in TOOLS if which(tool.command) is None]
    if guest_kernel() is None:
        wanted.append(KERNEL)
    return wanted


def main() -> int:
    parser = argparse.ArgumentParser(description="Say, or install, what the tests need.")
    parser.add_argument("--install", action="store_true", help="install it (Debian, as root)")
    install = parser.parse_args().install
    wanted = missing()
    if not wanted:
        return 0
    print("The tests need these Debian packages, which are not here yet:")
    for tool in wanted:
        print(f"  {tool.package:<24} {tool.why}")
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *(t.package for t in wanted)]
    if not install or os.geteuid() != 0 or shutil.which("apt-get") is None:
        print("Install them with:\n  sudo apt-get update && sudo " + shlex.join(command))
        return 1
    print("+ " + shlex.join(command), flush=True)
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-q"], check=True, env=quiet)
    subprocess.run(command, check=True, env=quiet)
    still = missing()
    for tool in still:
        print(f"{tool.package} is installed, yet there is no {tool.command}", file=sys.stderr)
    return 1 if still else 0


if __name__ == "__main__":
    sys.exit(main())
