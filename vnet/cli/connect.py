"""The exact words that plug a VM into a guest's ports, QEMU's if no other --format is asked for.

Examples:
  vnet connect vm1
  vnet connect vm1 --format libvirt

"""

from __future__ import annotations

import argparse

from nics.keys import one_of
from vnet.cli import words


def arguments(parser: argparse.ArgumentParser) -> None:
    """GUEST [--format F]."""
    from vnet.connect import FORMS

    parser.add_argument("guest", metavar="GUEST", help="a guest of kind external")
    forms = sorted(FORMS)
    parser.add_argument(
        "--format", choices=forms, metavar="PROGRAM", default="qemu", help=f"whose words: {one_of(forms, 99)}"
    )
    words.fabric_argument(parser, option=True)
    words.json_argument(parser)


def run(given: argparse.Namespace) -> int:
    """The command."""
    from vnet import connect

    with words.client(given.name) as client:
        answer = client.call("connect", name=given.guest)
    said = {facts["port"]: connect.words(facts, given.format) for facts in answer["ports"]}
    if given.json:
        words.print_json({"guest": given.guest, "format": given.format, "ports": said})
        return 0
    for port, lines in said.items():
        if len(said) > 1:
            print(f"# {port}")
        print("\n".join(lines))
    return 0
