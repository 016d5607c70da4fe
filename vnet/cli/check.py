"""Prove who can reach whom, from the file alone: nothing is started, nothing is sent.

Networks and VLANs, switches and links, private networks, addresses, guards and security groups are all
gone through for every pair of guests, and what comes out is compared with `expect` in the file. Exit
code 1 when an expectation does not hold.

Examples:
  vnet check tenants.yaml
  vnet check tenants.yaml --why web db      which keys of the file let web reach db, or don't
  vnet check tenants.yaml --json

"""

from __future__ import annotations

import argparse
import shutil
import sys
from typing import TYPE_CHECKING

from vnet.cli import words
from vnet.errors import BadInput
from vnet.guests import suggestion

if TYPE_CHECKING:
    from vnet.check.document import Place
    from vnet.check.pair import Pair
    from vnet.check.prove import Proof
    from vnet.check.verdict import Verdict

COLOURS = {"all": "32", "some": "33", "may": "35", "frames": "2", "no": "2"}


def arguments(parser: argparse.ArgumentParser) -> None:
    """FILE [--why [FROM [TO]]] [--json]."""
    parser.add_argument("file", metavar="FILE", help="a topology file")
    parser.add_argument(
        "--why",
        nargs="*",
        metavar="GUEST",
        help="the reasons for every pair, those of one guest, or from one to another",
    )
    words.json_argument(parser)


def run(given: argparse.Namespace) -> int:
    """The command."""
    from vnet import uplinks
    from vnet.check import Proof, judge
    from vnet.check.document import document
    from vnet.machines import look
    from vnet.topology.reader import with_places

    topology, place = with_places(given.file)
    for problem in look.problems(topology.guests):
        print(f"note: {place(problem.path)}: {problem.line('', None)}", file=sys.stderr)
    for name, line in uplinks.rings(None, topology.resolve()):
        print(f"note: {place(('uplinks', name))}: {line}", file=sys.stderr)
    proof = Proof(topology)
    verdict = judge(proof)
    if given.json:
        words.print_json(document(proof, verdict, place))
    elif given.why is not None:
        for pair in _asked(proof, given.why):
            _why(pair, place)
    else:
        _tell(proof, verdict, place)
    return 1 if verdict.failures else 0


def _tell(proof: Proof, verdict: Verdict, place: Place) -> None:
    from vnet.check import matrix
    from vnet.check.openings import openings
    from vnet.check.watched import watchers

    colour = words.coloured()
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 80

    def paint(word: str, text: str) -> str:
        return f"\x1b[{COLOURS[word]}m{text}\x1b[0m" if colour else text

    count, name = len(proof.stations), proof.topology.name
    if count:
        print(f"{name}: from the row to the column, {count * (count - 1)} pairs\n")
        for line in matrix.lines(proof, width, paint):
            print(line.rstrip())
    else:
        print(f"{name}: no guests, so there is nobody to reach")
    if watching := watchers(proof.ground):
        print("\nwatched, whatever the table says:")
        for reason in watching:
            print(f"  {reason.text} ({place(reason.path)})")
    if found := openings(proof):
        print("\nopened:")
        for reason in found:
            print(f"  {reason.text} ({place(reason.path)})")
    tell_expectations(verdict, place)


def tell_expectations(verdict: Verdict, place: Place) -> None:
    """Which hold, and why the others do not."""
    held = len(verdict.outcomes) - len(verdict.failures)
    if verdict.outcomes:
        print(f"\nexpected: {held} of {len(verdict.outcomes)} hold")
    for outcome in verdict.failures:
        at, source = place(("expect", outcome.index)), outcome.pair.source
        print(f"{at}: {source} {outcome.wanted}: found: {outcome.found}")
        for reason in outcome.pair.reasons:
            print(f"    {reason.text} ({place(reason.path)})")


def _asked(proof: Proof, guests: list[str]) -> list[Pair]:
    if len(guests) > 2:
        raise BadInput("--why takes two guests at most: FROM and TO")
    for name in guests:
        if name not in proof.stations:
            raise BadInput(f"there is no guest {name!r}{suggestion(name, proof.stations)}")
    if len(guests) == 2:
        return [proof.pair(*guests)]
    return [pair for pair in proof.pairs() if not guests or guests[0] in (pair.source, pair.target)]


def _why(pair: Pair, place: Place) -> None:
    from vnet.check.verdict import summary

    print(f"{pair.source} -> {pair.target}: {summary(pair)}")
    for reason in pair.reasons:
        print(f"    {reason.text} ({place(reason.path)})")
