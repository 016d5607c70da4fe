"""The serial console of a guest of kind qemu, with what was last on it. Ctrl-] leaves.

Examples:
  vnet console vm
  vnet console vm --log | less
  echo poweroff | vnet console vm

"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import socket
import sys
import termios
import tty
from collections.abc import Iterator

from vnet.cli import words

LEAVE = b"\x1d"
"""Ctrl-], as in telnet."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """GUEST [--log]."""
    parser.add_argument("guest", metavar="GUEST", help="a guest of kind qemu")
    parser.add_argument("--log", action="store_true", help="print what is remembered of it, and end")
    words.fabric_argument(parser, option=True)


def run(given: argparse.Namespace) -> int:
    """The command."""
    with words.client(given.name) as client:
        if given.log:
            print(client.call("console_log", name=given.guest), end="")
            return 0
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                started = client.stream("console", descriptors=[theirs.fileno()], name=given.guest)
                next(started)
            if sys.stdin.isatty():
                print(f"the console of {given.guest}; Ctrl-] leaves", file=sys.stderr)
            with _raw(sys.stdin.fileno()):
                relay(ours, sys.stdin.fileno(), sys.stdout.fileno())
    if sys.stdin.isatty():
        print()
    return 0


@contextlib.contextmanager
def _raw(descriptor: int) -> Iterator[None]:
    """Have a terminal hand on every key as it is."""
    if not os.isatty(descriptor):
        yield
        return
    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSAFLUSH, before)


def relay(console: socket.socket, keys: int, screen: int) -> None:
    """What is typed to the console, and what it says to the screen, until LEAVE or the end of either."""
    watched: list[int | socket.socket] = [console, keys]
    while True:
        ready = select.select(watched, [], [])[0]
        if console in ready:
            data = console.recv(65536)
            if not data:
                return
            os.write(screen, data)
        if keys in ready:
            data = os.read(keys, 4096)
            typed, leave, _ = data.partition(LEAVE)
            console.sendall(typed)
            if leave:
                return
            if not data:  # a pipe's end: what it caused is still to be seen
                console.shutdown(socket.SHUT_WR)
                watched.remove(keys)
