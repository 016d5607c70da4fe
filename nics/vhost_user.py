"""`vhost-user`: virtio rings in the guest's own memory, the fastest way to a virtual machine.

QEMU (7.2 and later), cloud-hypervisor, crosvm, libkrun and DPDK's virtio-user speak it. The guest's
memory must be shared (in QEMU `memory-backend-memfd,share=on`); huge pages are not needed. As
`client` we connect to the VMM, so that this fabric can be stopped and started again while the guest
runs; as `server` the VMM connects to us, and with `reconnect` does so again. Whoever can connect is
the guest: the socket file is for our own user only.
"""

from __future__ import annotations

from typing import ClassVar

import attrs

from nics import endpoint
from nics.door import Opened, Place
from nics.endpoint import Endpoint
from nics.errors import BadInput
from vnet._native import vhost_user_door

_QUEUES_MAX = 64


@attrs.frozen
class VhostUser:
    """A NIC whose guest is a virtual machine that shares its memory with us."""

    kind: ClassVar[str] = "vhost-user"
    own_clock: ClassVar[bool] = True

    socket: str = attrs.field(validator=endpoint.valid)
    """The path of a unix socket (a relative one lies in the runtime folder)."""
    role: str = "server"
    """Who listens: `server` is us, `client` connects, and does so again with a growing wait."""
    queues: int = 1
    """Queue pairs that the guest may use."""
    offload: bool = True
    """Offer super-frames and frames without checksum to the guest."""
    config: bool = False
    """The device tells the guest its MAC address and MTU itself. QEMU and cloud-hypervisor do that."""

    def __attrs_post_init__(self) -> None:
        if self.role not in ("server", "client"):
            raise BadInput(f"role: found {self.role!r}, expected server or client")
        if not 1 <= self.queues <= _QUEUES_MAX:
            raise BadInput(f"queues: found {self.queues}, expected 1 to {_QUEUES_MAX}")
        if Endpoint.parse(self.socket).ip is not None:
            raise BadInput(f"socket: found {self.socket!r}, expected a path: memory can't be shared over TCP")

    async def open(self, place: Place) -> Opened:
        """Listen, or get ready to connect. Raises NicError."""
        path = Endpoint.parse(self.socket).at(place)
        with place.named():
            mac = bytes.fromhex(place.mac.replace(":", "")) if self.config else None
            door = vhost_user_door(
                path, self.role, queues=self.queues, mtu=place.mtu, offload=self.offload, mac=mac
            )
        return Opened(door, carries=path)
