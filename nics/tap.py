"""`tap`: a Linux TAP interface, whose guest is a kernel: this host's, or a namespace's."""

from __future__ import annotations

import errno
import fcntl
import ipaddress
import logging
import os
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, ClassVar

import attrs
import trio

from nics import handed, inside
from nics.door import Opened, Place
from nics.errors import BadInput, NicError, VnetError
from nics.netlink import Netlink
from vnet._native import Door, tap_door

log = logging.getLogger("vnet")

_QUEUES_MAX = 64
_NAME = re.compile(r"(?!\.{1,2}$)[!-$&-.0-9;-~]{1,15}")
"""What the kernel takes (dev_valid_name), but for `%`, which it would replace."""
_NUMBERED = "vtap%d"
_IFA_F_NODAD = 0x02
_IN6_ADDR_GEN_MODE_NONE = 1
_METRIC = 100
_QUEUE = 4096
"""Frames that wait in a new TAP for us to read them: the kernel's 500 are what a guest sends in half a
millisecond, and whoever reads them may well lose its core for three.
"""
_TC_H_ROOT = 0xFFFFFFFF
_IFF_UP = 1
_SIOCGIFHWADDR = 0x8927


def _check_name(_tap: Tap, _field: Any, name: str | None) -> None:
    if name is not None and not _NAME.fullmatch(name):
        raise BadInput(f"{name!r} is no interface name: 1 to 15 characters without space, /, : or %")


def _check_queues(_tap: Tap, _field: Any, queues: int) -> None:
    if not 1 <= queues <= _QUEUES_MAX:
        raise BadInput(f"a TAP has 1 to {_QUEUES_MAX} queues, not {queues}")


@attrs.frozen
class Tap:
    """A TAP interface.

    One that does not exist is created, given the guest's MAC, addresses and MTU, set up, and gone
    when the port is. One that exists must be made to persist (`ip tuntap add`), is used as it is,
    and stays; so is one that was handed over as a descriptor.
    """

    kind: ClassVar[str] = "tap"
    own_clock: ClassVar[bool] = True

    name: str | None = attrs.field(default=None, validator=_check_name)
    """The interface's name. None: `ethINDEX` in a guest's namespace, elsewhere the port's name, or
    `vtapNUMBER` where that is taken or too long."""
    netns: str | None = None
    """Name (as in `ip netns`) or path of the namespace it is in. None: the guest's, or else ours."""
    queues: int = attrs.field(default=1, validator=_check_queues)
    """More than one lets several of the guest's CPUs send at once."""
    offload: bool = True
    """Exchange super-frames and frames without checksum with the kernel."""
    device: str = "/dev/net/tun"
    fd: int | str | None = None
    """A TAP that somebody else opened, with IFF_VNET_HDR, and handed over: the number of its descriptor, and
    with several queues of the first of them; or their name in LISTEN_FDNAMES. It is used as it is. From
    Python: an inheritable one (`os.set_inheritable`), which is duplicated and remains the caller's."""

    def __attrs_post_init__(self) -> None:
        if self.fd is None:
            return
        for key in ("name", "netns", "device", "queues"):
            default = getattr(attrs.fields(Tap), key).default
            if getattr(self, key) != default and (key != "queues" or isinstance(self.fd, str)):
                raise BadInput(
                    f"with fd {self.fd} the TAP is there already, and with it its {key}: leave it out"
                )

    async def open(self, place: Place) -> Opened:
        """Open the TAP at `place`. Raises NicError, having undone what it did."""
        if self.fd is not None:
            await trio.lowlevel.checkpoint()
            return self._adopt(place, self.fd)
        with self._namespace(place) as netns:
            return await self._open(place, netns)

    async def _open(self, place: Place, netns: int | None) -> Opened:
        try:
            descriptors = await place.netlink.open_device(self.device, self.queues, netns)
        except OSError as error:
            raise NicError(f"{place.port}: {self.device}: {error.strerror}", _no_device(error)) from error
        with ExitStack() as stack:
            for descriptor in descriptors:
                stack.callback(os.close, descriptor)
            door, name, created = self._claim(place, netns, descriptors)
            if not created:
                await _or_close(
                    door, place.netlink.run(lambda iproute: _compare(place, name, iproute), netns)
                )
                return Opened(door=door, carries=name)
            await _or_close(door, place.netlink.run(_Configure(place, name, netns is not None), netns))
            # The interface goes with its last descriptor, and for that the kernel waits some 20 ms: not the
            # engine, and not for one after the other.
            last = stack.pop_all()
            return Opened(
                door=door,
                carries=name,
                close=lambda: trio.to_thread.run_sync(last.close),
                # In a guest's own namespace, which is open for as long as the guest is there.
                crowd=_Spread(place.netlink, place.netns, name)
                if place.netns is not None and netns == place.netns
                else None,
            )

    def _adopt(self, place: Place, fd: int | str) -> Opened:
        try:
            descriptors = handed.descriptors(fd, self.queues)
        except handed.NotHandedOver as error:
            raise NicError(
                f"{place.port}: {error}",
                "whoever starts vnet opens /dev/net/tun, makes it a TAP, and lets it be inherited",
            ) from error
        try:
            door, name = tap_door(list(descriptors), None, create=False, mtu=place.mtu, offload=self.offload)
        except OSError as error:
            numbers = ", ".join(map(str, descriptors))
            raise NicError(
                f"{place.port}: descriptor {numbers} is no TAP: {error.strerror or error}",
                "attach it by TUNSETIFF with IFF_TAP, IFF_NO_PI and IFF_VNET_HDR before it is handed over",
            ) from error
        mac = _hardware(descriptors[0])
        if mac not in ("", place.mac):
            log.warning(
                "%s: the TAP %s was handed over with the MAC address %s; the topology has %s: write `mac: %s`"
                " there",
                *(place.port, name, mac, place.mac, mac),
            )
        return Opened(door=door, carries=name)

    @contextmanager
    def _namespace(self, place: Place) -> Iterator[int | None]:
        if self.netns is None:
            yield place.netns
            return
        path = inside.PINS / self.netns
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            remedy = f"`ip netns add {self.netns}` makes one" if "/" not in self.netns else ""
            raise NicError(f"{place.port}: network namespace {path}: {error.strerror}", remedy) from error
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _claim(self, place: Place, netns: int | None, descriptors: list[int]) -> tuple[Door, str, bool]:
        """The door, the interface's name, and whether it was created."""

        def claim(name: str, create: bool) -> tuple[Door, str, bool]:
            door, real = tap_door(descriptors, name, create=create, mtu=place.mtu, offload=self.offload)
            return door, real, create

        name = self.name or _default_name(place, netns is not None)
        try:
            try:
                return claim(name, create=True)
            except OSError as error:
                # What may already exist: a TAP for us by that name; without a name given, anything.
                if self.name is not None and error.errno in (errno.EBUSY, errno.EPERM):
                    return claim(name, create=False)
                if self.name is None and error.errno == errno.EBUSY:
                    return claim(_NUMBERED, create=True)
                raise
        except OSError as error:
            raise _refused(place, name, error) from error


