"""trio's face of a guest's socket: what `trio.socket.socket()` gives inside `guest.as_network()`.

It checks, waits and cancels as trio's own does, and its errors are the system's. It is no descriptor,
so it can't be handed to other processes or to the standard library.
"""

# ruff: noqa: D102 - each method is that of socket.socket
from __future__ import annotations

import errno
import os
import socket as stdlib
import warnings
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import trio
from trio.lowlevel import cancel_shielded_checkpoint, checkpoint, checkpoint_if_cancelled

from vnet.sockets import options, zones
from vnet.sockets.address import End, read, write
from vnet.sockets.interfaces import error, scope_of
from vnet.sockets.names import Names
from vnet.sockets.options import Options
from vnet.sockets.tcp import Tcp
from vnet.sockets.udp import Udp

if TYPE_CHECKING:
    from vnet.guests import StackGuest

T = TypeVar("T")
Buffer = Any
Sockaddr = Any

PLAIN = stdlib.MSG_NOSIGNAL
PEEK = stdlib.MSG_PEEK
TRUNCATED = stdlib.MSG_TRUNC
MORE = stdlib.MSG_MORE

AT_ONCE = 256 << 10
"""Bytes of a stream that one call takes at most. Who has more calls again with the rest, and of that no more
than this may be copied: each call would copy all of it otherwise.
"""


