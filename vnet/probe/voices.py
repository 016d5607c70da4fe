"""Who talks: in-process guests by their stack, namespaces by sockets of the kernel.

Everybody serves and asks the same way: a server says its name over TCP and UDP, so that an answer of
somebody else with the same address is not taken for the right one.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from typing import Any, Protocol

import attrs
import trio

from nics.errors import BadInput, Unreachable
from nics.stack import Host
from vnet.echo import echo
from vnet.guests import Guest, NetnsGuest
from vnet.port import Port
from vnet.topology.values import Address

TRIES = 3
"""A datagram may be lost."""


class Voice(Protocol):
    """A port's guest, as far as talking goes. Answers are the server's name, None: there is none."""

    async def serve(self, protocol: str, name: bytes, port: int, nursery: trio.Nursery) -> None:
        """Serve at a port of `tcp` or `udp` as long as `nursery` lives. Raises OSError."""

    async def connect(self, source: Address, target: Address, port: int) -> Any:
        """A TCP stream. Raises OSError."""

    async def listen(self, port: int) -> Any:
        """A TCP listener. Raises OSError."""

    async def ping(self, target: Address, patience: float) -> bool:
        """Whether echo is answered."""

    async def tcp(self, source: Address, target: Address, port: int, patience: float) -> bytes | None:
        """Who answers at a TCP port; b"" if it is refused."""

    async def udp(self, source: Address, target: Address, port: int, patience: float) -> bytes | None:
        """Who answers at a UDP port."""


@attrs.define
class StackVoice:
    """An in-process guest."""

    host: Host

    async def serve(self, protocol: str, name: bytes, port: int, nursery: trio.Nursery) -> None:
        """Serve."""
        if protocol == "tcp":
            nursery.start_soon(_greet, await self.listen(port), name)
        else:
            nursery.start_soon(self._answer, await self.host.udp_socket(port), name)

    async def connect(self, source: Address, target: Address, port: int) -> Any:
        """Connect."""
        return await self.host.open_tcp_stream(target, port, local_host=source)

    async def listen(self, port: int) -> Any:
        """Listen."""
        return await self.host.listen_tcp(port)

    async def _answer(self, udp: Any, name: bytes) -> None:
        async with udp:
            with contextlib.suppress(OSError, trio.ClosedResourceError):
                while True:
                    _, (host, port) = await udp.receive_from()
                    await udp.send_to(name, host, port)

    async def ping(self, target: Address, patience: float) -> bool:
        """Echo."""
        try:
            await self.host.ping(target, timeout=patience / TRIES, count=TRIES)
        except Unreachable:
            return False
        return True

    async def tcp(self, source: Address, target: Address, port: int, patience: float) -> bytes | None:
        """Connect and read."""
        with trio.move_on_after(patience):
            try:
                async with await self.host.open_tcp_stream(target, port, local_host=source) as stream:
                    return bytes(await stream.receive_some(64))
            except ConnectionRefusedError:
                return b""
            except (OSError, trio.BrokenResourceError):
                return None
        return None

    async def udp(self, source: Address, target: Address, port: int, patience: float) -> bytes | None:
        """Ask and listen."""
        try:
            async with await self.host.udp_socket(host=source) as udp:
                for _ in range(TRIES):
                    await udp.send_to(b"who are you?", target, port)
                    with trio.move_on_after(patience / TRIES):
                        while True:
                            data, (sender, _) = await udp.receive_from()
                            if sender == str(target):
                                return data
        except OSError:
            return None
        return None


@attrs.define
class KernelVoice:
    """A network namespace."""

    guest: NetnsGuest

    async def _socket(self, address: Address, kind: int) -> trio.socket.SocketType:
        assert self.guest.namespace is not None
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        return trio.socket.from_stdlib_socket(await self.guest.namespace.socket(family, kind, 0))

    async def _bound(self, kind: int, port: int) -> trio.socket.SocketType:
        """A socket at a port that takes IPv4 too."""
        assert self.guest.namespace is not None
        raw = await self.guest.namespace.socket(socket.AF_INET6, kind, 0)
        made = trio.socket.from_stdlib_socket(raw)
        try:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            if kind == socket.SOCK_STREAM:
                # With UDP it would take from a program what that waits for.
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            await made.bind(("::", port))
        except BaseException:
            made.close()
            raise
        return made

    async def serve(self, protocol: str, name: bytes, port: int, nursery: trio.Nursery) -> None:
        """Serve."""
        if protocol == "tcp":
            nursery.start_soon(_greet, await self.listen(port), name)
        else:
            nursery.start_soon(self._answer, await self._bound(socket.SOCK_DGRAM, port), name)

    async def connect(self, source: Address, target: Address, port: int) -> Any:
        """Connect."""
        made = await self._socket(source, socket.SOCK_STREAM)
        try:
            await made.bind((str(source), 0))
            await made.connect((str(target), port))
        except BaseException:
            made.close()
            raise
        return trio.SocketStream(made)

    async def listen(self, port: int) -> Any:
        """Listen."""
        made = await self._bound(socket.SOCK_STREAM, port)
        made.listen(128)
        return trio.SocketListener(made)

    async def _answer(self, udp: trio.socket.SocketType, name: bytes) -> None:
        with udp:
            while True:
                with contextlib.suppress(OSError):  # errors of earlier answers come up here
                    _, sender = await udp.recvfrom(2048)
                    await udp.sendto(name, sender)

    async def ping(self, target: Address, patience: float) -> bool:
        """Echo."""
        assert self.guest.namespace is not None
        for _ in range(TRIES):
            try:
                await echo(self.guest.namespace, target, timeout=patience / TRIES, size=56)
            except Unreachable:
                continue
            return True
        return False

    async def tcp(self, source: Address, target: Address, port: int, patience: float) -> bytes | None:
        """Connect and read."""
        with await self._socket(source, socket.SOCK_STREAM) as made, trio.move_on_after(patience):
            try:
                await made.bind((str(source), 0))
                await made.connect((str(target), port))
                return await made.recv(64)
            except OSError as error:
                return b"" if error.errno == errno.ECONNREFUSED else None
        return None

    async def udp(self, source: Address, target: Address, port: int, patience: float) -> bytes | None:
        """Ask and listen."""
        with await self._socket(source, socket.SOCK_DGRAM) as made:
            try:
                await made.bind((str(source), 0))
                for _ in range(TRIES):
                    await made.sendto(b"who are you?", (str(target), port))
                    with trio.move_on_after(patience / TRIES):
                        while True:
                            data, (sender, *_) = await made.recvfrom(64)
                            if sender == str(target):
                                return data
            except OSError:
                return None
        return None


async def knock(voice: Voice, source: Address, target: Address, port: int, patience: float) -> bool:
    """Whether somebody is at a TCP port: who waits to be spoken to, and who refuses, too."""
    found = False
    with contextlib.suppress(OSError), trio.move_on_after(patience):
        try:
            async with await voice.connect(source, target, port):
                found = True
        except ConnectionRefusedError:
            found = True
    return found


async def _greet(listener: trio.abc.Listener[Any], name: bytes) -> None:
    async def greet(stream: trio.abc.HalfCloseableStream) -> None:
        with contextlib.suppress(OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            async with stream:
                await stream.send_all(name)
                await stream.send_eof()
                # The peer closes first, so that no port is left waiting here.
                with trio.move_on_after(2):
                    while await stream.receive_some(64):
                        pass

    with contextlib.suppress(trio.ClosedResourceError, OSError):
        async with listener, trio.open_nursery() as nursery:
            while True:
                nursery.start_soon(greet, await listener.accept())


def voice_of(port: Port, guest: Guest) -> Voice:
    """The voice of a port's guest. Raises BadInput for one that only its owner can make talk."""
    if isinstance(guest, NetnsGuest):
        return KernelVoice(guest)
    if not isinstance(port.opened.far, Host):
        raise BadInput(f"{guest.name} is {guest.kind}: only stack and netns guests are made to talk")
    return StackVoice(port.opened.far)
