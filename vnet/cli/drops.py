"""What was dropped, where and why, the most first, with the last frame of each.

A frame is shown by its addresses and what it carries, as it came in; `-` where none is kept (what links and
doors lose). What to do about each reason is in docs/drops.md, or here: `vnet drops --why REASON`.

Examples:
  vnet drops
  vnet drops --why guard-ip4
  vnet drops --json

"""

from __future__ import annotations

import argparse
import textwrap

from nics.keys import did_you_mean
from vnet.cli import words
from vnet.errors import BadInput

WIDTH = 80


def arguments(parser: argparse.ArgumentParser) -> None:
    """[NAME] [--why REASON] [--json]."""
    words.fabric_argument(parser)
    parser.add_argument("--why", metavar="REASON", help="what a reason means, and what to do")
    words.json_argument(parser)


def run(given: argparse.Namespace) -> int:
    """The command."""
    if given.why is not None:
        return _why(given.why)
    with words.client(given.name) as client:
        drops = client.call("drops")
    if given.json:
        words.print_json(drops)
    elif not drops:
        print("Nothing was dropped.")
    else:
        for line in lines(drops):
            print(line)
    return 0


def _why(reason: str) -> int:
    from vnet.reasons import REASONS

    known = {each.name: each for each in REASONS}
    if reason not in known:
        raise BadInput(
            f"there is no drop reason {reason!r}; {did_you_mean(reason, known) or 'see docs/drops.md'}"
        )
    print(f"{reason}: {known[reason].means}\n{known[reason].advice}")
    return 0


def lines(drops: list[dict[str, object]]) -> list[str]:
    """A table of 80 columns; below each drop is its last frame."""
    frames = max(len("frames"), *(len(words.count(int(str(drop["frames"])))) for drop in drops))
    port = max(len("port"), *(len(str(drop["port"])) for drop in drops))
    told = [f"{'frames':>{frames}}  {'port':<{port}}  reason"]
    for drop in drops:
        count = words.count(int(str(drop["frames"])))
        head = f"{count:>{frames}}  {drop['port']:<{port}}  {drop['reason']}: {drop['means']}"
        told += _wrapped(head, frames + port + 4)
        told += _wrapped(f"{'':>{frames}}  last: {drop['last'] or '-'}", frames + 8)
    return told


def _wrapped(line: str, indent: int) -> list[str]:
    return textwrap.wrap(line, WIDTH, subsequent_indent=" " * indent, break_on_hyphens=False)
