"""What NICs take for themselves alone: sockets, interfaces, files. No two may have the same, whatever they
call it, none what is the fabric's own, and a socket's path must not be too long where it comes to lie.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path as File
from typing import TYPE_CHECKING

from nics import kinds
from nics.door import Nic
from nics.endpoint import PATH_MAX, Endpoint
from vnet import runtime
from vnet.topology.check_ports import Problems, nics
from vnet.topology.problems import Path, Problem, dotted

if TYPE_CHECKING:
    from vnet.topology.topology import Topology


def claims(topology: Topology) -> Problems:
    """Every NIC of guests and uplinks."""
    # A topology made in Python may be named anything, which is told elsewhere.
    folder = runtime.base() / str(topology.name)
    own = {os.fspath(folder / name) for name in ("", *runtime.OWN)} if topology.name else set()
    taken: dict[tuple[str, str, str], Path] = {}
    for path, guest, nic in nics(topology):
        for key, text, most in _sockets(nic):
            where = _named("socket", text, folder)
            if where in own:
                because: tuple[Path, ...] = (("name",),)
                yield Problem((*path, key), f"{text} is the fabric's own", "another path", because=because)
            elif where.startswith("/") and (length := len(where.encode(errors="replace"))) > most:
                found = f"{where} has {length} bytes"
                expected = f"a shorter path: at most {most} bytes, runtime folder included"
                yield Problem((*path, key), found, expected, because=(("name",),))
        for key, what, name in kinds.claims(nic):
            # Each namespace has interfaces of its own.
            inside = guest is not None and guest.kind == "netns" and what == "interface"
            where = f"guest {guest.name}" if guest and inside else str(getattr(nic, "netns", ""))
            first = taken.setdefault((what, _named(what, name, folder), where), path)
            if first != path:
                owner = first[:-1] if first[-1] == "nic" else first
                found = f"{what} {name} is {dotted(owner)}'s already"
                yield Problem((*path, key), found, "one of its own")


def _sockets(nic: Nic) -> Iterator[tuple[str, str, int]]:
    """Keys of `nic` that say where a socket is, or a folder of them: (key, its text, its bytes at most)."""
    kind = kinds.KINDS.get(nic.kind)
    for key in kind.keys if kind else ():
        text = getattr(nic, key.name, None)
        if isinstance(text, str) and isinstance(key.type, kinds.SocketPath | kinds.SocketAddress):
            yield key.name, text, getattr(key.type, "most", PATH_MAX)


def _named(what: str, name: str, folder: File) -> str:
    """The same for all words that mean the same."""
    if what == "file":
        return os.path.normpath(File.cwd() / name)
    if what not in ("socket", "folder"):
        return name
    try:
        at = Endpoint.parse(name) if what == "socket" else None
    except ValueError:
        at = None
    if at is not None and at.ip is not None:
        return f"{at.ip} {at.port}"
    return name if name.startswith("@") and what == "socket" else os.path.normpath(folder / name)
