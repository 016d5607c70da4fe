"""The machines of a fabric: its guests of kind `qemu`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from vnet.connect.facts import facts_of
from vnet.errors import BadInput, VnetError
from vnet.machines import look
from vnet.machines.keeping import Keeping
from vnet.machines.machine import Machine
from vnet.machines.words import command
from vnet.topology.problems import Problem, bad_input

if TYPE_CHECKING:
    from vnet.port import Port
    from vnet.topology import model
    from vnet.topology.resolve import Resolved, ResolvedGuest

__all__ = ["Machine", "Machines"]


class Machines:
    """By name; nothing runs for them until there is one."""

    def __init__(self, fabric: str, runtime: Callable[[], Path]) -> None:
        self.by_name: dict[str, Machine] = {}
        self._fabric = fabric
        self._runtime = runtime
        self._keeping: Keeping | None = None
        self._nursery: trio.Nursery | None = None
        self._sealed = False

    def live_in(self, nursery: trio.Nursery) -> None:
        """Where their tasks run."""
        self._nursery = nursery

    async def prepare(self, *, open_to_others: bool) -> None:
        """Have ready what starts machines, because this process may soon start no program any more. Others
        than those that were started by now can be started later only if it is open to them.
        """
        _ = self.has_kvm
        if open_to_others:
            await self._keeper()
            return
        self._sealed = True
        if self._keeping is not None:
            await self._keeping.seal()

    async def _keeper(self) -> Keeping:
        if self._keeping is None:
            assert self._nursery is not None
            keeping = Keeping()
            await self._nursery.start(keeping.run)
            self._keeping = keeping
        return self._keeping

    def lacking(self, running: Resolved | None, wanted: Resolved) -> None:
        """Raise BadInput for machines that would come and that this host has not what it takes for."""
        before = {} if running is None else running.guests
        coming = {name: guest for name, guest in wanted.guests.items() if before.get(name) != guest}
        if problems := [*look.problems(coming)]:
            raise bad_input(problems)

    def refused(self, running: Resolved | None, wanted: Resolved) -> Iterator[Problem]:
        """Machines that would come and that the sandbox lets nobody start any more."""
        before = {} if running is None else running.guests
        known = self._keeping.known if self._keeping is not None else set()
        for name, guest in wanted.guests.items():
            if not self._sealed or guest.machine is None or before.get(name) == guest:
                continue
            if tuple(self._argv(name, guest.machine)) not in known:
                yield Problem(
                    ("guests", name),
                    "this fabric starts only the machines that it came up with, as they were: bring it down,"
                    " and up again with `engine: {keep: [qemu]}` in the file, or with --sandbox off",
                )

    @cached_property
    def has_kvm(self) -> bool:
        """What `accel: auto` goes by. Asked once, for the sandbox lets nobody read what tells, and who is
        started again is to be the same machine.
        """
        return look.has_kvm()

    def _argv(self, name: str, machine: model.Machine) -> list[str]:
        kvm = machine.accel == "kvm" or (machine.accel == "auto" and self.has_kvm)
        return command(look.program() or look.PROGRAMS[0], f"{self._fabric}/{name}", machine, kvm=kvm)

    async def make(self, guest: ResolvedGuest) -> Machine:
        """One that is not started yet."""
        assert guest.machine is not None
        assert self._nursery is not None
        machine = Machine(guest.name, await self._keeper(), self._nursery, self._runtime())
        machine.become(guest.machine, self._argv(guest.name, guest.machine))
        self.by_name[guest.name] = machine
        return machine

    def change(self, guest: ResolvedGuest) -> None:
        """Another machine, from its next start on."""
        assert guest.machine is not None
        self.by_name[guest.name].become(guest.machine, self._argv(guest.name, guest.machine))

    async def start(self, ports: Iterable[tuple[str, Iterable[Port]]]) -> None:
        """Start machines, (name, ports) each, all at once: all of them or none. Raises VnetError."""
        runtime = self._runtime()
        made = {
            name: [facts_of(port, runtime) for port in own if not port.wanted.is_uplink]
            for name, own in ports
        }
        errors: list[str] = []

        async def start(name: str) -> None:
            try:
                await self.by_name[name].start(made[name])
            except VnetError as error:
                errors.append(str(error))

        await _all(start, made)
        if errors:
            await self.stop(made)
            raise VnetError("\n".join(errors))

    async def stop(self, names: Iterable[str]) -> None:
        """Stop machines, all at once. Those that don't run are left as they are."""
        await _all(lambda name: self.by_name[name].stop(), names)

    async def remove(self, name: str) -> None:
        """Stop one for good."""
        await self.by_name.pop(name).stop()

    def one(self, name: str) -> Machine:
        """The machine of a guest. Raises BadInput."""
        if name not in self.by_name:
            raise BadInput(f"{name} is no guest of kind qemu")
        return self.by_name[name]

    def status(self) -> list[dict[str, Any]]:
        """An entry each."""
        return [machine.status() for machine in self.by_name.values()]


async def _all(what: Callable[[str], Awaitable[None]], names: Iterable[str]) -> None:
    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(what, name)
