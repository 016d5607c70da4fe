"""Run a command in a netns guest, with this terminal and this folder.

Its exit code is this command's.

Examples:
  vnet exec shell -- ip addr
  vnet exec shell -- bash

"""

from __future__ import annotations

import argparse
import sys

from vnet.cli import words
from vnet.errors import BadInput


def arguments(parser: argparse.ArgumentParser) -> None:
    """GUEST -- CMD..."""
    words.fabric_argument(parser, option=True)
    parser.add_argument("guest", metavar="GUEST", help="a guest of kind netns")
    parser.add_argument("argv", metavar="CMD", nargs=argparse.REMAINDER, help="the command and its arguments")


def run(given: argparse.Namespace) -> int:
    """The command."""
    from nics.netns import enter_and_exec

    argv = given.argv[1:] if given.argv[:1] == ["--"] else given.argv
    if not argv:
        raise BadInput("vnet exec GUEST -- CMD...: there is no command")
    with words.client(given.name) as client:
        entry = client.call("enter", name=given.guest)
    sys.stdout.flush()
    enter_and_exec(entry, argv)
