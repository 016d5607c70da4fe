"""Words for QEMU: a NIC as its command line has it, and as its monitor (QMP) is told while it runs.

Both are the same keys. `vnet connect` prints the first; for a guest of kind `qemu` vnet says the second
itself (`vnet/machines/`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs

from nics.endpoint import Endpoint
from vnet.connect.facts import Facts, is_inet, path_of, vde_folder
from vnet.errors import BadInput

Keys = Mapping[str, Any]


def word(keys: Keys) -> str:
    """One option's keys as the command line has them: the first one's value alone, then `key=value`."""
    (_, first), *rest = _flat(keys)
    return ",".join([first, *(f"{key}={value}" for key, value in rest)])


def _flat(keys: Keys, prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in keys.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            text = {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)
            yield f"{prefix}{key}", text.replace(",", ",,")


@attrs.frozen
class Chardev:
    """The socket of a vhost-user NIC."""

    id: str
    path: str
    server: bool
    """QEMU listens."""

    def word(self) -> str:
        """As `-chardev` has it; who connects does so again."""
        abstract = self.path.startswith("@")
        keys: dict[str, Any] = {"": "socket", "id": self.id, "path": self.path[1:] if abstract else self.path}
        keys |= {"abstract": True} if abstract else {}
        return word(keys | ({"server": True, "wait": False} if self.server else {"reconnect": 1}))

    def command(self) -> dict[str, Any]:
        """The arguments of `chardev-add`."""
        abstract = self.path.startswith("@")
        where: dict[str, Any] = {"path": self.path[1:], "abstract": True} if abstract else {"path": self.path}
        data: dict[str, Any] = {"addr": {"type": "unix", "data": where}, "server": self.server}
        data |= {"wait": False} if self.server else {}
        return {"id": self.id, "backend": {"type": "socket", "data": data}}


@attrs.frozen
class Plug:
    """One NIC."""

    netdev: Keys
    """As `-netdev` and `netdev_add` take them."""
    device: Keys
    """As `-device` and `device_add` take them."""
    chardev: Chardev | None = None

    def words(self) -> list[str]:
        """An option each."""
        socket = [f"-chardev {self.chardev.word()}"] if self.chardev else []
        return [*socket, f"-netdev {word(self.netdev)}", f"-device {word(self.device)}"]


def plug(facts: Facts, number: int | str = 0) -> Plug:
    """What plugs a NIC into a port, `number` being its own in the machine. Raises BadInput."""
    if facts["kind"] not in _NETDEVS:
        raise BadInput(f"{facts['port']} is of kind {facts['kind']}, which QEMU can't be plugged into")
    netdev, chardev = _NETDEVS[facts["kind"]](facts, number)
    device = {"driver": "virtio-net-pci", "netdev": f"net{number}", "mac": facts["mac"]}
    if facts["mtu"] != 1500:
        device["host_mtu"] = facts["mtu"]
    if facts["kind"] == "vhost-user" and (queues := int(facts["nic"].get("queues") or 1)) > 1:
        device |= {"mq": True, "vectors": 2 * queues + 2}
    return Plug(netdev, device, chardev)


PLUGGABLE = ("vhost-user", "stream", "dgram", "vde")
"""Kinds of NICs that a machine of QEMU's can be plugged into, the fastest first."""


def _address(value: str, abstract: bool = True) -> Keys:
    if is_inet(value):
        host, _, port = value.rpartition(":")
        return {"type": "inet", "host": host.strip("[]"), "port": port}
    if value.startswith("@"):
        if not abstract:
            raise BadInput(f"QEMU's dgram knows no abstract sockets like {value}: give the port paths")
        return {"type": "unix", "path": value[1:], "abstract": True}
    return {"type": "unix", "path": value}


Built = tuple[dict[str, Any], Chardev | None]


def _stream(facts: Facts, number: int | str) -> Built:
    listens = facts["nic"].get("role") != "server"
    address = _address(path_of(facts))
    return {"type": "stream", "id": f"net{number}", "server": listens, "addr": address}, None


def _dgram(facts: Facts, number: int | str) -> Built:
    netdev: dict[str, Any] = {"type": "dgram", "id": f"net{number}"}
    if is_inet(theirs := path_of(facts, "remote")) and Endpoint.parse(theirs).multicast:
        return netdev | {"remote": _address(theirs, abstract=False)}, None
    local = _address(theirs, abstract=False)
    return netdev | {"local": local, "remote": _address(path_of(facts, "local"), abstract=False)}, None


def _vhost_user(facts: Facts, number: int | str) -> Built:
    chardev = Chardev(f"chr{number}", path_of(facts), server=facts["nic"].get("role") != "server")
    netdev: dict[str, Any] = {"type": "vhost-user", "id": f"net{number}", "chardev": chardev.id}
    queues = int(facts["nic"].get("queues") or 1)
    return netdev | ({"queues": queues} if queues > 1 else {}), chardev


def _vde(facts: Facts, number: int | str) -> Built:
    return {"type": "vde", "id": f"net{number}", "sock": vde_folder(facts, "QEMU")}, None


_NETDEVS: Mapping[str, Callable[[Facts, int | str], Built]] = {
    "stream": _stream,
    "dgram": _dgram,
    "vhost-user": _vhost_user,
    "vde": _vde,
}


# -- as `vnet connect` prints them ---------------------------------------------------------------


def _lines(plug: Plug, *, before: str = "", remarks: tuple[str, ...] = ()) -> list[str]:
    words = [*([before] if before else []), *plug.words()]
    return [*(f"{line} \\" for line in words[:-1]), words[-1], *remarks]


def stream(facts: Facts) -> list[str]:
    """A client of ours is told how to stay one."""
    made = plug(facts)
    again = "# to survive a restart of the fabric add reconnect=1 (QEMU 8.0), reconnect-ms=1000 (9.2)"
    return _lines(made, remarks=() if made.netdev["server"] else (again,))


def dgram(facts: Facts) -> list[str]:
    """Where it sends from and to."""
    return _lines(plug(facts))


def vhost_user(facts: Facts) -> list[str]:
    """With the memory that it takes."""
    made = plug(facts)
    remarks = ["# the memory object's size is that of -m; without KVM add vectors=0 to the device"]
    if made.chardev and not made.chardev.server:
        remarks.append("# QEMU 9.2 and later: reconnect-ms=1000 instead of reconnect=1")
    memory = "-m 1G -object memory-backend-memfd,id=mem,size=1G,share=on -machine memory-backend=mem"
    return _lines(made, before=memory, remarks=tuple(remarks))


def vde(facts: Facts) -> list[str]:
    """With a name, so that it can be plugged in anew."""
    made = plug(facts)
    made = attrs.evolve(made, device={**made.device, "id": "nic0"})
    return _lines(
        made,
        remarks=(
            "# QEMU does not plug in again: after a restart of the fabric, device_del nic0, netdev_del net0,",
            "# and both added again; or give the port a NIC of kind stream",
        ),
    )


def tap(facts: Facts) -> list[str]:
    """It can't be had."""
    name = facts["carries"]
    return [
        f"# vnet has the TAP {name} itself: give the VM a stream, dgram or vhost-user NIC instead,",
        f"# or bridge {name} on the host",
    ]


KINDS: Mapping[str, Callable[[Facts], list[str]]] = {
    "stream": stream,
    "dgram": dgram,
    "vhost-user": vhost_user,
    "tap": tap,
    "vde": vde,
}
