"""Marks for tests that need more than Python: root, TUN/TAP, a tool, QEMU.

    @needs_root
    @needs_tool("iperf3")
    async def test_throughput(): ...

    pytestmark = needs_tun          # a whole file

Such a test is skipped with the reason where the thing is missing. With `VNET_NO_SKIP=1` in the
environment, as in `.ci/run`, that is a failure, and so is every other skip.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import prerequisites
from tools.guest import kernel

NO_SKIP = os.environ.get("VNET_NO_SKIP", "") not in ("", "0")
CAP_NET_ADMIN = 12
CAP_SYS_ADMIN = 21


def needs(what: str, check: Callable[[], str | None]) -> pytest.MarkDecorator:
    """A mark for something that `check` looks for: it returns None, or a clause on what is missing."""
    return pytest.mark.needs(what, check)


def unmet(item: pytest.Item) -> str | None:
    """Why a test can't run here, or None."""
    for mark in item.iter_markers("needs"):
        what, check = mark.args
        if (lack := check()) is not None:
            return f"needs {what}: {lack}"
    return None


@functools.cache
def _root() -> str | None:
    line = next(s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith("CapEff"))
    held = int(line.split()[1], 16)
    if held >> CAP_NET_ADMIN & 1 and held >> CAP_SYS_ADMIN & 1:
        return None
    return "neither root nor CAP_NET_ADMIN and CAP_SYS_ADMIN"


@functools.cache
def _tun() -> str | None:
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return f"/dev/net/tun: {error.strerror}"
    return _root()


@functools.cache
def _userns() -> str | None:
    if prerequisites.which("unshare") is None:
        return "no command unshare"
    asked = ["unshare", "--user", "--map-root-user", "--net", "true"]
    if os.geteuid() == 0:
        asked = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *asked]
    done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=60)
    return None if done.returncode == 0 else f"unprivileged user namespaces: {done.stderr.strip()}"


@functools.cache
def _tool(command: str) -> str | None:
    if prerequisites.which(command) is not None:
        return None
    return f"no command {command}{prerequisites.remedy(command)}"


@functools.cache
def _module(name: str) -> str | None:
    return None if importlib.util.find_spec(name) is not None else f"no Python module {name}"


@functools.cache
def _qemu() -> str | None:
    for command in ("qemu-system-x86_64", "busybox", "socat", "iperf3"):
        if (lack := _tool(command)) is not None:
            return lack
    if kernel.find() is None:
        return f"no guest kernel; Debian has it in {kernel.PACKAGE}"
    return None


needs_root = needs("root", _root)
needs_tun = needs("TUN/TAP", _tun)
needs_userns = needs("user namespaces", _userns)
needs_qemu = needs("QEMU guests", _qemu)


def needs_tool(command: str) -> pytest.MarkDecorator:
    """A command in PATH or a system folder."""
    return needs(command, functools.partial(_tool, command))


def needs_module(name: str) -> pytest.MarkDecorator:
    """A Python module, e.g. scapy."""
    return needs(name, functools.partial(_module, name))