async def _or_close(door: Door, step: Awaitable[object]) -> None:
    """Take a step that the door needs; without it, the interface goes."""
    try:
        await step
    except BaseException:
        door.close()
        raise


def _hardware(descriptor: int) -> str:
    """The MAC address of the interface behind a TAP's descriptor, in whatever namespace; "": unknown."""
    try:
        asked = fcntl.ioctl(descriptor, _SIOCGIFHWADDR, bytes(40))
    except OSError:
        return ""
    return asked[18:24].hex(":")


def _default_name(place: Place, in_namespace: bool) -> str:
    if in_namespace and place.netns is not None:
        return f"eth{_index(place)}"
    return place.port if _NAME.fullmatch(place.port) else _NUMBERED


class _Spread:
    """What a guest is sent its kernel receives on the engine's CPU; while it is one of a crowd, on all."""

    def __init__(self, netlink: Netlink, netns: int, name: str) -> None:
        self.netlink = netlink
        self.netns = netns
        self.name = name

    async def __call__(self, crowd: bool) -> None:
        # Where it can't be done (the namespace or the interface goes; without root) nothing is worse than
        # before.
        with suppress(OSError, VnetError, trio.ClosedResourceError):
            await self.netlink.spread(self.netns, self.name, over=crowd)


def _index(place: Place) -> int:
    number = place.port.rpartition(".")[2]
    return int(number) if number.isdecimal() else 0


