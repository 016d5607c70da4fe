"""`stream`: frames over a unix or TCP connection, each behind its length (four bytes, big-endian).

QEMU's `-netdev stream` and `-netdev socket`, passt, gvproxy and libkrun speak it. As `server` we
listen, and take one client at a time; as `client` we connect, again whenever we have to. Whoever
can connect is the guest: a socket file is for our own user only, an abstract name too, and a TCP
port is open to everybody who can reach it, so bind it to loopback.
"""

from __future__ import annotations

from typing import ClassVar

import attrs

from nics import endpoint
from nics.door import Opened, Place
from nics.endpoint import Endpoint
from nics.errors import BadInput
from vnet._native import stream_door


@attrs.frozen
class Stream:
    """A NIC whose guest is at the other end of a stream socket."""

    kind: ClassVar[str] = "stream"
    own_clock: ClassVar[bool] = True

    socket: str = attrs.field(validator=endpoint.valid)
    """A path (a relative one lies in the runtime folder), `@name` or `ip:port`."""
    role: str = "server"
    """Who listens: `server` is us, `client` connects, and does so again with a growing wait."""

    def __attrs_post_init__(self) -> None:
        if self.role not in ("server", "client"):
            raise BadInput(f"role: found {self.role!r}, expected server or client")
        if self.role == "client" and self._endpoint.ip is not None and self._endpoint.port == 0:
            raise BadInput(f"socket: {self.socket!r}: a client can't connect to port 0")

    @property
    def _endpoint(self) -> Endpoint:
        return Endpoint.parse(self.socket)

    async def open(self, place: Place) -> Opened:
        """Listen, or get ready to connect. Raises NicError."""
        with place.named():
            door, where = stream_door(self._endpoint.at(place), self.role)
        return Opened(door, carries=where)
