"""`dgram`: one frame a datagram, over unix sockets or UDP.

QEMU's `-netdev dgram` and `socket,udp=`, vfkit, libkrun, GNS3 and Dynamips NIO UDP, VPCS and
VirtualBox's UDPTunnel speak it. `local` is our end, `remote` the guest's; both are paths, both IPv4
or both IPv6.

* With `remote`, only datagrams from there are frames; others are counted as `door-stranger`. Without
  it, whoever sends first is the guest until nobody is there any more.
* Without `local`, a UDP door has a port of the kernel's choice and a unix door a name of its choice;
  that is enough for a guest that answers to whoever sent.
* A `remote` that is a multicast address (`230.0.0.1:1234`) is QEMU's `mcast`: everybody in the group
  is a guest, and `local` picks the interface by its address.

Nothing authenticates UDP: bind it to loopback, or prefer unix sockets. A path is for our own user only,
and what comes to an abstract name from another user than ours and root is a stranger's. A guest that is
missing is a carrier that is down where that can be told: always for unix sockets; for UDP after a frame
was refused. Then the door asks by a frame of its own, at most every five seconds, to 01:80:c2:00:00:0e with
EtherType 0x88b5, which no bridge forwards and no host takes; when none is refused for a second, or the guest
sends something, it is there again.

Linux lets only `net.unix.max_dgram_qlen` datagrams (10 if nobody raised it) wait at a unix socket.
vnet holds back what does not fit and tries again; QEMU waits likewise. `stream` has no such limit.
"""

from __future__ import annotations

from typing import ClassVar

import attrs

from nics import endpoint
from nics.door import Opened, Place
from nics.endpoint import Endpoint
from nics.errors import BadInput
from vnet._native import dgram_door


@attrs.frozen
class Dgram:
    """A NIC whose guest is at the other end of a datagram socket."""

    kind: ClassVar[str] = "dgram"
    own_clock: ClassVar[bool] = True

    local: str | None = attrs.field(default=None, validator=attrs.validators.optional(endpoint.valid))
    """Our end: a path (a relative one lies in the runtime folder), `@name` or `ip:port`."""
    remote: str | None = attrs.field(default=None, validator=attrs.validators.optional(endpoint.valid))
    """The guest's end, likewise, or a multicast group's address and port."""

    def __attrs_post_init__(self) -> None:
        local, remote = _parsed(self.local), _parsed(self.remote)
        if local is None and remote is None:
            raise BadInput("local and remote: both are missing, at least one is needed")
        if local is not None and local.multicast:
            raise BadInput(f"local: {self.local!r} is a multicast address, which belongs in remote")
        if local is not None and remote is not None and local.family != remote.family:
            raise BadInput(
                f"local and remote: {self.local!r} is {local.family} and {self.remote!r} is {remote.family},"
                " expected both unix, both IPv4 or both IPv6"
            )
        if remote is not None and remote.ip is not None and remote.port == 0:
            raise BadInput(f"remote: {self.remote!r}: nobody can be at port 0")

    async def open(self, place: Place) -> Opened:
        """Bind our end. Raises NicError."""
        local, remote = _parsed(self.local), _parsed(self.remote)
        ours = local.at(place) if local is not None else None
        with place.named():
            door, bound = dgram_door(ours, remote.at(place) if remote is not None else None)
        return Opened(door, carries=bound or ours or str(self.remote))


def _parsed(text: str | None) -> Endpoint | None:
    return None if text is None else Endpoint.parse(text)
