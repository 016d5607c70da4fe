"""A fabric, alive: the switch, its ports and the guests behind them, for as long as a block runs.

    async with vnet.Fabric.from_file("tenants.yaml") as fabric:
        rtt = await fabric.guests["web"].ping(fabric.guests["db"])

What is running is always some topology. `apply` goes from the running one to another by the
smallest number of steps (`topology/plan.py` says which, `apply.py` takes them and takes them back
when one fails); `attach` and `detach` are nothing but that, with one guest more or less.
"""

from __future__ import annotations

import itertools
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, Self

import trio

from nics.netlink import Netlink
from vnet import apply, drive, drops, events, explain, mirrors, multicast, rest, tables, usage
from vnet._native import Engine, set_recorder
from vnet.capture import Capture, Clock
from vnet.captures import Captures
from vnet.errors import BadInput, VnetError
from vnet.explain import Names
from vnet.flows.exporter import Exporter
from vnet.guests import Guest, whole_guest
from vnet.links import Link
from vnet.machines import Machines
from vnet.past import Keeper
from vnet.port import Port
from vnet.runtime import Runtime, base
from vnet.sandbox.confinement import Confinement
from vnet.topology import Recorder, Resolved, Topology
from vnet.topology.mirrors import ResolvedMirror
from vnet.virtual import in_virtual_time, own_clocks
from vnet.wiring import Wiring

log = logging.getLogger("vnet")


