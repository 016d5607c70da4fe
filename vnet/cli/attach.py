"""Plug a guest's NIC into a network while the fabric runs; a machine of --kind qemu is started.

KEYS of --nic are those of the kind, as in a topology file; so are KEY and VALUE of --set.

Examples:
  vnet attach probe --network red --nic kind=tap,name=tap0
  vnet attach vm7 --network red --nic kind=stream,socket=vm7.sock,role=server --mac 02:00:00:00:00:07
  vnet attach vm8 --network red --kind qemu --set memory='1 GiB' --set 'disks=[{path: vm8.qcow2}]'

"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from nics import kinds
from nics.keys import Wrong
from vnet.cli import words
from vnet.errors import BadInput

KINDS = ("stack", "netns", "qemu", "external")


def arguments(parser: argparse.ArgumentParser) -> None:
    """GUEST --network NET --nic kind=...,key=value..."""
    parser.add_argument("guest", metavar="GUEST", help="the new guest's name")
    parser.add_argument("--network", metavar="NET", help="the network it is plugged into")
    parser.add_argument("--nic", metavar="KEYS", help="kind=tap,name=tap0 and the like; a stack if left out")
    parser.add_argument("--kind", default=None, choices=KINDS, help="of which kind the guest is")
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="a key of the guest: memory='1 GiB'"
    )
    parser.add_argument("--mac", metavar="MAC", help="its MAC address; made from the names if left out")
    parser.add_argument("--ip", metavar="IP", action="append", help="its address; may be given several times")
    words.fabric_argument(parser, option=True)
    words.json_argument(parser)


def nic_keys(text: str) -> dict[str, Any]:
    """`kind=tap,name=tap0` as a mapping. Raises BadInput."""
    given: dict[str, str] = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if not equals or not key:
            raise BadInput(f"--nic {text}: {part!r} is not key=value")
        if key in given:
            raise BadInput(f"--nic {text}: {key} twice, expected each key once")
        given[key] = value
    kind = kinds.KINDS.get(given.get("kind", ""))
    types = {key.name: key.type for key in kind.keys} if kind else {}
    return {key: scalar(value, types.get(key)) for key, value in given.items()}


def scalar(text: str, type_: Any) -> object:
    """What `text` means for a key of that type: what is right as it stands is text (an interface may be
    called 7), anything else what a file's would be.
    """
    from vnet.topology import nodes

    try:
        if type_ is not None:
            type_.read(text)
            return text
    except Wrong:
        pass
    return nodes.resolved(text)


def guest_keys(given: Iterable[str]) -> dict[str, Any]:
    """`memory=1 GiB`, `disks=[{path: a.qcow2}]` and the like, values as a file has them."""
    from vnet.topology import nodes

    result: dict[str, Any] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise BadInput(f"--set {text}: expected KEY=VALUE")
        if key in ("kind", "nics"):
            raise BadInput(f"--set {text}: --{key.removesuffix('s')} says that")
        try:
            result[key] = nodes.to_object(nodes.from_text(value.encode(errors="surrogateescape")))
        except nodes.Unreadable as error:
            raise BadInput(f"--set {text}: {error.problem.line('', None)}") from None
    return result


def placed(name: str, keys: dict[str, Any], nic: dict[str, Any]) -> dict[str, Any]:
    """The keys of a machine with this NIC, paths starting here. Raises BadInput."""
    from vnet.topology import reader, write

    machine = reader.read_guest(name, {**keys, "kind": "qemu", "nics": [nic]}).machine
    return write.machine_words(machine) if machine is not None else {}


def run(given: argparse.Namespace) -> int:
    """The command."""
    nic: dict[str, Any] = {"network": given.network} if given.network else {}
    if given.nic:
        nic["nic"] = nic_keys(given.nic)
    if given.mac:
        nic["mac"] = given.mac
    if given.ip:
        nic["ip"] = given.ip
    kind = given.kind or ("external" if nic.get("nic", {"kind": "stack"}).get("kind") != "stack" else "stack")
    keys = guest_keys(given.set)
    if kind == "qemu":
        keys = placed(given.guest, keys, nic)
    with words.client(given.name) as client:
        port = client.call("attach", name=given.guest, kind=kind, nic=nic, keys=keys)
    if given.json:
        words.print_json(port)
    else:
        carries = f", {port['carries']}" if port["carries"] else ""
        print(f"{port['port']} is up: {port['kind']}{carries}, {port['mac']} {' '.join(port['ip'])}".rstrip())
    return 0
