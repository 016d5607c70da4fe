"""Draw a topology: switches with their guests, links and what they do to frames, networks in colours.

The picture is SVG, for browsers and documents. Nothing is started, and the same file gives the same
bytes, so that a picture can be kept beside its file. What is shortened stands whole in the tooltips.

Examples:
  vnet graph tenants.yaml -o tenants.svg
  vnet graph topology:firewall > firewall.svg

"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from vnet.errors import BadInput


def arguments(parser: argparse.ArgumentParser) -> None:
    """FILE [-o FILE]."""
    parser.add_argument("file", metavar="FILE", help="a topology file")
    parser.add_argument(
        "-o", "--output", metavar="FILE", default="-", help="write there; - is standard output"
    )


def run(given: argparse.Namespace) -> int:
    """The command."""
    from vnet.graph import svg
    from vnet.topology import Topology

    drawn = svg(Topology.from_file(given.file)).encode()
    if given.output == "-":
        sys.stdout.buffer.write(drawn)
        sys.stdout.buffer.flush()
        return 0
    try:
        Path(given.output).write_bytes(drawn)
    except OSError as error:
        raise BadInput(f"{given.output}: {error.strerror or error}") from None
    return 0
