"""What was dropped, where and why, the most first.

Examples:
  vnet drops
  vnet drops --json

"""

from __future__ import annotations

import argparse

from vnet.cli import words


def arguments(parser: argparse.ArgumentParser) -> None:
    """[NAME] [--json]."""
    words.fabric_argument(parser)
    words.json_argument(parser)


def run(given: argparse.Namespace) -> int:
    """The command."""
    from vnet._native import drop_reasons

    means = dict(drop_reasons())
    with words.client(given.name) as client:
        ports = client.call("status")["ports"]
    drops = [
        {"port": port["port"], "reason": reason, "frames": frames, "means": means.get(reason, "").strip()}
        for port in ports
        for reason, frames in port["drops"].items()
    ]
    drops.sort(key=lambda drop: (-drop["frames"], drop["port"], drop["reason"]))
    if given.json:
        words.print_json(drops)
    elif not drops:
        print("Nothing was dropped.")
    else:
        words.table(
            ["frames", "port", "reason", "because the frame was, or its case is"],
            [[str(drop["frames"]), drop["port"], drop["reason"], drop["means"]] for drop in drops],
            right=["frames"],
        )
    return 0
