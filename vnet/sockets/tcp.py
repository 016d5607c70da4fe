"""A guest's TCP sockets: new, bound, listening, connecting or connected."""

from __future__ import annotations

import errno
import ipaddress
from typing import TYPE_CHECKING

from nics.stack import BACKLOG
from nics.stack_sockets import RECEIVE
from vnet.sockets.address import End
from vnet.sockets.core import Core
from vnet.sockets.interfaces import error, owner, towards

if TYPE_CHECKING:
    from nics.stack import Host
    from vnet.sockets.options import Options


class Tcp(Core):
    """See `Core`."""

    bound: End | None = None
    listening = False
    connected = False
    connecting = False
    peer: tuple[str, int] | None = None
    _turn = 0
    _peeked = b""
    _deaf = False

    # -- listeners -------------------------------------------------------------------------------

    def bind(self, end: End) -> None:
        """Take a port. Raises OSError: EADDRINUSE, EADDRNOTAVAIL, EINVAL when it has one."""
        if self.places or self.bound is not None:
            raise error(errno.EINVAL)
        if self.options.no_port and not end.port and not end.wild:
            if end.address is None or owner(self.guest, end.address, end.scope) is None:
                raise error(errno.EADDRNOTAVAIL)
            self.bound = end
            return
        self.open_at(end, lambda host, text, port: self.call(host.handle.tcp_bind, text, port))
        port = self.name()
        self.bound = End(end.address, port[1] if port else end.port, end.scope)

    def listen(self, backlog: int = BACKLOG) -> None:
        """Begin to take connections, at any port if none was bound."""
        if self.connected or self.connecting:
            raise error(errno.EINVAL)
        if not self.places:
            end, self.bound = self.bound or wildcard(self.family, self.options, 0), None
            self.open_at(end, lambda host, text, port: self.call(host.handle.tcp_bind, text, port))
        for host, number in self.places:
            self.call(host.handle.tcp_listen_at, number, max(backlog, 0))
        self.listening = True

    def accept(self) -> Tcp | None:
        """The next connection."""
        if not self.listening:
            raise error(errno.EINVAL)
        places = self.places[self._turn :] + self.places[: self._turn]
        for host, number in places:
            accepted = self.call(host.handle.tcp_accept, number)
            if accepted is not None:
                self._turn = (self._turn + 1) % len(self.places)
                connection = Tcp(self.guest, self.family, self.options.copy())
                connection._begin(host, accepted)
                connection.connected = True
                self.show()
                return connection
        return None

    def _aborts(self) -> bool:
        return self.connected and self.options.aborts

    # -- connections -----------------------------------------------------------------------------

    def _begin(self, host: Host, number: int) -> None:
        self.take(host, number)
        self.peer = host.handle.names(number)[1]
        self.apply()

    def name(self) -> tuple[str, int] | None:
        """Its own end, as the stack says it; None before it has one."""
        if not self.places and self.bound is not None:
            return self.bound.text or "::", self.bound.port
        return super().name()

    def connect(self, end: End) -> None:
        """Begin to connect. Raises OSError."""
        if self.listening or self.connected:
            raise error(errno.EISCONN)
        if self.connecting:
            raise error(errno.EALREADY)
        target = end.address
        if target is None:
            target = ipaddress.ip_address("::1")
        elif target.is_unspecified:
            target = ipaddress.ip_address("127.0.0.1" if target.version == 4 else "::1")
        local, port, host = None, 0, towards(self.guest, target, end.scope or self.options.device)
        if (bound := self.bound) is not None:
            port = bound.port
            if not bound.wild:
                local = bound.text
                host = (owner(self.guest, bound.address, bound.scope) if bound.address else None) or host
            self.give_back()
        number = self.call(host.handle.tcp_connect, str(target), end.port, local, port)
        self._begin(host, number)
        self.connecting = True

    def established(self) -> bool | None:
        """True when connected, None when not yet. Raises the OSError that the attempt ended by."""
        host, number = self.places[0]
        try:
            if not self.call(host.handle.tcp_connected, number):
                return None
        except OSError:
            self.connecting, self.peer = False, None
            self.give_back()
            raise
        self.connecting, self.connected = False, True
        return True

    def apply(self) -> None:
        """Have the stack go by the options that concern a connection."""
        if self.peer is None or not self.places:
            return
        host, number = self.places[0]
        version = ipaddress.ip_address(self.peer[0]).version
        self.call(host.handle.tcp_hops, number, self.options.hops(version))
        self.call(host.handle.tcp_keep_alive, number, self.options.keep_alive)

    def _place(self) -> tuple[Host, int]:
        if not self.connected:
            raise error(errno.ENOTCONN)
        return self.places[0]

    def receive(self, most: int, *, peek: bool = False) -> bytes | None:
        """Up to `most` bytes; b"" at the end of the stream."""
        host, number = self._place()
        if self._deaf or not most:
            return b""
        if not peek and not self._peeked:
            data = self.call(host.handle.tcp_recv, number, most)
            self.show()
            return data
        if len(self._peeked) < most:
            # What is looked at is kept here; an end or an error behind it is for later.
            more = self._ahead(host, number)
            if not self._peeked:
                return more
        data = self._peeked[:most]
        if not peek:
            self._peeked = self._peeked[most:]
            self.show()
        return data

    def _ahead(self, host: Host, number: int) -> bytes | None:
        try:
            more = self.call(host.handle.tcp_recv, number, RECEIVE)
        except OSError:
            if not self._peeked:
                raise
            return None
        self._peeked += more or b""
        return more

    def send(self, data: bytes) -> int | None:
        """Take over as much of `data` as there is room for."""
        host, number = self._place()
        return self.call(host.handle.tcp_send, number, data, 0) if data else 0

    def writable(self) -> bool | None:
        """True when there is room worth it, or nothing can be sent any more."""
        if not self.connected:
            return True
        host, number = self.places[0]
        try:
            return None if host.handle.tcp_send(number, b"", 0) is None else True
        except OSError:
            return True

    def readable(self) -> bool:
        """Whether reading or accepting would do something at once."""
        if self._peeked or self._deaf:
            return True
        return super().readable() if self.connected or self.listening else False

    def shutdown(self, *, reading: bool, writing: bool) -> None:
        """Close halves of a connection. Raises OSError (ENOTCONN)."""
        host, number = self._place()
        if writing:
            self.call(host.handle.tcp_shutdown, number)
        if reading:
            self._deaf = True
            self._waiting.wake()


def wildcard(family: int, options: Options, port: int) -> End:
    """All addresses that a socket of this family has."""
    if family == 2:
        return End(ipaddress.ip_address("0.0.0.0"), port)  # noqa: S104 - of a guest
    return End(ipaddress.ip_address("::") if options.v6only else None, port)
