"""The sockets of an in-process TCP/IP host: trio's streams, listeners and a UDP socket.

The native side never waits. What it can't do now it answers with None, and promises one event for
when to try again; a task parks until then. Between the answer and the parking no other task can
run, so no event is missed.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, SupportsBytes

import trio
from trio.lowlevel import ParkingLot, checkpoint

if TYPE_CHECKING:
    from nics.stack import Address, Host

READ, WRITE, ACCEPT = 1, 2, 4
"""What a socket is ready for, as the native side's events say it."""

RECEIVE = 256 << 10
"""Bytes that `receive_some` takes at most when it is not told otherwise."""

Name = tuple[str, int]


class Waiting:
    """The tasks that wait for one socket."""

    def __init__(self) -> None:
        self.readable = ParkingLot()
        self.writable = ParkingLot()
        self.alarm: Callable[[], None] | None = None
        """Called at every event, for who does not wait in a task."""

    def wake(self, bits: int = READ | WRITE) -> None:
        """Have those look again that wait for what the socket is ready for now."""
        if bits & (READ | ACCEPT):
            self.readable.unpark_all()
        if bits & WRITE:
            self.writable.unpark_all()
        if self.alarm is not None:
            self.alarm()


class _Socket:
    """What all sockets have in common: a host, a number, and an end."""

    def __init__(self, host: Host, number: int, waiting: Waiting) -> None:
        self.host = host
        self.number = number
        self._handle = host.handle
        self._waiting = waiting
        self._names = self._handle.names(number)
        self._closed = False

    def __repr__(self) -> str:
        state = " closed" if self._closed else ""
        return f"<{type(self).__name__} {self.host.name} {self.local[0]} {self.local[1]}{state}>"

    @property
    def local(self) -> Name:
        """Its own address and port; `::` stands for all addresses."""
        return self._names[0]

    def _check(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this socket was closed")

    async def aclose(self) -> None:
        """Close it. Whoever waits for it gets ClosedResourceError."""
        self._close()
        await checkpoint()

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            self.host.unwatch(self.number)


class TcpStream(_Socket, trio.abc.HalfCloseableStream):
    """A TCP connection of an in-process host."""

    def __init__(self, host: Host, number: int, waiting: Waiting) -> None:
        super().__init__(host, number, waiting)
        self._sending = False
        self._receiving = False
        self._shut = False

    @property
    def remote(self) -> Name:
        """The peer's address and port."""
        assert self._names[1] is not None
        return self._names[1]

    @property
    def state(self) -> str:
        """The connection's state, named as in RFC 9293: `ESTABLISHED`."""
        return "CLOSED" if self._closed else self._handle.tcp_state(self.number)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        self._sending = True
        try:
            yield
        finally:
            self._sending = False

    @contextmanager
    def _broken(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._check()
            raise trio.BrokenResourceError(
                f"{self.remote[0]} port {self.remote[1]}: {error.strerror}"
            ) from error

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of `data`; it is on its way when this returns, not yet there."""
        with self._alone():
            await checkpoint()
            self._check()
            if self._shut:
                raise trio.ClosedResourceError("the sending half was closed")
            data = bytes(data)
            sent = 0
            with self._broken():
                while sent < len(data):
                    taken = self._handle.tcp_send(self.number, data, sent)
                    if taken is not None:
                        sent += taken
                    else:
                        await self._waiting.writable.park()
                        self._check()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until there is room to send, or nothing can be sent any more."""
        with self._alone():
            await checkpoint()
            self._check()
            with self._broken():
                while self._handle.tcp_send(self.number, b"", 0) is None:
                    await self._waiting.writable.park()
                    self._check()

    async def send_eof(self) -> None:
        """Close the sending half: the peer gets the end of the stream behind what was sent."""
        with self._alone():
            await checkpoint()
            self._check()
            if not self._shut:
                with self._broken():
                    self._handle.tcp_shutdown(self.number)
                self._shut = True

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """At least one byte and at most `max_bytes`; b"" when the peer has closed its half."""
        if self._receiving:
            raise trio.BusyResourceError("another task is receiving from this stream")
        if max_bytes is not None and max_bytes < 1:
            raise ValueError(f"max_bytes: found {max_bytes}, expected at least 1")
        self._receiving = True
        try:
            await checkpoint()
            self._check()
            with self._broken():
                while (data := self._handle.tcp_recv(self.number, max_bytes or RECEIVE)) is None:
                    await self._waiting.readable.park()
                    self._check()
            return data
        finally:
            self._receiving = False

    async def abort(self) -> None:
        """Close it at once; the peer is told by a reset."""
        if not self._closed:
            self._closed = True
            self.host.unwatch(self.number, abort=True)
        await checkpoint()


class TcpListener(_Socket, trio.abc.Listener[TcpStream]):
    """A listener of an in-process host. With the host's port 0 it says which port it got: `port`."""

    @property
    def port(self) -> int:
        """The port it listens at."""
        return self.local[1]

    async def accept(self) -> TcpStream:
        """The next connection."""
        await checkpoint()
        self._check()
        while True:
            try:
                number = self._handle.tcp_accept(self.number)
            except OSError as error:
                self._check()
                raise trio.ClosedResourceError(f"{self.host.name} left the network") from error
            if number is not None:
                return TcpStream(self.host, number, self.host.watch(number))
            await self._waiting.readable.park()
            self._check()


class UdpSocket(_Socket, trio.abc.AsyncResource):
    """A UDP socket of an in-process host."""

    @property
    def port(self) -> int:
        """The port it is bound to."""
        return self.local[1]

    @property
    def lost(self) -> int:
        """Datagrams that were lost because nobody received them in time."""
        self._check()
        return self._handle.udp_lost(self.number)

    async def send_to(self, data: bytes, host: str | Address, port: int) -> None:
        """Send one datagram; one longer than the link's MTU leaves in fragments.

        Raises OSError: ENETUNREACH without a route, EMSGSIZE for more than a datagram can hold.
        """
        await checkpoint()
        self._check()
        while not self._handle.udp_send(self.number, bytes(data), str(host), port):
            await self._waiting.writable.park()
            self._check()

    async def receive_from(self) -> tuple[bytes, Name]:
        """The next datagram, and the address and port it came from."""
        data, sender, _to = await self.receive()
        return data, sender

    async def receive(self) -> tuple[bytes, Name, str]:
        """The next datagram, where it came from, and the address it was sent to."""
        await checkpoint()
        self._check()
        while True:
            try:
                datagram = self._handle.udp_recv(self.number)
            except OSError as error:
                self._check()
                if error.errno != errno.EBADF:
                    raise
                raise trio.ClosedResourceError(f"{self.host.name} left the network") from error
            if datagram is not None:
                return datagram
            await self._waiting.readable.park()
            self._check()

    def join(self, group: str | Address) -> None:
        """Receive what is sent to the multicast group, too. Raises OSError (EINVAL, EMFILE)."""
        self._check()
        self._handle.udp_join(self.number, str(group))

    def leave(self, group: str | Address) -> None:
        """Receive it no more. Raises OSError when the group was not joined."""
        self._check()
        self._handle.udp_leave(self.number, str(group))


class PacketSocket(trio.abc.Channel[bytes]):
    """Whole frames of an in-process host, without FCS. Those that nobody receives in time are lost."""

    def __init__(self, host: Host, number: int, waiting: Waiting) -> None:
        self.host = host
        self.number = number
        self._handle = host.handle
        self._waiting = waiting
        self._closed = False

    def __repr__(self) -> str:
        return f"<PacketSocket {self.host.name}{' closed' if self._closed else ''}>"

    @property
    def lost(self) -> int:
        """Frames that came and found the queue full."""
        return self._handle.raw_lost(self.number)

    @contextmanager
    def _check(self) -> Iterator[None]:
        if self._closed:
            raise trio.ClosedResourceError("this socket was closed")
        try:
            yield
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            raise trio.ClosedResourceError(f"{self.host.name} left the network") from error

    async def send(self, value: bytes | bytearray | memoryview | SupportsBytes) -> None:
        """Send one frame: bytes, or anything that makes bytes of itself, as scapy packets do.

        Raises OSError: EINVAL for less than an Ethernet header, EMSGSIZE for more than fits the MTU.
        """
        await checkpoint()
        frame = bytes(value)
        while True:
            with self._check():
                if self._handle.raw_send(self.number, frame):
                    return
            await self._waiting.writable.park()

    async def receive(self) -> bytes:
        """The next frame."""
        await checkpoint()
        while True:
            with self._check():
                if (frame := self._handle.raw_recv(self.number)) is not None:
                    return frame
            await self._waiting.readable.park()

    async def aclose(self) -> None:
        """Close it. Whoever waits for it gets ClosedResourceError."""
        if not self._closed:
            self._closed = True
            self.host.unwatch(self.number)
        await checkpoint()
