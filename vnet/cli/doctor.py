"""What is missing on this host, what can't be done without it, and how to get it.

Exit code 1 when something is missing that a part of vnet can't do without.

Examples:
  vnet doctor
  vnet doctor --json

"""

from __future__ import annotations

import argparse

from vnet.cli import words


def arguments(parser: argparse.ArgumentParser) -> None:
    """[--json]."""
    words.json_argument(parser)


def run(given: argparse.Namespace) -> int:
    """The command."""
    import attrs

    from vnet import doctor

    findings = doctor.look()
    if given.json:
        words.print_json([attrs.asdict(finding) for finding in findings])
    else:
        for finding in findings:
            print(f"{finding.state:9} {finding.what:19} {finding.detail}")
            if finding.remedy:
                print(f"{'':29} -> {finding.remedy}")
    return 1 if any(finding.state == "missing" for finding in findings) else 0
