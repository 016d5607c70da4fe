"""A guest's UDP sockets."""

from __future__ import annotations

import errno
import ipaddress
from typing import TYPE_CHECKING

from vnet.sockets.address import End
from vnet.sockets.core import Core
from vnet.sockets.interfaces import FIRST_SCOPE, error, hosts, owner, towards
from vnet.sockets.tcp import wildcard

if TYPE_CHECKING:
    from nics.stack import Host
    from vnet.guests import Address, StackGuest
    from vnet.sockets.options import Options

MOST = 65_535 - 8

Datagram = tuple[bytes, tuple[str, int], str]
"""What came, from where, and the address it was sent to."""


class Udp(Core):
    """See `Core`."""

    peer: tuple[str, int] | None = None
    _peeked: Datagram | None = None
    _begun = b""
    _turn = 0
    _deaf = False
    _groups: list[tuple[Address, Address | int]]
    """Wanted before it was bound: group and interface."""
    _home: list[Host]
    """The stacks that it was bound in. While there is a peer, it is in one of them alone."""
    _text: str | None = None
    """The address that it was bound to there, as stacks take it."""
    _joined: list[tuple[Host, str]]
    """Groups, also in stacks where it is not at the moment."""

    def __init__(self, guest: StackGuest, family: int, options: Options) -> None:
        super().__init__(guest, family, options)
        self._groups, self._home, self._joined = [], [], []

    def _settings(self, version: int | None = None) -> tuple[bool, int, int, bool]:
        return self.options.udp(version or (4 if self.family == 2 else 6))

    def bind(self, end: End) -> None:
        """Take a port. Raises OSError: EADDRINUSE, EADDRNOTAVAIL, EINVAL when it has one."""
        if self.places:
            raise error(errno.EINVAL)
        settings = self._settings()
        self.open_at(end, lambda host, text, port: self.call(host.handle.udp_open, text, port, settings))
        self._home, self._text = [host for host, _ in self.places], end.text
        groups, self._groups = self._groups, []
        for group, interface in groups:
            self.join(group, interface)

    def _bound(self) -> None:
        if not self.places:
            self.bind(wildcard(self.family, self.options, 0))

    def connect(self, end: End | None) -> None:
        """Talk with one peer alone from now on; None: with all again. Raises OSError."""
        self._bound()
        if end is None:
            self._return([host for host in self._home if not host.gone])
            for host, number in self.places:
                self.call(host.handle.udp_connect, number, None)
            self.peer = None
            return
        address = end.address or ipaddress.ip_address("::1")
        if address.is_unspecified:
            address = ipaddress.ip_address("127.0.0.1" if address.version == 4 else "::1")
        wanted = self._leads(address, end.scope)
        came = self._return([wanted] if wanted in self._home else [])
        host, number = self._by(address, end.scope)
        try:
            self.call(host.handle.udp_connect, number, (str(address), end.port or 1))
        except OSError:
            self._leave(came)
            raise
        # It hears nobody else, so the other stacks need it no more.
        self._leave([other for other, _ in self.places if other is not host])
        self.peer = (str(address), end.port)

    def _return(self, stacks: list[Host]) -> list[Host]:
        """Be in these stacks again, at the port that it has; where it was not. Raises OSError: EADDRINUSE
        where somebody took the port meanwhile.
        """
        name, there, came = self.name(), [host for host, _ in self.places], []
        assert name is not None
        try:
            for host in stacks:
                if host not in there:
                    number = self.call(host.handle.udp_open, self._text, name[1], self._settings())
                    self.take(host, number)
                    came.append(host)
                    for group in [group for joined, group in self._joined if joined is host]:
                        self.call(host.handle.udp_join, number, group)
        except OSError:
            self._leave(came)
            raise
        self.places.sort(key=lambda place: self._home.index(place[0]))
        self._applied = None
        return came

    def _leave(self, stacks: list[Host]) -> None:
        """Be in these stacks no more."""
        left = [place for place in self.places if place[0] in stacks]
        self.places = [place for place in self.places if place[0] not in stacks]
        for host, number in left:
            host.unwatch(number)

    def _by(self, address: Address, scope: int = 0) -> tuple[Host, int]:
        """The stack that leads to an address, of those where the socket is."""
        host = self._leads(address, scope)
        return next((place for place in self.places if place[0] is host), self.places[0])

    def _leads(self, address: Address, scope: int) -> Host:
        host = self._group_host() if address.is_multicast else None
        return host or towards(self.guest, address, scope or self.options.device)

    def _group_host(self) -> Host | None:
        interface = self.options.interface
        if isinstance(interface, int):
            stacks = hosts(self.guest)
            return stacks[interface - FIRST_SCOPE] if 0 <= interface - FIRST_SCOPE < len(stacks) else None
        return owner(self.guest, interface)

    def send(self, data: bytes, end: End | None, *, more: bool = False) -> int | None:
        """Send one datagram. Raises OSError: EDESTADDRREQ, EACCES for a broadcast that was not allowed.

        With `more`, what follows without it belongs to the same datagram; after an error there is nothing
        of it that could follow.
        """
        try:
            return self._send(data, end, more)
        except OSError:
            self._begun = b""
            raise

    def _send(self, data: bytes, end: End | None, more: bool) -> int | None:
        self._bound()
        if end is None:
            if self.peer is None:
                raise error(errno.EDESTADDRREQ)
            host, number = self.places[0]
            target, port = self.peer
        else:
            address = end.address or ipaddress.ip_address("::1")
            if address.is_unspecified:
                address = ipaddress.ip_address("127.0.0.1" if address.version == 4 else "::1")
            host, number = self._by(address, end.scope)
            if self._is_broadcast(host, address) and not self.options.broadcast:
                raise error(errno.EACCES)
            target, port = str(address), end.port
        if more:
            if len(self._begun) + len(data) > MOST:
                raise error(errno.EMSGSIZE)
            self._begun += data
            return len(data)
        self.apply(ipaddress.ip_address(target).version)
        if not self.call(host.handle.udp_send, number, self._begun + data, target, port):
            return None
        self._begun = b""
        return len(data)

    @staticmethod
    def _is_broadcast(host: Host, address: Address) -> bool:
        if address.version == 6 or address.is_multicast:
            return False
        if int(address) == 0xFFFF_FFFF:
            return True
        networks = (interface.network for interface in host.addresses)
        return any(n.version == 4 and n.prefixlen < 31 and n.broadcast_address == address for n in networks)

    def receive(self, *, peek: bool = False) -> Datagram | None:
        """The next datagram. Raises OSError (ECONNREFUSED and others) for what a connected peer said."""
        if self._deaf:
            return b"", ("::", 0), "::"
        self._bound()
        datagram, self._peeked = self._peeked, None
        places = self.places[self._turn :] + self.places[: self._turn]
        for host, number in places:
            if datagram is not None:
                break
            datagram = self.call(host.handle.udp_recv, number)
            self._turn = (self._turn + 1) % len(self.places)
        if datagram is not None:
            self._peeked = datagram if peek else None
            self.show()
        return datagram

    def writable(self) -> bool:
        """There is room, as far as anybody can tell."""
        return True

    def readable(self) -> bool:
        """Whether receiving would do something at once."""
        return self._peeked is not None or self._deaf or super().readable()

    def shutdown(self, *, reading: bool, writing: bool) -> None:
        """Raises OSError (ENOTCONN) without a peer."""
        if self.peer is None:
            raise error(errno.ENOTCONN)
        if reading:
            self._deaf = True
            self._waiting.wake()

    # -- options ---------------------------------------------------------------------------------

    _applied: tuple[bool, int, int, bool] | None = None

    def apply(self, version: int | None = None) -> None:
        """Have the stacks go by the options."""
        settings = self._settings(version)
        if settings != self._applied and self.places:
            for host, number in self.places:
                self.call(host.handle.udp_set, number, settings)
            self._applied = settings

    def join(self, group: Address, interface: Address | int, *, leave: bool = False) -> None:
        """Join a group, or leave it, by one NIC. Raises OSError."""
        if not group.is_multicast:
            raise error(errno.EINVAL)
        if not self.places:
            # Until it is bound, it is only noted.
            wanted = (group, interface)
            if leave and wanted not in self._groups:
                raise error(errno.EADDRNOTAVAIL)
            self._groups = [*(g for g in self._groups if g != wanted), *([] if leave else [wanted])]
            return
        if isinstance(interface, int):
            host = towards(self.guest, group, interface)
        elif (found := owner(self.guest, interface)) is not None:
            host = found
        else:
            raise error(errno.ENODEV)
        joined = (host, str(group))
        for place, number in self.places:
            if place is host:
                self.call(place.handle.udp_leave if leave else place.handle.udp_join, number, str(group))
                break
        else:
            if host not in self._home:
                raise error(errno.ENODEV)
            if leave and joined not in self._joined:
                raise error(errno.EADDRNOTAVAIL)
        self._joined = [*(j for j in self._joined if j != joined), *([] if leave else [joined])]