class GuestSocket(trio.socket.SocketType):
    """A TCP or UDP socket of an in-process guest. See `socket.socket` for what each method does."""

    def __init__(self, core: Tcp | Udp) -> None:
        # Not trio's own, which says that nobody should make one.
        self._core = core
        self._closed = False
        self._shut = False

    @classmethod
    def make(
        cls,
        guest: StackGuest,
        family: stdlib.AddressFamily | int,
        kind: stdlib.SocketKind | int,
        proto: int,
    ) -> GuestSocket:
        """Raises OSError for what a guest does not speak."""
        kind &= ~(stdlib.SOCK_NONBLOCK | stdlib.SOCK_CLOEXEC)
        if family not in (stdlib.AF_INET, stdlib.AF_INET6):
            raise error(errno.EAFNOSUPPORT)
        makers: dict[int, tuple[type[Tcp | Udp], int]] = {
            stdlib.SOCK_STREAM: (Tcp, stdlib.IPPROTO_TCP),
            stdlib.SOCK_DGRAM: (Udp, stdlib.IPPROTO_UDP),
        }
        if kind not in makers:
            raise error(errno.ESOCKTNOSUPPORT)
        maker, spoken = makers[kind]
        if proto not in (0, spoken):
            raise error(errno.EPROTONOSUPPORT)
        return cls(maker(guest, int(family), Options()))

    # -- what it is ------------------------------------------------------------------------------

    @property
    def family(self) -> stdlib.AddressFamily:
        return stdlib.AddressFamily(self._core.family)

    @property
    def type(self) -> stdlib.SocketKind:
        return stdlib.SOCK_STREAM if isinstance(self._core, Tcp) else stdlib.SOCK_DGRAM

    @property
    def proto(self) -> int:
        return stdlib.IPPROTO_TCP if isinstance(self._core, Tcp) else stdlib.IPPROTO_UDP

    @property
    def did_shutdown_SHUT_WR(self) -> bool:  # noqa: N802 - trio's name for it
        return self._shut

    @property
    def _sock(self) -> Self:
        # Where anyio looks for the names of the ends.
        return self

    def __repr__(self) -> str:
        try:
            name = f"laddr={self.getsockname()}"
        except OSError as problem:
            name = "closed" if self._closed else str(problem.strerror)
        return f"<vnet socket of {self._core.guest.name}, {self.type.name}, {name}>"

    def getsockname(self) -> Sockaddr:
        core = self._open()
        if (name := core.name()) is None:
            return write(core.family, ("::" if core.family == stdlib.AF_INET6 else "0.0.0.0", 0))  # noqa: S104
        return self._written(name)

    def getpeername(self) -> Sockaddr:
        core = self._open()
        if core.peer is None or (isinstance(core, Tcp) and not core.connected):
            raise error(errno.ENOTCONN)
        return self._written(core.peer)

    def _written(self, name: tuple[str, int]) -> Sockaddr:
        core = self._core
        scope = scope_of(core.guest, core.places[0][0]) if name[0].startswith("fe80:") else 0
        return write(core.family, name, scope)

    def _open(self) -> Tcp | Udp:
        if self._closed:
            raise error(errno.EBADF)
        return self._core

    def _stream(self) -> Tcp:
        core = self._open()
        if not isinstance(core, Tcp):
            raise error(errno.EOPNOTSUPP)
        return core

    # -- its life --------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: Any,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._core.release()

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)
            self.close()

    def dup(self) -> GuestSocket:
        core = self._open()
        core.share()
        twin = GuestSocket(core)
        twin._shut = self._shut
        return twin

    def fileno(self) -> int:
        """A descriptor that can be polled for reading, and nothing else; -1 when closed."""
        return -1 if self._closed else self._core.descriptor()

    def detach(self) -> int:
        raise error(errno.EOPNOTSUPP, "a guest's socket is no descriptor that could be detached")

    def share(self, process_id: int) -> bytes:
        raise error(errno.EOPNOTSUPP, "a guest's socket is in this process")

    def get_inheritable(self) -> bool:
        return os.get_inheritable(self._open().descriptor())

    def set_inheritable(self, inheritable: bool) -> None:
        os.set_inheritable(self._open().descriptor(), inheritable)

    # -- options ---------------------------------------------------------------------------------

    def getsockopt(self, level: int, optname: int, buflen: int | None = None) -> Any:
        core = self._open()
        if level == stdlib.SOL_SOCKET and optname in _ABOUT:
            value: int | bytes = _ABOUT[optname](self, core)
        else:
            value = core.options.get((level, optname))
        if buflen is None or buflen == 0:
            return value if isinstance(value, int) else int.from_bytes(value[:4], "little", signed=True)
        packed = value if isinstance(value, bytes) else value.to_bytes(4, "little", signed=True)
        return packed[:buflen]

    def setsockopt(
        self, level: int, optname: int, value: int | Buffer | None, optlen: int | None = None
    ) -> None:
        core = self._open()
        if optlen is None and value is None:
            raise TypeError("invalid value for argument 'value', must not be None when specifying optlen")
        if optlen is not None:
            if value is not None:
                raise TypeError(
                    f"invalid value for argument 'value': {value!r}, must be None when specifying optlen"
                )
            value = bytes(optlen)
        plain = value if isinstance(value, int) else bytes(memoryview(value))  # type: ignore[arg-type]
        key = (level, optname)
        if key in options.JOIN or key in options.LEAVE:
            if not isinstance(core, Udp):
                raise error(errno.EINVAL)
            core.join(*options.membership(key, plain), leave=key in options.LEAVE)
            return
        if key == (stdlib.IPPROTO_IPV6, stdlib.IPV6_V6ONLY) and core.places:
            raise error(errno.EINVAL)
        if level == stdlib.IPPROTO_TCP and not isinstance(core, Tcp):
            raise error(errno.ENOPROTOOPT)
        core.options.set(key, plain)
        core.apply()

    # -- addresses -------------------------------------------------------------------------------

    async def _resolved(self, address: Sockaddr, *, local: bool) -> End:
        """Names become numbers, in this guest's eyes. Does not always checkpoint."""
        core = self._open()
        if core.family == stdlib.AF_INET6 and isinstance(address, tuple) and len(address) >= 2:
            host, zone = zones.split(str(address[0]))
            if zone:
                address = (host, address[1], address[2] if len(address) > 2 else 0, self._scope(zone))
        numbers = await self._resolve_address_nocp(address, local=local)
        return read(core.family, numbers, v6only=core.options.v6only)

    def _scope(self, zone: str) -> int:
        try:
            return zones.number(self._core.guest, zone)
        except OSError:
            raise stdlib.gaierror(stdlib.EAI_NONAME, "Name or service not known") from None

    async def _resolve_address_nocp(self, address: Sockaddr, *, local: bool) -> Sockaddr:
        core = self._open()
        six = core.family == stdlib.AF_INET6
        if not six and not (isinstance(address, tuple) and len(address) == 2):
            raise ValueError("address should be a (host, port) tuple")
        if six and not (isinstance(address, tuple) and 2 <= len(address) <= 4):
            raise ValueError("address should be a (host, port, [flowinfo, [scopeid]]) tuple")
        host, port, *rest = address
        if isinstance(port, int) and isinstance(host, str):
            try:
                stdlib.inet_pton(core.family, host.partition("%")[0])
            except OSError:
                pass
            else:
                return address
        host = {"": None, "<broadcast>": "255.255.255.255"}.get(host, host)
        flags = stdlib.AI_PASSIVE if local else 0
        if six and not core.options.v6only:
            flags |= stdlib.AI_V4MAPPED
        if isinstance(host, str):
            host = host.encode("ascii") if host.isascii() else host.encode("idna")
        found = await Names(core.guest).getaddrinfo(host, port, core.family, self.type, self.proto, flags)
        normal = list(found[0][4])
        if six:
            normal[2 : 2 + len(rest)] = rest
        return tuple(normal)

    async def bind(self, address: Sockaddr) -> None:
        end = await self._resolved(address, local=True)
        await checkpoint()
        self._open().bind(end)

    def listen(self, backlog: int = min(stdlib.SOMAXCONN, 128)) -> None:
        self._stream().listen(backlog)

    # -- waiting ---------------------------------------------------------------------------------

    async def _at_once(self, function: Callable[[], T | None]) -> T | None:
        """What it gives without waiting, as trio's own sockets try first: never without a checkpoint,
        and what was done is never lost to a cancellation. Errors come with a checkpoint, too.
        """
        await checkpoint_if_cancelled()
        try:
            result = function()
        except BaseException:
            await cancel_shielded_checkpoint()
            raise
        if result is not None:
            await cancel_shielded_checkpoint()
        return result

    async def _reading(self, function: Callable[[], T | None]) -> T:
        result = await self._at_once(function)
        while result is None:
            await self._core.wait_readable()
            result = function()
        return result

    async def _writing(self, function: Callable[[], T | None]) -> T:
        result = await self._at_once(function)
        while result is None:
            await self._core.wait_writable()
            result = function()
        return result

    async def wait_writable(self) -> None:
        await checkpoint_if_cancelled()
        if self._closed:
            # As a wait for a descriptor that is closed.
            raise trio.ClosedResourceError("this socket was closed")
        await self._writing(self._core.writable)

    def is_readable(self) -> bool:
        return self._open().readable()

    async def accept(self) -> tuple[trio.socket.SocketType, Sockaddr]:
        accepted = GuestSocket(await self._reading(lambda: self._stream().accept()))
        return accepted, accepted.getpeername()

    async def connect(self, address: Sockaddr) -> None:
        try:
            core = self._open()
            if isinstance(core, Udp) and _unspecified(address):
                await checkpoint()
                core.connect(None)
                return
            end = await self._resolved(address, local=False)
            await checkpoint_if_cancelled()
            self._open()
            try:
                core.connect(end)
            finally:
                await cancel_shielded_checkpoint()
            if isinstance(core, Tcp):
                while core.established() is None:
                    await core.wait_writable()
        except trio.Cancelled:
            # An attempt can't be taken back, so nobody should go on with this socket (as trio's own).
            self.close()
            raise
        except OSError as problem:
            if isinstance(problem, stdlib.gaierror) or problem.errno is None:
                raise
            text = os.strerror(problem.errno)
            raise OSError(problem.errno, f"Error connecting to {address!r}: {text}") from problem

    # -- receiving -------------------------------------------------------------------------------

    def _received(self, most: int, flags: int) -> tuple[bytes, Sockaddr, int] | None:
        """What there is now: bytes, who sent them, and flags that say more about it."""
        core = self._open()
        _check_flags(flags, PLAIN | PEEK)
        if most < 0:
            raise ValueError("negative buffersize in recv")
        peek = bool(flags & PEEK)
        if isinstance(core, Tcp):
            data = core.receive(most, peek=peek)
            return None if data is None else (data, None, 0)
        if (found := core.receive(peek=peek)) is None:
            return None
        data, sender, _to = found
        return data[:most], self._written(sender), TRUNCATED if len(data) > most else 0

    async def _receive(self, most: int, flags: int) -> tuple[bytes, Sockaddr, int]:
        return await self._reading(lambda: self._received(most, flags))

    async def recv(self, buflen: int, flags: int = 0, /) -> bytes:
        return (await self._receive(buflen, flags))[0]

    async def recvfrom(self, bufsize: int, flags: int = 0, /) -> tuple[bytes, Sockaddr]:
        return (await self._receive(bufsize, flags))[:2]

    async def recv_into(self, buffer: Buffer, nbytes: int = 0, flags: int = 0) -> int:
        return (await self.recvfrom_into(buffer, nbytes, flags))[0]

    async def recvfrom_into(self, buffer: Buffer, nbytes: int = 0, flags: int = 0) -> tuple[int, Sockaddr]:
        with memoryview(buffer).cast("B") as view:
            most = nbytes or len(view)
            if nbytes < 0 or nbytes > len(view):
                raise ValueError("nbytes is not in the buffer")
            data, sender, _ = await self._receive(most, flags)
            view[: len(data)] = data
        return len(data), sender

    async def recvmsg(
        self, bufsize: int, ancbufsize: int = 0, flags: int = 0, /
    ) -> tuple[bytes, list[tuple[int, int, bytes]], int, object]:
        data, sender, about = await self._receive(bufsize, flags)
        return data, [], about, sender

    async def recvmsg_into(
        self, buffers: Iterable[Buffer], ancbufsize: int = 0, flags: int = 0, /
    ) -> tuple[int, list[tuple[int, int, bytes]], int, object]:
        views = [memoryview(buffer).cast("B") for buffer in buffers]
        data, sender, about = await self._receive(sum(len(view) for view in views), flags)
        at = 0
        for view in views:
            piece = data[at : at + len(view)]
            view[: len(piece)] = piece
            at += len(piece)
        return len(data), [], about, sender

    # -- sending ---------------------------------------------------------------------------------

    def _taken(self, buffers: Iterable[Buffer]) -> bytes:
        """What one call is about: a whole datagram, or as much of a stream as a call takes."""
        if isinstance(self._core, Udp):
            return b"".join(buffers)
        pieces, room = [], AT_ONCE
        for buffer in buffers:
            with memoryview(buffer).cast("B") as view:
                pieces.append(bytes(view[:room]))
            room -= len(pieces[-1])
        return b"".join(pieces)

    def _sent(self, data: bytes, end: End | None, flags: int) -> int | None:
        """How many bytes were taken over now."""
        core = self._open()
        _check_flags(flags, PLAIN | MORE)
        if self._shut:
            raise error(errno.EPIPE)
        if isinstance(core, Tcp):
            return core.send(data)
        return core.send(data, end, more=bool(flags & MORE))

    async def send(self, data: Buffer, flags: int = 0, /) -> int:
        taken = self._taken([data])
        return await self._writing(lambda: self._sent(taken, None, flags))

    async def sendto(self, *args: Any) -> int:
        if not 2 <= len(args) <= 3:
            raise TypeError(f"sendto() takes 2 or 3 arguments ({len(args)} given)")
        await checkpoint_if_cancelled()
        end = await self._resolved(args[-1], local=False)
        data, flags = self._taken([args[0]]), args[1] if len(args) == 3 else 0
        return await self._writing(lambda: self._sent(data, end, flags))

    async def sendmsg(
        self,
        buffers: Iterable[Buffer],
        ancdata: Iterable[tuple[int, int, Buffer]] = (),
        flags: int = 0,
        address: Sockaddr | None = None,
        /,
    ) -> int:
        if list(ancdata):
            raise error(errno.EOPNOTSUPP, "a guest's socket takes no ancillary data")
        await checkpoint_if_cancelled()
        end = None if address is None else await self._resolved(address, local=False)
        data = self._taken(buffers)
        return await self._writing(lambda: self._sent(data, end, flags))

    def shutdown(self, flag: int) -> None:
        if flag not in (stdlib.SHUT_RD, stdlib.SHUT_WR, stdlib.SHUT_RDWR):
            raise error(errno.EINVAL)
        writing = flag != stdlib.SHUT_RD
        self._open().shutdown(reading=flag != stdlib.SHUT_WR, writing=writing)
        self._shut = self._shut or writing


