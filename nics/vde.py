"""`vde`: a plug of a VDE switch, whose frames are datagrams between two unix sockets.

`vde_plug`, QEMU's `-netdev vde`, User-mode Linux, Bochs, SIMH, 86Box, Dynamips and everything else that is
built on libvdeplug speak it.

* As `server` we are the switch, with one port: `directory` is made (0700, if it is not there) and takes one
  plug at a time. A second one is refused; who was killed makes room for the next.
* As `client` we plug into a switch that somebody else runs there, `vde_switch` for one, and again with a
  growing wait whenever that ends.

Whoever may connect is the guest: the folder and its socket are for our own user only. Where a plug takes its
frames is its own business as long as that is a socket in the folder that belongs to its user. One elsewhere,
or an abstract one (Bochs), hears nothing before a frame has come from it, for it may be a bystander's.

QEMU does not notice when the switch goes, and never plugs in again: after a restart of the fabric its card
must be taken out and put in (`device_del`, `netdev_del`, `netdev_add`, `device_add`). `stream` and
`vhost-user` come back by themselves.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import attrs

from nics.door import Opened, Place
from nics.errors import BadInput
from vnet._native import vde_door

LONGEST = 90
"""The longest name of a folder in bytes: the sockets in it need names too, of at most 107."""


@attrs.frozen
class Vde:
    """A NIC whose guest is at the other end of a VDE plug."""

    kind: ClassVar[str] = "vde"
    own_clock: ClassVar[bool] = True

    directory: str
    """The switch's folder; a relative path lies in the runtime folder."""
    role: str = "server"
    """Whose switch it is: `server` is ours, `client` plugs into somebody else's."""
    port: int | None = None
    """Of a client: the port of the switch that it wants. None: any."""

    def __attrs_post_init__(self) -> None:
        if not self.directory or "\0" in self.directory or len(self.directory.encode()) > LONGEST:
            raise BadInput(f"directory: found {self.directory!r}, expected a path of at most {LONGEST} bytes")
        if self.role not in ("server", "client"):
            raise BadInput(f"role: found {self.role!r}, expected server or client")
        if self.port is not None and self.role != "client":
            raise BadInput(f"port: {self.port}: only a client (role: client) asks for one")

    async def open(self, place: Place) -> Opened:
        """Make the folder and listen, or get ready to plug in. Raises NicError."""
        folder = str(place.runtime / Path(self.directory))
        with place.named():
            door = vde_door(folder, self.role, self.port or 0, f"vnet {place.port}")
        return Opened(door, carries=folder)
