"""Listen to everything that reaches a namespace guest's interface."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator

import trio

import vnet

ETH_P_ALL = 3


@contextlib.asynccontextmanager
async def listen(fabric: vnet.Fabric, name: str) -> AsyncIterator[set[bytes]]:
    """The source MAC addresses of all frames that arrive at a namespace guest, as they come."""
    guest = fabric.guests[name]
    assert isinstance(guest, vnet.NetnsGuest)
    assert guest.namespace is not None
    interface = fabric.port(name).opened.carries
    made = await guest.namespace.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    made.bind((interface, ETH_P_ALL))
    heard: set[bytes] = set()

    async def hear() -> None:
        while True:
            frame, (_, _, kind, _, _) = await ears.recvfrom(2048)
            if kind != socket.PACKET_OUTGOING:
                heard.add(frame[6:12])

    with trio.socket.from_stdlib_socket(made) as ears:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hear)
            yield heard
            nursery.cancel_scope.cancel()
