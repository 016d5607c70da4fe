"""Topologies that are made when asked for: their names, their parameters, and what is wrong with those.

    topologies.build("leaf-spine", spines=2, leaves=4, hosts=3)
    vnet up 'topology:leaf-spine?spines=2&leaves=4&hosts=3'

What a builder does with its parameters is in `flat.py`, `looped.py` and `divided.py`. To add one: a
function there, a row in BUILDERS, and one in README.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import attrs

from nics.errors import BadInput
from nics.keys import Choice, Count, Key, Text, Wrong, did_you_mean, one_of, shown
from topologies import divided, flat, looped

if TYPE_CHECKING:
    from vnet.topology import Topology

MOST_GUESTS = 1024
MOST_SWITCHES = 512


@attrs.frozen
class Builder:
    """A kind of topology."""

    name: str
    make: Callable[..., None]
    """Fills the empty topology that it is given, by the parameters."""
    doc: str
    parameters: tuple[Key, ...]
    size: Callable[[Mapping[str, Any]], tuple[int, int]]
    """Switches and guests there will be, told before any is made."""

    def build(self, values: Mapping[str, Any]) -> Topology:
        """Make one of the parameters' words or numbers. Raises BadInput."""
        from vnet.topology import Topology

        where = f"topology:{self.name}"
        given = self._read(values, where)
        for count, what, most in zip(
            self.size(given), ("switches", "guests"), (MOST_SWITCHES, MOST_GUESTS), strict=True
        ):
            if count > most:
                raise BadInput(f"{where}: {count} {what}, expected at most {most}")
        topology = Topology(given.pop("name") or self.name, seed=given.pop("seed"))
        self.make(topology, **given)
        return topology

    def _read(self, values: Mapping[str, Any], where: str) -> dict[str, Any]:
        known = {key.name: key for key in (*self.parameters, *COMMON)}
        given = {name: key.default for name, key in known.items()}
        wrong = []
        for name, word in values.items():
            if name not in known:
                hint = _hint(did_you_mean(name, known))
                wrong.append(f"{where}: {shown(name)}: no such parameter, expected {one_of(known)}{hint}")
                continue
            value = _number(word, known[name])
            try:
                given[name] = known[name].type.read(value)
            except Wrong as error:
                found = error.found or shown(value)
                wrong.append(f"{where}: {name}: {found}, expected {error.expected}{_hint(error.hint)}")
        if wrong:
            raise BadInput(*wrong)
        return given


def _hint(text: str) -> str:
    return f" ({text})" if text else ""


def _number(value: object, key: Key) -> object:
    """What the words of a command line mean where a number is expected."""
    plain = isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,20}", value)
    return int(str(value)) if plain and isinstance(key.type, Count) else value


def parameters(query: str, where: str) -> dict[str, str]:
    """The words of `spines=2&leaves=4`. Raises BadInput."""
    said: dict[str, str] = {}
    for part in query.split("&") if query else ():
        name, equals, value = part.partition("=")
        name = unquote(name)
        if not equals or not name:
            raise BadInput(f"{where}: {shown(part)}, expected PARAMETER=VALUE, several with & between")
        if name in said:
            raise BadInput(f"{where}: {shown(name)}: given twice, expected once")
        said[name] = unquote(value)
    return said


@attrs.frozen
class Even(Count):
    """A whole number that two parts make."""

    @property
    def expected(self) -> str:  # noqa: D102
        return f"{self.of} from {self.lowest} to {self.highest}, even"

    def read(self, value: object) -> int:  # noqa: D102
        number = Count.read(self, value)
        if number % 2:
            raise Wrong(self.expected)
        return number


def _count(name: str, default: int | None, lowest: int, highest: int, doc: str) -> Key:
    return Key(name, Count(lowest, highest, "a number"), doc, default=default)


def _hosts(default: int, each: str) -> Key:
    return _count("hosts", default, 0, 256, f"Guests at {each}.")


