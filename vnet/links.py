"""The links of a running fabric: cables between its switches, and the ports at their ends."""

from __future__ import annotations

import hashlib
from collections.abc import Set
from typing import Any

import attrs

from vnet import trees
from vnet._native import BondSetup, Engine, Impair, PortConfig, bond_view, set_member
from vnet._native import set_cord as set_cord_native
from vnet.flaps import Flaps
from vnet.topology import model
from vnet.topology.resolve import ResolvedLink
from vnet.topology.schedule import moments

SIDES = (0, 1)


@attrs.define
class LinkEnd:
    """A port at the end of a link. Its name is `LINK.a` or `LINK.b`."""

    name: str
    guest: str
    """The link's name: captures take it for both ends."""
    peer: str
    """The port at the other end."""
    switch: str
    mac: str
    """Of the port itself, for protocols between switches."""
    number: int
    carrier: bool
    wanted: ResolvedLink
    engine: Engine = attrs.field(repr=False)
    cuts: Set[str] = attrs.field(repr=False, eq=False)
    """What the operator cut, of all that the fabric has: see `Wiring.cuts`."""
    flaps: Flaps = attrs.field(factory=Flaps, repr=False, eq=False)

    kind = "link"

    @property
    def link(self) -> bool:
        """Whether it is up: the topology has it so, and the operator did not cut it."""
        return self.wanted.up and self.guest not in self.cuts

    @property
    def description(self) -> str:
        """What it is, in a few words, as captures show it."""
        return f"link, {self.switch} to {self.peer}"

    def counters(self) -> dict[str, Any]:
        """Counted so far; see `Engine.counters`."""
        return self.engine.counters(self.number)

    def status(self) -> dict[str, Any]:
        """One entry of `vnet status --json`."""
        counted = self.counters()
        return {
            "port": self.name,
            "guest": None,
            "kind": self.kind,
            "switch": self.switch,
            "peer": self.peer,
            "network": None,
            "trunk": [],
            "vlan": None,
            "vlans": list(self.wanted.vlans),
            "mac": self.mac,
            "ip": [],
            "carrier": self.carrier,
            "link": "up" if self.link else "down",
            "carries": [cable.name for cable in self.wanted.several],
            "bond": bond_view(self.engine, self.number),
            "rx": {"frames": counted["rx_frames"], "bytes": counted["rx_bytes"]},
            "tx": {"frames": counted["tx_frames"], "bytes": counted["tx_bytes"]},
            "drops": counted["drops"],
        }


@attrs.define
class Link:
    """A link while it exists."""

    wanted: ResolvedLink
    ends: tuple[LinkEnd, LinkEnd]

    @property
    def name(self) -> str:
        """As the topology has it."""
        return self.wanted.name


def port_config(wanted: ResolvedLink, *, up: bool = True) -> PortConfig:
    """How the switches are told about the ends of a link: a trunk of all its VLANs, no guard.
    Beside each frame goes where its sender stands in private networks.
    """
    return PortConfig(
        tagged=list(wanted.vlans),
        mtu=wanted.mtu,
        mac_limit=(1 << 32) - 1,
        transparent=wanted.transparent,
        places=True,
        up=up and wanted.up,
    )


def impair(wanted: model.Impair) -> Impair:
    """What a link does one way, for the engine."""
    bursts, queue = wanted.bursts, wanted.queue
    return Impair(
        delay=wanted.delay,
        jitter=wanted.jitter,
        spread=wanted.distribution,
        loss=wanted.loss,
        bursts=(bursts.begin, bursts.end, bursts.loss) if bursts else None,
        duplicate=wanted.duplicate,
        reorder=wanted.reorder,
        corrupt=wanted.corrupt,
        rate=wanted.rate or 0,
        queue_packets=queue.packets,
        queue_bytes=queue.bytes or 0,
        codel=(queue.target, queue.interval) if queue.aqm == "codel" else None,
        mtu=wanted.mtu or 0,
    )


def seeds(seed: int, link: str, what: str = "link") -> tuple[int, int]:
    """What the fates of a link's frames follow from, from a to b and back."""
    digest = hashlib.sha256(f"{what}\0{seed}\0{link}".encode()).digest()
    return int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:16], "big")


def _impair(engine: Engine, link: Link, began: int, now: int) -> None:
    """Have the engine treat a link's frames as is wanted, from now on and as scheduled.

    `began`: when the fabric came up, in the driver's time, as `now` is.
    """
    for number, cable in enumerate(link.wanted.cables):
        steps = _steps(cable.a_to_b, cable.b_to_a, cable.schedule, began, now)
        engine.set_impair(link.ends[0].number, number, now, steps)


