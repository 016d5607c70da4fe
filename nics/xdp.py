"""`xdp`: AF_XDP on an interface; an uplink whose frames come in around the kernel's network stack.

It is a `packet` door, and all that is said there holds. A program at the interface's driver hands it the
unicast frames of the fabric's stations; the host's own traffic, and groups, stay with the host.
"""

from __future__ import annotations

from typing import ClassVar

import attrs

from nics.door import Opened, Place
from nics.packet import check_interface, open_on
from vnet._native import Door, Stations, xdp_door


@attrs.frozen
class Xdp:
    """AF_XDP on an interface. Needs CAP_BPF, CAP_NET_ADMIN and CAP_NET_RAW of the host: root."""

    kind: ClassVar[str] = "xdp"
    own_clock: ClassVar[bool] = True

    interface: str = attrs.field(validator=check_interface)
    """The interface's name. When it goes, the door waits for one of that name."""
    netns: str | None = None
    """Name (as in `ip netns`) or path of the namespace it is in. None: ours."""
    queues: int | None = None
    """Queues of the interface that are taken from, each of which takes 8 MiB; what comes in by others goes
    through the kernel. None: all, 16 at most."""
    mode: str = "auto"
    """`native`: the driver's own mode. `generic`: the kernel's. `auto`: native where there is one, else
    generic where no VLAN tag can be missed. A veth is not used in generic mode, where its super-frames look
    like frames."""
    offload: bool = True
    """Exchange super-frames and frames without checksum with the kernel."""

    async def open(self, place: Place) -> Opened:
        """Open the door. Where AF_XDP is ruled out it is a `packet` door, and one line of the log says
        why. Raises NicError, having undone what it did.
        """

        def make(packet: int, netlink: int, netns: int | None) -> tuple[Door, Stations, int]:
            return xdp_door(
                *(packet, netlink, self.interface),
                offload=self.offload,
                netns=netns,
                queues=self.queues,
                mode=self.mode,
            )

        return await open_on(place, self.interface, self.netns, make)
