"""The forwarding database: which address was heard at which port.

Examples:
  vnet fdb
  vnet fdb --network red --json

"""

from __future__ import annotations

import argparse

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
        entries = client.call("fdb", network=given.network, port=given.port)
    if given.json:
        words.print_json(entries)
        return 0
    words.table(
        ["switch", "vlan", "network", "mac", "port", "kind", "age"],
        [
            [
                entry["switch"],
                str(entry["vlan"]),
                entry["network"] or "-",
                entry["mac"],
                entry["port"],
                entry["kind"],
                f"{entry['age']:.0f} s" if entry["kind"] == "learned" else "-",
            ]
            for entry in entries
        ],
        right=["vlan", "age"],
    )
    return 0
