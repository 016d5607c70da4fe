"""Plug a guest's NIC into a network while the fabric runs.

KEYS of --nic are those of the kind, as in a topology file.

Examples:
  vnet attach probe --network red --nic kind=tap,name=tap0
  vnet attach vm7 --network red --nic kind=stream,socket=vm7.sock,role=server --mac 02:00:00:00:00:07

"""

from __future__ import annotations

import argparse
from typing import Any

from vnet.cli import words
from vnet.errors import BadInput


def arguments(parser: argparse.ArgumentParser) -> None:
    """GUEST --network NET --nic kind=...,key=value..."""
    parser.add_argument("guest", metavar="GUEST", help="the new guest's name")
    parser.add_argument("--network", metavar="NET", help="the network it is plugged into")
    parser.add_argument("--nic", metavar="KEYS", help="kind=tap,name=tap0 and the like; a stack if left out")
    parser.add_argument("--kind", default=None, choices=["stack", "netns", "external"], help="of which kind")
    parser.add_argument("--mac", metavar="MAC", help="its MAC address; made from the names if left out")
    parser.add_argument("--ip", metavar="IP", action="append", help="its address; may be given several times")
    words.fabric_argument(parser, option=True)
    words.json_argument(parser)


def keys(text: str) -> dict[str, Any]:
    """`kind=tap,name=tap0` as a mapping."""
    result: dict[str, Any] = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if not equals or not key:
            raise BadInput(f"--nic {text}: {part!r} is not key=value")
        result[key] = int(value) if value.isdecimal() else value
    return result


def run(given: argparse.Namespace) -> int:
    """The command."""
    nic: dict[str, Any] = {"network": given.network} if given.network else {}
    if given.nic:
        nic["nic"] = keys(given.nic)
    if given.mac:
        nic["mac"] = given.mac
    if given.ip:
        nic["ip"] = given.ip
    kind = given.kind or ("external" if given.nic else "stack")
    with words.client(given.name) as client:
        port = client.call("attach", name=given.guest, kind=kind, nic=nic)
    if given.json:
        words.print_json(port)
    else:
        carries = f", {port['carries']}" if port["carries"] else ""
        print(f"{port['port']} is up: {port['kind']}{carries}, {port['mac']} {' '.join(port['ip'])}".rstrip())
    return 0
