"""Wireshark's extcap: the ports, guests and networks of this user's running fabrics as interfaces.

Wireshark, tshark and the rest run this program (a script that `vnet extcap --install` puts into its
folder) with options that say what they want, read its standard output, and for a capture its FIFO
(doc/README.extcap in Wireshark's sources; the words in braces are that format). It is a client of the
fabrics' control sockets, and nothing in the fabric knows of it. They end a capture by SIGTERM, or by
closing the FIFO.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vnet import runtime
from vnet._native import VERSION
from vnet.capture.bpf import FilterError, compile_filter
from vnet.capture.selection import ALL
from vnet.cli import words
from vnet.errors import BadInput, VnetError

PREFIX = "vnet"
SCRIPT = "vnet-extcap"
ETHERNET = "dlt {number=1}{name=EN10MB}{display=Ethernet}"
CONFIG = (
    "arg {number=0}{call=--direction}{display=Direction}{type=selector}{tooltip=Seen from the switch}",
    "value {arg=0}{value=both}{display=Both: a frame is seen at each of its ports}{default=true}",
    "value {arg=0}{value=in}{display=Into the switch}",
    "value {arg=0}{value=out}{display=Out of the switch}",
    "arg {number=1}{call=--drops}{display=Dropped frames only}{type=boolflag}"
    "{tooltip=With the reason in the comment}",
    "arg {number=2}{call=--snaplen}{display=Bytes kept of each frame}{type=unsigned}{range=1,262144}"
    "{default=262144}",
)


def parser() -> argparse.ArgumentParser:
    """What Wireshark may ask."""
    top = argparse.ArgumentParser(prog=SCRIPT, description="vnet's ports for Wireshark (extcap)")
    for word in ("interfaces", "dlts", "config"):
        top.add_argument(f"--extcap-{word}", action="store_true")
    for word in ("interface", "version", "capture-filter", "reload-option"):
        top.add_argument(f"--extcap-{word}", nargs="?", const="")
    top.add_argument("--capture", action="store_true")
    top.add_argument("--fifo")
    top.add_argument("--direction", choices=["both", "in", "out"], default="both")
    top.add_argument("--drops", nargs="?", const="true", default="false")
    top.add_argument("--snaplen", type=int, default=262_144)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Answer one question, or capture."""
    given, _ = parser().parse_known_args(argv)
    try:
        if given.extcap_interfaces:
            print("\n".join(interfaces()))
        elif given.extcap_interface is None:
            print("this program is for Wireshark: see vnet extcap --help", file=sys.stderr)
            return 2
        elif given.extcap_dlts:
            print(ETHERNET)
        elif given.extcap_config:
            print("\n".join(CONFIG))
        elif given.capture:
            _capture(given)
        elif given.extcap_capture_filter is not None:
            _check(given.extcap_capture_filter)
    except VnetError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def interfaces() -> list[str]:
    """One line for each thing to capture in every running fabric: all, networks, guests' ports."""
    lines = [f"extcap {{version={VERSION}}}{{display=vnet}}"]
    for name in runtime.running():
        with contextlib.suppress(VnetError), words.client(name) as client:
            status = client.call("status")
            lines.append(_interface(name, ALL, "all ports"))
            ports = status["ports"]
            networks = dict.fromkeys(network for port in ports for network in _networks(port))
            called = _called(ports)
            lines += [
                _interface(name, _named("network", network, called), f"network {network}")
                for network in networks
            ]
            for port in ports:
                told = f"port {port['port']}, {port['kind']} {' '.join(port['ip'])}".rstrip()
                lines.append(_interface(name, _named("port", port["port"], called), told))
    return lines


def _networks(port: dict[str, Any]) -> list[str]:
    return [network for network in (port["network"], *port.get("trunk", ())) if network]


def _called(ports: Sequence[dict[str, Any]]) -> Counter[str]:
    """How many things a capture could take each name for."""
    kinds = [
        [ALL],
        {network for port in ports for network in _networks(port)},
        {port["port"] for port in ports},
        {port["guest"] for port in ports},
        {port["switch"] for port in ports},
    ]
    return Counter(name for kind in kinds for name in kind)


def _named(what: str, name: str, called: Counter[str]) -> str:
    """A name, with what it is where it is more than one thing: a capture refuses it otherwise."""
    return name if called[name] == 1 else f"{what}:{name}"


def _interface(fabric: str, target: str, told: str) -> str:
    return f"interface {{value={PREFIX}:{fabric}:{target}}}{{display=vnet {fabric}, {told}}}"


def _target(interface: str) -> tuple[str, str]:
    """The fabric and what to capture in it."""
    parts = interface.split(":", 2)
    if len(parts) != 3 or parts[0] != PREFIX:
        raise BadInput(f"there is no interface {interface!r}, expected {PREFIX}:FABRIC:PORT")
    return parts[1], parts[2]


def _check(text: str) -> None:
    """Say what is wrong with a filter; nothing when it is right."""
    try:
        compile_filter(text)
    except FilterError as error:
        print(error)


def _capture(given: argparse.Namespace) -> None:
    if not given.fifo:
        raise BadInput("--capture needs --fifo")
    fabric, target = _target(given.extcap_interface)
    with words.client(fabric) as client:
        descriptor = os.open(given.fifo, os.O_WRONLY | os.O_CLOEXEC)
        try:
            call = client.stream(
                "capture",
                descriptors=[descriptor],
                # No name is everything, too, where something is called `all`.
                targets=[] if target == ALL else [target],
                filter=given.extcap_capture_filter or None,
                direction=None if given.direction == "both" else given.direction,
                drops=given.drops != "false",
                snaplen=given.snaplen,
            )
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: client.cancel())
            next(call, None)
        finally:
            # The fabric has one of its own; the reader's end comes when that is closed.
            os.close(descriptor)
        for _ in call:
            pass


# -- installing it -----------------------------------------------------------------------------------


def folder() -> Path:
    """Where Wireshark looks for extcap programs. Asks tshark, whose answer depends on its version: a
    folder of the user's own where there is one (before 4.0 and since 4.2), otherwise everybody's.
    `WIRESHARK_EXTCAP_DIR` names another, but not for root, with whom Wireshark does not heed it. Without
    tshark, the user's own of new versions.
    """
    named = os.environ.get("WIRESHARK_EXTCAP_DIR")
    if named and os.geteuid() != 0:
        return Path(named)
    tshark = shutil.which("tshark")
    found: dict[str, str] = {}
    if tshark:
        done = subprocess.run([tshark, "-G", "folders"], capture_output=True, text=True, check=False)
        for line in done.stdout.splitlines():
            what, _, path = line.partition(":")
            found[what.strip().lower()] = path.strip()
    asked = found.get("personal extcap path") or found.get("extcap path")
    return Path(asked) if asked else Path.home() / ".local" / "lib" / "wireshark" / "extcap"


def install() -> Path:
    """Put the script into Wireshark's folder; its path. Raises VnetError."""
    path = folder() / SCRIPT
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -m vnet.extcap "$@"\n')
        path.chmod(0o755)
    except OSError as error:
        remedy = "as root, or with WIRESHARK_EXTCAP_DIR set to a folder of yours, here and for Wireshark"
        raise VnetError(f"{path}: {error.strerror}: install it {remedy}") from None
    return path


def remove() -> Path | None:
    """Remove it; where it was, None if it was not there."""
    path = folder() / SCRIPT
    if not path.exists():
        return None
    path.unlink()
    return path


if __name__ == "__main__":
    sys.exit(main())
