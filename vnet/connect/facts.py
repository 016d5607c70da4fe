"""What words are made of: what is known of a port, and what is asked of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import attrs

from vnet.errors import BadInput

if TYPE_CHECKING:
    from vnet.port import Port

Facts = Mapping[str, Any]
"""`port`, `kind`, `mac`, `mtu`, `carries` (interface or socket), `nic` (its keys), `runtime`."""


def facts_of(port: Port, runtime: Path) -> dict[str, Any]:
    """What is known of a port; relative sockets lie in `runtime`."""
    nic: Any = port.wanted.nic
    keys = {
        key: (str(value) if value is not None and not isinstance(value, int | float | bool) else value)
        for key, value in attrs.asdict(nic, recurse=False).items()
    }
    return {
        "port": port.name,
        "kind": port.kind,
        "mac": port.wanted.mac,
        "mtu": port.wanted.mtu,
        "carries": port.opened.carries,
        "nic": keys,
        "runtime": str(runtime),
    }


def path_of(facts: Facts, key: str = "socket") -> str:
    """An address as the other side has to say it: a path is made absolute."""
    value = str(facts["nic"].get(key) or "")
    if not value:
        raise BadInput(f"{facts['port']} has no {key}: give it one in the topology file")
    return value if is_inet(value) or value.startswith("@") else str(PurePath(facts["runtime"]) / value)


def is_inet(value: str) -> bool:
    """Whether it is an address and port, and no path."""
    host, colon, port = value.rpartition(":")
    return bool(colon) and port.isdecimal() and "/" not in host


def must_listen(facts: Facts, program: str) -> None:
    """Raise BadInput unless we listen, because `program` can't."""
    if facts["nic"].get("role") != "server":
        raise BadInput(f"{facts['port']}: {program} connects and can't listen: give its NIC role: server")


def must_connect(facts: Facts, program: str) -> None:
    """Raise BadInput unless we connect, because `program` can't."""
    if facts["nic"].get("role") != "client":
        raise BadInput(f"{facts['port']}: {program} listens and can't connect: give its NIC role: client")


def vde_folder(facts: Facts, program: str) -> str:
    """The folder of our plug."""
    must_listen(facts, program)
    return path_of(facts, "directory")
