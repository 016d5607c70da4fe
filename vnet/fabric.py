"""A fabric, alive: the switch, its ports and the guests behind them, for as long as a block runs.

    async with vnet.Fabric.from_file("tenants.yaml") as fabric:
        rtt = await fabric.guests["web"].ping(fabric.guests["db"])

What is running is always some topology. `apply` goes from the running one to another by the
smallest number of steps (`topology/plan.py` says which, `apply.py` takes them and takes them back
when one fails); `attach` and `detach` are nothing but that, with one guest more or less.
"""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Self

import attrs
import trio

from nics.bond import Bond
from nics.netlink import Netlink
from vnet import apply, drive, explain, last, links, mirrors, multicast, trees, uplinks, usage
from vnet._native import Engine, describe_port, drop_reasons, set_member, set_recorder
from vnet.capture import Capture, Clock, Selection, past, select
from vnet.errors import BadInput
from vnet.explain import Names
from vnet.flows.exporter import Exporter
from vnet.guests import Guest, one_of, suggestion
from vnet.links import Link, LinkEnd
from vnet.past import Keeper
from vnet.port import Port, Reading
from vnet.runtime import Runtime, base
from vnet.sandbox.confinement import Confinement
from vnet.topology import Recorder, Resolved, Switch, Topology
from vnet.topology.mirrors import ResolvedMirror
from vnet.topology.model import Cord
from vnet.topology.resolve import ResolvedLink
from vnet.virtual import in_virtual_time, own_clocks

log = logging.getLogger("vnet")

_PORTS_A_TURN = 16
"""So many ports are told of before others have their turn."""
PORT_BITS = 0x0FFF
"""Of a port's number; above them stands which of several NICs of it is meant."""
NO_PORT = 0xFFFF
"""Port of events that belong to no port."""

NO_TREE = ("ageing", "fdb_limit", "vlan_limit", "connection_limit")
"""Settings of a switch that its spanning tree has nothing to do with."""

FDB_PAGE = 4096
"""Entries asked for at once, so that a full database does not hold the engine up."""