def _steps(
    a_to_b: model.Impair, b_to_a: model.Impair, schedule: tuple[model.Change, ...], began: int, now: int
) -> list[tuple[int, Impair, Impair, bool]]:
    """What holds now, and what will from when on."""
    steps = [
        (began + moment.at, impair(moment.a_to_b), impair(moment.b_to_a), moment.up)
        for moment in moments(a_to_b, b_to_a, schedule)
    ]
    past = sum(1 for at, *_ in steps if at <= now)
    return steps[max(past - 1, 0) :]


def set_cord(
    engine: Engine, seed: int, number: int, name: str, cord: model.Cord, *, began: int, now: int
) -> None:
    """Have the cable of a guest's NIC treat frames as is wanted, from now on and as scheduled."""
    steps = _steps(cord.egress, cord.ingress, cord.schedule, began, now)
    set_cord_native(engine, number, seeds(seed, name, "nic"), now, steps)


def _bonds(fabric: str, seed: int, wanted: ResolvedLink) -> tuple[BondSetup, BondSetup] | None:
    """How the ends of several cables share the work; None: there is one."""
    if not wanted.several:
        return None
    bond = wanted.bond

    def end(side: int) -> BondSetup:
        port = wanted.ports[side]
        members = [
            (cable.name, trees.mac(fabric, seed, f"{port} {cable.name}"), cable.priority)
            for cable in wanted.several
        ]
        return BondSetup(
            bond.mode,
            members,
            least=bond.min_links,
            hashed=bond.hash,
            # Both ends take the same one: the first of those that have carrier.
            primary=0 if bond.mode == "active-backup" else None,
            system=(32768, trees.mac(fabric, seed, f"system {port}")),
            active=bond.passive != "ab"[side],
            short=bond.timeout == "short",
            independent=bond.control == "independent",
            # Both ends are there, and nobody plugs cables in one by one.
            wait=0,
            most=bond.max_links,
        )

    return end(0), end(1)


def add(
    engine: Engine,
    fabric: str,
    seed: int,
    wanted: ResolvedLink,
    switches: tuple[int, int],
    cuts: Set[str],
    *,
    began: int,
    now: int,
) -> Link:
    """Join two switches. Raises OSError, ValueError or RuntimeError."""
    config = port_config(wanted, up=wanted.name not in cuts)
    numbers = engine.add_link(
        switches[0],
        config,
        switches[1],
        config,
        [seeds(seed, cable.name) for cable in wanted.cables],
        _bonds(fabric, seed, wanted),
    )
    names = wanted.ports
    a, b = (
        LinkEnd(
            name=names[side],
            guest=wanted.name,
            peer=names[1 - side],
            switch=wanted.ends[side],
            mac=trees.mac(fabric, seed, names[side]),
            number=numbers[side],
            carrier=engine.carrier(numbers[side]),
            wanted=wanted,
            engine=engine,
            cuts=cuts,
        )
        for side in SIDES
    )
    link = Link(wanted, (a, b))
    if not a.link:
        set_up(engine, link)
    set_cables(engine, link)
    _impair(engine, link, began, now)
    _take_part(engine, link)
    return link


def _take_part(engine: Engine, link: Link) -> None:
    for side, end in enumerate(link.ends):
        trees.join_link(engine, end.number, end.mac, link.wanted, side)


def set_up(engine: Engine, link: Link) -> None:
    """Set both ends up, or down if the operator or the topology says so."""
    for end in link.ends:
        engine.set_link(end.number, end.link)


def set_cables(engine: Engine, link: Link) -> None:
    """The same for each of several cables."""
    for number, cable in enumerate(link.wanted.several):
        for end in link.ends:
            set_member(engine, end.number, number, cable.up and cable.name not in end.cuts)


def change(engine: Engine, link: Link, wanted: ResolvedLink, *, began: int, now: int) -> None:
    """Change what a link carries and what it does to frames."""
    was, link.wanted = link.wanted, wanted
    for end in link.ends:
        end.wanted = wanted
        engine.set_port(end.number, port_config(wanted, up=end.link))
    if was.up != wanted.up:
        set_up(engine, link)
    if [cable.up for cable in was.several] != [cable.up for cable in wanted.several]:
        set_cables(engine, link)
    if was.cables != wanted.cables:
        _impair(engine, link, began, now)
    if (was.stp, was.cables) != (wanted.stp, wanted.cables):
        _take_part(engine, link)
