"""Expectations: what must hold between guests. The keys, their meaning, and back into words.

`vnet check` proves them from the file alone (`vnet/check/`), `vnet test` probes them.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nics.keys import Choice, Flag, Key, did_you_mean, one_of, shown
from vnet.topology.model import Expect
from vnet.topology.problems import MOST, Path, Problem
from vnet.topology.rules import PortRange
from vnet.topology.shape import ListOf, Table
from vnet.topology.values import PATTERN, Family, Reference

if TYPE_CHECKING:
    from vnet.topology.topology import Topology

PORTED = ("tcp", "udp")
WHO = "a guest's name, a pattern such as web-*, or a list of them"

EXPECT = Table(
    "an expectation",
    (
        Key(
            "from",
            ListOf(PATTERN, WHO, fewest=1, or_one=True),
            "Who sends: guests by name or pattern (`web-*`, `*`), an uplink by name. Each of them.",
            example="web",
            required=True,
        ),
        Key(
            "to",
            ListOf(PATTERN, WHO, fewest=1, or_one=True),
            "Whom to: each of these, but for the sender itself.",
            example=["db", "app-*"],
            required=True,
        ),
        Key(
            "reach",
            Flag(),
            "true: a conversation that `from` begins works. false: not one packet arrives, but for what a"
            " host needs in any case (`groups` of a NIC).",
            example=True,
            required=True,
        ),
        Key(
            "protocol",
            Choice(("any", "icmp", "tcp", "udp", "ethernet")),
            "What is sent: `icmp` is echo, of IPv6 too; `any` some IP packet or other; `ethernet` any frame"
            " at all, ARP and broadcast among them.",
            example="tcp",
            default="any",
        ),
        Key(
            "port",
            ListOf(
                PortRange(), "a port, a range such as 8000-8080, or a list of them", fewest=1, or_one=True
            ),
            "With `tcp` and `udp`: the ports. `reach: true` is for each of them. Left out: some one.",
            example=443,
        ),
        Key(
            "family",
            Family(),
            "4 or 6: with this version of IP. Left out: with one of them, and `reach: false` with both.",
            example=4,
        ),
        Key(
            "network",
            Reference("network"),
            "In this network only, for guests that are in several.",
            example="red",
        ),
        Key(
            "via",
            Reference("guest"),
            "By way of this guest, which forwards packets between networks. Without it, what needs another"
            " guest to forward is not reached, but may be.",
            example="router",
        ),
    ),
)


def build(values: Mapping[str, Any]) -> Expect:
    """The values that were read."""
    return Expect(
        tuple(values.get("from", ())),
        tuple(values.get("to", ())),
        values.get("reach", True),
        protocol=values.get("protocol", "any"),
        ports=tuple(values.get("port", ())),
        family=values.get("family"),
        network=values.get("network"),
        via=values.get("via"),
    )


def _one(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values


def words(expect: Expect) -> dict[str, Any]:
    """What the file would say."""
    said: dict[str, Any] = {
        "from": _one(list(expect.sources)),
        "to": _one(list(expect.targets)),
        "reach": expect.reach,
    }
    if expect.protocol != "any":
        said["protocol"] = expect.protocol
    if expect.ports:
        said["port"] = _one([PortRange().write(ports) for ports in expect.ports])
    for key in ("family", "network", "via"):
        if (value := getattr(expect, key)) is not None:
            said[key] = value
    return said


class Stations:
    """The names that patterns are held against: a name is found at once, and each pattern once for all."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = list(names)
        """In the order of the file."""
        self._places = {name: place for place, name in enumerate(self.names)}
        self._like: dict[str, list[int]] = {}
        self._hints: dict[str, str] = {}

    def meant(self, patterns: Iterable[str]) -> list[str]:
        """Those that `patterns` stand for, in their own order."""
        places = {place for pattern in patterns for place in self._places_of(pattern)}
        return [self.names[place] for place in sorted(places)]

    def knows(self, pattern: str) -> bool:
        """Whether it stands for anybody."""
        return bool(self._places_of(pattern))

    def _places_of(self, pattern: str) -> Sequence[int]:
        if not is_pattern(pattern):
            return (self._places[pattern],) if pattern in self._places else ()
        if pattern not in self._like:
            like = re.compile(fnmatch.translate(pattern)).match
            self._like[pattern] = [place for place, name in enumerate(self.names) if like(name)]
        return self._like[pattern]

    def hint(self, word: str) -> str:
        """The name that a wrong one probably stands for. Nobody reads more than MOST of them, and each
        is looked for among all names.
        """
        if word not in self._hints and len(self._hints) < MOST:
            self._hints[word] = did_you_mean(word, self.names)
        return self._hints.get(word, "")


def is_pattern(word: str) -> bool:
    """Whether it stands for names that are like it, and not for itself."""
    return "*" in word or "?" in word


def stations(topology: Topology) -> Stations:
    """Who can be meant: guests and uplinks."""
    return Stations([*topology.guests, *topology.uplinks])


def check(topology: Topology) -> Iterator[Problem]:
    """What is wrong with expectations, and assertions that are like them."""
    among = stations(topology)
    for index, expect in enumerate(topology.expect):
        yield from check_one(topology, among, expect, ("expect", index))


def check_one(topology: Topology, among: Stations | None, expect: Expect, path: Path) -> Iterator[Problem]:
    """What is wrong with one. `among` is None where nobody knows yet who will be there."""
    if among is not None:
        yield from _names(among, expect, path)
    if expect.ports and expect.protocol not in PORTED:
        because: tuple[Path, ...] = ((*path, "protocol"),)
        yield Problem((*path, "port"), "port without a protocol that has ports", "protocol: tcp or udp",
                      because=because)  # fmt: skip
    if expect.family is not None and expect.protocol == "ethernet":
        found, expected = "family with protocol ethernet", "icmp, tcp, udp or any"
        yield Problem((*path, "family"), found, expected, because=((*path, "protocol"),))
    for key, name, known in (
        ("network", expect.network, topology.networks),
        ("via", expect.via, topology.guests),
    ):
        if name and name not in known:
            what = "network" if key == "network" else "guest"
            expected = one_of(known) if known else f"the name of a {what}; there is none"
            because = ((f"{what}s", name),)
            hint = did_you_mean(name, known)
            yield Problem((*path, key), f"no {what} {shown(name)}", expected, hint, because=because)
    if expect.via and expect.via in (*expect.sources, *expect.targets):
        found = f"{shown(expect.via)} is one of the two itself"
        yield Problem((*path, "via"), found, "a guest between the two")


def _names(among: Stations, expect: Expect, path: Path) -> Iterator[Problem]:
    names = among.names
    for key, patterns in (("from", expect.sources), ("to", expect.targets)):
        for number, pattern in enumerate(patterns):
            if among.knows(pattern):
                continue
            place = (*path, key, number)
            if is_pattern(pattern):
                expected = one_of(names) if names else "a guest; there is none"
                because: tuple[Path, ...] = (("guests",), ("uplinks",))
                yield Problem(place, f"no guest is like {shown(pattern)}", expected, because=because)
            else:
                expected = one_of(names) if names else "the name of a guest; there is none"
                because = (("guests", pattern), ("uplinks", pattern))
                hint = among.hint(pattern)
                yield Problem(place, f"no guest {shown(pattern)}", expected, hint, because=because)
