"""Every kind of NIC by its name in a topology file: its keys, and the class that describes it.

The table is all that the reader, the JSON Schema and the reference page know about NICs. To add a
kind, write its description class (a frozen attrs class whose attributes have the keys' names) and
add a row. Classes are imported when first asked for.
"""

# ruff: noqa: D102 - what `expected`, `read`, `write` and `schema` do is said once, at Type

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

import attrs

from nics.door import Nic
from nics.endpoint import PATH_MAX, Endpoint
from nics.handed import FIRST
from nics.keys import Choice, Count, Flag, Key, Number, Text, Type, Wrong
from nics.quantity import SIZE

_PATH = r"[^\x00]+"


@attrs.frozen
class SocketPath(Type):
    """A Unix socket's path, or that of a folder for some; a relative one lies in the runtime folder."""

    most: int = PATH_MAX
    """Its bytes."""

    @property
    def expected(self) -> str:
        return f"a path of at most {self.most} bytes"

    def read(self, value: object) -> str:
        if not isinstance(value, str) or not value or "\0" in value or len(value.encode()) > self.most:
            raise Wrong(self.expected)
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "minLength": 1, "maxLength": self.most}


@attrs.frozen
class SocketAddress(Type):
    """Where a socket is; see `nics/endpoint.py`."""

    @property
    def expected(self) -> str:
        return "a path, @name, 127.0.0.1:5000 or [::1]:5000"

    def read(self, value: object) -> str:
        if not isinstance(value, str):
            raise Wrong(self.expected)
        try:
            return Endpoint.parse(value).text
        except ValueError:
            too_long = len(value.encode(errors="replace")) > PATH_MAX
            raise Wrong(f"a path of at most {PATH_MAX} bytes" if too_long else self.expected) from None

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "minLength": 1, "maxLength": PATH_MAX + 1}


@attrs.frozen
class InterfaceName(Type):
    """The name of a network interface, as the kernel takes it (dev_valid_name)."""

    @property
    def expected(self) -> str:
        return "an interface name of 1 to 15 characters without space, / or :"

    def read(self, value: object) -> str:
        if not isinstance(value, str) or not re.fullmatch(r"(?!\.{1,2}$)[!-$&-.0-9;-~]{1,15}", value):
            raise Wrong(self.expected)
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^(?!\.{1,2}$)[!-$&-.0-9;-~]{1,15}$"}


@attrs.frozen
class Handed(Type):
    """Descriptors that were handed over; see `nics/handed.py`."""

    @property
    def expected(self) -> str:
        return "a descriptor's number from 3 on, or a name in LISTEN_FDNAMES"

    def read(self, value: object) -> int | str:
        if isinstance(value, int) and not isinstance(value, bool) and FIRST <= value < 1 << 20:
            return value
        if isinstance(value, str) and re.fullmatch(r"(?![0-9]+$)[!-9;-~]{1,255}", value):
            return value
        digits = isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value)
        raise Wrong(self.expected, f"did you mean {value} without quotes?" if digits else "")

    def schema(self) -> dict[str, Any]:
        number = {"type": "integer", "minimum": FIRST, "maximum": (1 << 20) - 1}
        return {"anyOf": [number, {"type": "string", "pattern": r"^(?![0-9]+$)[!-9;-~]{1,255}$"}]}


ROLE = Key(
    "role",
    Choice(("server", "client")),
    "Who listens on the socket: `server` is us. A client connects again, with backoff, whenever the"
    " connection ends.",
    example="server",
    default="server",
)
BUFFER = attrs.evolve(SIZE, lowest=4 << 10, highest=16 << 20)
NETNS = Key(
    "netns",
    Text("a namespace's name or path", r"[A-Za-z0-9_.-]{1,255}|/[^\x00]+", 4096),
    "The network namespace that the interface is in. Left out: ours.",
    example="lab",
)
OFFLOAD = Key(
    "offload",
    Flag(),
    "false: no super-frames and no frames without checksum are exchanged with the kernel.",
    example=False,
    default=True,
)
INTERFACE = Key(
    "interface",
    InterfaceName(),
    "The interface. When it goes, its port waits for one of that name.",
    example="eth0",
    required=True,
)
QUEUES = Key("queues", Count(1, 64, "a number of queues"), "Queue pairs.", example=2, default=1)


