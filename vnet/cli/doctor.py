"""What is missing on this host, what can't be done without it, and how to get it.

Exit code 1 when something is missing that a part of vnet can't do without.

Examples:
  vnet doctor
  vnet doctor --json

"""

from __future__ import annotations

import argparse
import textwrap
from typing import TYPE_CHECKING

from vnet.cli import words

if TYPE_CHECKING:
    from vnet.doctor import Finding


def arguments(parser: argparse.ArgumentParser) -> None:
    """[--json]."""
    words.json_argument(parser)


def lines(finding: Finding) -> list[str]:
    """What was found, in 80 columns; a remedy stays in one line, to be copied."""
    head = f"{finding.state:9} {finding.what:19} "
    told = textwrap.wrap(head + finding.detail, 80, subsequent_indent=" " * len(head), break_on_hyphens=False)
    return [*told, *([f"{'':{len(head)}}-> {finding.remedy}"] if finding.remedy else [])]


def run(given: argparse.Namespace) -> int:
    """The command."""
    import attrs

    from vnet import doctor

    findings = doctor.look()
    if given.json:
        words.print_json([attrs.asdict(finding) for finding in findings])
    else:
        for finding in findings:
            for line in lines(finding):
                print(line)
    return 1 if any(finding.state == "missing" for finding in findings) else 0
