"""Print another tool's network as a topology file, or one that is made by parameters.

What has no counterpart here and matters is refused, in a line each; what does not matter is told on
standard error. The same names stand wherever a file may: `vnet up mininet:lab.py:Lab`. A Mininet file is
Python and is run.

Examples:
  vnet convert mininet:lab.py:Lab > lab.yaml
  vnet convert 'mininet:lab.py:Lab?k=4&kind=netns' -o lab.yaml
  vnet convert containerlab:lab.clab.yml
  vnet convert 'topology:fat-tree?k=4'

"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from vnet.cli import words
from vnet.errors import BadInput


def arguments(parser: argparse.ArgumentParser) -> None:
    """FILE [-o FILE] [--json]."""
    parser.add_argument(
        "file", metavar="FILE", help="mininet:FILE.py:CLASS, containerlab:FILE, topology:NAME"
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="write there, not to standard output"
    )
    words.json_argument(parser)


def run(given: argparse.Namespace) -> int:
    """The command."""
    from vnet.topology import Topology
    from vnet.topology.foreign import Converted, convert, is_foreign

    found = convert(given.file) if is_foreign(given.file) else Converted(Topology.from_file(given.file))
    found.topology.check()
    if given.json and given.output is None:
        words.print_json({"topology": found.topology.to_dict(), "notes": found.notes})
        return 0
    text = found.topology.to_yaml()
    if given.output is None:
        print(text, end="")
    else:
        try:
            given.output.write_text(text)
        except OSError as error:
            raise BadInput(f"{given.output}: {error.strerror}") from None
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    return 0
