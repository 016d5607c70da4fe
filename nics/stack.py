"""`stack`: a guest that is a TCP/IP host in this process, with trio's streams for its sockets.

No root, no namespace, no VM: a `Host` answers ARP, neighbour discovery and pings by itself, and
everything else is a call. Its sockets look and fail as trio's own do:

    async with vnet.Fabric.from_file("tenants.yaml") as fabric:
        web = fabric.guests["web"].host()
        stream = await web.open_tcp_stream("10.0.10.12", 80)

How the host itself works is told at the top of `rust/src/stack/mod.rs`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import ipaddress
import os
from collections.abc import Awaitable, Callable
from typing import ClassVar

import attrs
import trio

from nics.door import Opened, Place
from nics.errors import BadInput, NicError, Unreachable
from nics.stack_sockets import PacketSocket, TcpListener, TcpStream, UdpSocket, Waiting
from vnet._native import StackHandle, stack_door

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

BACKLOG = 128
"""Connections that a listener holds until they are accepted, if nobody says otherwise."""


def _between(least: int, most: int) -> Callable[[object, attrs.Attribute[int], int], None]:
    def check(_self: object, attribute: attrs.Attribute[int], value: int) -> None:
        if not isinstance(value, int) or not least <= value <= most:
            raise BadInput(f"{attribute.name}: found {value!r}, expected bytes in {least}..{most}")

    return check


def _flag(_self: object, attribute: attrs.Attribute[bool], value: bool) -> None:
    if not isinstance(value, bool):
        raise BadInput(f"{attribute.name}: found {value!r}, expected true or false")


@attrs.frozen
class Stack:
    """The NIC of an in-process TCP/IP guest. MAC, addresses, gateways and MTU are its port's."""

    kind: ClassVar[str] = "stack"

    receive_buffer: int = attrs.field(default=256 << 10, validator=_between(4 << 10, 16 << 20))
    """What a TCP connection receives ahead of its reader, in bytes. Used as far as it is needed."""
    send_buffer: int = attrs.field(default=256 << 10, validator=_between(4 << 10, 16 << 20))
    """What a TCP connection holds until its peer has acknowledged it, in bytes."""
    gso: bool = attrs.field(default=True, validator=_flag)
    """Send bulk data in TCP super-frames, which are cut where a port needs it: faster, but captures
    show them as they were sent, longer than the MTU."""

    async def open(self, place: Place) -> Opened:
        """Make the guest. Raises NicError for addresses that no host can have."""
        # What the guest chooses by chance is the same whenever the topology and the port are.
        digest = hashlib.blake2b(f"{place.seed} {place.port}".encode(), digest_size=8).digest()
        try:
            door, handle = stack_door(
                place.mac,
                list(place.addresses),
                list(place.gateways),
                place.mtu,
                int.from_bytes(digest),
                receive_buffer=self.receive_buffer,
                send_buffer=self.send_buffer,
                gso=self.gso,
            )
        except ValueError as error:
            raise NicError(f"{place.port}: {error}") from None
        return Opened(door, far=Host(place.port, handle))


