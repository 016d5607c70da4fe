"""Set a port's carrier up or down, as its guest sees it.

A guest's name stands for its first port.

Examples:
  vnet link web.0 down
  vnet link web up

"""

from __future__ import annotations

import argparse

from vnet.cli import words


def arguments(parser: argparse.ArgumentParser) -> None:
    """PORT up|down."""
    parser.add_argument("port", metavar="PORT", help="GUEST.INDEX, or a guest")
    parser.add_argument("state", choices=["up", "down"])
    words.fabric_argument(parser, option=True)


def run(given: argparse.Namespace) -> int:
    """The command."""
    with words.client(given.name) as client:
        client.call("link", port=given.port, up=given.state == "up")
    return 0
