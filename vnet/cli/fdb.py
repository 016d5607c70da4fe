"""The forwarding database: which address was heard at which port, or who wants which multicast group.

Examples:
  vnet fdb
  vnet fdb --network red --json
  vnet fdb --multicast

"""

from __future__ import annotations

import argparse

from vnet.cli import words


def arguments(parser: argparse.ArgumentParser) -> None:
    """[NAME] [--network NET] [--port PORT] [--multicast] [--json]."""
    words.fabric_argument(parser)
    parser.add_argument("--network", metavar="NET", help="only this network's")
    parser.add_argument("--port", metavar="PORT", help="only this port's")
    parser.add_argument(
        "--multicast", action="store_true", help="multicast groups and who wants them, where that is snooped"
    )
    words.json_argument(parser)


def run(given: argparse.Namespace) -> int:
    """The command."""
    with words.client(given.name) as client:
        call = "members" if given.multicast else "fdb"
        entries = client.call(call, network=given.network, port=given.port)
    if given.json:
        words.print_json(entries)
        return 0
    if given.multicast:
        words.table(
            ["switch", "vlan", "network", "group", "port", "sources", "expires"],
            [
                [
                    entry["switch"],
                    str(entry["vlan"]),
                    entry["network"] or "-",
                    entry["group"],
                    entry["port"],
                    " ".join(entry["sources"]) or " ".join(["all", *(f"-{s}" for s in entry["excluded"])]),
                    f"{entry['expires']:.0f} s",
                ]
                for entry in entries
            ],
            right=["vlan", "expires"],
        )
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
