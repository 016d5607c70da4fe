"""`packet` passes the conformance kit; its peer is a packet socket at the other end of a veth pair."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio

from nics.door import Opened, Place
from nics.netns import Namespace
from nics.packet import Packet
from tests.kernel.lab import PREFIX
from tests.needs import needs_root
from vnet.testing import Maker, Peer, check_nic

pytestmark = needs_root

SOL_PACKET = 263
PACKET_AUXDATA = 8
PACKET_IGNORE_OUTGOING = 23
SO_RCVBUFFORCE = 33
TP_STATUS_VLAN_VALID = 1 << 4
MTU = 65_521


class WirePeer(Peer):
    """A packet socket on the far side of a veth pair."""

    max_frame = MTU + 14
    min_sent = 14
    """Its kernel sends nothing shorter."""
    sends_without_link = True
    stalls = reliable = False

    def __init__(self, namespace: Namespace, place: Place, packet: socket.socket) -> None:
        self._namespace = namespace
        self._place = place
        self._packet = trio.socket.from_stdlib_socket(packet)

    async def _set(self, state: str) -> None:
        def change(iproute: Any) -> None:
            iproute.link("set", index=iproute.link_lookup(ifname="world")[0], state=state)

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
                if status & TP_STATUS_VLAN_VALID:  # the kernel takes tags out of frames
                    frame = frame[:12] + struct.pack("!HH", tpid, tci) + frame[12:]
        return frame


def wire(**keys: Any) -> Maker:
    @asynccontextmanager
    async def maker(place: Place) -> AsyncIterator[tuple[Opened, WirePeer]]:
        namespace = await Namespace.create(f"{PREFIX}-check", place.netlink)

        def plug(iproute: Any) -> None:
            iproute.link("add", ifname="phys", kind="veth", peer={"ifname": "world"}, mtu=MTU)
            for name in ("phys", "world"):
                index = iproute.link_lookup(ifname=name)[0]
                iproute.link("set", index=index, state="up", mtu=MTU)

        await place.netlink.run(plug, namespace.fd)
        place = attrs.evolve(place, netns=namespace.fd, mtu=MTU)
        opened = await Packet(interface="phys", **keys).open(place)
        with await namespace.socket(socket.AF_PACKET, socket.SOCK_RAW) as packet:
            packet.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
            packet.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
            packet.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
            packet.bind(("world", 3))  # ETH_P_ALL
            yield opened, WirePeer(namespace, place, packet)
        await namespace.aclose()

    return maker


@pytest.mark.parametrize("driver", ["trio", "thread"])
@pytest.mark.parametrize("keys", [{}, {"offload": False}], ids=str)
async def test_packet_passes(keys: dict[str, Any], driver: str) -> None:
    await check_nic(wire(**keys), drivers=[driver])
