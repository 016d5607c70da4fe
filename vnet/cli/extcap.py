"""Show the ports of running fabrics as interfaces in Wireshark and tshark.

`--install` puts a small program where Wireshark looks for such (extcap); then every running fabric of
this user is in its list: all ports, each network, each port, with capture filters and options. Without
options, say what that list has now.

Examples:
  vnet extcap --install
  wireshark -k -i vnet:lab:red
  tshark -i vnet:lab:web.0 -f icmp
  vnet extcap --remove

"""

from __future__ import annotations

import argparse
import re


def arguments(parser: argparse.ArgumentParser) -> None:
    """[--install | --remove]."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--install", action="store_true", help="put it where Wireshark looks")
    which.add_argument("--remove", action="store_true", help="take it away again")


def run(given: argparse.Namespace) -> int:
    """The command."""
    from vnet import extcap

    if given.install:
        print(f"installed {extcap.install()}: restart Wireshark, or `tshark -D | grep vnet`")
        return 0
    if given.remove:
        path = extcap.remove()
        print(f"removed {path}" if path else "it was not installed")
        return 0
    found = [re.match(r"interface \{value=(.*?)\}\{display=(.*)\}$", line) for line in extcap.interfaces()]
    listed = [match for match in found if match]
    for match in listed:
        print(f"{match[1]} ({match[2]})")
    if not listed:
        print("No fabric is running: start one with `vnet up FILE`.")
    path = extcap.folder() / extcap.SCRIPT
    if not path.exists():
        print("\nWireshark does not show these yet: vnet extcap --install")
    return 0
