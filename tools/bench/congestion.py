"""TCP's congestion control in the namespaces that are measured: said, not left to the machine.

It belongs to a network namespace, and a new one has the host's, whatever its parent has (`tcp_sk_init` in
`net/ipv4/tcp_ipv4.c`). With some, BBR among them, TCP paces by timers, which are dear in a virtual machine
and can be the limit of whatever joins two namespaces; with others the switch is.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tools.bench.doors_switches import Pair, command

KEY = "congestion"
"""What a run notes it under."""
_TCP = Path("/proc/sys/net/ipv4")


def own() -> str:
    """The machine's."""
    return (_TCP / "tcp_congestion_control").read_text().strip()


def _known(which: str) -> list[str]:
    return (_TCP / f"tcp_{which}_congestion_control").read_text().split()


def chosen(parser: argparse.ArgumentParser, words: str | None) -> list[str]:
    """Those that were asked for, each once; else the machine's own."""
    if words is None:
        return [own()]
    names = list(dict.fromkeys(word.strip() for word in words.split(",")))
    if unknown := [name for name in names if name not in _known("available")]:
        there = ", ".join(_known("available"))
        parser.error(
            f"no such congestion control: {', '.join(unknown)}; there are {there} (modprobe tcp_NAME)"
        )
    allowed = _known("allowed")
    if refused := [name for name in names if name not in allowed]:
        setting = f"net.ipv4.tcp_allowed_congestion_control='{' '.join(allowed + refused)}'"
        parser.error(f"namespaces may not use {', '.join(refused)} before: sysctl -w {setting}")
    return names


def use(pair: Pair, name: str) -> None:
    """For connections that begin from now on, at all ends. Raises Failed."""
    for end in range(len(pair.namespaces)):
        command(*pair.inside(end, "sysctl", "-qw", f"net.ipv4.tcp_congestion_control={name}"))


def title(name: str) -> str:
    """Above what was measured with it."""
    if not name:
        return "TCP's congestion control was not noted"
    return f"TCP by {name}" + (", this machine's own" if name == own() else "")
