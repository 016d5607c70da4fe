"""Guests, ports, carrier, traffic and drops by reason.

`rx` is what the switch took in at a port, `tx` what it sent out there. On a terminal it is one screen:
ports that are down or drop frames come first, others as far as there is room; --all shows them, too.

Examples:
  vnet status
  vnet status --all
  vnet status tenants --json

"""

from __future__ import annotations

import argparse
import shutil
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

from vnet.cli import words
from vnet.sandbox import confinement

WIDTH = 80
WIDE = 110
LONG = 28
"""Characters of a port's name that are never folded where it is narrow."""
COLUMNS = ("port", "kind", "network", "vlan", "mac", "ip", "link", "rx", "tx", "drops")
ORDINARY = ("tx-not-addressed",)
"""Reasons of drops that nobody misses: floods are not for everybody."""
NARROW = ("port", "kind", "network", "ip", "link", "rx", "tx", "drops")
"""What is left where there are few columns; `--json` has all."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """[NAME] [--all] [--json]."""
    words.fabric_argument(parser)
    parser.add_argument("--all", action="store_true", help="every port, on a small terminal, too")
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
    ports = words.several(len(status["ports"]), "port")
    print(f"{status['name']}: {ports}, {state} (driver {driver}, pid {status['pid']})\n")
    sandbox = f"sandbox {confinement.words(status['sandbox'])}"
    switches = status["switches"]
    told = [
        "",
        *textwrap.wrap(sandbox, WIDTH, subsequent_indent="  ", break_on_hyphens=False),
        *rules(status["ports"]),
        *bonds(status["ports"]),
        *trees(switches),
        *multicast(switches),
        *mirrors(status["mirrors"]),
        *machines(status["machines"]),
    ]
    shown, narrow = status["ports"], False
    if sys.stdout.isatty():
        columns, lines = shutil.get_terminal_size()
        narrow = columns < WIDE
        if not given.all:
            # Beside them: the line above, a blank, the head, how many there are more, and a prompt.
            shown = foremost(shown, lines - len(told) - 5)
    names = NARROW if narrow else COLUMNS
    rows = [row(port, narrow=narrow) for port in shown]
    words.table(
        names,
        [[cell for name, cell in zip(COLUMNS, cells, strict=True) if name in names] for cells in rows],
        right=["vlan", "rx", "tx"],
        whole=["port"] if all(len(port["port"]) <= LONG for port in shown) else [],
    )
    if others := len(status["ports"]) - len(shown):
        print(f"{others} more, {others_are(status['ports'], shown)} (--all)")
    for line in told:
        print(line)
    return 0


def troubled(port: dict[str, Any]) -> bool:
    """Whether a port wants a look."""
    return not _is_up(port) or _dropped(port) > 0


def _dropped(port: dict[str, Any]) -> int:
    """Frames that somebody may miss."""
    return sum(frames for reason, frames in port["drops"].items() if reason not in ORDINARY)


def foremost(ports: list[dict[str, Any]], room: int) -> list[dict[str, Any]]:
    """As many ports as there is room for, those first that want a look: ports that are down, then the ones
    that drop most. All if they fit, in their own order.
    """
    if len(ports) <= room:
        return ports
    first = sorted(filter(troubled, ports), key=lambda port: (_is_up(port), -_dropped(port)))
    rest = [port for port in ports if not troubled(port)]
    return [*first, *rest][: max(room, 5)]


def others_are(ports: list[dict[str, Any]], shown: list[dict[str, Any]]) -> str:
    """What is to be said of the ports that are not shown."""
    names = {port["port"] for port in shown}
    hidden = sum(troubled(port) for port in ports if port["port"] not in names)
    return f"{hidden} of them down or dropping" if hidden else "all well"


def _is_up(port: dict[str, Any]) -> bool:
    return bool(port["carrier"] and port["link"] == "up")


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
            f"{name} out of service (BPDU guard)"
            if port["refused"]
            else f"{name} {port['role']}" + ("" if port["state"] == "forwarding" else f" ({port['state']})")
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
        groups = words.several(side["groups"], "group")
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
            words_.append(words.several(port["connections"], "connection"))
        if port["private"] != "promiscuous":
            words_.append(port["private"])
        yield f"{port['port']}: {', '.join(words_)}"


def machines(found: list[dict[str, Any]]) -> Iterator[str]:
    """What there is to say of each machine."""
    from vnet.machines.machine import described

    if found:
        yield ""
    for machine in found:
        more = []
        if machine["pid"] is not None:
            more.append(f"pid {machine['pid']} ({machine['accel']})")
        if machine["restarts"]:
            times = "once" if machine["restarts"] == 1 else f"{machine['restarts']} times"
            more.append(f"started again {times}")
        line = f"machine {machine['guest']}: {described(machine, words.duration(machine['seconds']), *more)}"
        yield from textwrap.wrap(line, WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def mirrors(found: list[dict[str, Any]]) -> Iterator[str]:
    """A line for each mirror."""
    if found:
        yield ""
    for mirror in found:
        to = f"{mirror['erspan']} by ERSPAN over {mirror['to']}" if mirror["erspan"] else mirror["to"]
        lost = f", {words.count(mirror['lost'])} lost" if mirror["lost"] else ""
        yield f"mirror {mirror['mirror']} to {to}: {words.count(mirror['frames'])} copies{lost}"


def row(port: dict[str, Any], *, narrow: bool = False) -> list[str]:
    """One port of the table; `narrow`: on one line, if its names are not too long."""
    dropped = sorted(port["drops"].items(), key=lambda drop: (drop[0] in ORDINARY, -drop[1]))
    drops = ", ".join(f"{reason} {words.count(n)}" for reason, n in port["drops"].items())
    addresses = "\n".join(port["ip"])
    if narrow and len(port["ip"]) > 1:
        addresses = f"{port['ip'][0]} +{len(port['ip']) - 1}"
    if narrow and len(dropped) > 1:
        drops = f"{dropped[0][0]} {words.count(dropped[0][1])} +{len(dropped) - 1}"
    return [
        port["port"],
        port["kind"],
        port["network"] or ",".join(port["trunk"]),
        str(port["vlan"] or ""),
        port["mac"],
        addresses,
        "up" if _is_up(port) else "down",
        words.count(port["rx"]["frames"]),
        words.count(port["tx"]["frames"]),
        drops or "-",
    ]
