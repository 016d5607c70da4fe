"""Change a running fabric to a topology file. What is the same in both carries on without losing a
frame; when a step fails, what was done is undone.

Examples:
  vnet apply tenants.yaml

"""

from __future__ import annotations

import argparse

from vnet.cli import words
from vnet.errors import BadInput


def arguments(parser: argparse.ArgumentParser) -> None:
    """FILE."""
    parser.add_argument("file", metavar="FILE", help="a topology file; its name says which fabric")
    words.json_argument(parser)


def run(given: argparse.Namespace) -> int:
    """The command."""
    from vnet.topology.reader import with_places

    topology, place = with_places(given.file)
    with words.client(topology.name) as client:
        try:
            result = client.call("apply", document=topology.to_dict())
        except BadInput as error:
            raise error.at(place) from None
    if given.json:
        words.print_json(result)
    elif not result["done"]:
        print(f"{topology.name} is like that already.")
    else:
        for line in result["done"]:
            print(line)
    return 0