class Fabric:
    """Use as an async context manager. Everything is down again, and gone, when it ends."""

    def __init__(
        self,
        topology: Topology,
        *,
        runtime: Path | None = None,
        driver: str | None = None,
    ) -> None:
        self.topology = topology
        """What is running, or about to when the block is entered."""
        self.resolved: Resolved | None = None
        """The same with every MAC, address and VLAN; None while nothing runs."""
        self.guests: dict[str, Guest] = {}
        self.ports: dict[str, Port] = {}
        """The guests' ports, and the uplinks."""
        self.links: dict[str, Link] = {}
        self.mirrors: dict[str, ResolvedMirror] = {}
        self.confinement: Confinement | None = None
        """What the process gave up; None while it is not confined."""
        self.engine = Engine()
        self.groups = multicast.Groups(topology.name, topology.seed, self.engine)
        """Multicast groups."""
        self.netlink = Netlink()
        self.accounts = usage.Accounts(self.engine)
        """What guests sent and received, those that are gone included."""
        self.keeper = Keeper(self)
        self.exporter = Exporter(self)
        """What has the past written down by itself."""
        self._nursery: trio.Nursery | None = None
        self._numbers: dict[int, Port | LinkEnd] = {}
        self._switches: dict[str, int] = {}
        self._trees: dict[str, Switch] = {}
        self._folder = runtime
        self._runtime: Runtime | None = None
        self._began = 0
        self._driver = driver or topology.engine.driver
        self._applying = trio.Lock()
        self._stack = AsyncExitStack()

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], **options: Any) -> Self:
        """A fabric of the topology in a file. Raises BadInput, with every error's place."""
        return cls(Topology.from_file(path), **options)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], **options: Any) -> Self:
        """A fabric of a topology given as plain data, as a file would have it."""
        return cls(Topology.from_dict(document), **options)

    # -- life ------------------------------------------------------------------------------------

    @property
    def driver(self) -> str:
        """`trio` or `thread`: who turns the engine."""
        return self._driver

    @property
    def name(self) -> str:
        """The topology's name."""
        return self.topology.name

    @property
    def runtime(self) -> Path:
        """The runtime folder, where relative socket paths lie. It exists once something needs it."""
        return self._folder or base() / self.name

    def time(self) -> int:
        """The engine's time, in nanoseconds: trio's, or the system's monotonic clock under a thread."""
        return drive.now() if self._driver == "trio" else time.monotonic_ns()

    async def hold_runtime(self) -> Runtime:
        """Take the runtime folder, if it was not yet, and clean up what a crash left in it. Raises
        Busy when another process has it.
        """
        if self._runtime is None:
            self._runtime = Runtime(self.name, self._folder).__enter__()
            for removed in await trio.to_thread.run_sync(self._runtime.clean):
                log.info("removed the namespace %s, left by a crash", removed)
        return self._runtime

    async def __aenter__(self) -> Self:
        virtual = in_virtual_time()
        if self._driver == "auto":
            self._driver = "trio" if virtual else "thread"
        if virtual and self._driver == "thread":
            raise BadInput("driver: thread has a clock of its own; in virtual time use trio")
        self._began = self.time()
        async with AsyncExitStack() as stack:
            stack.callback(self._release_runtime)
            if virtual:
                stack.enter_context(drive.same_order(self.topology.seed))
            await stack.enter_async_context(self.netlink)
            nursery = await stack.enter_async_context(_cancelled_nursery())
            nursery.start_soon(drive.dispatch, self.engine, self._event, self._lost)
            self._nursery = nursery
            nursery.start_soon(self.exporter.run)
            stack.callback(self.exporter.close)
            if self._driver == "thread":
                settings = self.topology.engine
                self.engine.start(settings.poll, settings.cpu)
                stack.callback(self.engine.stop)
            else:
                nursery.start_soon(drive.drive, self.engine)
            stack.push_async_callback(self._down)
            await self.apply(self.topology)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    def _release_runtime(self) -> None:
        if self._runtime is not None:
            self._runtime.__exit__()
            self._runtime = None

    async def _down(self) -> None:
        with trio.CancelScope(shield=True):
            await apply.take_down(self)

    # -- change ----------------------------------------------------------------------------------

    async def apply(self, wanted: Topology) -> list[str]:
        """Change to `wanted`; what is the same in both goes on without losing a frame.

        Returns what was done, a line each. When a step fails, the steps before it are undone and
        its error is raised.
        """
        if in_virtual_time() and (wrong := own_clocks(wanted)):
            raise BadInput(*wrong)
        async with self._applying:
            return await apply.change(self, wanted)

    async def attach(self, name: str, *, kind: str | None = None, **keys: Any) -> Any:
        """Add a guest with one NIC, whose keys are those of a topology file: `network="red"`,
        `nic=vnet.Pipe()`. Returns the far side of a NIC that has one in this process (a pipe, a
        stack), and otherwise the port.
        """
        if name in self.guests:
            raise BadInput(f"there is a guest {name} already")
        wanted = self.topology.copy()
        wanted.guest(name, kind=kind or ("external" if "nic" in keys else "stack"), **keys)
        await self.apply(wanted)
        port = next(iter(self.guests[name].ports.values()))
        return port.opened.far or port

    async def detach(self, name: str) -> None:
        """Remove a guest and its ports."""
        one_of(self.guests, name)
        await self.apply(self.topology.copy().remove_guest(name))

    async def set_link(self, port: str, up: bool) -> None:
        """Set a port's link up or down, as its guest sees it where its kind can show it. A link between
        switches is cut, or mended, at both ends, whichever of its names is given.
        """
        if (cable := self._link(port)) is not None:
            if port in (one.name for one in cable.wanted.several):
                links.set_cable(self.engine, cable, port, up)
            else:
                links.set_up(self.engine, cable, up)
            await trio.lowlevel.checkpoint()
            return
        for bonded in self.ports.values():
            nic = bonded.wanted.nic
            if isinstance(nic, Bond) and port in (names := nic.names(bonded.name)):
                set_member(self.engine, bonded.number, names.index(port), up, now=self.now())
                await trio.lowlevel.checkpoint()
                return
        record = self.port(port)
        self.engine.set_link(record.number, up, now=self.now())
        record.link = up
        await trio.lowlevel.checkpoint()

    # -- capture ---------------------------------------------------------------------------------

    def capture(self, path: str | os.PathLike[str], *what: str, **options: Any) -> Capture:
        """Capture to a pcapng file while a block runs: `async with fabric.capture("red.pcapng", "red"):`

        `what`: names of ports, guests and networks, or `all`, which is meant when there is none.
        Options: `filter` in libpcap's language, `count` of frames after which to end, `drops` for
        dropped frames only, `direction` (`in` to the switch or `out` of it, otherwise both, so that a
        frame is seen at each of its ports), `snaplen`, the most bytes to keep of each frame, `segment`
        to see super-frames as the segments of a wire.
        """
        return self._capture(path, what, options)

    def capture_to(self, descriptor: int, *what: str, **options: Any) -> Capture:
        """The same to an open file, FIFO or socket. The descriptor stays the caller's."""
        return self._capture(descriptor, what, options)

    async def past(self, target: str | os.PathLike[str] | int, *what: str, **options: Any) -> dict[str, Any]:
        """Write what passed lately, as the recorder kept it, to a pcapng file or a descriptor that stays the
        caller's. `what` as for `capture`: a port means what came in there, was sent there, or was refused
        there. Options: `seconds` to look back, otherwise all that is kept; `filter`, `drops`, `direction`,
        `snaplen` as for `capture`; `count`, the latest so many. Returns counts, see `vnet.capture.past`.
        """
        return await past(self.engine, target, self._selection(what), clock=self.clock, **options)

    def set_recorder(self, wanted: Recorder | None) -> None:
        """Have other parts of what passes kept, None: nothing. What was kept is forgotten where it is not
        the same memory any more.
        """
        settings = wanted or Recorder()
        set_recorder(
            self.engine,
            settings.size if wanted else 0,
            total=settings.total,
            snap=settings.snap,
            triggers=self.keeper.set(settings),
        )

    def _capture(self, target: str | os.PathLike[str] | int, what: Iterable[str], options: Any) -> Capture:
        return Capture(self.engine, target, self._selection(what), clock=self.clock, **options)

    @property
    def clock(self) -> Clock:
        """Whose time the engine lives in."""
        return "thread" if self._driver == "thread" else "virtual" if in_virtual_time() else "trio"

    def _selection(self, what: Iterable[str]) -> Selection:
        networks = self.resolved.networks if self.resolved else {}
        vlans = {name: network.vlan for name, network in networks.items()}
        return select(what, ports={**self.ports, **self._link_ends()}, networks=vlans)

    # -- look ------------------------------------------------------------------------------------

    def _link(self, name: str) -> Link | None:
        """The link called `name`, or with a port or one of several cables called so."""
        return next((link for link in self.links.values() if name in link.wanted.known_as), None)

    def _link_ends(self) -> dict[str, LinkEnd]:
        """The ports of links, by name."""
        return {end.name: end for link in self.links.values() for end in link.ends}

    def port(self, name: str) -> Port:
        """The port called `name`; a guest's name stands for its first port."""
        if name in self.ports:
            return self.ports[name]
        if name in self.guests and self.guests[name].ports:
            return next(iter(self.guests[name].ports.values()))
        raise BadInput(f"there is no port {name!r}{suggestion(name, [*self.ports, *self.guests])}")

    async def status_in_turns(self) -> dict[str, Any]:
        """`status`, made a few ports at a time: with thousands of them nobody else waits for all. What
        comes or goes meanwhile may be in it or not.
        """
        listed = []
        for number, (port, reading, more) in enumerate(self._readings([*self.ports.values()])):
            if number % _PORTS_A_TURN == 0:
                await trio.lowlevel.checkpoint()
            if self.ports.get(port.name) is port:
                listed.append(port.status(reading) | more)
        return self._status(listed)

    def status(self) -> dict[str, Any]:
        """The document of `vnet status --json`."""
        told = self._readings([*self.ports.values()])
        return self._status([port.status(reading) | more for port, reading, more in told])

    def _readings(self, ports: list[Port]) -> list[tuple[Port, Reading, dict[str, Any]]]:
        """Ports with what only the engine knows of them, and what an entry has besides: a guest's usage.

        The engine is asked once for all of them: each time it may have a turn to finish first.
        """
        readings = self.engine.readings([port.number for port in ports])
        usage = self.accounts.of(ports)
        more = [{"usage": usage[port.name]} if port.guest else {} for port in ports]
        return list(zip(ports, readings, more, strict=True))

    def _status(self, ports: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "name": self.name,
            "engine": {"driver": self._driver, "turns": self.engine.turns},
            "sandbox": self.confinement.status() if self.confinement else {"mode": "off"},
            "switches": self.switches(),
            "ports": [*ports, *(end.status() for end in self._link_ends().values())],
            "mirrors": mirrors.status(self),
            "flows": self.exporter.status(),
        }

    def usage(self, *only: str, gone: bool = False) -> dict[str, Any]:
        """What guests' NICs sent (`egress`) and received (`ingress`), each inside the `fabric` and by way of
        an `uplink`, in `frames` and `bytes`: the document of `vnet usage --json`, of these guests or NICs
        only if any are named. Figures only grow, `since` the NIC was first there (RFC 3339), whatever went
        and came back meanwhile; all are of one moment. `gone`: those of NICs that are not there any more,
        too. Raises BadInput.
        """
        return usage.document(self.name, self.accounts.now(self.ports, gone=gone), only)

    def send(self, port: str, frame: bytes) -> dict[str, Any]:
        """Put a frame in at a port, as if its guest had sent it. What the switch decided: `to`, a port's
        name, or None for a flood; `vlan`, 0 when it got none; `reason` of a drop and what that `means`.
        """
        record = self.port(port)
        action, egress, vlan = self.engine.inject(record.number, frame, now=drive.now())
        dropped = action not in explain.FORWARDED
        to = self._numbers.get(egress) if egress is not None else None
        return {
            "port": record.name,
            "vlan": vlan,
            "to": to.name if to else None,
            "reason": action if dropped else None,
            "means": dict(drop_reasons())[action].strip() if dropped else None,
        }

    def explain(self, port: str, frame: bytes) -> tuple[list[explain.Step], list[str]]:
        """What would happen to a frame that came in at a port, decided by the code that forwards, while
        nothing happens: the steps, and the names of the ports that it would leave the fabric by.
        """
        hops = self.engine.explain(self.port(port).number, frame, now=drive.now())
        return explain.steps(hops, self.names()), explain.reached(hops, self.names())

    def switch_numbers(self) -> list[int]:
        """The engine's numbers of all switches."""
        return list(self._switches.values())

    def ports_of_switch(self, switch: int) -> list[tuple[int, str]]:
        """Number and name of each of a switch's ports, by its number."""
        names = {number: name for name, number in self._switches.items()}
        name = names.get(switch)
        found = [(port.number, port.name) for port in self.ports.values() if port.wanted.switch == name]
        ends = ((end.number, end.name) for end in self._link_ends().values() if end.switch == name)
        return [*found, *ends]

    def names(self) -> Names:
        """What the engine's numbers are called here."""
        networks = self.resolved.networks if self.resolved else {}
        return Names(
            ports=self._numbers,
            switches={number: name for name, number in self._switches.items()},
            networks={network.vlan: name for name, network in networks.items()},
            means={reason: means.strip() for reason, means in drop_reasons()},
        )

    def drops(self) -> list[dict[str, Any]]:
        """What was dropped, the most first: port, reason, what it `means`, frames, and the last frame: `last`
        in words, its first bytes as `frame` in hex, its `length`, `vlan`, and how long ago it was (`age`, in
        seconds); None where none is kept.
        """
        means, found = {reason: text.strip() for reason, text in drop_reasons()}, []
        for number, port in self._numbers.items():
            kept = {lost[0]: lost for lost in self.engine.lost(number)}
            for reason, frames in port.counters()["drops"].items():
                drop: dict[str, Any] = {
                    "port": port.name,
                    "reason": reason,
                    "means": means[reason],
                    "frames": frames,
                    **dict.fromkeys(("last", "frame", "length", "vlan", "age")),
                }
                if reason in kept:
                    _, at, vlan, length, head = kept[reason]
                    drop |= {"last": last.line(head, length), "frame": head.hex(), "length": length}
                    drop |= {"vlan": vlan, "age": max(self.time() - at, 0) / drive.NANO}
                found.append(drop)
        return sorted(found, key=lambda drop: (-drop["frames"], drop["port"], drop["reason"]))

    def fdb(self, *, network: str | None = None, port: str | None = None) -> list[dict[str, Any]]:
        """The forwarding database, sorted: switch, vlan, network, mac, port, kind, age in seconds."""
        ends = self._link_ends()
        only = None if port is None else ends[port].number if port in ends else self.port(port).number
        networks = self.resolved.networks if self.resolved else {}
        if network is not None and network not in networks:
            raise BadInput(f"there is no network {network!r}{suggestion(network, list(networks))}")
        vlan = networks[network].vlan if network is not None else None
        names = {network.vlan: name for name, network in networks.items()}
        found = []
        for switch, number in self._switches.items():
            cursor: int | None = 0
            while cursor is not None:
                entries, cursor = self.engine.fdb(number, cursor, FDB_PAGE, port=only, vlan=vlan)
                for entry_vlan, mac, entry_port, kind, age in entries:
                    at = self._numbers.get(entry_port)
                    found.append(
                        {
                            "switch": switch,
                            "vlan": entry_vlan,
                            "network": names.get(entry_vlan),
                            "mac": mac,
                            "port": at.name if at else str(entry_port),
                            "kind": kind,
                            "age": age / drive.NANO,
                        }
                    )
        return sorted(found, key=lambda entry: (entry["switch"], entry["vlan"], entry["mac"]))

    def members(self, *, network: str | None = None, port: str | None = None) -> list[dict[str, Any]]:
        """Who wants which multicast group, where that is snooped, sorted: switch, vlan, network, group, port,
        sources (the only ones that are wanted; [] for all), expires in seconds.
        """
        ends = self._link_ends()
        name = None if port is None else ends[port].name if port in ends else self.port(port).name
        if network is not None and network not in (networks := self.topology.networks):
            raise BadInput(f"there is no network {network!r}{suggestion(network, list(networks))}")
        names = {number: at.name for number, at in self._numbers.items()}
        found = self.groups.members(names, self._networks(), self.time())
        return [e for e in found if name in (None, e["port"]) and network in (None, e["network"])]

    def _networks(self) -> dict[int, str]:
        """Networks by their VLAN."""
        networks = self.resolved.networks if self.resolved else {}
        return {network.vlan: name for name, network in networks.items()}

    def connections(self, *, network: str | None = None, port: str | None = None) -> list[dict[str, Any]]:
        """Connections that security groups track, sorted: switch, vlan, network, protocol, source and
        target with their ports, state, age, idle, expires in seconds, the port that it counts for.
        """
        only = self.port(port) if port is not None else None
        networks = self.resolved.networks if self.resolved else {}
        if network is not None and network not in networks:
            raise BadInput(f"there is no network {network!r}{suggestion(network, list(networks))}")
        names = {network.vlan: name for name, network in networks.items()}
        ends = {str(address) for address in only.wanted.ip} if only else set()
        found = []
        for switch, number in self._switches.items():
            cursor: int | None = 0
            while cursor is not None:
                page, cursor = self.engine.connections(number, cursor, FDB_PAGE)
                for vlan, protocol, source, target, state, times, owner in page:
                    if network not in (None, names.get(vlan)):
                        continue
                    if (
                        only
                        and owner != only.number
                        and not (vlan in only.wanted.vlans and ends & {source[0], target[0]})
                    ):
                        continue
                    at = self._numbers.get(owner)
                    age, idle, expires = (time / drive.NANO for time in times)
                    found.append(
                        {
                            "switch": switch,
                            "vlan": vlan,
                            "network": names.get(vlan),
                            "protocol": protocol,
                            "source": {"address": source[0], "port": source[1]},
                            "target": {"address": target[0], "port": target[1]},
                            "state": state,
                            "age": age,
                            "idle": idle,
                            "expires": expires,
                            "port": at.name if at else str(owner),
                        }
                    )
        return sorted(found, key=_connection_order)

    def switches(self) -> list[dict[str, Any]]:
        """Each switch with its spanning tree (`stp`, None if it runs none): its and the root's identifier,
        root_port, cost to the root, changes of the topology, and each port's role, state and cost. And
        `multicast`: for each network in which groups are snooped, and each of `igmp` and `mld`, who asks
        (`querier`, None: nobody, and everything is flooded; `ours`, `querier_port`), how often (`interval`,
        in seconds), ports with `routers`, and how many groups there are.
        """
        names = {number: port.name for number, port in self._numbers.items()}
        networks = self._networks()
        return [
            {
                "switch": name,
                "stp": trees.status(self.engine, number, names),
                "multicast": self.groups.status(name, names, networks),
            }
            for name, number in self._switches.items()
        ]

    # -- for apply.py ----------------------------------------------------------------------------

    def by_number(self) -> Mapping[int, Port | LinkEnd]:
        """Every port, links' ends too, by the engine's number."""
        return self._numbers

    def now(self) -> int | None:
        """The time that the engine goes by, in nanoseconds; None: its own thread knows."""
        return drive.now() if self._driver == "trio" else None

    def switch_number(self, name: str) -> int:
        """The engine's number of a switch, made when it is first asked for."""
        if name not in self._switches:
            settings = self.topology.switches.get(name) or Switch(name)
            seed = (self.topology.seed % 2**64, len(self._switches))
            if self._driver == "thread":
                # Nobody shall be able to aim for collisions; only virtual time needs the same again.
                seed = (secrets.randbits(64), secrets.randbits(64))
            self._switches[name] = self.engine.add_switch(
                ageing=settings.ageing,
                fdb_limit=settings.fdb_limit,
                vlan_limit=settings.vlan_limit,
                connection_limit=settings.connection_limit,
                hash_seed=seed,
            )
            self._plant(settings)
            self.groups.switch(name, self._switches[name])
        return self._switches[name]

    def forget_switch(self, name: str) -> None:
        """Give up the number of a switch that has no ports any more."""
        if name in self._switches:
            self.engine.remove_switch(self._switches.pop(name))
            self._trees.pop(name, None)
            self.groups.forget(name)

    def join(self, wanted: ResolvedLink) -> None:
        """Add a link."""
        switches = self.switch_number(wanted.ends[0]), self.switch_number(wanted.ends[1])
        link = links.add(
            self.engine,
            self.name,
            self.topology.seed,
            wanted,
            switches,
            began=self._began,
            now=self.time(),
        )
        self.links[link.name] = link
        for end in link.ends:
            self._numbers[end.number] = end
            mac = bytes.fromhex(end.mac.replace(":", ""))
            describe_port(self.engine, end.number, end.name, end.description, mac)

    def change_link(self, wanted: ResolvedLink) -> None:
        """Change a link; what is on it stays there."""
        link = self.links[wanted.name]
        links.change(self.engine, link, wanted, began=self._began, now=self.time())

    def part(self, name: str) -> None:
        """Remove a link."""
        for end in self.links.pop(name).ends:
            self.engine.remove_port(end.number)
            del self._numbers[end.number]

    def set_switch(self, settings: Switch) -> None:
        """Have a switch that was made already go by other settings."""
        if settings.name in self._switches:
            self.engine.set_switch(
                self._switches[settings.name],
                fdb_limit=settings.fdb_limit,
                vlan_limit=settings.vlan_limit,
                ageing=settings.ageing,
                connection_limit=settings.connection_limit,
                now=self.now(),
            )
            self._plant(settings)

    def _plant(self, settings: Switch) -> None:
        """Have a switch run the spanning tree that it is set to, if it does not already."""
        tree = attrs.evolve(settings, **{name: getattr(Switch(""), name) for name in NO_TREE})
        if self._trees.get(settings.name, Switch(settings.name)) != tree:
            address = trees.mac(self.name, self.topology.seed, f"switch {settings.name}")
            trees.plant(self.engine, self._switches[settings.name], address, settings)
            self._trees[settings.name] = tree

    def take_part(self, port: Port) -> None:
        """Have a guest's port take part in its switch's spanning tree, unless it is guarded."""
        address = trees.mac(self.name, self.topology.seed, port.name)
        trees.join_guest(self.engine, port.number, address, port.wanted)

    def set_cord(self, port: Port) -> None:
        """Have the cable of a guest's NIC do what is wanted."""
        links.set_cord(
            self.engine,
            self.topology.seed,
            port.number,
            port.name,
            port.wanted.cord,
            began=self._began,
            now=self.time(),
        )

    def plug(self, port: Port) -> None:
        """Note a port that was attached."""
        self.ports[port.name] = port
        self._numbers[port.number] = port
        mac = bytes.fromhex(port.wanted.mac.replace(":", "")) or None
        describe_port(self.engine, port.number, port.name, port.description, mac)
        if port.guest:
            self.accounts.open(port)
            self.guests[port.guest].ports[port.name] = port
            if port.wanted.cord != Cord():
                self.set_cord(port)
            if port.wanted.guard is None:
                self.take_part(port)

    async def unplug(self, name: str) -> None:
        """Detach a port and close what belonged to it."""
        port = self.ports.pop(name)
        if port.guest:
            del self.guests[port.guest].ports[name]
        counted = self.engine.remove_port(port.number)
        if port.guest:
            self.accounts.close(port, usage.add(usage.NOTHING, counted))
        del self._numbers[port.number]
        if port.opened.far is not None:
            port.opened.far.event(0, 0)
        if port.opened.close is not None:
            await port.opened.close()

    # -- events ----------------------------------------------------------------------------------

    def _event(self, event: drive.Event) -> None:
        number, kind, a, b, text = event
        # One of several NICs of a port tells in its name, and its carrier is not the port's.
        port = self._numbers.get(number if number == NO_PORT else number & PORT_BITS)
        if port is not None and number > PORT_BITS and kind != "log":
            log.debug("%s: of several NICs, number %d: %s %d", port.name, number >> 12, kind, a)
            return
        if kind == "log":
            log.warning("%s", f"{port.name}: {text}" if port else text)
        elif port is None:
            return
        elif kind == "carrier":
            port.carrier = bool(a)
            log.info("%s: carrier %s", port.name, "up" if a else "down")
            if a and isinstance(port, Port):
                uplinks.introduce(self, [port.name])
            if not a and self._nursery is not None:
                self._nursery.start_soon(self.keeper.carrier_lost, port.name)
        elif kind == "moved":
            if isinstance(port, Port):
                uplinks.introduce(self, [port.name])
        elif kind == "trigger":
            if self._nursery is not None:
                self._nursery.start_soon(self.keeper.dropped, port.name, a)
        elif isinstance(port, Port) and port.opened.far is not None:
            port.opened.far.event(a, b)

    def _lost(self, count: int) -> None:
        """Nobody knows what they were: have everybody look who waits for one."""
        log.error("%d events were lost: the loop was busy for too long", count)
        for port in self.ports.values():
            if (carrier := self.engine.carrier(port.number)) != port.carrier:
                self._event((port.number, "carrier", int(carrier), 0, ""))
            if port.opened.far is not None:
                port.opened.far.look()


def _connection_order(entry: dict[str, Any]) -> tuple[Any, ...]:
    ends = (entry["source"], entry["target"])
    return (
        entry["switch"],
        entry["vlan"],
        entry["protocol"],
        *((end["address"], end["port"]) for end in ends),
    )


@asynccontextmanager
async def _cancelled_nursery() -> AsyncIterator[trio.Nursery]:
    """A nursery whose tasks end with the block."""
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        try:
            yield nursery
        except Exception as error:
            # Kept out of the nursery, which would make a group of it.
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
