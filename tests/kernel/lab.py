"""Namespaces on TAPs of one engine: what the tests of kernel doors stand on."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from nics.door import Opened, Place
from nics.netlink import Netlink
from nics.netns import Namespace
from nics.tap import Tap
from tests import books
from vnet._native import Engine, PortConfig

PREFIX = f"vnet-t{os.getpid()}"
"""What namespaces of these tests begin with; the same tests may run elsewhere on this machine."""


@attrs.define(eq=False)
class Guest:
    """A namespace with one TAP, `eth0`."""

    namespace: Namespace
    port: int
    opened: Opened
    ip: str
    ip6: str
    mac: str

    async def run(self, *argv: str, check: bool = True) -> str:
        return await self.namespace.run(*argv, check=check)


@attrs.define(eq=False)
class Lab:
    engine: Engine
    switch: int
    netlink: Netlink
    log: list[str] = attrs.field(factory=list)
    guests: list[Guest] = attrs.field(factory=list)
    events: list[tuple[int, str, int, int, str]] = attrs.field(factory=list)
    """What happened and nobody asked about yet."""

    def place(self, number: int, **changes: Any) -> Place:
        usual = Place(
            port=f"g{number}.0",
            runtime=Path("/nowhere"),
            netlink=self.netlink,
            mac=f"02:00:00:00:00:{number:02x}",
            addresses=(f"10.9.0.{number}/24", f"fd00:9::{number:x}/64"),
        )
        return attrs.evolve(usual, **changes)

    async def guest(self, nic: Tap | None = None, vlan: int = 10, **changes: Any) -> Guest:
        number = len(self.guests) + 1
        namespace = await Namespace.create(f"{PREFIX}-{number}", self.netlink, host=f"g{number}")
        place = self.place(number, netns=namespace.fd, **changes)
        opened = await (nic or Tap()).open(place)
        port = self.engine.add_port(opened.door, self.switch, PortConfig(vlan=vlan, mtu=place.mtu))
        guest = Guest(namespace, port, opened, f"10.9.0.{number}", f"fd00:9::{number:x}", place.mac)
        self.guests.append(guest)
        return guest

    def drops(self, guest: Guest) -> dict[str, int]:
        drops: dict[str, int] = self.engine.counters(guest.port)["drops"]
        return drops

    async def event(self, guest: Guest, kind: str, value: int | None = None) -> str:
        """The next event of a kind at a guest's port; its text. Those before it are forgotten."""
        while True:
            while self.events:
                port, what, a, _, text = self.events.pop(0)
                if port == guest.port and what == kind and value in (None, a):
                    return text
            await trio.lowlevel.wait_readable(self.engine.events_fileno())
            self.events.extend(self.engine.events()[0])


async def closed(opened: Opened) -> None:
    """A door that nobody has attached, or that was detached: what is left of it goes."""
    opened.door.close()
    if opened.close is not None:
        await opened.close()


@asynccontextmanager
async def lab(poll: str = "adaptive") -> AsyncIterator[Lab]:
    """An engine with one switch, turned by its own thread; everything is gone afterwards."""
    async with Netlink() as netlink:
        engine = Engine()
        built = Lab(engine, engine.add_switch(), netlink)
        engine.start(poll)
        try:
            yield built
        finally:
            engine.stop()
            books.check_engine(engine, (guest.port for guest in built.guests))
            for guest in built.guests:
                engine.remove_port(guest.port)
                await closed(guest.opened)
                await guest.namespace.aclose()
