"""`packet` passes the conformance kit; its peer is a packet socket at the other end of a veth pair."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest

from nics.door import Opened, Place
from nics.netns import Namespace
from nics.packet import Packet
from tests.kernel.lab import PREFIX
from tests.kernel.packet_peer import MTU, PacketPeer, packet_socket
from tests.needs import needs_root
from vnet.testing import Maker, check_nic

pytestmark = needs_root


class WirePeer(PacketPeer):
    """On the far side of a veth pair."""

    sends_without_link = True


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
        async with packet_socket(namespace, "world") as packet:
            yield opened, WirePeer(namespace, place, "world", packet)
        await namespace.aclose()

    return maker


@pytest.mark.parametrize("driver", ["trio", "thread"])
@pytest.mark.parametrize("keys", [{}, {"offload": False}], ids=str)
async def test_packet_passes(keys: dict[str, Any], driver: str) -> None:
    await check_nic(wire(**keys), drivers=[driver])