COMMON = (
    Key("kind", Choice(("stack", "netns")), "What the guests are.", default="stack"),
    Key(
        "name",
        Text("a name of up to 32 of a-z, 0-9 and -", r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?", 32),
        "What the fabric is called. Left out: as the builder.",
    ),
    Key("seed", Count(0, 2**64 - 1), "What random choices follow from.", default=1),
)
"""Parameters of all."""

STP = Key("stp", Choice(("rstp", "stp", "none")), "The spanning tree protocol.", default="rstp")

BUILDERS = {
    builder.name: builder
    for builder in (
        Builder(
            "single",
            flat.single,
            "guests at one switch",
            (_count("hosts", 2, 1, MOST_GUESTS, "Guests."),),
            lambda p: (1, p["hosts"]),
        ),
        Builder(
            "star",
            flat.star,
            "switches around a hub, guests at each of them",
            (_count("arms", 3, 1, 256, "Switches around the hub."), _hosts(1, "each arm")),
            lambda p: (1 + p["arms"], p["arms"] * p["hosts"]),
        ),
        Builder(
            "linear",
            flat.linear,
            "switches in a row, guests at each",
            (_count("switches", 3, 1, 256, "Switches."), _hosts(1, "each switch")),
            lambda p: (p["switches"], p["switches"] * p["hosts"]),
        ),
        Builder(
            "tree",
            flat.tree,
            "a tree of switches, guests at the lowest",
            (
                _count("depth", 2, 1, 8, "Levels of switches."),
                _count("fanout", 2, 1, 64, "What hangs on each switch: switches, or at the lowest guests."),
            ),
            lambda p: (sum(p["fanout"] ** level for level in range(p["depth"])), p["fanout"] ** p["depth"]),
        ),
        Builder(
            "ring",
            looped.ring,
            "switches in a ring, guests at each",
            # Cut open, it is a row; what a switch says of the root is too old after 20 hops (802.1D-2004).
            (_count("switches", 4, 3, 20, "Switches."), _hosts(1, "each switch"), STP),
            lambda p: (p["switches"], p["switches"] * p["hosts"]),
        ),
        Builder(
            "leaf-spine",
            looped.leaf_spine,
            "every leaf linked to every spine, guests at the leaves",
            (
                _count("spines", 2, 1, 32, "Spines."),
                _count("leaves", 4, 1, 64, "Leaves."),
                _hosts(2, "each leaf"),
                STP,
            ),
            lambda p: (p["spines"] + p["leaves"], p["leaves"] * p["hosts"]),
        ),
        Builder(
            "fat-tree",
            looped.fat_tree,
            "k pods of k/2 aggregation and k/2 edge switches, (k/2)² cores, k/2 guests at an edge switch",
            (
                Key("k", Even(2, 12, "a number"), "Ports of each switch.", default=4),
                _count("hosts", None, 0, 256, "Guests at each edge switch. Left out: k/2."),
                STP,
            ),
            lambda p: (
                p["k"] ** 2 * 5 // 4,
                p["k"] ** 2 // 2 * (p["k"] // 2 if p["hosts"] is None else p["hosts"]),
            ),
        ),
        Builder(
            "tenants",
            divided.tenants,
            "tenants with the same subnet that never meet",
            (_count("tenants", 2, 1, 64, "Tenants."), _hosts(3, "each tenant")),
            lambda p: (1, p["tenants"] * p["hosts"]),
        ),
        Builder(
            "router-on-a-stick",
            divided.router_on_a_stick,
            "networks whose only way to one another is a router's trunk",
            (_count("networks", 2, 2, 64, "Networks."), _hosts(2, "each network")),
            lambda p: (1, 1 + p["networks"] * p["hosts"]),
        ),
        Builder(
            "shared-uplink",
            divided.shared_uplink,
            "tenants that share a physical interface, each in a VLAN of its own there",
            (
                _count("tenants", 2, 1, 64, "Tenants."),
                _hosts(2, "each tenant"),
                Key(
                    "interface",
                    Text("the name of an interface", r"[^\s/]{1,15}", 15),
                    "The interface.",
                    default="eth1",
                ),
            ),
            lambda p: (1, p["tenants"] * p["hosts"]),
        ),
        Builder(
            "dual-homed",
            divided.dual_homed,
            "servers with a NIC in each of two networks, whose own guests do not meet",
            (
                _count("servers", 1, 1, 256, "Guests in both networks."),
                _hosts(2, "each network"),
            ),
            lambda p: (2, p["servers"] + 2 * p["hosts"]),
        ),
    )
}
