"""Set a port's carrier up or down, as its guest sees it.

A guest's name stands for its first port. A link is cut at both ends; one of its several cables, or of
those of an uplink, goes by the name that `vnet status` shows for it. What is down stays so, over `vnet apply`
too, until it is set up again; what a file has down (`up: false`) is set up there alone.

Examples:
  vnet link web.0 down
  vnet link web up
  vnet link left-right.2 down

"""

from __future__ import annotations

import argparse

from vnet.cli import words


def arguments(parser: argparse.ArgumentParser) -> None:
    """PORT up|down."""
    parser.add_argument("port", metavar="PORT", help="GUEST.INDEX, a guest, a link or a cable")
    parser.add_argument("state", choices=["up", "down"])
    words.fabric_argument(parser, option=True)


def run(given: argparse.Namespace) -> int:
    """The command."""
    with words.client(given.name) as client:
        client.call("link", port=given.port, up=given.state == "up")
    return 0
