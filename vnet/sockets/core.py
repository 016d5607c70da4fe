"""What TCP and UDP sockets of a guest have in common, below trio's face of them.

Nothing here waits but the two `wait_` methods: an operation that can't be done now gives None, and the
stack promises an event. One socket of a guest is one socket of every stack that it concerns, of which
there is one a NIC.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import trio
from trio.lowlevel import ParkingLot

from nics.stack import Host
from nics.stack_sockets import Waiting
from vnet.sockets.address import End
from vnet.sockets.interfaces import FIRST_SCOPE, error, hosts, owner
from vnet.sockets.options import Options

if TYPE_CHECKING:
    from vnet.guests import StackGuest

T = TypeVar("T")

PORT_TRIES = 16
"""How often several stacks are asked for a port that is free in all of them."""


class Core:
    """One socket, however many objects stand for it (`dup`)."""

    def __init__(self, guest: StackGuest, family: int, options: Options) -> None:
        self.guest = guest
        self.family = family
        self.options = options
        self.places: list[tuple[Host, int]] = []
        """The stacks it concerns, and its number there."""
        self.shares = 1
        self.closed = False
        self._waiting = Waiting()
        self._waiting.alarm = self._ring
        self._descriptor: int | None = None

    # -- stacks ----------------------------------------------------------------------------------

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Ask a stack. Raises OSError; ENETDOWN when it left its network."""
        try:
            return function(*arguments)
        except OSError as problem:
            if problem.errno == errno.EBADF and not self.closed:
                raise error(errno.ENETDOWN, f"{self.guest.name} left the network") from problem
            raise

    def stacks(self) -> list[Host]:
        """Those of all NICs, or of the one that SO_BINDTODEVICE says. Raises OSError."""
        found, device = hosts(self.guest), self.options.device
        if not device:
            return found
        if device - FIRST_SCOPE >= len(found):
            raise error(errno.ENODEV)
        return [found[device - FIRST_SCOPE]]

    def take(self, host: Host, number: int) -> None:
        """Note a number of a stack as ours."""
        host.watch(number, self._waiting)
        self.places.append((host, number))

    def give_back(self, *, abort: bool = False) -> None:
        """Give all numbers back."""
        places, self.places = self.places, []
        for host, number in places:
            host.unwatch(number, abort=abort)

    def open_at(self, end: End, opened: Callable[[Host, str | None, int], int]) -> None:
        """Take a port, in all stacks or in the one that has the address. Raises OSError."""
        if not end.wild and end.address is not None and not end.address.is_multicast:
            host = owner(self.guest, end.address, end.scope or self.options.device)
            if host is None:
                raise error(errno.EADDRNOTAVAIL, f"{end.address} is not an address of {self.guest.name}")
            return self.take(host, opened(host, end.text, end.port))
        stacks = self.stacks()
        for attempt in range(PORT_TRIES):
            port = end.port
            try:
                for host in stacks:
                    number = opened(host, end.text, port)
                    self.take(host, number)
                    port = host.handle.names(number)[0][1]
            except OSError as problem:
                self.give_back()
                if problem.errno != errno.EADDRINUSE or end.port or attempt == PORT_TRIES - 1:
                    raise
            else:
                return None
        return None

    def name(self) -> tuple[str, int] | None:
        """Its own end, as the stack says it; None before it has one."""
        if not self.places:
            return None
        host, number = self.places[0]
        return self.call(host.handle.names, number)[0]

    # -- waiting ---------------------------------------------------------------------------------

    async def wait_readable(self) -> None:
        """Wait for the next event of reading. Only one task may, as with a descriptor."""
        await self._wait(self._waiting.readable)

    async def wait_writable(self) -> None:
        """Wait for the next event of writing. Only one task may."""
        await self._wait(self._waiting.writable)

    async def _wait(self, lot: ParkingLot) -> None:
        if lot:
            raise trio.BusyResourceError("another task waits for this socket already")
        await lot.park()
        if self.closed:
            raise trio.ClosedResourceError("another task closed this socket")

    def readable(self) -> bool:
        """Whether reading or accepting would do something at once."""
        return any(self.call(host.handle.readable, number) for host, number in self.places)

    # -- a descriptor ----------------------------------------------------------------------------

    def descriptor(self) -> int:
        """A descriptor that is readable while this socket is, for who polls one. Nothing is in it."""
        if self._descriptor is None:
            self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.show()
        return self._descriptor

    def show(self) -> None:
        """Have the descriptor, if there is one, tell what is the case now."""
        if self._descriptor is None:
            return
        try:
            readable = self.readable()
        except OSError:
            # Whoever reads is told.
            readable = True
        try:
            if readable:
                os.eventfd_write(self._descriptor, 1)
            else:
                os.eventfd_read(self._descriptor)
        except BlockingIOError:
            pass

    def _ring(self) -> None:
        if not self.closed:
            self.show()

    # -- its end ---------------------------------------------------------------------------------

    def share(self) -> None:
        """One more object stands for it."""
        self.shares += 1

    def _aborts(self) -> bool:
        """Whether closing ends a connection by a reset."""
        return False

    def release(self) -> None:
        """One less; with the last it is closed, and whoever waits for it gets ClosedResourceError."""
        self.shares -= 1
        if self.shares == 0:
            self.closed = True
            self.give_back(abort=self._aborts())
            self._waiting.wake()
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None
