"""The links of a running fabric: cables between its switches, and the ports at their ends."""

from __future__ import annotations

import hashlib
from typing import Any

import attrs

from vnet._native import Engine, PortConfig
from vnet.topology.resolve import ResolvedLink

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

    kind = "link"

    @property
    def link(self) -> bool:
        """As the operator set it."""
        return self.wanted.up

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
            "carries": [],
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


def port_config(wanted: ResolvedLink) -> PortConfig:
    """How the switches are told about the ends of a link: a trunk of all its VLANs, no guard."""
    return PortConfig(
        tagged=list(wanted.vlans),
        mtu=wanted.mtu,
        mac_limit=(1 << 32) - 1,
        transparent=wanted.transparent,
        up=wanted.up,
    )


def mac(fabric: str, seed: int, port: str) -> str:
    """The MAC address of the port at a link's end: stable, locally administered."""
    digest = hashlib.sha256(f"{fabric}\0{seed}\0{port}".encode()).digest()
    return ":".join(f"{byte:02x}" for byte in (digest[0] & 0xFC | 2, *digest[1:6]))


def add(engine: Engine, fabric: str, seed: int, wanted: ResolvedLink, switches: tuple[int, int]) -> Link:
    """Join two switches. Raises OSError, ValueError or RuntimeError."""
    config = port_config(wanted)
    numbers = engine.add_link(switches[0], config, switches[1], config)
    names = wanted.ports
    a, b = (
        LinkEnd(
            name=names[side],
            guest=wanted.name,
            peer=names[1 - side],
            switch=wanted.ends[side],
            mac=mac(fabric, seed, names[side]),
            number=numbers[side],
            carrier=engine.carrier(numbers[side]),
            wanted=wanted,
            engine=engine,
        )
        for side in SIDES
    )
    link = Link(wanted, (a, b))
    if not wanted.up:
        cut(engine, link)
    return link


def cut(engine: Engine, link: Link) -> None:
    """Set the carrier of both ends as the link is wanted."""
    for end in link.ends:
        engine.set_link(end.number, link.wanted.up)


def change(engine: Engine, link: Link, wanted: ResolvedLink) -> None:
    """Change what a link carries."""
    was, link.wanted = link.wanted, wanted
    for end in link.ends:
        engine.set_port(end.number, port_config(wanted))
        end.wanted = wanted
    if was.up != wanted.up:
        cut(engine, link)
