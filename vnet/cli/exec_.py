"""Run a command in a netns guest, with this terminal and this folder.

In a qemu guest its guest agent runs it (qemu-guest-agent), without a terminal; what it says is printed
when it has ended. Its exit code is this command's.

What follows GUEST and its options is the command; `--` in front of it makes that plain.

Examples:
  vnet exec shell -- ip addr
  vnet exec shell -n lab -- bash
  vnet exec vm -- systemctl is-system-running

"""

from __future__ import annotations

import argparse
import base64
import sys
from collections.abc import Sequence

from vnet.cli import words
from vnet.errors import BadInput


def arguments(parser: argparse.ArgumentParser) -> None:
    """GUEST [--] CMD..."""
    parser.usage = "vnet exec [-h] GUEST [-n NAME] [--] CMD..."
    words.fabric_argument(parser, option=True)
    parser.add_argument("guest", metavar="GUEST", help="a guest of kind netns or qemu")
    parser.add_argument("argv", metavar="CMD", nargs=argparse.REMAINDER, help="the command and its arguments")


def parted(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """What follows GUEST as the fabric's name, if it is given there, and the command. Raises BadInput."""
    name, rest = None, list(words)
    while rest and rest[0].startswith("-"):
        option, equals, value = rest.pop(0).partition("=")
        if option == "--" and not equals:
            break
        if option not in ("-n", "--name"):
            raise BadInput(f"{option} is no option of vnet exec; a command comes after --")
        if not equals and not rest:
            raise BadInput(f"{option}: expected the fabric's name")
        name = value if equals else rest.pop(0)
    return name, rest


def run(given: argparse.Namespace) -> int:
    """The command."""
    from nics.netns import enter_and_exec

    name, argv = parted(given.argv)
    if not argv:
        raise BadInput("vnet exec GUEST -- CMD...: there is no command")
    with words.client(name or given.name) as client:
        entry = client.call("enter", name=given.guest)
        if "agent" not in entry:
            sys.stdout.flush()
            enter_and_exec(entry, argv)
        said = client.stream("run", name=given.guest, argv=argv)
        while True:
            try:
                item = next(said)
            except StopIteration as end:
                return int(end.value["code"])
            for stream, key in ((sys.stdout, "output"), (sys.stderr, "errors")):
                stream.buffer.write(base64.b64decode(item.get(key, "")))
                stream.flush()