@attrs.frozen
class Kind:
    """One row of the table."""

    name: str
    where: str
    """`module:Class` of the description."""
    doc: str
    keys: tuple[Key, ...] = ()
    any_of: tuple[str, ...] = ()
    """At least one of these keys must be given."""
    claims: Mapping[str, str] = attrs.field(factory=dict)
    """Keys whose value only one NIC may have -> what the value names."""

    def load(self) -> type[Nic]:
        """The description class."""
        module, _, name = self.where.partition(":")
        return cast("type[Nic]", getattr(importlib.import_module(module), name))


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "stack",
            "nics.stack:Stack",
            "An in-process TCP/IP guest's NIC; what a guest of kind `stack` has.",
            keys=(
                Key("receive_buffer", BUFFER,
                    "What a TCP connection receives ahead of its reader. Used as far as it is needed.",
                    example="1 MiB", default=256 << 10),
                Key("send_buffer", BUFFER,
                    "What a TCP connection holds until its peer has acknowledged it.",
                    example="1 MiB", default=256 << 10),
                Key("gso", Flag(),
                    "false: bulk data is sent in frames of the MTU. Super-frames, which are cut where a port"
                    " needs it, are faster, but captures show them as they were sent.",
                    example=False, default=True),
            ),
        ),
        Kind(
            "pipe",
            "nics.pipe:Pipe",
            "Frames to and from Python or scapy.",
            keys=(
                Key("limit", Count(1, 1 << 20, "a number of frames"),
                    "Frames that wait at most, each way; what comes on top of that is dropped.",
                    example=100, default=1024),
            ),
        ),
        Kind(
            "tap",
            "nics.tap:Tap",
            "A Linux TAP interface, with GSO and checksum offload; what a guest of kind `netns` has.",
            keys=(
                Key("name", InterfaceName(),
                    "The interface's name. Left out: `ethINDEX` in a guest's namespace, elsewhere the"
                    " port's name. One that is there already must be a TAP of yours, and stays.",
                    example="tap0"),
                attrs.evolve(
                    NETNS, doc="The network namespace that the interface is created in. Left out: ours."
                ),
                QUEUES,
                OFFLOAD,
                Key("device", Text("a path", _PATH), "The kernel's TUN/TAP device.",
                    example="/dev/net/tun", default="/dev/net/tun"),
                Key("fd", Handed(),
                    "A TAP that whoever started vnet opened and handed over, as libvirt and systemd do: its"
                    " descriptor's number (with `queues: 2` also the next), or its name in LISTEN_FDNAMES. It"
                    " is used as it is, and needs no rights. Instead of `name`, `netns` and `device`.",
                    example="uplink0"),
            ),
            claims={"name": "interface", "fd": "descriptor"},
        ),
        Kind(
            "stream",
            "nics.stream:Stream",
            "A stream socket with 4-byte length framing: QEMU `-netdev stream` and `-netdev socket`,"
            " passt, gvproxy, libkrun.",
            keys=(
                Key("socket", SocketAddress(),
                    "Where: a path (a relative one lies in the runtime folder), `@name` or `ip:port`.",
                    example="vm1.sock", required=True),
                ROLE,
            ),
            claims={"socket": "socket"},
        ),
        Kind(
            "dgram",
            "nics.dgram:Dgram",
            "One frame a datagram: QEMU `-netdev dgram`, vfkit, GNS3 and Dynamips NIO UDP, VirtualBox"
            " UDPTunnel.",
            keys=(
                Key("local", SocketAddress(),
                    "Our end: a path (a relative one lies in the runtime folder), `@name` or `ip:port`."
                    " Left out: of the kernel's choice, for a guest that answers whoever sent.",
                    example="127.0.0.1:10001"),
                Key("remote", SocketAddress(),
                    "The guest's end, likewise, or a multicast group and port (QEMU's `mcast`). Left out:"
                    " whoever sends first.",
                    example="127.0.0.1:10002"),
            ),
            any_of=("local", "remote"),
            claims={"local": "socket"},
        ),
        Kind(
            "vhost-user",
            "nics.vhost_user:VhostUser",
            "Virtio rings in the guest's own memory: QEMU, cloud-hypervisor, crosvm, libkrun, DPDK"
            " virtio-user.",
            keys=(
                Key("socket", SocketPath(), "The Unix socket; a relative path lies in the runtime folder.",
                    example="vm1.sock", required=True),
                ROLE,
                QUEUES,
                Key("offload", Flag(),
                    "false: no super-frames and no frames without checksum are offered to the guest.",
                    example=False, default=True),
                Key("config", Flag(),
                    "true: the device tells the guest its MAC address and MTU, for crosvm and libkrun. QEMU"
                    " and cloud-hypervisor tell that themselves, and QEMU complains of a device that does.",
                    example=True, default=False),
            ),
            claims={"socket": "socket"},
        ),
        Kind(
            "vde",
            "nics.vde:Vde",
            "A VDE plug: `vde_plug`, QEMU `-netdev vde`, User-mode Linux, Bochs, SIMH, 86Box; or a port of"
            " a `vde_switch`.",
            keys=(
                Key("directory", SocketPath(90),
                    "The switch's folder; a relative path lies in the runtime folder. Of a server it is made"
                    " and takes one plug.",
                    example="vm1.vde", required=True),
                attrs.evolve(
                    ROLE,
                    doc="Whose switch it is: `server` is ours, `client` plugs into somebody else's. A client"
                    " plugs in again, with backoff, whenever that ends.",
                    example="client",
                ),
                Key("port", Count(1, 65_535, "a port's number"),
                    "Of a client: the port of the switch, as `port/print` there shows them. Left out: any.",
                    example=5),
            ),
            claims={"directory": "folder"},
        ),
        Kind(
            "packet",
            "nics.packet:Packet",
            "AF_PACKET on an interface: the usual uplink.",
            keys=(
                INTERFACE,
                NETNS,
                Key("queues", Count(1, 16, "a number of queues"),
                    "Packet sockets that share what comes in, 4 MiB of memory each. A flow keeps to one. More"
                    " than one is for interfaces whose queues several CPUs serve, and for long bursts.",
                    example=4, default=1),
                OFFLOAD,
            ),
            claims={"interface": "interface"},
        ),
        Kind(
            "xdp",
            "nics.xdp:Xdp",
            "AF_XDP on an interface: an uplink whose frames come in around the kernel's network stack. Where"
            " that is not to be had it is a `packet` NIC, and the log says why.",
            keys=(
                INTERFACE,
                NETNS,
                Key("queues", Count(1, 64, "a number of queues"),
                    "Queues of the interface that are taken from, 8 MiB of memory each; the others go through"
                    " the kernel. Left out: all, 16 at most.",
                    example=2),
                Key("mode", Choice(("auto", "native", "generic")),
                    "`native` is the driver's own, `generic` the kernel's, which does not show VLAN tags that"
                    " a driver took out: a frame of one network may look like another's. `auto` is native,"
                    " or generic where that can't be. A veth has no generic mode here.",
                    example="native", default="auto"),
                OFFLOAD,
            ),
            claims={"interface": "interface"},
        ),
        Kind(
            "pcap",
            "nics.pcap:Pcap",
            "Plays a capture in, records what comes out.",
            keys=(
                Key("read", Text("a path", _PATH),
                    "The capture that is played into the switch. A relative path is looked for where vnet"
                    " was started.",
                    example="in.pcapng"),
                Key("write", Text("a path", _PATH),
                    "The capture that frames from the switch are written to; one that exists is replaced.",
                    example="out.pcapng"),
                Key("speed", Number(0, 1_000_000, "a factor"),
                    "How fast: 1 as it was recorded, 10 ten times as fast, 0 as fast as possible.",
                    example=10, default=1.0),
            ),
            any_of=("read", "write"),
            claims={"write": "file"},
        ),
    )
}  # fmt: skip


def make(kind: str, keys: Mapping[str, Any]) -> Nic:
    """The description of a NIC from values that were read by the kind's own keys.

    Raises what the class raises for keys that do not go together.
    """
    return KINDS[kind].load()(**keys)


def words(nic: Nic) -> dict[str, object]:
    """What a topology file would say for `nic`, without what is default anyway."""
    said: dict[str, object] = {"kind": nic.kind}
    for key in KINDS[nic.kind].keys:
        value = getattr(nic, key.name)
        if value is not None and value != key.default:
            said[key.name] = key.type.write(value)
    return said


def claims(nic: Nic) -> Iterator[tuple[str, str, str]]:
    """What `nic` takes for itself alone: (key, what it names, its name)."""
    kind = KINDS.get(nic.kind)
    if kind is None or (kind.name in ("stream", "vde") and getattr(nic, "role", None) == "client"):
        return  # Any number of clients may connect to one listening socket, or plug into one switch.
    for key, what in kind.claims.items():
        name = getattr(nic, key)
        if isinstance(name, int):  # the first of some
            for number in range(name, name + getattr(nic, "queues", 1)):
                yield key, what, str(number)
        elif name is not None:
            yield key, what, str(name)
