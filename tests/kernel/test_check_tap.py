"""`tap` passes the conformance kit; its guest is a packet socket in a namespace."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest

from nics.door import Opened, Place
from nics.netns import Namespace
from nics.tap import Tap
from tests.kernel.lab import PREFIX
from tests.kernel.packet_peer import MTU, PacketPeer, packet_socket
from tests.needs import needs_tun
from vnet.testing import Maker, check_nic

pytestmark = needs_tun


class TapPeer(PacketPeer):
    """On the guest's side of a TAP."""

    notices_by_sending = True
    sends_without_link = False


def tap(**keys: Any) -> Maker:
    @asynccontextmanager
    async def maker(place: Place) -> AsyncIterator[tuple[Opened, TapPeer]]:
        namespace = await Namespace.create(f"{PREFIX}-check", place.netlink)
        place = attrs.evolve(place, netns=namespace.fd, mtu=MTU)
        opened = await Tap(**keys).open(place)
        async with packet_socket(namespace, "eth0") as packet:
            yield opened, TapPeer(namespace, place, "eth0", packet)
        await namespace.aclose()

    return maker


@pytest.mark.parametrize("driver", ["trio", "thread"])
@pytest.mark.parametrize("keys", [{}, {"queues": 3}, {"offload": False}], ids=str)
async def test_tap_passes(keys: dict[str, Any], driver: str) -> None:
    await check_nic(tap(**keys), drivers=[driver])
