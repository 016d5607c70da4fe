"""A packet socket in a namespace: whoever is at the other side of a kernel door, for the conformance kit."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from nics.door import Place
from nics.netns import Namespace
from vnet.testing import Peer

SOL_PACKET = 263
PACKET_AUXDATA = 8
PACKET_IGNORE_OUTGOING = 23
SO_RCVBUFFORCE = 33
TP_STATUS_VLAN_VALID = 1 << 4
ETH_P_ALL = 3
MTU = 65_521


class PacketPeer(Peer):
    """Frames by an interface, whole: the kernel takes tags out of them, and here they are put back."""

    max_frame = MTU + 14
    min_sent = 14
    """Its kernel sends nothing shorter."""
    stalls = reliable = False

    def __init__(self, namespace: Namespace, place: Place, interface: str, packet: socket.socket) -> None:
        self._namespace = namespace
        self._place = place
        self._interface = interface
        self._packet = trio.socket.from_stdlib_socket(packet)

    async def _set(self, state: str) -> None:
        def change(iproute: Any) -> None:
            iproute.link("set", index=iproute.link_lookup(ifname=self._interface)[0], state=state)

        await self._place.netlink.run(change, self._namespace.fd)

    async def connect(self) -> None:
        await self._set("up")
        self._packet.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)  # that it was down is old news

    async def disconnect(self) -> None:
        await self._set("down")

    async def send(self, frame: bytes) -> None:
        await self._packet.send(frame)

    async def receive(self) -> bytes:
        frame, notes, _, _ = await self._packet.recvmsg(70_000, 256)
        for level, kind, data in notes:
            if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
                status, _, _, _, _, tci, tpid = struct.unpack("IIIHHHH", data)
                if status & TP_STATUS_VLAN_VALID:
                    frame = frame[:12] + struct.pack("!HH", tpid, tci) + frame[12:]
        return frame


@asynccontextmanager
async def packet_socket(namespace: Namespace, interface: str) -> AsyncIterator[socket.socket]:
    """A packet socket for a peer: with room, without what it sent itself."""
    with await namespace.socket(socket.AF_PACKET, socket.SOCK_RAW) as packet:
        packet.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        packet.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        packet.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
        packet.bind((interface, ETH_P_ALL))
        yield packet
