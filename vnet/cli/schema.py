"""Print the JSON Schema of topology files, which editors use for completion and checks.

Examples:
  vnet schema > vnet.schema.json

"""

from __future__ import annotations

import argparse

from vnet.cli import words


def arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments."""


def run(given: argparse.Namespace) -> int:
    """The command."""
    from vnet.topology.schema import schema

    words.print_json(schema())
    return 0