class _Configure:
    """Gives a new interface what the guest is to have; called in the netlink thread."""

    def __init__(self, place: Place, name: str, in_namespace: bool) -> None:
        self.place = place
        self.name = name
        self.in_namespace = in_namespace
        self.addresses = [ipaddress.ip_interface(text) for text in place.addresses]
        self.gateways = [ipaddress.ip_address(text) for text in place.gateways]

    def __call__(self, iproute: Any) -> None:
        place, name = self.place, self.name
        (index,) = iproute.link_lookup(ifname=name)
        link = {"index": index, "ifalias": f"vnet {place.port}"}
        self._step(f"MAC address {place.mac}", iproute.link, "set", address=place.mac, **link)
        self._step(f"MTU {place.mtu}", iproute.link, "set", index=index, mtu=place.mtu)
        self._step(f"a queue of {_QUEUE} frames", iproute.link, "set", index=index, txqlen=_QUEUE)
        self._no_second_queue(iproute, index)
        if not self.in_namespace and not any(address.version == 6 for address in self.addresses):
            # This host was given no IPv6 address in that network: it shall not take one by itself.
            mode = {"attrs": [["IFLA_INET6_ADDR_GEN_MODE", _IN6_ADDR_GEN_MODE_NONE]]}
            family = {"attrs": [["AF_INET6", mode]]}
            self._step("IPv6 address generation", iproute.link, "set", index=index, IFLA_AF_SPEC=family)
        self._step("the link", iproute.link, "set", index=index, state="up")
        for address in self.addresses:
            extra = {"broadcast": str(address.network.broadcast_address)} if address.version == 4 else {}
            # The fabric gives each address once: it need not be tentative for a second.
            flags = {"flags": _IFA_F_NODAD} if address.version == 6 else {}
            self._step(
                f"address {address}",
                iproute.addr,
                "add",
                index=index,
                address=str(address.ip),
                prefixlen=address.network.prefixlen,
                **extra,
                **flags,
            )
        if not self.in_namespace:
            return  # the host's default route is not a guest's
        for gateway in self.gateways:
            self._step(
                f"default route by {gateway}",
                iproute.route,
                "add",
                dst="default" if gateway.version == 4 else "::/0",
                gateway=str(gateway),
                oif=index,
                priority=_METRIC + _index(place),
            )

    def _no_second_queue(self, iproute: Any, index: int) -> None:
        """As a veth pair has it. A TAP never asks its sender to wait, so nothing waits in a queueing
        discipline in front of it, and what that costs for each frame, a tenth of a short one, is for
        nothing. What somebody puts there later (`tc`) stays.
        """
        from pyroute2 import NetlinkError

        with suppress(NetlinkError):  # a kernel without any queueing disciplines
            iproute.tc("replace", "noqueue", index, parent=_TC_H_ROOT)

    def _step(self, what: str, function: Callable[..., Any], *arguments: Any, **keys: Any) -> None:
        from pyroute2 import NetlinkError

        try:
            function(*arguments, **keys)
        except NetlinkError as error:
            raise NicError(
                f"{self.place.port}: {self.name}: {what} can't be set: {os.strerror(error.code)}",
                self._remedy(error.code),
            ) from error

    def _remedy(self, number: int) -> str:
        if (
            number == errno.EINVAL
            and self.place.mtu < 1280
            and any(address.version == 6 for address in self.addresses)
        ):
            return "IPv6 needs an MTU of at least 1280"  # RFC 8200 section 5
        if number in (errno.ENETUNREACH, errno.EHOSTUNREACH):
            return "a gateway lies in a subnet of the guest's addresses"
        return ""


def _compare(place: Place, name: str, iproute: Any) -> None:
    """Say where an interface that was there before is not as the topology says; it is somebody's, and
    may well be meant so (in a bridge, say).
    """
    (link,) = iproute.get_links(iproute.link_lookup(ifname=name)[0])
    mac, mtu = link.get("address"), link.get("mtu")
    if mac != place.mac:
        log.warning(
            "%s: the TAP %s was there before and keeps its MAC address %s; the topology has %s: write "
            "`mac: %s` there, or run `ip link set %s address %s`",
            *(place.port, name, mac, place.mac, mac, name, place.mac),
        )
    if mtu != place.mtu:
        log.warning(
            "%s: the TAP %s was there before and keeps its MTU %s; the topology has %s: run "
            "`ip link set %s mtu %s`",
            *(place.port, name, mtu, place.mtu, name, place.mtu),
        )
    if not link["flags"] & _IFF_UP:
        log.warning("%s: the TAP %s is down: run `ip link set %s up`", place.port, name, name)


def _no_device(error: OSError) -> str:
    match error.errno:
        case errno.ENOENT | errno.ENODEV | errno.ENXIO:
            return "`modprobe tun` as root; for a container, `--device /dev/net/tun`"
        case errno.EACCES:
            return "`chmod a+rw /dev/net/tun` as root; opening it gives nobody a right to anything"
        case errno.EPERM:
            return "in a container, `--device /dev/net/tun`; in another user's namespace, run as root"
    return ""


def _refused(place: Place, name: str, error: OSError) -> NicError:
    what = f"{place.port}: TAP {name}: {error.strerror}"
    match error.errno:
        case errno.EBUSY:
            return NicError(f"{place.port}: the TAP {name} is in use by another process", "give another name")
        case errno.EINVAL:
            return NicError(
                f"{place.port}: there is an interface {name}, but it is no TAP that can be used here",
                "give another name, or the number of queues that it was made for",
            )
        case errno.EPERM:
            user = os.environ.get("USER", "$USER")
            return NicError(
                what, f"run as root, or once as root: `ip tuntap add {name} mode tap user {user}`"
            )
    return NicError(what)
