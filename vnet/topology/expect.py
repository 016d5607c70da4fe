"""Expectations: what must hold between guests. The keys, their meaning, and back into words.

`vnet check` proves them from the file alone (`vnet/check/`), `vnet test` probes them.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from nics.keys import Choice, Flag, Key, did_you_mean, one_of, shown
from vnet.topology.model import Expect
from vnet.topology.problems import Path, Problem
from vnet.topology.rules import PortRange
from vnet.topology.shape import ListOf, Table
from vnet.topology.values import Family, Pattern, Reference

if TYPE_CHECKING:
    from vnet.topology.topology import Topology

PORTED = ("tcp", "udp")
WHO = "a guest's name, a pattern such as web-*, or a list of them"

EXPECT = Table(
    "an expectation",
    (
        Key(
            "from",
            ListOf(Pattern(), WHO, fewest=1, or_one=True),
            "Who sends: guests by name or pattern (`web-*`, `*`), an uplink by name. Each of them.",
            example="web",
            required=True,
        ),
        Key(
            "to",
            ListOf(Pattern(), WHO, fewest=1, or_one=True),
            "Whom to: each of these, but for the sender itself.",
            example=["db", "app-*"],
            required=True,
        ),
        Key(
            "reach",
            Flag(),
            "true: a conversation that `from` begins works. false: not one packet arrives.",
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


def meant(patterns: Iterable[str], names: Iterable[str]) -> list[str]:
    """The `names` that `patterns` stand for, in their own order."""
    chosen = list(patterns)
    return [name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in chosen)]


def check(topology: Topology) -> Iterator[Problem]:
    """What is wrong with expectations, and assertions that are like them."""
    for index, expect in enumerate(topology.expect):
        yield from check_one(topology, expect, ("expect", index))


def check_one(topology: Topology, expect: Expect, path: Path) -> Iterator[Problem]:
    """What is wrong with one."""
    stations = [*topology.guests, *topology.uplinks]
    for key, patterns in (("from", expect.sources), ("to", expect.targets)):
        for number, pattern in enumerate(patterns):
            if meant([pattern], stations):
                continue
            place = (*path, key, number)
            if "*" in pattern or "?" in pattern:
                expected = one_of(stations) if stations else "a guest; there is none"
                because: tuple[Path, ...] = (("guests",), ("uplinks",))
                yield Problem(place, f"no guest is like {shown(pattern)}", expected, because=because)
            else:
                expected = one_of(stations) if stations else "the name of a guest; there is none"
                because = (("guests", pattern), ("uplinks", pattern))
                hint = did_you_mean(pattern, stations)
                yield Problem(place, f"no guest {shown(pattern)}", expected, hint, because=because)
    if expect.ports and expect.protocol not in PORTED:
        because = ((*path, "protocol"),)
        yield Problem((*path, "port"), "port without a protocol that has ports", "protocol: tcp or udp",
                      because=because)  # fmt: skip
    if expect.family is not None and expect.protocol == "ethernet":
        found, expected = "family with protocol ethernet", "icmp, tcp, udp or any"
        yield Problem((*path, "family"), found, expected, because=((*path, "protocol"),))
    for key, name, known in (
        ("network", expect.network, list(topology.networks)),
        ("via", expect.via, list(topology.guests)),
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
