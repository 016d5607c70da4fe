"""What guests sent and received, inside the fabric and over uplinks: the figures to bill by.

They belong to a NIC by its name and only grow: over a restart of the fabric, and when the guest goes and
comes back. A fabric that is killed loses its last 10 seconds. To bill a month, read `--json` at its beginning
and at its end. Bytes are those of a wire, without FCS and VLAN tags. What was dropped is not counted.

Of a fabric that is not running, its last figures are shown: name it, by -n.

Examples:
  vnet usage
  vnet usage web db.1
  vnet usage --all --json
  vnet usage -n lab --all

"""

from __future__ import annotations

import argparse
from typing import Any

from vnet.cli import words


def arguments(parser: argparse.ArgumentParser) -> None:
    """[GUEST...] [-n NAME] [--all] [--json]."""
    parser.add_argument("only", nargs="*", metavar="GUEST", help="a guest, or one of its NICs (all)")
    words.fabric_argument(parser, option=True)
    parser.add_argument("-a", "--all", action="store_true", help="those that are gone, too")
    words.json_argument(parser)


def run(given: argparse.Namespace) -> int:
    """The command."""
    document = _ask(given)
    if given.json:
        words.print_json(document)
    elif not document["nics"]:
        print("No guest's NIC has been there.")
    else:
        words.table(
            ["nic", "to fabric", "to uplink", "from fabric", "from uplink", "since", "gone"],
            list(rows(document["nics"])),
            right=["to fabric", "to uplink", "from fabric", "from uplink"],
        )
    return 0


def _ask(given: argparse.Namespace) -> dict[str, Any]:
    from vnet import runtime

    if given.name is None or given.name in runtime.running():
        with words.client(given.name) as client:
            answer: dict[str, Any] = client.call("usage", only=given.only, gone=given.all)
        return answer
    from vnet import state, usage
    from vnet.errors import BadInput, VnetError

    # A name, and never a path: only what is there is taken.
    kept = {path.parent.name: path for path in state.base().glob(f"*/{usage.FILE}")}
    if given.name not in kept:
        there = ", ".join(sorted(kept)) or "none are"
        raise BadInput(
            f"no fabric named {given.name} is running or has left figures in {state.base()} ({there} there)"
        )
    path = kept[given.name]
    try:
        accounts = usage.load(path)
    except state.Unusable as error:
        raise VnetError(
            f"{path} can't be used: {error}; it stays as it is until `vnet up` puts it aside and counts anew"
        ) from None
    return usage.document(
        given.name, {nic: (account, account.before) for nic, account in accounts.items()}, given.only
    )


def rows(nics: list[dict[str, Any]]) -> list[list[str]]:
    """The table, 80 columns wide where names have 15; the last row is what they come to together."""
    told = [
        [nic["nic"], *map(words.size, sizes(nic)), nic["since"][:10], (nic["gone"] or "-")[:10]]
        for nic in nics
    ]
    if len(nics) > 1:
        total = (sum(column) for column in zip(*map(sizes, nics), strict=True))
        told.append(["total", *map(words.size, total), "", ""])
    return told


def sizes(nic: dict[str, Any]) -> list[int]:
    """Bytes to the fabric, to uplinks, from the fabric, from uplinks."""
    return [
        nic[direction][scope]["bytes"]
        for direction in ("egress", "ingress")
        for scope in ("fabric", "uplink")
    ]
