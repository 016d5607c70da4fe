"""Unplug a guest and forget it. One NIC of several goes by `vnet apply` of a file without it.

Examples:
  vnet detach probe

"""

from __future__ import annotations

import argparse

from vnet.cli import words


def arguments(parser: argparse.ArgumentParser) -> None:
    """GUEST."""
    parser.add_argument("guest", metavar="GUEST", help="the guest")
    words.fabric_argument(parser, option=True)


def run(given: argparse.Namespace) -> int:
    """The command."""
    with words.client(given.name) as client:
        client.call("detach", name=given.guest)
    print(f"{given.guest} is gone.")
    return 0
