"""What a NIC description is given to open a door with, and what it gives back.

A description is a frozen attrs class in the file of its kind (`tap.Tap`, `stream.Stream`, ...). It
is validated when it is made, without touching anything. `await description.open(place)` then opens
the real thing and raises `NicError`, with what was opened closed again, when that can't be done.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

import attrs

from nics.errors import NicError

if TYPE_CHECKING:
    from nics.netlink import Netlink
    from vnet._native import Door


class Far(Protocol):
    """The guest's side of a door that lives in this process: a pipe's end, a TCP/IP stack."""

    def event(self, a: int, b: int) -> None:
        """The engine has news for it; never blocks."""

    def look(self) -> None:
        """News may have been lost: have whoever waits for some look again; never blocks."""


@attrs.frozen
class Place:
    """Where a door is opened."""

    port: str
    """The port's name, `GUEST.INDEX`."""
    runtime: Path
    """The fabric's runtime folder: relative socket paths lie here."""
    netlink: Netlink
    """The thread that talks to the kernel."""
    mac: str
    """The guest's MAC address, `02:...`, for kinds that set it."""
    addresses: tuple[str, ...] = ()
    """The guest's addresses with prefix length, for kinds that set them."""
    gateways: tuple[str, ...] = ()
    """Default gateways, for kinds that set them."""
    seed: int = 0
    """Every choice that a kind makes by chance follows from it and the port's name. The topology's under
    the trio driver, and otherwise nobody's."""
    mtu: int = 1500
    """Largest payload in bytes."""
    netns: int | None = None
    """Descriptor of the network namespace that the interface belongs in; None: ours."""

    @contextmanager
    def named(self) -> Iterator[None]:
        """A NicError that is raised in the block says at which port."""
        try:
            yield
        except NicError as error:
            raise NicError(f"{self.port}: {error.what}", error.remedy) from None


@attrs.define
class Opened:
    """An open door, to be attached to a port by the fabric."""

    door: Door
    far: Far | None = None
    close: Callable[[], Awaitable[None]] | None = None
    """What is left to clean up after the door was detached."""
    stations: Callable[[list[str] | None], None] | None = None
    """Of a kind that shares an interface: tell it whose frames to take in, by MAC address; None: all."""
    hardware: str = ""
    """The MAC address of the interface that it stands on, if it is known."""
    crowd: Callable[[bool], Awaitable[None]] | None = None
    """Of a kind whose guest's kernel works on the engine's CPU: it is part of a crowd, or no more."""
    carries: str = ""
    """What `vnet status` shows for it: an interface's name, a socket's path."""


class Nic(Protocol):
    """A NIC description."""

    kind: ClassVar[str]

    async def open(self, place: Place) -> Opened:
        """Open the door at `place`. Raises NicError, having undone what it did."""
