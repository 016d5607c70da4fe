"""What can be seen to fail before a change begins, so that nothing is removed in vain.

A change that fails is undone, but what it removed is made anew: connections are gone, a card is another.
These looks are cheap and may miss something. They refuse only what could not be opened now, and leave out
what the change itself makes.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from nics.endpoint import PATH_MAX, Endpoint
from nics.errors import NicError
from nics.tap import Tap
from vnet.topology.actions import Action, AddPort
from vnet.topology.resolve import Port

SERVED = {"stream": "socket", "vhost-user": "socket", "dgram": "local"}
"""Kinds of NICs that make a socket where this key says."""


def look(steps: Iterable[Action], runtime: Path, namespaces: Iterable[str]) -> None:
    """Raise NicError for a NIC to come that can't be opened. `namespaces`: of guests, to come or there."""
    ports = [step.part for step in steps if isinstance(step, AddPort)]
    made = {port.nic.name or port.name for port in ports if isinstance(port.nic, Tap)}
    ours = set(namespaces)
    for port in ports:
        try:
            wrong = [
                *_namespace(port, ours),
                *_interface(port, made),
                *_socket(port, runtime),
                *_file(port),
            ]
        except OSError:
            continue  # where we may not look, there may be something
        if wrong:
            raise NicError(f"{port.name}: {wrong[0]}")


def _namespace(port: Port, ours: set[str]) -> Iterator[str]:
    name = getattr(port.nic, "netns", None)
    if name and name not in ours and _status(Path("/run/netns") / name) is None:
        yield f"there is no namespace {name}: `ip netns` shows which there are"


def _interface(port: Port, made: set[str]) -> Iterator[str]:
    name = getattr(port.nic, "interface", None)
    if name is None or name in made or getattr(port.nic, "netns", None):
        return
    try:
        lines = Path("/proc/net/dev").read_text().splitlines()
    except OSError:
        return  # a sandbox does not let us look
    if name not in (line.partition(":")[0].strip() for line in lines):
        yield f"there is no interface {name}: `ip link` shows which there are"


def _socket(port: Port, runtime: Path) -> Iterator[str]:
    text = getattr(port.nic, SERVED.get(port.nic.kind, ""), None)
    if text is None or getattr(port.nic, "role", "server") != "server":
        return
    if text.startswith("@") or Endpoint.parse(text).ip is not None:
        return
    path = runtime / text
    if (length := len(os.fsencode(path))) > PATH_MAX:
        yield f"{path} has {length} bytes, expected at most {PATH_MAX}"
    elif (there := _status(path)) is not None and not stat.S_ISSOCK(there.st_mode):
        yield f"{path} is there and is no socket: remove it or choose another path"
    elif path.parent != runtime and _status(path.parent) is None:
        yield f"{path}: there is no folder {path.parent}"


def _file(port: Port) -> Iterator[str]:
    read, write = (getattr(port.nic, key, None) for key in ("read", "write"))
    if port.nic.kind == "pcap" and read is not None and _status(Path(read)) is None:
        yield f"there is no file {read}"
    if port.nic.kind == "pcap" and write is not None and _status(Path(write).parent) is None:
        yield f"{write}: there is no folder {Path(write).parent}"


def _status(path: Path) -> os.stat_result | None:
    """None: there is nothing there."""
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
