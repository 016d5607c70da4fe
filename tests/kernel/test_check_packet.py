"""`packet` and `xdp` pass the conformance kit; their peer is a packet socket at the other end of a cable."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest

from nics.door import Opened, Place
from nics.netns import Namespace
from nics.packet import Packet
from nics.xdp import Xdp
from tests.kernel.lab import PREFIX
from tests.kernel.packet_peer import MTU, PacketPeer, packet_socket
from tests.needs import needs_root
from vnet.testing import Maker, check_nic

pytestmark = needs_root


class WirePeer(PacketPeer):
    """On the far side of a veth pair."""

    sends_without_link = True


def wire(nic: Packet | Xdp, mtu: int) -> Maker:
    @asynccontextmanager
    async def maker(place: Place) -> AsyncIterator[tuple[Opened, WirePeer]]:
        namespace = await Namespace.create(f"{PREFIX}-check", place.netlink)

        def plug(iproute: Any) -> None:
            iproute.link("add", ifname="phys", kind="veth", peer={"ifname": "world"}, mtu=mtu)
            for name in ("phys", "world"):
                index = iproute.link_lookup(ifname=name)[0]
                iproute.link("set", index=index, state="up", mtu=mtu)

        await place.netlink.run(plug, namespace.fd)
        place = attrs.evolve(place, netns=namespace.fd, mtu=mtu)
        opened = await nic.open(place)
        async with packet_socket(namespace, "world") as packet:
            peer = WirePeer(namespace, place, "world", packet)
            peer.max_frame, peer.groups_apart = mtu + 14, isinstance(nic, Xdp)
            yield opened, peer
        await namespace.aclose()

    return maker


NICS: dict[str, tuple[Packet | Xdp, int]] = {
    "packet": (Packet(interface="phys"), MTU),
    "packet-plain": (Packet(interface="phys", offload=False), MTU),
    # As long as AF_XDP has room for, in the driver of a veth.
    "xdp": (Xdp(interface="phys"), 3000),
}


@pytest.mark.parametrize("driver", ["trio", "thread"])
@pytest.mark.parametrize("name", NICS)
async def test_passes(name: str, driver: str) -> None:
    await check_nic(wire(*NICS[name]), drivers=[driver])
