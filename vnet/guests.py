"""The guests of a running fabric: who owns NICs, and what can be asked of each kind."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from itertools import chain
from typing import TYPE_CHECKING

import attrs
import trio

from nics.keys import did_you_mean
from vnet.errors import BadInput, Unreachable, VnetError
from vnet.port import Port

if TYPE_CHECKING:
    from nics.netns import Namespace
    from nics.stack import Host
    from vnet.machines import Machine
    from vnet.machines.agent import Outcome
    from vnet.sockets import AsNetwork

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@attrs.define
class Guest:
    """Somebody who owns NICs. What it is made of stays its owner's business (`external`)."""

    name: str
    kind: str
    ports: dict[str, Port] = attrs.field(factory=dict)
    fellows: Mapping[str, Guest] = attrs.field(factory=dict, repr=False, eq=False)
    """All guests of its fabric, by name."""

    @property
    def addresses(self) -> list[Address]:
        """All addresses of all NICs, in the topology's order; those by DHCP as they are now."""
        return [address for port in self.ports.values() for address in port.ip]

    @property
    def ip(self) -> str:
        """The first address."""
        for address in self.addresses:
            return str(address)
        raise BadInput(f"{self.name} has no address")

    @property
    def mac(self) -> str:
        """The first NIC's MAC address."""
        for port in self.ports.values():
            return port.wanted.mac
        raise BadInput(f"{self.name} has no NIC")

    async def ping(
        self, target: Guest | str, *, timeout: float = 2.0, size: int = 56, family: int | None = None
    ) -> float:
        """Round-trip time of one ICMP echo to `target`, in seconds. Raises Unreachable."""
        raise BadInput(f"{self.name} is {self.kind}: pings are sent from stack and netns guests")

    def as_network(self) -> AsNetwork:
        """Within `async with guest.as_network():`, and in tasks that are started there, trio's sockets and
        names are this guest's: what is written for trio runs in the guest as it is. Raises BadInput for
        a kind of guest that has no network in this process.
        """
        raise BadInput(f"{self.name} is {self.kind}: only a stack guest's network is in this process")

    async def aclose(self) -> None:
        """Give back what the guest itself holds; its ports are gone by then."""

    def address_of(self, target: Guest | str, family: int | None = None) -> Address:
        """An address of `target`, a guest, its name or an address, that this guest would use: one in a subnet
        of its own first.

        Raises Unreachable where a neighbour of this guest has it: tenants may overlap, and an answer from
        there would be the neighbour's.
        """
        if isinstance(target, str):
            try:
                return ipaddress.ip_address(target)
            except ValueError:
                pass
            if target not in self.fellows:
                hint = suggestion(target, self.fellows)
                raise BadInput(f"{target!r} is neither an IP address nor a guest's name{hint}")
            target = self.fellows[target]
        candidates = [a for a in target.addresses if family in (None, a.version)]
        if not candidates:
            wanted = f"IPv{family} " if family else ""
            raise BadInput(f"{target.name} has no {wanted}address")
        own = [interface.network for port in self.ports.values() for interface in port.wanted.addresses]
        candidates.sort(key=lambda a: not any(a in network for network in own))
        spoken = {address.version for address in self.addresses}
        candidates = [a for a in candidates if a.version in spoken] or candidates
        taken = ""
        for address in candidates:
            other = self.other_at(address, target)
            if other is None:
                return address
            network = self.port_towards(address).wanted.network
            taken = taken or (
                f"{target.name} can't be asked at {address}: where {self.name} is, in network {network},"
                f" that is {other.name}'s"
            )
        raise Unreachable(taken)

    def other_at(self, address: Address, target: Guest, port: Port | None = None) -> Guest | None:
        """Who is at `address` instead of `target`, in the network of `port`, or else of the port that this
        guest asks from.
        """
        if port is None:
            port = self.port_towards(address)
        network = port.wanted.network
        if network is None or not any(address in interface.network for interface in port.wanted.addresses):
            return None  # it goes by a gateway, if at all
        for guest in chain([target], self.fellows.values()):
            for there in guest.ports.values():
                if there.wanted.network == network and address in there.ip:
                    return None if guest is target else guest
        return None

    def port_towards(self, address: Address) -> Port:
        """The port whose subnet `address` lies in, or else the first one."""
        if not self.ports:
            raise BadInput(f"{self.name} has no NIC")
        for port in self.ports.values():
            if any(address in interface.network for interface in port.wanted.addresses):
                return port
        return next(iter(self.ports.values()))


@attrs.define
class StackGuest(Guest):
    """An in-process TCP/IP guest. With several NICs each has a stack of its own; a connection uses
    the one whose subnet the other end is in, or else the first.
    """

    def as_network(self) -> AsNetwork:
        """Within `async with guest.as_network():`, and in tasks that are started there, trio's sockets and
        names are this guest's. See `vnet.sockets`.
        """
        from vnet.sockets import AsNetwork

        return AsNetwork(self)

    def host(self, towards: Address | None = None) -> Host:
        """The TCP/IP stack behind the port towards an address."""
        from nics.stack import Host

        port = self.port_towards(towards) if towards is not None else next(iter(self.ports.values()), None)
        if port is None:
            raise BadInput(f"{self.name} has no NIC")
        far = port.opened.far
        if not isinstance(far, Host):
            raise BadInput(f"{port.name} is a {port.kind}, not a stack")
        return far

    async def ping(
        self, target: Guest | str, *, timeout: float = 2.0, size: int = 56, family: int | None = None
    ) -> float:
        """Round-trip time of one ICMP echo to `target`, in seconds. Raises Unreachable."""
        address = self.address_of(target, family)
        return await self.host(address).ping(str(address), timeout=timeout, size=size)

    async def open_tcp_stream(self, host: Guest | str, port: int) -> trio.abc.HalfCloseableStream:
        """Connect to `port` of a guest, its name or an address. Raises OSError as a real stack would."""
        address = self.address_of(host)
        return await self.host(address).open_tcp_stream(str(address), port)

    async def listen_tcp(
        self, port: int, *, host: str | None = None, backlog: int | None = None
    ) -> trio.abc.Listener[trio.abc.HalfCloseableStream]:
        """Listen on all addresses (of the first NIC), or on `host`."""
        towards = ipaddress.ip_address(host) if host else None
        return await self.host(towards).listen_tcp(port, host=host, backlog=backlog)


