"""Ping from a guest of ours (stack or netns) to a guest's name or an address.

Ctrl-C ends it, and what came until then is told.

Exit code 0 when there was an answer, 1 when there was none, or when a neighbour of FROM has the address
of TO, as tenants may overlap: the answer would be the neighbour's.

Examples:
  vnet ping web db
  vnet ping web 10.0.10.1 -c 10 -i 0.2
  vnet ping web db --json

"""

from __future__ import annotations

import argparse
from typing import Any

from vnet.cli import words
from vnet.control.protocol import ping_summary as summary_of


def arguments(parser: argparse.ArgumentParser) -> None:
    """FROM TO [-c N] [--json]."""
    parser.add_argument("source", metavar="FROM", help="a guest of kind stack or netns")
    parser.add_argument("target", metavar="TO", help="a guest or an address")
    parser.add_argument("-c", "--count", type=int, default=4, metavar="N", help="how many (4)")
    parser.add_argument(
        "-i", "--interval", type=float, default=1.0, metavar="S", help="seconds between two (1)"
    )
    parser.add_argument(
        "-W", "--timeout", type=float, default=2.0, metavar="S", help="wait for an answer (2)"
    )
    parser.add_argument("-s", "--size", type=int, default=56, metavar="BYTES", help="payload (56)")
    family = parser.add_mutually_exclusive_group()
    family.add_argument("-4", dest="family", action="store_const", const=4, help="IPv4 only")
    family.add_argument("-6", dest="family", action="store_const", const=6, help="IPv6 only")
    words.fabric_argument(parser, option=True)
    words.json_argument(parser)


def ended(given: argparse.Namespace, replies: list[dict[str, Any]]) -> dict[str, Any]:
    """The summary of a call that was interrupted: the keys are those of the fabric's."""
    times = [reply["rtt"] for reply in replies if "rtt" in reply]
    whom = {"from": given.source, "to": given.target}
    address = replies[0]["address"] if replies else None
    return {**whom, "address": address, **summary_of(len(replies), times)}


def run(given: argparse.Namespace) -> int:
    """The command."""
    replies: list[dict[str, Any]] = []
    with words.client(given.name) as client:
        call = {
            "from": given.source,
            "to": given.target,
            "count": given.count,
            "interval": given.interval,
            "timeout": given.timeout,
            "size": given.size,
            "family": given.family,
        }
        calls = client.stream("ping", **call)
        while True:
            try:
                reply = next(calls)
            except StopIteration as end:
                summary: dict[str, Any] = end.value
                break
            except KeyboardInterrupt:
                # What came is told, as ping does. The call ends with the connection.
                summary = ended(given, replies)
                if not given.json:
                    print()
                break
            replies.append(reply)
            if not given.json:
                address = reply["address"]
                if "rtt" in reply:
                    said = f"time={words.seconds(reply['rtt'])}"
                else:
                    said = reply["error"].removeprefix(f"{address} ")
                print(f"{address}: seq={reply['seq']} {said}", flush=True)
    if given.json:
        words.print_json(summary | {"replies": replies})
    else:
        lost = 100 * (1 - summary["received"] / max(summary["sent"], 1))
        print(f"{summary['sent']} sent, {summary['received']} received, {lost:g} % lost", end="")
        spread = [summary[key] for key in ("min", "avg", "max", "mdev") if key in summary]
        print(
            "; min/avg/max/mdev " + "/".join(f"{value * 1000:.3f}" for value in spread) + " ms"
            if spread
            else ""
        )
    return 0 if summary["received"] else 1