class Host:
    """An in-process TCP/IP host: the guest behind a `stack` NIC.

    Addresses are given as text or as `ipaddress` objects. Errors are OSErrors, as a kernel would
    give them: ConnectionRefusedError, TimeoutError, EADDRINUSE; a host that does not answer ARP or
    neighbour discovery is `Unreachable` after 3 s, which is an OSError (EHOSTUNREACH), too.
    """

    def __init__(self, name: str, handle: StackHandle) -> None:
        self.name = name
        self.handle = handle
        """The sockets by number, for who wants to wait in another way."""
        self._waiting: dict[int, Waiting] = {}
        self.gone = False
        """It left the network."""

    def __repr__(self) -> str:
        return f"<Host {self.name}>"

    # -- news from the engine --------------------------------------------------------------------

    def event(self, socket: int, bits: int) -> None:
        """A socket is ready, for what `bits` say. 0 and 0xFFFFFFFF are no sockets: the host left its
        network, and whoever waits for any of them has to know.
        """
        if (waiting := self._waiting.get(socket)) is not None:
            waiting.wake(bits)
        elif socket in (0, 0xFFFF_FFFF):
            self.gone = True
            for waiting in self._waiting.values():
                waiting.wake()

    def look(self) -> None:
        """Events were lost: whoever waits for one looks again."""
        for waiting in self._waiting.values():
            waiting.wake()

    def watch(self, socket: int, waiting: Waiting | None = None) -> Waiting:
        """Note who wants to hear of a socket; one may want to hear of several."""
        waiting = self._waiting[socket] = waiting or Waiting()
        return waiting

    def unwatch(self, socket: int, *, abort: bool = False) -> None:
        """Give a socket back. What it sent is still delivered, unless it is to `abort`."""
        if (waiting := self._waiting.pop(socket, None)) is not None:
            waiting.wake()
            # When the host left the network meanwhile, there is nothing to give back.
            with contextlib.suppress(OSError):
                (self.handle.tcp_abort if abort else self.handle.close)(socket)

    # -- what is known about it ------------------------------------------------------------------

    @property
    def addresses(self) -> list[ipaddress.IPv4Interface | ipaddress.IPv6Interface]:
        """All addresses with their networks; the link-local IPv6 one is the last."""
        return [ipaddress.ip_interface(text) for text in self.handle.addresses()]

    @property
    def neighbours(self) -> dict[Address, str]:
        """The MAC addresses it has learned."""
        return {ipaddress.ip_address(address): mac for address, mac in self.handle.neighbours()}

    # -- TCP -------------------------------------------------------------------------------------

    async def open_tcp_stream(
        self,
        host: str | Address,
        port: int,
        *,
        local_host: str | Address | None = None,
        local_port: int = 0,
    ) -> TcpStream:
        """Connect to `port` of the address `host`, from `local_host` and `local_port` if given.

        Raises ConnectionRefusedError when nobody listens there, Unreachable when nobody has the
        address (3 s) or there is no route, TimeoutError when there is no answer (127 s; use
        `trio.fail_after` for less).
        """
        await trio.lowlevel.checkpoint()
        try:
            socket = self.handle.tcp_connect(str(host), _port(port), _text(local_host), local_port)
            waiting = self.watch(socket)
            try:
                while not self.handle.tcp_connected(socket):
                    await waiting.writable.park()
            except BaseException:
                self.unwatch(socket)
                raise
        except OSError as error:
            raise self._translated(error, f"{host} port {port}") from error
        return TcpStream(self, socket, waiting)

    async def listen_tcp(
        self, port: int, *, host: str | Address | None = None, backlog: int | None = None
    ) -> TcpListener:
        """Listen at `port` (0: any that is free) of all addresses, or of `host`.

        `backlog` is how many connections wait at most until they are accepted. Raises OSError
        (EADDRINUSE, EADDRNOTAVAIL).
        """
        await trio.lowlevel.checkpoint()
        socket = self.handle.tcp_listen(_text(host), _port(port), BACKLOG if backlog is None else backlog)
        return TcpListener(self, socket, self.watch(socket))

    async def serve_tcp(
        self,
        handler: Callable[[TcpStream], Awaitable[object]],
        port: int,
        *,
        host: str | Address | None = None,
        backlog: int | None = None,
        handler_nursery: trio.Nursery | None = None,
        task_status: trio.TaskStatus[list[TcpListener]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Listen, and run `handler` in a task of its own for every connection, as `trio.serve_tcp`."""
        listener = await self.listen_tcp(port, host=host, backlog=backlog)
        await trio.serve_listeners(
            handler, [listener], handler_nursery=handler_nursery, task_status=task_status
        )

    # -- UDP and ICMP ----------------------------------------------------------------------------

    async def udp_socket(self, port: int = 0, *, host: str | Address | None = None) -> UdpSocket:
        """A UDP socket at `port` (0: any that is free) of all addresses, or of `host`.

        Raises OSError (EADDRINUSE, EADDRNOTAVAIL).
        """
        await trio.lowlevel.checkpoint()
        socket = self.handle.udp_bind(_text(host), _port(port))
        return UdpSocket(self, socket, self.watch(socket))

    async def packet_socket(self, ethertype: int | None = None) -> PacketSocket:
        """A socket for whole frames of one EtherType (0x88B5), or of all: as a packet socket of a kernel.

        While it is open the host hears all that its port lets through to it, whomever it is for. The
        host itself goes on beside it.
        """
        await trio.lowlevel.checkpoint()
        if ethertype is not None and not 0 <= ethertype <= 0xFFFF:
            raise ValueError(f"ethertype {ethertype} is not in 0..0xFFFF")
        socket = self.handle.raw_open(ethertype)
        return PacketSocket(self, socket, self.watch(socket))

    async def ping(
        self,
        host: str | Address,
        *,
        timeout: float = 1.0,
        size: int = 56,
        count: int = 1,
        hop_limit: int = 64,
    ) -> float:
        """Round-trip time of an ICMP echo with `size` bytes of data to `host`, in seconds.

        Up to `count` requests are sent, each when the one before was not answered for `timeout`
        seconds. Raises Unreachable if none is answered.
        """
        try:
            socket = self.handle.ping_open(str(host), hop_limit)
        except OSError as error:
            raise self._translated(error, str(host)) from error
        waiting = self.watch(socket)
        reason = f"no answer in {timeout:g} s"
        try:
            for number in range(1, count + 1):
                self.handle.ping_send(socket, number & 0xFFFF, size)
                with trio.move_on_after(timeout):
                    while (answer := self.handle.ping_recv(socket)) is None:
                        await waiting.readable.park()
                    if answer[1] >= 0:
                        return answer[1] / 1e9
                    reason = os.strerror(-answer[1])
        except OSError as error:
            reason = error.strerror or str(error)
        finally:
            self.unwatch(socket)
        raise Unreachable(f"{host} from {self.name}: {reason}", errno.EHOSTUNREACH)

    def _translated(self, error: OSError, target: str) -> OSError:
        """An error of connecting, in words that say who could not reach whom."""
        if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
            return Unreachable(f"{target} from {self.name}: {error.strerror}", error.errno)
        return type(error)(error.errno, f"{target} from {self.name}: {error.strerror}")


def _text(host: str | Address | None) -> str | None:
    return None if host is None else str(host)


def _port(port: int) -> int:
    if not 0 <= port <= 0xFFFF:
        raise ValueError(f"port {port} is not in 0..65535")
    return port
