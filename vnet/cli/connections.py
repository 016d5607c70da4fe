"""Connections that security groups track: who talks to whom, in what state, on whose account.

Examples:
  vnet connections
  vnet connections --port web
  vnet connections --network red --json

"""

from __future__ import annotations

import argparse
from typing import Any

from vnet.cli import words


def arguments(parser: argparse.ArgumentParser) -> None:
    """[NAME] [--network NET] [--port PORT] [--json]."""
    words.fabric_argument(parser)
    parser.add_argument("--network", metavar="NET", help="only this network's")
    parser.add_argument("--port", metavar="PORT", help="only this port's")
    words.json_argument(parser)


def run(given: argparse.Namespace) -> int:
    """The command."""
    with words.client(given.name) as client:
        connections = client.call("connections", network=given.network, port=given.port)
    if given.json:
        words.print_json(connections)
        return 0
    if not connections:
        print("No connection is tracked.")
        return 0
    words.table(
        ["network", "protocol", "from", "to", "state", "idle", "expires", "of"],
        [
            [
                entry["network"] or str(entry["vlan"]),
                entry["protocol"],
                end(entry["source"], entry["protocol"]),
                end(entry["target"], entry["protocol"]),
                entry["state"],
                words.duration(entry["idle"]),
                words.duration(entry["expires"]),
                entry["port"],
            ]
            for entry in connections
        ],
        right=["idle", "expires"],
    )
    return 0


def end(end: dict[str, Any], protocol: str) -> str:
    """`10.0.0.1:80`; of ICMP the identifier stands for a port."""
    address, port = end["address"], end["port"]
    if not port:
        return str(address)
    if protocol.startswith("icmp"):
        return f"{address} id {port}"
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
