"""The scenario of a topology: what `vnet test` plays, step by step. The keys, the model, back into words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from nics.keys import Choice, Count, Flag, Key, Text, did_you_mean, one_of, shown
from nics.quantity import RATE, SHARE, SIZE, TIME
from vnet.topology import expect
from vnet.topology.model import Expect, Guest
from vnet.topology.problems import Path, Problem
from vnet.topology.shape import ListOf, Shape, Table, Value
from vnet.topology.values import Family, Reference

if TYPE_CHECKING:
    from vnet.topology.topology import Topology

SECOND = 1_000_000_000
GUEST = Reference("guest")
FROM_TO = (
    Key("from", GUEST, "Who begins.", example="web", required=True),
    Key("to", GUEST, "Whom to.", example="db", required=True),
)

PING = Table(
    "a ping",
    (
        *FROM_TO,
        Key("count", Count(1, 10_000, "a number of echoes"), "How many.", example=10, default=1),
        Key("interval", TIME, "From one to the next.", example="100 ms", default=SECOND // 10),
        Key("timeout", TIME, "How long an answer may take.", example="2 s", default=SECOND),
        Key("family", Family(), "The version of IP. Left out: that of `to`'s first address.", example=6),
        Key("loss", SHARE, "The most that may stay unanswered.", example="5 %", default=0),
        Key("rtt", TIME, "The longest median round trip. Left out: any.", example="20 ms"),
    ),
)
TRANSFER = Table(
    "a transfer",
    (
        *FROM_TO,
        Key("size", SIZE, "How much, by TCP; its checksum must match.", example="10 MiB", default=1 << 20),
        Key("port", Count(1, 65535, "a port"), "The TCP port.", example=5001, default=5001),
        Key("within", TIME, "How long it may take.", example="5 s", default=60 * SECOND),
        Key("least", RATE, "The slowest that it may be.", example="10 Mbit/s"),
        Key("most", RATE, "The fastest that it may be, where something limits it.", example="110 Mbit/s"),
    ),
)
LINK = Table(
    "a change of a link",
    (
        Key(
            "name",
            Text("the name of a link, or of a port such as web.0"),
            "A link between switches, or the port of a guest.",
            example="web.0",
            required=True,
        ),
        Key("state", Choice(("up", "down")), "What it becomes.", example="down", required=True),
    ),
)
RUN = Table(
    "a command",
    (
        Key("guest", GUEST, "In which namespace.", example="shell", required=True),
        Key(
            "command",
            ListOf(Text("a word"), "a list of words", fewest=1, most=256),
            "The command and its arguments. It has to end with exit code 0.",
            example=["ip", "address"],
            required=True,
        ),
        Key("within", TIME, "How long it may take.", example="5 s", default=30 * SECOND),
        Key(
            "background",
            Flag(),
            "true: it goes on while the next steps are played, and ends with the scenario. The step that is"
            " played when it fails fails with it.",
            example=True,
            default=False,
        ),
    ),
)
ASSERT = Table(
    "an assertion",
    (
        *(key for key in expect.EXPECT.keys if key.name not in ("network", "via")),
        Key("within", TIME, "How long it may take until it is so.", example="10 s", default=5 * SECOND),
    ),
)
ACTIONS: Mapping[str, Any] = {
    "ping": PING,
    "transfer": TRANSFER,
    "link": LINK,
    "run": RUN,
    "assert": ASSERT,
    "wait": TIME,
    "converge": TIME,
    "apply": Text("a topology file's path"),
}

STEP = Table(
    "a step",
    (
        Key("name", Text("a title", longest=200), "What reports call it.", example="the cable is cut"),
        Key("at", TIME, "Not before this time since the scenario began.", example="10 s"),
        Key("ping", PING, "Echoes, and how many and how late at most.", example={"from": "web", "to": "db"}),
        Key("transfer", TRANSFER, "Data by TCP.", example={"from": "web", "to": "db", "size": "10 MiB"}),
        Key("link", LINK, "A cable is pulled or plugged.", example={"name": "web.0", "state": "down"}),
        Key("run", RUN, "A command in a namespace.", example={"guest": "shell", "command": ["ip", "link"]}),
        Key(
            "assert",
            ASSERT,
            "Who reaches whom now, tried by real packets: of ports, the ends of each range and those within"
            " at which what rules allow changes.",
            example={"from": "web", "to": "*", "reach": True},
        ),
        Key("wait", TIME, "Nothing, for so long.", example="2 s"),
        Key(
            "converge",
            TIME,
            "Wait until everybody reaches whom the proof says, given the links that are up; so long at most.",
            example="30 s",
        ),
        Key(
            "apply",
            Text("a topology file's path"),
            "Change to another topology file; relative to this one.",
            example="other.yaml",
        ),
    ),
)
SCENARIO = ListOf(STEP, "a list of steps", most=10_000)


@attrs.frozen
class Step:
    """One step: what is done, with the values of its keys."""

    action: str
    """A key of ACTIONS; "" when there is only `at`."""
    values: Mapping[str, Any]
    """Of the action's keys, defaults filled in; `wait`, `converge` and `apply` have one, `value`."""
    name: str | None = None
    at: int | None = None
    """Nanoseconds."""
    expect: Expect | None = None
    """Of an assertion."""
    given: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    """As it was read, without defaults, to be written back."""


