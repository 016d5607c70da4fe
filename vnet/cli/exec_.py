"""Run a command in a netns guest, with this terminal and this folder.

In a qemu guest its guest agent runs it (qemu-guest-agent), without a terminal; what it says is printed
when it has ended. Its exit code is this command's.

Examples:
  vnet exec shell -- ip addr
  vnet exec shell -- bash

"""

from __future__ import annotations

import argparse
import base64
import sys

from vnet.cli import words
from vnet.errors import BadInput


def arguments(parser: argparse.ArgumentParser) -> None:
    """GUEST -- CMD..."""
    words.fabric_argument(parser, option=True)
    parser.add_argument("guest", metavar="GUEST", help="a guest of kind netns or qemu")
    parser.add_argument("argv", metavar="CMD", nargs=argparse.REMAINDER, help="the command and its arguments")


def run(given: argparse.Namespace) -> int:
    """The command."""
    from nics.netns import enter_and_exec

    argv = given.argv[1:] if given.argv[:1] == ["--"] else given.argv
    if not argv:
        raise BadInput("vnet exec GUEST -- CMD...: there is no command")
    with words.client(given.name) as client:
        entry = client.call("enter", name=given.guest)
        if "agent" not in entry:
            sys.stdout.flush()
            enter_and_exec(entry, argv)
        done = client.call("run", name=given.guest, argv=argv)
    for stream, key in ((sys.stdout, "output"), (sys.stderr, "errors")):
        stream.buffer.write(base64.b64decode(done[key]))
        stream.flush()
    return int(done["code"])
