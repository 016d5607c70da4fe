"""Every kind of NIC passes the conformance kit."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from nics.dgram import Dgram
from nics.door import Opened, Place
from nics.pcap import Pcap
from nics.stream import Stream
from nics.vde import Vde
from nics.vhost_user import VhostUser
from tests.nics.peers import DgramPeer, HostPeer, PcapPeer, PipePeer, StreamPeer, VdePeer
from tests.nics.vhost_peer import VhostPeer
from vnet._native import pipe_door
from vnet.testing import Maker, check_nic


def free_port(kind: socket.SocketKind) -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    with socket.socket(type=kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def pipe(_place: Place) -> AsyncIterator[tuple[Opened, PipePeer]]:
    door, handle = pipe_door(256, 65_557)
    peer = PipePeer(handle)
    yield Opened(door, far=peer), peer


@asynccontextmanager
async def stack(_place: Place) -> AsyncIterator[tuple[HostPeer, HostPeer]]:
    host = HostPeer()
    yield host, host


def stream(role: str, where: str) -> Maker:
    @asynccontextmanager
    async def maker(place: Place) -> AsyncIterator[tuple[Stream, StreamPeer]]:
        family: int = socket.AF_UNIX
        address: Any
        match where:
            case "unix":
                # A client's server is not ours, so its socket does not belong into our folder.
                text = "vm.sock" if role == "server" else str(place.runtime.parent / "vm.sock")
                address = str(place.runtime / text)
            case "abstract":
                text = f"@{place.runtime}"
                address = "\0" + text[1:]
            case _:
                family = socket.AF_INET
                address = ("127.0.0.1", free_port(socket.SOCK_STREAM))
                text = f"127.0.0.1:{address[1]}"
        peer = StreamPeer(address, family, listens=role == "client")
        yield Stream(text, role=role), peer
        await peer.aclose()

    return maker


def vhost_user(role: str) -> Maker:
    @asynccontextmanager
    async def maker(place: Place) -> AsyncIterator[tuple[VhostPeer, VhostPeer]]:
        # A client's server is not ours, so its socket does not belong into our folder.
        text = "vm.sock" if role == "server" else str(place.runtime.parent / "vm.sock")
        peer = VhostPeer(VhostUser(text, role=role), str(place.runtime / text))
        yield peer, peer
        await peer.disconnect()

    return maker


def dgram(where: str) -> Maker:
    @asynccontextmanager
    async def maker(place: Place) -> AsyncIterator[tuple[Dgram, DgramPeer]]:
        if where == "unix":
            theirs = str(place.runtime.parent / "vm.sock")
            peer = DgramPeer(theirs, str(place.runtime / "vnet.sock"), socket.AF_UNIX)
            yield Dgram(local="vnet.sock", remote=theirs), peer
        else:
            ports = [free_port(socket.SOCK_DGRAM) for _ in range(2)]
            ours, theirs = (f"127.0.0.1:{port}" for port in ports)
            peer = DgramPeer(("127.0.0.1", ports[1]), ("127.0.0.1", ports[0]), socket.AF_INET)
            yield Dgram(local=ours, remote=theirs), peer
        await peer.disconnect()

    return maker


def vde(role: str) -> Maker:
    @asynccontextmanager
    async def maker(place: Place) -> AsyncIterator[tuple[Vde, VdePeer]]:
        # A client's switch is not ours, so its folder does not belong into ours.
        folder = (place.runtime if role == "server" else place.runtime.parent) / "vm.vde"
        peer = VdePeer(folder, listens=role == "client")
        yield Vde(str(folder), role=role), peer
        await peer.aclose()

    return maker


@asynccontextmanager
async def pcap(place: Place) -> AsyncIterator[tuple[Pcap, PcapPeer]]:
    source, target = (str(place.runtime.parent / name) for name in ("in", "out"))
    os.mkfifo(source)
    os.mkfifo(target)
    peer = PcapPeer(source, target)
    yield Pcap(read=source, write=target, speed=0), peer
    await peer.disconnect()


MAKERS: dict[str, Callable[[], Maker]] = {
    "pipe": lambda: pipe,
    "stack": lambda: stack,
    "stream-server-unix": lambda: stream("server", "unix"),
    "stream-server-abstract": lambda: stream("server", "abstract"),
    "stream-server-tcp": lambda: stream("server", "tcp"),
    "stream-client-unix": lambda: stream("client", "unix"),
    "stream-client-tcp": lambda: stream("client", "tcp"),
    "dgram-unix": lambda: dgram("unix"),
    "dgram-udp": lambda: dgram("udp"),
    "vhost-user-server": lambda: vhost_user("server"),
    "vhost-user-client": lambda: vhost_user("client"),
    "vde-server": lambda: vde("server"),
    "vde-client": lambda: vde("client"),
    "pcap": lambda: pcap,
}
"""A line for each kind; other kinds' tests call `check_nic` themselves where they need more than this."""


@pytest.mark.deadline(180)
@pytest.mark.parametrize("driver", ["trio", "thread"])
@pytest.mark.parametrize("name", MAKERS)
async def test_every_kind_passes(name: str, driver: str) -> None:
    await check_nic(MAKERS[name](), drivers=[driver])
