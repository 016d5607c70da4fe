"""Real Linux guests whose memory we see: QEMU with vhost-user, in both roles."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import vnet
from tests.needs import needs_qemu
from tests.peers import transfer
from tests.qemu.machine import MEMORY, Card, Machine, boot

pytestmark = [needs_qemu, pytest.mark.deadline(300)]

SHARED = [
    "-object",
    f"memory-backend-memfd,id=shared,size={MEMORY}M,share=on",
    "-machine",
    "memory-backend=shared",
]
"""Guest memory that a back-end can map; no huge pages."""


def fabric(
    folder: Path, guests: int = 2, *, role: str = "server", mtu: int = 1500, **more: Any
) -> vnet.Fabric:
    """A fabric with guests `a`, `b`, ... behind vhost-user sockets of those names."""
    nic = {"kind": "vhost-user", "role": role, **more}
    named = {
        name: {
            "kind": "external",
            "nics": [
                {"network": "n", "mac": f"02:00:00:00:00:0{n}", "nic": {**nic, "socket": f"{name}.sock"}}
            ],
        }
        for n, name in enumerate("abcdefgh"[:guests], 1)
    }
    document = {"name": "vu", "networks": {"n": {"mtu": mtu} if mtu != 1500 else {}}, "guests": named}
    return vnet.Fabric.from_dict(document, runtime=folder)


@contextlib.asynccontextmanager
async def guest(
    fabric: vnet.Fabric,
    name: str,
    *,
    options: str = "",
    netdev: str = "",
    chardev: str = "",
    more: Sequence[str] = (),
) -> AsyncIterator[Machine]:
    """A guest that is the front-end of the port `NAME.0`, with its address, up."""
    number = "abcdefgh".index(name) + 1
    path = fabric.runtime / f"{name}.sock"
    # Debian's QEMU 7.2 crashes under TCG with vhost-user and MSI-X: no vectors.
    card = Card(
        f"vhost-user,chardev=chr{netdev}",
        mac=f"02:00:00:00:00:0{number}",
        options=f"vectors=0{options}",
    )
    words = [*SHARED, "-chardev", f"socket,id=chr,path={path}{chardev}", *more]
    async with boot(name, card, more=words) as machine:
        await machine.run(f"ip addr add 10.0.0.{number}/24 dev eth0")
        await machine.run(f"ip addr add fd00::{number}/64 dev eth0 nodad && ip link set eth0 up")
        yield machine


async def test_two_guests_talk_and_their_bytes_arrive(tmp_path: Path) -> None:
    async with fabric(tmp_path) as here, guest(here, "a") as a, guest(here, "b") as b:
        assert await a.ping("10.0.0.2")
        assert await b.ping("fd00::1")
        assert not await a.ping("10.0.0.3", count=1)
        await transfer(a, b, "10.0.0.2", megabytes=50)
        await transfer(b, a, "fd00::1", megabytes=50)
        # Super-frames passed whole: far fewer frames than segments.
        port = here.ports["b.0"].status()
        assert port["carrier"], port