@attrs.define
class NetnsGuest(Guest):
    """A network namespace."""

    namespace: Namespace | None = None

    def _namespace(self) -> Namespace:
        if self.namespace is None:
            raise VnetError(f"{self.name} has no namespace yet")
        return self.namespace

    async def run(self, *argv: str, check: bool = True) -> str:
        """Run a command inside; its standard output. Raises VnetError when it fails and `check`."""
        return await self._namespace().run(*argv, check=check)

    async def ping(
        self, target: Guest | str, *, timeout: float = 2.0, size: int = 56, family: int | None = None
    ) -> float:
        """Round-trip time of one ICMP echo to `target`, in seconds. Raises Unreachable."""
        from vnet.echo import echo

        address = self.address_of(target, family)
        return await echo(self._namespace(), address, timeout=timeout, size=size)

    async def aclose(self) -> None:
        """Delete the namespace."""
        namespace, self.namespace = self.namespace, None
        if namespace is not None:
            await namespace.aclose()


@attrs.define
class QemuGuest(Guest):
    """A virtual machine that vnet started."""

    machine: Machine | None = None

    @property
    def state(self) -> str:
        """`running`, or why not: `starting`, `paused`, `stopped`, `shut down`, `failed`, `killed`."""
        return self._machine().state

    def _machine(self) -> Machine:
        if self.machine is None:
            raise VnetError(f"{self.name} has no machine yet")
        return self.machine

    async def start(self) -> None:
        """Start it again after it ended. Raises VnetError."""
        machine = self._machine()
        await machine.start(machine.facts)

    async def stop(self, *, now: bool = False) -> None:
        """Ask it to shut down, and end it when it doesn't in its time; `now`: don't ask."""
        await self._machine().stop(ask=not now)

    async def reset(self) -> None:
        """Push its reset button. Raises VnetError."""
        await self._machine().reset()

    async def ping(
        self, target: Guest | str, *, timeout: float = 2.0, size: int = 56, family: int | None = None
    ) -> float:
        """Raises BadInput: what is sent from a machine is its guest's business."""
        raise BadInput(
            f"{self.name} is qemu: pings are sent from stack and netns guests; where it runs an agent:"
            f" vnet exec {self.name} -- ping {target if isinstance(target, str) else target.name}"
        )

    async def outcome(self, *argv: str) -> Outcome:
        """Run a command inside, by its guest agent; its exit code and output. Raises VnetError."""
        machine = self._machine()
        if machine.agent is None:
            raise VnetError(f"{self.name} is {machine.state}")
        return await machine.agent.run(argv)

    async def run(self, *argv: str, check: bool = True) -> str:
        """Run a command inside; its standard output. Raises VnetError when it fails and `check`, and where
        the guest runs no agent.
        """
        done = await self.outcome(*argv)
        if check and done.code != 0:
            said = done.errors.decode(errors="replace").strip() or f"exit code {done.code}"
            raise VnetError(f"{self.name}: {argv[0]}: {said}")
        return done.output.decode(errors="replace")

    @asynccontextmanager
    async def console(self) -> AsyncIterator[trio.SocketStream]:
        """Its serial console, as a stream that begins with what was last on it."""
        console = self._machine().console
        ours, theirs = trio.socket.socketpair()
        with ours, theirs:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(console.attach, trio.SocketStream(theirs))
                yield trio.SocketStream(ours)
                nursery.cancel_scope.cancel()

    async def aclose(self) -> None:
        """Stop it."""
        machine, self.machine = self.machine, None
        if machine is not None:
            await machine.stop()


KINDS: Mapping[str, type[Guest]] = {
    "stack": StackGuest,
    "netns": NetnsGuest,
    "external": Guest,
    "qemu": QemuGuest,
}


def one_of(guests: Mapping[str, Guest], name: str) -> Guest:
    """The guest called `name`, or an error that says which there are."""
    if name in guests:
        return guests[name]
    raise BadInput(f"there is no guest {name!r}{suggestion(name, list(guests))}")


def whole_guest(guests: Mapping[str, Guest], name: str) -> Guest:
    """The same, for what takes a guest away: who names one of its NICs is not told of the guest instead."""
    owner = name.rpartition(".")[0]
    if owner in guests:
        raise BadInput(
            f"{name} is a NIC of {owner}, and this takes whole guests away: for one NIC, remove it from the"
            " file and `vnet apply` that"
        )
    return one_of(guests, name)


def suggestion(word: str, known: Iterable[str]) -> str:
    """` (did you mean x?)`, or nothing."""
    hint = did_you_mean(word, known)
    return f" ({hint})" if hint else ""
