"""What the engine knows by number, by name: switches, ports, links. `apply.py` has it changed."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import attrs

from nics.bond import Bond
from vnet import carrier, links, trees, usage
from vnet._native import describe_port, set_member
from vnet.errors import BadInput
from vnet.guests import suggestion
from vnet.links import Link, LinkEnd
from vnet.port import Port
from vnet.topology import Switch
from vnet.topology.model import Cord
from vnet.topology.resolve import Port as WantedPort
from vnet.topology.resolve import Resolved, ResolvedLink

if TYPE_CHECKING:
    from vnet.fabric import Fabric

LIMITS = ("ageing", "fdb_limit", "vlan_limit", "connection_limit")
"""Settings of a switch that are the engine's own; the others are its spanning tree's."""


class Wiring:
    """Of one fabric."""

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric
        self._engine = fabric.engine
        self.began = 0
        """The fabric's time 0, which schedules of links count from."""
        self.ports: dict[str, Port] = {}
        """The guests' ports, and the uplinks."""
        self.links: dict[str, Link] = {}
        self.switches: dict[str, int] = {}
        self.numbers: dict[int, Port | LinkEnd] = {}
        """Ports, links' ends too, by number."""
        self.cuts: set[str] = set()
        """What the operator cut: names of ports, links, and cables of several. It holds for whatever comes
        under the name, for as long as the topology has that.
        """
        self._trees: dict[str, Switch] = {}

    # -- names -----------------------------------------------------------------------------------

    def name(self, number: int) -> str:
        """What a port is called; one that is gone, by its number."""
        at = self.numbers.get(number)
        return at.name if at else str(number)

    def link(self, name: str) -> Link | None:
        """The link called `name`, or with a port or one of several cables called so."""
        return next((link for link in self.links.values() if name in link.wanted.known_as), None)

    def link_ends(self) -> dict[str, LinkEnd]:
        """The ports of links, by name."""
        return {end.name: end for link in self.links.values() for end in link.ends}

    def port(self, name: str) -> Port:
        """The port called `name`; a guest's name stands for its first port. Raises BadInput."""
        guests = self._fabric.guests
        if name in self.ports:
            return self.ports[name]
        if name in guests and guests[name].ports:
            return next(iter(guests[name].ports.values()))
        raise BadInput(f"there is no port {name!r}{suggestion(name, [*self.ports, *guests])}")

    def at(self, name: str) -> Port | LinkEnd:
        """The same, or the end of a link."""
        return self.link_ends().get(name) or self.port(name)

    def of_switch(self, switch: int) -> list[tuple[int, str]]:
        """Number and name of each of a switch's ports, by its number."""
        name = next((name for name, number in self.switches.items() if number == switch), None)
        found = [(port.number, port.name) for port in self.ports.values() if port.wanted.switch == name]
        return [*found, *((end.number, end.name) for end in self.link_ends().values() if end.switch == name)]

    # -- switches --------------------------------------------------------------------------------

    def switch(self, name: str) -> int:
        """The engine's number of a switch, made when it is first asked for."""
        if name not in self.switches:
            topology = self._fabric.topology
            settings = topology.switches.get(name) or Switch(name)
            seed = (topology.seed % 2**64, len(self.switches))
            if self._fabric.driver == "thread":
                # Nobody shall be able to aim for collisions; only virtual time needs the same again.
                seed = (secrets.randbits(64), secrets.randbits(64))
            self.switches[name] = self._engine.add_switch(**_limits(settings), hash_seed=seed)
            self._plant(settings)
            self._fabric.groups.switch(name, self.switches[name])
        return self.switches[name]

    def forget_switch(self, name: str) -> None:
        """Give up the number of a switch that has no ports any more."""
        if name in self.switches:
            self._engine.remove_switch(self.switches.pop(name))
            self._trees.pop(name, None)
            self._fabric.groups.forget(name)

    def set_switch(self, settings: Switch) -> None:
        """Have a switch that was made already go by other settings."""
        if settings.name in self.switches:
            self._engine.set_switch(self.switches[settings.name], **_limits(settings))
            self._plant(settings)

    def _plant(self, settings: Switch) -> None:
        """Have a switch run the spanning tree that it is set to, if it does not already."""
        tree = attrs.evolve(settings, **_limits(Switch("")))
        if self._trees.get(settings.name, Switch(settings.name)) != tree:
            address = trees.mac(self._fabric.name, self._seed, f"switch {settings.name}")
            trees.plant(self._engine, self.switches[settings.name], address, settings)
            self._trees[settings.name] = tree

    @property
    def _seed(self) -> int:
        return self._fabric.topology.seed

    # -- links -----------------------------------------------------------------------------------

    def join(self, wanted: ResolvedLink) -> None:
        """Add a link."""
        link = links.add(
            self._engine,
            self._fabric.name,
            self._seed,
            wanted,
            (self.switch(wanted.ends[0]), self.switch(wanted.ends[1])),
            self.cuts,
            began=self.began,
            now=self._fabric.time(),
        )
        self.links[link.name] = link
        for end in link.ends:
            self.numbers[end.number] = end
            mac = bytes.fromhex(end.mac.replace(":", ""))
            describe_port(self._engine, end.number, end.name, end.description, mac)
            self._fabric.captures.came(end)

    def change_link(self, wanted: ResolvedLink) -> None:
        """Change a link; what is on it stays there."""
        link = self.links[wanted.name]
        links.change(self._engine, link, wanted, began=self.began, now=self._fabric.time())

    def part(self, name: str) -> None:
        """Remove a link."""
        for end in self.links.pop(name).ends:
            self._engine.remove_port(end.number)
            del self.numbers[end.number]

    def set_up(self, name: str, up: bool) -> None:
        """Set a port's link, a link between switches or a cable of several up or down. Raises BadInput, also
        where the topology has down what is to be up.
        """
        if (link := self.link(name)) is not None:
            if name in (cable.name for cable in link.wanted.several):
                self._note([name], up)
                links.set_cables(self._engine, link)
            else:
                self._note([link.name], up)
                links.set_up(self._engine, link)
            return
        for bonded in self.ports.values():
            if name in members(bonded.wanted):
                self._note([name], up)
                self.show_cables(bonded)
                return
        resolved = self._fabric.resolved
        # A cable between two NICs is cut for both.
        ends = resolved.cabled(name) if resolved else []
        ports = [self.ports[end.name] for end in ends] or [self.port(name)]
        self._note([port.name for port in ports], up)
        for port in ports:
            self.show(port)

    def _note(self, names: list[str], up: bool) -> None:
        resolved = self._fabric.resolved
        wanted = cables(resolved) if resolved else {}
        for name in names if up else ():
            if not wanted.get(name, True):
                raise BadInput(
                    f"{name}: the topology has it down; take `up: false` away there, and apply that"
                )
        (self.cuts.difference_update if up else self.cuts.update)(names)

    def show(self, port: Port) -> None:
        """Have a port's link be as the operator said. One that the topology has down, or that is parked
        while VLANs move, stays down meanwhile: this is asked again when it is no longer.
        """
        if port.wanted.settings.up or port.is_cut:
            self._engine.set_link(port.number, not port.is_cut)
        carrier.tell(self._fabric, port)

    def show_cables(self, port: Port) -> None:
        """The same for the cables of a port that has several."""
        for number, name in enumerate(members(port.wanted)):
            set_member(self._engine, port.number, number, name not in self.cuts)

    def forget_cuts(self, running: Resolved) -> None:
        """Who comes under the name of one that went before is somebody else."""
        self.cuts.intersection_update(cables(running))

    # -- ports -----------------------------------------------------------------------------------

    def take_part(self, port: Port) -> None:
        """Have a guest's port take part in its switch's spanning tree, unless it is guarded."""
        address = trees.mac(self._fabric.name, self._seed, port.name)
        trees.join_guest(self._engine, port.number, address, port.wanted)

    def set_cord(self, port: Port) -> None:
        """Have the cable of a guest's NIC do what is wanted."""
        links.set_cord(
            self._engine,
            self._seed,
            port.number,
            port.name,
            port.wanted.cord,
            began=self.began,
            now=self._fabric.time(),
        )

    def plug(self, port: Port) -> None:
        """Note a port that was attached."""
        self.ports[port.name] = port
        self.numbers[port.number] = port
        mac = bytes.fromhex(port.wanted.mac.replace(":", "")) or None
        describe_port(self._engine, port.number, port.name, port.description, mac)
        if port.guest:
            self._fabric.accounts.open(port)
            self._fabric.guests[port.guest].ports[port.name] = port
            if port.wanted.cord != Cord():
                self.set_cord(port)
            if port.wanted.guard is None:
                self.take_part(port)
        self.show_cables(port)
        if port.is_cut:
            self.show(port)
        self._fabric.captures.came(port)

    async def unplug(self, name: str, later: list[Callable[[], Awaitable[None]]] | None = None) -> None:
        """Detach a port and close what belonged to it. `later`: notes what is still to be done."""
        port = self.ports.pop(name)
        if port.guest:
            del self._fabric.guests[port.guest].ports[name]
        counted = self._engine.remove_port(port.number)
        if port.guest:
            self._fabric.accounts.close(port, usage.add(usage.NOTHING, counted))
        del self.numbers[port.number]
        if port.opened.far is not None:
            port.opened.far.event(0, 0)
        if port.opened.close is not None and later is not None:
            later.append(port.opened.close)
        elif port.opened.close is not None:
            await port.opened.close()


def members(port: WantedPort) -> list[str]:
    """What the cables of a port that has several are called."""
    return port.nic.names(port.name) if isinstance(port.nic, Bond) else []


def cables(resolved: Resolved) -> dict[str, bool]:
    """All that the operator can cut, by name, and whether the topology has it up."""
    ports = [*resolved.ports.values(), *resolved.uplinks.values()]
    found = {name: True for port in ports for name in members(port)}
    found |= {port.name: port.settings.up for port in ports}
    for link in resolved.links.values():
        found[link.name] = link.up
        found |= {cable.name: cable.up for cable in link.several}
    return found


def _limits(settings: Switch) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in LIMITS}
