"""`packet`: AF_PACKET on an interface of this host, or of a namespace; the usual uplink.

The interface stays the host's, with its addresses and its traffic. Guests behind it appear on the wire
with their own MAC addresses. Between a guest and the host itself nothing passes there: what is sent by
an interface goes out to the wire, and does not come in again.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import socket
from collections.abc import Callable
from typing import Any, ClassVar

import attrs

from nics import inside
from nics.door import Opened, Place
from nics.errors import BadInput, NicError
from vnet._native import Door, Stations, packet_door

log = logging.getLogger("vnet")

_NAME = re.compile(r"(?!\.{1,2}$)[!-$&-.0-9;-~]{1,15}")
_NETLINK_ROUTE = 0
QUEUES_MAX = 16


def check_interface(_nic: object, _field: Any, name: str) -> None:
    """Raise BadInput for what can't be an interface's name (dev_valid_name)."""
    if not _NAME.fullmatch(name):
        raise BadInput(f"{name!r} is no interface name: 1 to 15 characters without space, /, : or %")


def _check_queues(_nic: object, _field: Any, queues: int) -> None:
    if not 1 <= queues <= QUEUES_MAX:
        raise BadInput(f"a packet NIC has 1 to {QUEUES_MAX} queues, not {queues}")


@attrs.frozen
class Packet:
    """AF_PACKET on an interface. Needs CAP_NET_RAW: root, or a namespace of one's own."""

    kind: ClassVar[str] = "packet"
    own_clock: ClassVar[bool] = True

    interface: str = attrs.field(validator=check_interface)
    """The interface's name. When it goes, the door waits for one of that name."""
    netns: str | None = None
    """Name (as in `ip netns`) or path of the namespace it is in. None: ours."""
    queues: int = attrs.field(default=1, validator=_check_queues)
    """Packet sockets that share what comes in, a flow keeping to one (PACKET_FANOUT); each takes 4 MiB."""
    offload: bool = True
    """Exchange super-frames and frames without checksum with the kernel."""

    async def open(self, place: Place) -> Opened:
        """Open the door. Raises NicError, having undone what it did."""

        def make(packet: int, netlink: int, netns: int | None) -> tuple[Door, Stations, int]:
            return packet_door(
                *(packet, netlink, self.interface), offload=self.offload, netns=netns, queues=self.queues
            )

        return await open_on(place, self.interface, self.netns, make)


async def open_on(
    place: Place,
    interface: str,
    netns: str | None,
    make: Callable[[int, int, int | None], tuple[Door, Stations, int]],
) -> Opened:
    """Open a door that stands on an interface, of a namespace by its name or path; None: of the place's.

    `make` gets a packet socket and a netlink socket of that namespace, and a descriptor of it unless it
    is ours. Raises NicError, having undone what was done.
    """
    with contextlib.ExitStack() as stack:
        namespace = place.netns
        if netns is not None:
            namespace = open_namespace(place, netns)
            stack.callback(os.close, namespace)
        try:
            packet, netlink = [
                stack.enter_context(await open_socket(place, namespace, *kind))
                for kind in (
                    (socket.AF_PACKET, socket.SOCK_RAW, 0),
                    (socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_ROUTE),
                )
            ]
            door, stations, mtu = make(packet.fileno(), netlink.fileno(), namespace)
            # The door has bound it by now.
            hardware = packet.getsockname()[4]
        except OSError as error:
            raise _refused(place, interface, error) from error
    check_mtu(place, interface, mtu)
    return Opened(door=door, carries=interface, stations=stations.want, hardware=hardware.hex(":"))


def check_mtu(place: Place, interface: str, mtu: int) -> None:
    """Say so when an interface carries less than the networks behind it."""
    if mtu < place.mtu:
        log.warning(
            "%s: %s has MTU %d, and a network on it %d: longer frames are dropped there; run `ip link set"
            " %s mtu %d`",
            *(place.port, interface, mtu, place.mtu, interface, place.mtu),
        )


def open_namespace(place: Place, netns: str) -> int:
    """A descriptor of a namespace by its name or path. Raises NicError."""
    path = inside.PINS / netns
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        remedy = f"`ip netns add {netns}` makes one" if "/" not in netns else ""
        raise NicError(f"{place.port}: network namespace {path}: {error.strerror}", remedy) from error


async def open_socket(
    place: Place, netns: int | None, family: int, kind: int, protocol: int
) -> socket.socket:
    """A socket of a namespace, None: ours. Raises OSError."""
    if netns is None:
        return socket.socket(family, kind, protocol)
    return await place.netlink.open_socket(netns, family, kind, protocol)


def _refused(place: Place, interface: str, error: OSError) -> NicError:
    what = f"{place.port}: interface {interface}: {error.strerror}"
    match error.errno:
        case errno.ENODEV:
            return NicError(
                f"{place.port}: there is no interface {interface}", "`ip link` shows which there are"
            )
        case errno.EPERM | errno.EACCES:
            return NicError(what, "run as root, or with CAP_NET_RAW")
        case errno.EAFNOSUPPORT:
            return NicError(what, "this kernel has no AF_PACKET: `modprobe af_packet`")
    return NicError(what)
