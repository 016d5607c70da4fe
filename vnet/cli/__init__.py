"""The command line: one file a command, and what they share in `words.py`."""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import signal
import sys
import textwrap
from collections.abc import Sequence

from vnet.errors import BadInput, VnetError, single
from vnet.guests import suggestion

COMMANDS = {
    "demo": "see it work: two tenants, real TCP, isolation probed; no root, no file",
    "up": "bring the fabric of a topology file up",
    "down": "bring a fabric down, leaving nothing behind",
    "apply": "change a running fabric to a file",
    "status": "guests, ports, carrier, traffic, drops by reason",
    "ping": "ping from a guest",
    "exec": "run a command in a netns or qemu guest",
    "console": "the serial console of a qemu guest",
    "power": "switch a qemu guest on or off",
    "attach": "plug a NIC in while the fabric runs",
    "detach": "unplug a guest",
    "link": "set a port's carrier up or down",
    "connect": "the exact words that plug a VM in",
    "capture": "write frames to a pcapng file, live",
    "explain": "what would happen to a frame, step by step, and why",
    "shell": "a Python prompt in a fabric",
    "send": "put a frame in at a port, as if its guest had sent it",
    "extcap": "show ports as interfaces in Wireshark",
    "top": "watch traffic and drops as they go, port by port",
    "usage": "what guests sent and received, over uplinks or not: to bill by",
    "metrics": "figures for Prometheus, printed or served",
    "fdb": "the forwarding database",
    "connections": "what security groups know of connections",
    "drops": "what was dropped, where and why",
    "check": "prove who can reach whom, from the file alone",
    "convert": "another tool's network (Mininet, containerlab) as a topology file",
    "graph": "draw a topology as SVG",
    "test": "bring a file up, probe every pair, play its scenario",
    "doctor": "what is missing on this host, and how to get it",
    "schema": "the JSON Schema of topology files",
    "bench": "what this machine forwards, how fast, and what a guest costs",
}

EPILOG = """examples:
  vnet demo                        see it work
  vnet up tenants.yaml -d          bring a fabric up, in the background
  vnet status                      what is there, what passed, what was dropped
  vnet ping web db                 from one guest to another
  vnet capture red -w red.pcapng   record a network
  vnet COMMAND --help              more, with examples

exit codes: 0 done, 1 it failed or does not hold, 2 what was given is wrong"""


WIDTH = 80
"""Columns of help where there is no terminal, and which it has at least."""


def described(text: str, columns: int) -> str:
    """A command's docstring, its paragraphs in as many columns; examples and tables stay as they are."""
    paragraphs = text.strip().split("\n\n")
    return "\n\n".join(
        part
        if "\n " in part or part.startswith(" ")
        else textwrap.fill(part, columns, break_on_hyphens=False)
        for part in paragraphs
    )


def parser() -> argparse.ArgumentParser:
    """The whole command line; also used to document it."""
    top = argparse.ArgumentParser(
        prog="vnet",
        description="A virtual network fabric for isolating virtual private servers.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="store_true", help="say the version and end")
    columns = max(shutil.get_terminal_size((WIDTH, 24)).columns - 2, WIDTH - 2)
    commands = top.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, summary in COMMANDS.items():
        module = importlib.import_module(f"vnet.cli.{name.replace('exec', 'exec_')}")
        sub = commands.add_parser(
            name,
            help=summary,
            description=described(module.__doc__ or summary, columns),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.arguments(sub)
        sub.set_defaults(run=module.run, parser=sub)
    return top


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """What was given. Ends the program with a line about what is wrong there."""
    top, words = parser(), sys.argv[1:] if argv is None else argv
    command = next((word for word in words if not word.startswith("-")), None)
    if command is not None and command not in COMMANDS:
        top.error(f"there is no command {command!r}{suggestion(command, COMMANDS)}; see vnet --help")
    given, unknown = top.parse_known_args(words)
    if unknown:
        sub: argparse.ArgumentParser = getattr(given, "parser", top)
        options = [option for action in sub._actions for option in action.option_strings]
        sub.error(f"unrecognized arguments: {' '.join(unknown)}{suggestion(unknown[0], options)}")
    return given


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    arguments = parsed(argv)
    if arguments.version:
        from vnet._native import VERSION

        print(f"vnet {VERSION}")
        return 0
    if arguments.command is None:
        parser().print_help()
        return 2
    try:
        code = _run(arguments)
    except BadInput as error:
        print(error, file=sys.stderr)
        return 2
    except VnetError as error:
        print(f"vnet {arguments.command}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever read our output (head, less) has seen enough.
        _mute()
        return 128 + signal.SIGPIPE
    except OSError as error:
        try:
            sys.stdout.flush()
        except OSError:
            # There is no room for what we print. At exit it would be tried, and told, once more.
            _mute()
        place = f"{error.filename}: " if error.filename else ""
        print(f"vnet {arguments.command}: {place}{error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return code


def _run(arguments: argparse.Namespace) -> int:
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
        return code
    except BaseExceptionGroup as group:
        # As nurseries raise it.
        if (error := single(group)) is group:
            raise
        raise error from None


def _mute() -> None:
    """Let what is still to be printed go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