def _buffer(which: str) -> Callable[[GuestSocket, Tcp | Udp], int]:
    def size(_socket: GuestSocket, core: Tcp | Udp) -> int:
        nic = next(iter(core.guest.ports.values())).wanted.nic
        return int(getattr(nic, which))

    return size


_ABOUT: dict[int, Callable[[GuestSocket, Tcp | Udp], int]] = {
    # What an attempt ended by is raised by `connect` itself, and what a peer said by what is done next.
    stdlib.SO_ERROR: lambda _socket, _core: 0,
    stdlib.SO_TYPE: lambda socket, _core: int(socket.type),
    stdlib.SO_DOMAIN: lambda socket, _core: int(socket.family),
    stdlib.SO_PROTOCOL: lambda socket, _core: socket.proto,
    stdlib.SO_ACCEPTCONN: lambda _socket, core: int(isinstance(core, Tcp) and core.listening),
    stdlib.SO_RCVBUF: _buffer("receive_buffer"),
    stdlib.SO_SNDBUF: _buffer("send_buffer"),
}


def _check_flags(flags: int, known: int) -> None:
    if flags & ~known:
        raise error(errno.EOPNOTSUPP, f"flags {flags & ~known:#x}")


def _unspecified(address: Sockaddr) -> bool:
    """Whether it is the address that ends a UDP socket's connection: AF_UNSPEC has no spelling in Python."""
    return isinstance(address, tuple) and not address