class Fabric:
    """Use as an async context manager. Everything is down again, and gone, when it ends."""

    def __init__(
        self,
        topology: Topology,
        *,
        runtime: str | os.PathLike[str] | None = None,
        driver: str | None = None,
    ) -> None:
        self.topology = topology
        """What is running, or about to when the block is entered."""
        self.resolved: Resolved | None = None
        """The same with every MAC, address and VLAN; None while nothing runs."""
        self.guests: dict[str, Guest] = {}
        self.mirrors: dict[str, ResolvedMirror] = {}
        self.confinement: Confinement | None = None
        """What the process gave up; None while it is not confined."""
        self.engine = Engine()
        self.wiring = Wiring(self)
        """What the engine knows by number."""
        self.ports: dict[str, Port] = self.wiring.ports
        """The guests' ports, and the uplinks."""
        self.links: dict[str, Link] = self.wiring.links
        self.groups = multicast.Groups(topology.name, topology.seed, self.engine)
        """Multicast groups."""
        self.captures = Captures(self)
        """What captures look at."""
        self.netlink = Netlink()
        self.accounts = usage.Accounts(self.engine)
        """What guests sent and received, those that are gone included."""
        self.machines = Machines(topology.name, lambda: self.runtime)
        """Of guests of kind `qemu`."""
        self.keeper = Keeper(self)
        """What has the past written down by itself."""
        self.exporter = Exporter(self)
        """What tells of flows."""
        self._nursery: trio.Nursery | None = None
        self._folder = None if runtime is None else Path(runtime)
        self._runtime: Runtime | None = None
        self._driver = driver or topology.engine.driver
        self._applying = trio.Lock()
        self._stack = AsyncExitStack()
        self._entered = False
        self._running = False
        """Changes are taken."""

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
            # Virtual time would go on meanwhile, by as much as chance has it.
            clean = self._runtime.clean
            for removed in clean() if in_virtual_time() else await trio.to_thread.run_sync(clean):
                log.info("removed the namespace %s, left by a crash", removed)
        return self._runtime

    async def __aenter__(self) -> Self:
        if self._entered:
            raise VnetError("the fabric is running already")
        virtual = in_virtual_time()
        if self._driver == "auto":
            self._driver = "trio" if virtual else "thread"
        if virtual and self._driver == "thread":
            raise BadInput("driver: thread has a clock of its own; in virtual time use trio")
        self.wiring.began = self.time()
        async with AsyncExitStack() as stack:
            stack.callback(self._left)
            self._entered = True
            if virtual:
                stack.enter_context(drive.same_order(self.topology.seed))
            await stack.enter_async_context(self.netlink)
            nursery = await stack.enter_async_context(drive.cancelled_nursery())
            nursery.start_soon(
                drive.dispatch, self.engine, partial(events.one, self), partial(events.lost, self)
            )
            self._nursery = nursery
            self.machines.live_in(nursery)
            nursery.start_soon(self.exporter.run)
            stack.callback(self.exporter.close)
            if self._driver == "thread":
                settings = self.topology.engine
                stack.enter_context(rest.limited(settings.wake))
                self.engine.start(settings.poll, settings.cpu)
                stack.callback(self.engine.stop)
            else:
                nursery.start_soon(drive.drive, self.engine)
            stack.push_async_callback(self._down)
            self._running = True
            await self.apply(self.topology)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    def _left(self) -> None:
        self._entered = False
        if self._runtime is not None:
            self._runtime.__exit__()
            self._runtime = None

    async def _down(self) -> None:
        self._running = False
        with trio.CancelScope(shield=True):
            await apply.take_down(self)
        # Entered again, it comes up from nothing.
        for name in list(self.wiring.switches):
            self.wiring.forget_switch(name)
        self.wiring.cuts.clear()
        self.mirrors.clear()
        self.resolved = None

    def soon(self, task: Callable[..., Awaitable[Any]], *arguments: Any) -> None:
        """Run `task` beside, for as long as the fabric runs; never, when it does not. An error is logged."""
        if self._nursery is not None:
            self._nursery.start_soon(events.beside, task, *arguments)

    # -- change ----------------------------------------------------------------------------------

    async def apply(self, wanted: Topology) -> list[str]:
        """Change to `wanted`; what is the same in both goes on without losing a frame.

        Returns what was done, a line each. When a step fails, the steps before it are undone and
        its error is raised. Raises VnetError when the fabric is not running.
        """
        return await self.change(lambda _running: wanted)

    async def change(self, wanted: Callable[[Topology], Topology]) -> list[str]:
        """The same, to what `wanted` makes of the running topology once no other change is under way: of two
        made of the same one, the second would undo the first.
        """
        async with self._applying:
            if not self._running:
                raise VnetError("the fabric is not running")
            topology = wanted(self.topology)
            if in_virtual_time() and (wrong := own_clocks(topology)):
                raise BadInput(*wrong)
            return await apply.change(self, topology)

    @property
    def is_changing(self) -> bool:
        """Whether a change is under way."""
        return self._applying.locked()

    async def attach(self, name: str, *, kind: str | None = None, **keys: Any) -> Any:
        """Add a guest with one NIC, whose keys are those of a topology file: `network="red"`,
        `nic=vnet.Pipe()`. Returns the far side of a NIC that has one in this process (a pipe, a
        stack), and otherwise the port.
        """
        keys["kind"] = kind or ("external" if "nic" in keys else "stack")

        def with_it(running: Topology) -> Topology:
            if name in running.guests:
                raise BadInput(f"there is a guest {name} already")
            return running.copy().guest(name, **keys)

        await self.change(with_it)
        port = next(iter(self.guests[name].ports.values()))
        return port.opened.far or port

    async def detach(self, name: str) -> None:
        """Remove a guest and its ports."""
        await self.change(lambda running: running.copy().remove_guest(whole_guest(self.guests, name).name))

    async def set_link(self, port: str, up: bool) -> None:
        """Set a port's link up or down, as its guest sees it where its kind can show it. A link between
        switches is cut, or mended, at both ends, whichever of its names is given. What is cut stays so
        until it is mended. Raises BadInput where the topology itself has it down.
        """
        self.tell_time()
        self.wiring.set_up(port, up)
        await trio.lowlevel.checkpoint()

    # -- capture ---------------------------------------------------------------------------------

    def capture(self, path: str | os.PathLike[str], *what: str, **options: Any) -> Capture:
        """Capture to a pcapng file while a block runs: `async with fabric.capture("red.pcapng", "red"):`

        `what`: names of ports, guests, links, networks and switches; no name means all. What has these names
        later is captured, too; while nothing has them, the log says so.
        Options: `filter` in libpcap's language, `count` of frames after which to end, `drops` for
        dropped frames only, `direction` (`in` to the switch or `out` of it, otherwise both, so that a
        frame is seen at each of its ports), `snaplen`, the most bytes to keep of each frame, `segment`
        to see super-frames as the segments of a wire, `complete` for a capture that may take as much of the
        engine's time as it needs: it loses less, and all guests are slower where there is much to do.
        """
        return self.captures.capture(path, what, **options)

    def capture_to(self, descriptor: int, *what: str, **options: Any) -> Capture:
        """The same to an open file, FIFO or socket. The descriptor stays the caller's."""
        return self.captures.capture(descriptor, what, **options)

    async def past(self, target: str | os.PathLike[str] | int, *what: str, **options: Any) -> dict[str, Any]:
        """Write what passed lately, as the recorder kept it, to a pcapng file or a descriptor that stays the
        caller's. `what` as for `capture`: a port means what came in there, was sent there, or was refused
        there. Options: `seconds` to look back, otherwise all that is kept; `filter`, `drops`, `direction`,
        `snaplen` as for `capture`; `count`, the latest so many. Returns counts, see `vnet.capture.past`.
        """
        return await self.captures.past(target, what, **options)

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

    @property
    def clock(self) -> Clock:
        """Whose time the engine lives in."""
        return "thread" if self._driver == "thread" else "virtual" if in_virtual_time() else "trio"

    # -- look ------------------------------------------------------------------------------------

    def port(self, name: str) -> Port:
        """The port called `name`; a guest's name stands for its first port."""
        return self.wiring.port(name)

    def status(self) -> dict[str, Any]:
        """The document of `vnet status --json`."""
        told = self.status_in_turns()
        return told | {"ports": [*told["ports"]]}

    def status_in_turns(self) -> dict[str, Any]:
        """The same, but `ports` is an iterator, which makes each entry as it is asked for: with thousands of
        them nobody else waits for all. What comes meanwhile is not among them, nor is what goes.
        """
        return {
            "name": self.name,
            "engine": {"driver": self._driver, "turns": self.engine.turns},
            "sandbox": self.confinement.status() if self.confinement else {"mode": "off"},
            "switches": self.switches(),
            "ports": itertools.chain(
                self._entries(), [end.status() for end in self.wiring.link_ends().values()]
            ),
            "mirrors": mirrors.status(self),
            "machines": self.machines.status(),
            "flows": self.exporter.status(),
        }

    def _entries(self) -> Iterator[dict[str, Any]]:
        ports = [*self.ports.values()]
        numbers = [port.number for port in ports]
        # The engine, which may have a turn to finish first each time, is asked once for all of them.
        readings, counts = self.engine.readings(numbers), self.engine.usage(numbers)
        for port, reading, counted in zip(ports, readings, counts, strict=True):
            if self.ports.get(port.name) is port:
                figures = {"usage": self.accounts.of(port, counted)} if port.guest else {}
                yield port.status(reading) | figures

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
        self.tell_time()
        action, egress, vlan = self.engine.inject(record.number, frame)
        dropped = action not in explain.FORWARDED
        to = self.wiring.numbers.get(egress) if egress is not None else None
        return {
            "port": record.name,
            "vlan": vlan,
            "to": to.name if to else None,
            "reason": action if dropped else None,
            "means": drops.means()[action] if dropped else None,
        }

    def explain(self, port: str, frame: bytes) -> tuple[list[explain.Step], list[str]]:
        """What would happen to a frame that came in at a port, decided by the code that forwards, while
        nothing happens: the steps, and the names of the ports that it would leave the fabric by.
        """
        self.tell_time()
        hops = self.engine.explain(self.port(port).number, frame)
        return explain.steps(hops, self.names()), explain.reached(hops, self.names())

    def names(self) -> Names:
        """What the engine's numbers are called here."""
        networks = self.resolved.networks if self.resolved else {}
        return Names(
            ports=self.wiring.numbers,
            switches={number: name for name, number in self.wiring.switches.items()},
            networks={network.vlan: name for name, network in networks.items()},
            means=drops.means(),
        )

    def drops(self) -> list[dict[str, Any]]:
        """What was dropped, the most first: port, reason, what it `means`, frames, and the last frame: `last`
        in words, its first bytes as `frame` in hex, its `length`, `vlan`, and how long ago it was (`age`, in
        seconds); None where none is kept.
        """
        return drops.ranked(self)

    def fdb(self, *, network: str | None = None, port: str | None = None) -> list[dict[str, Any]]:
        """The forwarding database, sorted: switch, vlan, network, mac, port, kind, age in seconds."""
        return tables.fdb(self, network, port)

    def members(self, *, network: str | None = None, port: str | None = None) -> list[dict[str, Any]]:
        """Who wants which multicast group, where that is snooped, sorted: switch, vlan, network, group, port,
        sources (the only ones that are wanted; [] for all but those that are excluded), excluded, expires in
        seconds.
        """
        return tables.members(self, network, port)

    def connections(self, *, network: str | None = None, port: str | None = None) -> list[dict[str, Any]]:
        """Connections that security groups track, sorted: switch, vlan, network, protocol, source and
        target with their ports, state, age, idle, expires in seconds, the port that it counts for.
        """
        return tables.connections(self, network, port)

    def switches(self) -> list[dict[str, Any]]:
        """Each switch with its spanning tree (`stp`, None if it runs none): its and the root's identifier,
        root_port, cost to the root, changes of the topology, and each port's role, state and cost. And
        `multicast`: for each network in which groups are snooped, and each of `igmp` and `mld`, who asks
        (`querier`, None: nobody, and everything is flooded; `ours`, `querier_port`), how often (`interval`,
        in seconds), ports with `routers`, and how many groups there are.
        """
        return tables.switches(self)

    # -- for apply.py ----------------------------------------------------------------------------

    def tell_time(self) -> None:
        """Have the engine know what time it is, for the commands that follow: they set timers, and its latest
        turn may have been long ago. Its own thread knows by itself.
        """
        if self._driver == "trio":
            self.engine.advance(drive.now())
