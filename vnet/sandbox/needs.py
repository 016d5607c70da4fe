"""What doors need of the system while they are open, and to be opened: one row a kind."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from nics.bond import Bond
from nics.endpoint import Endpoint

if TYPE_CHECKING:
    from vnet.topology.resolve import Port

MODES = ("default", "strict", "off")
NAMESPACES = Path("/run/netns")
TUN = Path("/dev/net/tun")

CAPABILITIES = {"net_admin": 12, "net_raw": 13, "perfmon": 38, "bpf": 39}
"""Numbers of the capabilities that a door may need (linux/capability.h)."""

Rule = tuple[Path, str]
"""A path and `read`, `write`, `own`, `sockets`, `prune` or `device`: what is done with it."""


@attrs.frozen
class Needs:
    """Of one door, or of many."""

    capabilities: frozenset[str] = frozenset()
    families: frozenset[int] = frozenset()
    """Address families of sockets, beside those that everybody has."""
    rules: frozenset[Rule] = frozenset()
    bind: frozenset[int] = frozenset()
    """TCP ports."""
    connect: frozenset[int] = frozenset()
    calls: frozenset[str] = frozenset()
    """System calls that hardly anybody needs."""
    routes: bool = False
    """To ask the kernel about interfaces, by netlink."""
    holder: bool = False
    """To have namespaces made, or things opened in them, by a process outside (`nics/inside.py`)."""
    abstract_sockets: bool = False
    """To connect to abstract sockets of others."""

    def __or__(self, other: Needs) -> Needs:
        """What both need."""
        return Needs(
            *(getattr(self, field.name) | getattr(other, field.name) for field in attrs.fields(Needs))
        )

    def beyond(self, kept: Needs) -> list[str]:
        """What of it is not kept, in words."""
        missing = [f"CAP_{name.upper()}" for name in sorted(self.capabilities - kept.capabilities)]
        missing += [f"sockets of {_family(n)}" for n in sorted(self.families - kept.families)]
        missing += [f"the system call {name}" for name in sorted(self.calls - kept.calls)]
        # A folder that is left behind at the end is no reason to refuse it.
        missing += [
            str(path) for path, how in sorted(self.rules) if how != "prune" and not _within(path, kept.rules)
        ]
        missing += [
            f"TCP port {port}" for port in sorted(self.bind - kept.bind | self.connect - kept.connect)
        ]
        if self.holder and not kept.holder:
            missing.append("the helper for namespaces")
        if self.routes and not kept.routes:
            missing.append("netlink")
        if self.abstract_sockets and not kept.abstract_sockets:
            missing.append("abstract sockets of others")
        return missing


def _family(number: int) -> str:
    return "AF_XDP" if number == AF_XDP else socket.AddressFamily(number).name


def _within(path: Path, rules: Iterable[Rule]) -> bool:
    return any(how != "prune" and (path == kept or kept in path.parents) for kept, how in rules)


AF_XDP = 44
"""linux/socket.h; Python has no name for it."""
_NETLINK = frozenset({int(socket.AF_NETLINK)})
_PACKET = frozenset({int(socket.AF_PACKET)})

KINDS: Mapping[str, Needs] = {
    "tap": Needs(
        capabilities=frozenset({"net_admin"}),
        families=_NETLINK,
        rules=frozenset({(TUN, "device")}),
        routes=True,
    ),
    "packet": Needs(capabilities=frozenset({"net_raw"}), families=_NETLINK | _PACKET),
    # Its stations are noted in a map of the kernel's while it is open, by way of bpf(2).
    "xdp": Needs(
        capabilities=frozenset({"net_admin", "net_raw", "bpf"}),
        families=_NETLINK | _PACKET | frozenset({AF_XDP}),
        calls=frozenset({"bpf"}),
    ),
}
"""By kind of NIC, whatever its keys are. Those that are not here need nothing but memory and sockets."""

NETNS = KINDS["tap"] | Needs(holder=True)
"""Of a guest that is a namespace."""

KEEP = ("netns", "tap", "packet", "qemu")
"""What `engine: {keep: ...}` can name. Not `xdp`: CAP_BPF is for those alone who have such an uplink. With
`qemu`, what starts machines starts others than there were, too (`vnet/machines/keeper.py`).
"""


def of_kind(kind: str) -> Needs:
    """Of a kind of guest or NIC, as `engine: {keep: ...}` names it."""
    return NETNS if kind == "netns" else KINDS.get(kind, Needs())


def needs(port: Port, runtime: Path) -> Needs:
    """Of one port's door, with its keys; relative sockets lie in `runtime`."""
    nic = port.nic
    if isinstance(nic, Bond):
        whole = Needs()
        for one in nic.nics:
            whole |= needs(attrs.evolve(port, nic=one), runtime)
        return whole
    if getattr(nic, "fd", None) is not None:
        return Needs()  # it is open, and what is asked of it later needs no right
    found = NETNS if port.guest_kind == "netns" and not port.is_uplink else of_kind(nic.kind)
    if getattr(nic, "netns", None) is not None:
        found |= Needs(holder=True, rules=frozenset({(NAMESPACES / str(getattr(nic, "netns")), "read")}))  # noqa: B009
    if (device := getattr(nic, "device", None)) is not None:
        found = attrs.evolve(found, rules=frozenset({(Path(device), "device")}))
    if nic.kind in ("stream", "vhost-user"):
        listens = getattr(nic, "role", "server") == "server"
        found |= _socket(str(getattr(nic, "socket")), runtime, listens=listens)  # noqa: B009
    elif nic.kind == "dgram":
        # Who sends first may be at an abstract name of the kernel's choice; answers go there.
        local, remote = getattr(nic, "local", None), getattr(nic, "remote", None)
        unix = Endpoint.parse(str(local or remote)).ip is None
        found |= Needs(abstract_sockets=unix)
        if local is not None and unix:
            found |= _socket(str(local), runtime, listens=True)
    elif nic.kind == "vde":
        # Sockets for frames come and go in the switch's folder. Bochs takes them at an abstract name.
        folder = runtime / str(getattr(nic, "directory"))  # noqa: B009
        found |= Needs(rules=frozenset({(folder, "sockets")}), abstract_sockets=True)
        if getattr(nic, "role", "server") == "server":
            found |= Needs(rules=frozenset({(folder.parent, "prune")}))
    elif nic.kind == "pcap":
        for key, access in (("read", "read"), ("write", "write")):
            if (path := getattr(nic, key, None)) is not None:
                found |= Needs(rules=frozenset({(Path(os.path.abspath(path)), access)}))  # noqa: PTH100
    return found


def _socket(text: str, runtime: Path, *, listens: bool) -> Needs:
    endpoint = Endpoint.parse(text)
    if endpoint.ip is not None:
        port = frozenset({endpoint.port})
        return Needs(bind=port) if listens else Needs(connect=port)
    if text.startswith("@"):
        return Needs(abstract_sockets=not listens)
    if not listens:
        return Needs()
    return Needs(rules=frozenset({((runtime / text).parent, "sockets")}))
