"""Guests, ports, carrier, traffic and drops by reason.

`rx` is what the switch took in at a port, `tx` what it sent out there.

Examples:
  vnet status
  vnet status tenants --json

"""

from __future__ import annotations

import argparse
import itertools
import shutil
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

from vnet.cli import words
from vnet.sandbox import confinement

WIDTH = 80
WIDE = 110
COLUMNS = ("port", "kind", "network", "vlan", "mac", "ip", "link", "rx", "tx", "drops")


def arguments(parser: argparse.ArgumentParser) -> None:
    """[NAME] [--json]."""
    words.fabric_argument(parser)
    words.json_argument(parser)


def run(given: argparse.Namespace) -> int:
    """The command."""
    with words.client(given.name) as client:
        status = client.call("status")
    if given.json:
        words.print_json(status)
        return 0
    down = sum(1 for port in status["ports"] if not port["carrier"])
    state = "every port has carrier" if not down else f"{down} without carrier"
    driver = status["engine"]["driver"]
    print(f"{status['name']}: {len(status['ports'])} ports, {state} (driver {driver}, pid {status['pid']})\n")
    # Where it is narrow, a MAC address is what can best be done without: `--json` has it.
    narrow = sys.stdout.isatty() and shutil.get_terminal_size().columns < WIDE
    left_out = [COLUMNS.index("mac")] if narrow else []
    words.table(
        [name for at, name in enumerate(COLUMNS) if at not in left_out],
        [[cell for at, cell in enumerate(row(port)) if at not in left_out] for port in status["ports"]],
        right=["vlan", "rx", "tx"],
    )
    print()
    sandbox = f"sandbox {confinement.words(status['sandbox'])}"
    for line in textwrap.wrap(sandbox, WIDTH, subsequent_indent="  ", break_on_hyphens=False):
        print(line)
    switches = status["switches"]
    told = (
        rules(status["ports"]),
        bonds(status["ports"]),
        trees(switches),
        multicast(switches),
        mirrors(status["mirrors"]),
    )
    for line in itertools.chain(*told):
        print(line)
    return 0


def bonds(ports: list[dict[str, Any]]) -> Iterator[str]:
    """What the cables of each port that has several do."""
    told = [(port["port"], port["bond"]) for port in ports if port.get("bond")]
    if told:
        yield ""
    for port, bond in told:
        mode = "LACP" if bond["mode"] == "lacp" else bond["mode"]
        partner = f" with {bond['partner']}" if bond["partner"] else ""
        if bond["mode"] == "lacp" and not bond["partner"]:
            partner = ", nobody answers"
        cables = [f"{member['name']} {_does(member)}" for member in bond["members"]]
        line = f"{port}, {mode}{partner}: {', '.join(cables)}"
        yield from textwrap.wrap(line, WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def _does(member: dict[str, Any]) -> str:
    if member["distributing"]:
        return "in use"
    if member["link"] == "down":
        return "set down"
    if not member["carrier"]:
        return "no carrier"
    if member["collecting"]:
        return "takes in only"
    mux = str(member.get("mux", "backup"))
    return "standby" if member.get("selected") == "standby" else mux


def trees(switches: list[dict[str, Any]]) -> Iterator[str]:
    """Spanning trees: the way to the root from each switch that runs one, and what its ports do."""
    told = [(switch["switch"], switch["stp"]) for switch in switches if switch["stp"]]
    if told:
        yield ""
    for switch, tree in told:
        root = "the root" if tree["root"] == tree["id"] else f"the root is behind {tree['root_port']}"
        ports = [
            f"{name} {port['role']}" + ("" if port["state"] == "forwarding" else f" ({port['state']})")
            for name, port in tree["ports"].items()
        ]
        line = f"{switch}, spanning tree: {root}; {', '.join(ports) or 'no port'}"
        yield from textwrap.wrap(line, WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def multicast(switches: list[dict[str, Any]]) -> Iterator[str]:
    """Who asks for multicast groups, a line for each switch and network in which they are snooped."""
    told = [(switch["switch"], side) for switch in switches for side in switch["multicast"]]
    if told:
        yield ""
    for switch, side in told:
        where = "itself" if side["ours"] else f"at {side['querier_port']}"
        asks = f"asked from {side['querier']} ({where})" if side["querier"] else "nobody asks: flooded"
        routers = f", routers at {', '.join(side['routers'])}" if side["routers"] else ""
        groups = f"{side['groups']} group{'' if side['groups'] == 1 else 's'}"
        yield f"{switch}, {side['network']}: {side['protocol']} {asks}, {groups}{routers}"


def rules(ports: list[dict[str, Any]]) -> Iterator[str]:
    """Security groups and places in private networks, a line each for the ports that have any."""
    # The ends of links have neither.
    told = [
        port for port in ports if port.get("groups") or port.get("private", "promiscuous") != "promiscuous"
    ]
    if told:
        yield ""
    for port in told:
        words_ = [f"groups {', '.join(port['groups'])}"] if port["groups"] else []
        if port["groups"]:
            count = port["connections"]
            words_.append(f"{count} connection{'' if count == 1 else 's'}")
        if port["private"] != "promiscuous":
            words_.append(port["private"])
        yield f"{port['port']}: {', '.join(words_)}"


def mirrors(found: list[dict[str, Any]]) -> Iterator[str]:
    """A line for each mirror."""
    if found:
        yield ""
    for mirror in found:
        to = f"{mirror['erspan']} by ERSPAN over {mirror['to']}" if mirror["erspan"] else mirror["to"]
        lost = f", {words.count(mirror['lost'])} lost" if mirror["lost"] else ""
        yield f"mirror {mirror['mirror']} to {to}: {words.count(mirror['frames'])} copies{lost}"


def row(port: dict[str, Any]) -> list[str]:
    """One port of the table."""
    drops = ", ".join(f"{reason} {words.count(n)}" for reason, n in port["drops"].items())
    return [
        port["port"],
        port["kind"],
        port["network"] or ",".join(port["trunk"]),
        str(port["vlan"] or ""),
        port["mac"],
        "\n".join(port["ip"]),
        "up" if port["carrier"] and port["link"] == "up" else "down",
        words.count(port["rx"]["frames"]),
        words.count(port["tx"]["frames"]),
        drops or "-",
    ]