def build(values: Mapping[str, Any]) -> Step:
    """The values that were read."""
    action = next((name for name in ACTIONS if name in values), "")
    given = values.get(action, {})
    table = ACTIONS.get(action)
    if isinstance(table, Table):
        defaults = {key.name: key.default for key in table.keys}
        filled = defaults | dict(given)
    else:
        filled = {"value": given} if action else {}
    wanted = expect.build(given) if action == "assert" else None
    return Step(action, filled, values.get("name"), values.get("at"), wanted, values)


def _said(shape: Any, value: Any) -> Any:
    if isinstance(shape, Table):
        types = {key.name: key.type for key in shape.keys}
        return {name: _said(types[name], item) for name, item in value.items()}
    if isinstance(shape, ListOf):
        return [_said(shape.item, item) for item in value]
    if isinstance(shape, Value):
        return shape.type.write(value)
    return value if isinstance(shape, Shape) else shape.write(value)


def words(step: Step) -> dict[str, Any]:
    """What the file would say."""
    said: dict[str, Any] = _said(STEP, step.given)
    return said


def check(topology: Topology) -> Iterator[Problem]:
    """What is wrong with the scenario. Who is there once another file was applied, its player sees."""
    among = expect.stations(topology)
    known = True
    for index, step in enumerate(topology.scenario):
        path: Path = ("scenario", index)
        actions = [name for name in ACTIONS if name in step.given]
        if len(actions) > 1:
            yield Problem((*path, actions[1]), f"{actions[1]} beside {actions[0]}", "one thing in a step")
        elif not actions and step.at is None:
            yield Problem(path, "a step that does nothing", one_of(ACTIONS), because=(path,))
        yield from _step(topology, among, step, path, known)
        known = known and step.action != "apply"


def _step(
    topology: Topology, among: expect.Stations, step: Step, path: Path, known: bool
) -> Iterator[Problem]:
    place = (*path, step.action)
    if step.action == "assert" and step.expect is not None:
        yield from check_assertion(topology, among if known else None, step.expect, place)
    elif known:
        yield from _names(topology, step, place)


def check_assertion(
    topology: Topology, among: expect.Stations | None, wanted: Expect, place: Path
) -> Iterator[Problem]:
    """What is wrong with an assertion. `among` is None where nobody knows yet who will be there."""
    yield from expect.check_one(topology, among, wanted, place)
    if wanted.protocol == "ethernet":
        found = "frames are not tried by an assertion"
        yield Problem((*place, "protocol"), found, "any, icmp, tcp or udp")


def _names(topology: Topology, step: Step, place: Path) -> Iterator[Problem]:
    if step.action in ("ping", "transfer"):
        for key in ("from", "to"):
            yield from _guest(topology, step.values.get(key), (*place, key))
        yield from _addressed(topology, step, place)
    elif step.action == "run":
        name = step.values.get("guest")
        yield from _guest(topology, name, (*place, "guest"))
        guest = topology.guests.get(name or "")
        if guest is not None and guest.kind != "netns":
            found, because = f"{name} is of kind {guest.kind}", (("guests", guest.name, "kind"),)
            yield Problem((*place, "guest"), found, "a guest of kind netns", because=because)
    elif step.action == "link":
        yield from _cable(topology, step.values.get("name"), (*place, "name"))


def _addressed(topology: Topology, step: Step, place: Path) -> Iterator[Problem]:
    """Whom to has an address, of the version that is asked for."""
    guest = topology.guests.get(step.values.get("to") or "")
    versions = _versions(topology, guest) if guest is not None else None
    if guest is None or versions is None:
        return
    family = step.values.get("family")
    because: tuple[Path, ...] = (("guests", guest.name), ("networks",))
    if not versions:
        yield Problem((*place, "to"), f"{guest.name} has no address", "a guest with one", because=because)
    elif family is not None and family not in versions:
        found = f"{guest.name} has no IPv{family} address"
        yield Problem((*place, "family"), found, one_of(map(str, sorted(versions))), because=because)


def _versions(topology: Topology, guest: Guest) -> set[int] | None:
    """Versions of IP that a guest has addresses of; None: only a DHCP server knows, or nobody."""
    versions: set[int] = set()
    for port in guest.nics:
        if port.dhcp or (port.home is not None and port.home not in topology.networks):
            return None
        if port.ip is not None:
            versions |= {address.version for address in port.ip}
        elif port.home is not None:
            versions |= {subnet.version for subnet in topology.networks[port.home].subnets}
    return versions


def _cable(topology: Topology, name: str | None, place: Path) -> Iterator[Problem]:
    ports = [f"{guest.name}.{n}" for guest in topology.guests.values() for n in range(len(guest.nics))]
    known = [*link_names(topology), *topology.guests, *ports]
    if name and name not in known:
        because: tuple[Path, ...] = (("links",), ("guests",))
        expected = one_of(known[:6]) if known else "the name of a link or port"
        hint = did_you_mean(name, known)
        yield Problem(place, f"no link {shown(name)}", expected, hint, because=because)


def link_names(topology: Topology) -> list[str]:
    """What the links between switches are called."""
    from vnet.topology.resolve import link_names as names

    found = []
    for name, link in zip(names(topology.links), topology.links, strict=True):
        found += [name, *(f"{name}.{number}" for number, _ in enumerate(link.cables, 1))]
    return found


def _guest(topology: Topology, name: object, place: Path) -> Iterator[Problem]:
    if name and name not in topology.guests:
        known = list(topology.guests)
        expected = one_of(known) if known else "the name of a guest; there is none"
        hint = did_you_mean(name, known)
        yield Problem(place, f"no guest {shown(name)}", expected, hint, because=(("guests", str(name)),))
