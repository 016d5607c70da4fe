"""Switch a guest of kind qemu off or on, or push its reset button.

`off` is its power button: the guest is asked to shut down, and ended when it doesn't within its
stop_timeout. With --now it is not asked. What it is then is printed.

Examples:
  vnet power off vm
  vnet power on vm
  vnet power reset vm

"""

from __future__ import annotations

import argparse

from vnet.cli import words
from vnet.errors import BadInput


def arguments(parser: argparse.ArgumentParser) -> None:
    """on|off|reset GUEST [--now]."""
    parser.add_argument("what", choices=["on", "off", "reset"], help="what to do")
    parser.add_argument("guest", metavar="GUEST", help="a guest of kind qemu")
    parser.add_argument("--now", action="store_true", help="with off: don't ask")
    words.fabric_argument(parser, option=True)
    words.json_argument(parser)


def run(given: argparse.Namespace) -> int:
    """The command."""
    if given.now and given.what != "off":
        raise BadInput("--now is for off")
    with words.client(given.name) as client:
        state = client.call("power", name=given.guest, what=given.what, now=given.now)
    if given.json:
        words.print_json({"guest": given.guest, "state": state})
    else:
        print(f"{given.guest} is {state}")
    return 0
