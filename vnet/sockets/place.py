"""Whose network a task uses.

trio asks for sockets and names in one place of a run (`set_custom_socket_factory`,
`set_custom_hostname_resolver`), so ours stands there for the rest of the run and looks at a context
variable, which tasks inherit from whom they were started by. Where no guest is set, everything is as
it was before: another factory's, if there was one, or the machine's.

What goes past `trio.socket` is the machine's in any case: sockets of the standard library, and what
is made of them with `trio.socket.from_stdlib_socket`.
"""

from __future__ import annotations

import socket as stdlib
from contextvars import ContextVar, Token
from types import TracebackType
from typing import TYPE_CHECKING, Any

import trio

from vnet.errors import BadInput
from vnet.sockets.guest_socket import GuestSocket
from vnet.sockets.names import Names

if TYPE_CHECKING:
    from vnet.guests import StackGuest

_guest: ContextVar[StackGuest | None] = ContextVar("guest", default=None)


class AsNetwork:
    """An async context manager, for one block at a time; what it gives is the guest."""

    def __init__(self, guest: StackGuest) -> None:
        self.guest = guest
        self._token: Token[StackGuest | None] | None = None

    async def __aenter__(self) -> StackGuest:
        if self._token is not None:
            raise RuntimeError("this block is entered already; ask the guest for another")
        if not self.guest.ports:
            raise BadInput(f"{self.guest.name} has no NIC")
        _install()
        self._token = _guest.set(self.guest)
        await trio.lowlevel.checkpoint()
        return self.guest

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._token is not None
        _guest.reset(self._token)
        self._token = None


def _install() -> None:
    """Have trio ask us in this run, if it does not already."""
    previous = trio.socket.set_custom_socket_factory(None)
    ours = previous if isinstance(previous, _Factory) else _Factory(previous)
    trio.socket.set_custom_socket_factory(ours)
    resolver = trio.socket.set_custom_hostname_resolver(None)
    trio.socket.set_custom_hostname_resolver(
        resolver if isinstance(resolver, _Resolver) else _Resolver(resolver)
    )


class _Factory(trio.abc.SocketFactory):
    """Sockets of the guest in whose block the asking task is."""

    def __init__(self, outside: trio.abc.SocketFactory | None) -> None:
        self._outside = outside

    def socket(
        self,
        family: stdlib.AddressFamily | int = stdlib.AF_INET,
        type: stdlib.SocketKind | int = stdlib.SOCK_STREAM,  # noqa: A002 - trio's name for it
        proto: int = 0,
    ) -> trio.socket.SocketType:
        guest = _guest.get()
        # Unix sockets lie in the file system, which guests of a process share, as namespaces do.
        if guest is not None and family != stdlib.AF_UNIX:
            return GuestSocket.make(guest, family, type, proto)
        if self._outside is not None:
            return self._outside.socket(family, type, proto)
        return trio.socket.from_stdlib_socket(stdlib.socket(family, type, proto))


class _Resolver(trio.abc.HostnameResolver):
    """Names as the guest knows them in whose block the asking task is."""

    def __init__(self, outside: trio.abc.HostnameResolver | None) -> None:
        self._outside = outside

    async def getaddrinfo(
        self,
        host: bytes | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,  # noqa: A002 - trio's name for it
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        asked = (host, port, family, type, proto, flags)
        if (guest := _guest.get()) is not None:
            return await Names(guest).getaddrinfo(*asked)
        if self._outside is not None:
            return list(await self._outside.getaddrinfo(*asked))
        return list(await trio.to_thread.run_sync(stdlib.getaddrinfo, *asked, abandon_on_cancel=True))

    async def getnameinfo(
        self, sockaddr: tuple[str, int] | tuple[str, int, int, int], flags: int
    ) -> tuple[str, str]:
        if (guest := _guest.get()) is not None:
            return await Names(guest).getnameinfo(sockaddr, flags)
        if self._outside is not None:
            return await self._outside.getnameinfo(sockaddr, flags)
        return await trio.to_thread.run_sync(stdlib.getnameinfo, sockaddr, flags, abandon_on_cancel=True)
