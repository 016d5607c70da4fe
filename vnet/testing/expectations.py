"""What a test says of a network, tried with real packets: in virtual time it takes a moment, in real time
as long as it says.

    await assert_reachable(fabric, "web", "db", protocol="tcp", port=5432)
    await assert_isolated(fabric, "red-*", "blue-*")
    await assert_path(fabric, "h1", "h9", ["leaf1", "spine2", "leaf3"])
    await eventually(lambda: fabric.ports["web.0"].carrier)
    async with expect_frames(fabric, "web", filter="udp port 53", most=0): ...

What does not hold is an AssertionError that says so in a line.
"""

from __future__ import annotations

import inspect
import ipaddress
import math
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

import attrs
import trio

from vnet.capture import Capture
from vnet.errors import BadInput, VnetError
from vnet.fabric import Fabric
from vnet.guests import Guest, one_of
from vnet.probe import build
from vnet.scenario.counted import STATIONS, arriving, counted, seen, sent_by
from vnet.scenario.reach import Failed, Reach
from vnet.topology.reader import read_assertion

Names = str | Sequence[str]
"""A guest, several, or a pattern (`red-*`), as in a file's `expect`."""

WITHIN = 5.0
EVERY = 0.05
RETRIED = (AssertionError, VnetError, OSError, trio.TooSlowError)
"""What a condition that does not hold yet ends by."""


async def assert_reachable(
    fabric: Fabric, source: Names, target: Names, *, within: float = WITHIN, **keys: Any
) -> None:
    """Every source reaches every target, at the latest after `within` seconds.

    Other keys are those of `assert` in a file: `protocol` (icmp, tcp, udp), `port`, `family`. Targets
    answer at ports where no program of theirs listens; one that does is reached when TCP connects to it, or
    UDP arrives.
    """
    await _hold(fabric, source, target, True, within, keys)


async def assert_isolated(
    fabric: Fabric, one: Names, other: Names, *, within: float = 0.0, frames: bool = True, **keys: Any
) -> None:
    """Neither reaches the other, in any way that `keys` do not exclude.

    With `frames`, no frame that the one sends meanwhile may leave a port of the other at all, answered or
    not; say False where they hear each other by broadcasts and may: then no packet may that `keys` mean.
    """
    ones, others = _matching(fabric, one), _matching(fabric, other)
    turns = [(*crowd, other, others) for crowd in _crowds(one, ones)]
    turns += [(*crowd, one, ones) for crowd in _crowds(other, others)]
    for mine, senders, theirs, hearers in turns:
        macs = [build.mac(port.wanted.mac) for guest in senders for port in guest.ports.values()]
        ports = [name for guest in hearers for name in guest.ports]
        if not frames or not macs or not ports:
            await _hold(fabric, mine, theirs, False, within, keys)
            continue
        async with arriving(fabric, ports, sent_by(macs)) as arrived:
            await _hold(fabric, mine, theirs, False, within, keys, count=False)
            if found := arrived():
                raise AssertionError(f"{found} frames of {_said(mine)} left a port of {_said(theirs)}")


async def assert_path(
    fabric: Fabric, source: str, target: str, switches: Sequence[str], *, within: float = WITHIN
) -> None:
    """What `source` sends to `target`, in the same network, goes by these switches, at the latest after
    `within` seconds.
    """
    for name in (source, target):
        # Waiting would not bring it.
        one_of(fabric.guests, name)
    wanted = list(switches)

    async def holds() -> None:
        found = await path(fabric, source, target)
        if found != wanted:
            raise AssertionError(f"{source} to {target}: by {', '.join(found)}, expected {', '.join(wanted)}")

    await eventually(holds, timeout=within)


async def path(fabric: Fabric, source: str, target: str) -> list[str]:
    """The switches that a packet of `source` to `target` goes through, decided by the code that forwards.

    An echo goes ahead, so that the switches know where the two are. Raises AssertionError when it is not
    answered, or what follows it does not arrive.
    """
    one, other = one_of(fabric.guests, source), one_of(fabric.guests, target)
    try:
        await one.ping(other, timeout=1)
    except VnetError as error:
        raise AssertionError(f"{source} to {target}: {error}") from None
    theirs = one.address_of(other)
    near = one.port_towards(theirs)
    far = next(port for port in other.ports.values() if theirs in port.ip)
    mine = next((a for a in near.ip if a.version == theirs.version), None)
    if mine is None or not any(theirs in interface.network for interface in near.wanted.addresses):
        raise BadInput(f"{source} and {target} have no subnet in common")
    echo = b"\x08\0\0\0\0\0\0\0" if theirs.version == 4 else b"\x80\0\0\0\0\0\0\0"
    protocol = build.ICMP if theirs.version == 4 else build.ICMP6
    packet = build.packet(ipaddress.ip_address(mine), theirs, protocol, echo)
    steps, reached = fabric.explain(near.name, build.ip(far.wanted.mac, near.wanted.mac, packet))
    if reached != [far.name]:
        raise AssertionError(f"{source} to {target}: arrives at {', '.join(reached) or 'no port'}")
    return [step.switch for step in steps if step.switch is not None]


async def eventually(
    check: Callable[[], Any | Awaitable[Any]], *, timeout: float = WITHIN, every: float = EVERY
) -> Any:
    """Ask again and again until `check` holds; what it gives then.

    It does not hold when it gives False or None from a plain function, False from an async one, or raises
    AssertionError, a VnetError or an OSError. After `timeout` seconds, of the network's time, its last
    error is raised, or an AssertionError; an async one that is not done by then is cancelled. With 0 it is
    asked once, for as long as it takes.
    """
    deadline = trio.current_time() + timeout
    failure: BaseException | None = None
    asking = ""
    while True:
        try:
            found = check()
            if inspect.isawaitable(found):
                with trio.CancelScope(deadline=deadline if timeout > 0 else math.inf) as scope:
                    found = await found
                if scope.cancelled_caught:
                    asking = "; the last time it did not end"
                    break
                holds = found is not False
            else:
                holds = found is not False and found is not None
            if holds:
                await trio.lowlevel.checkpoint()
                return found
            failure = None
        except RETRIED as error:
            failure = error
        if trio.current_time() >= deadline:
            break
        await trio.sleep(every)
    if failure is not None:
        raise failure
    raise AssertionError(f"did not hold within {timeout:g} s{asking}")


@attrs.define
class Frames:
    """Frames that are being counted."""

    _fabric: Fabric
    _capture: Capture

    @property
    def count(self) -> int:
        """How many there were until now."""
        return seen(self._fabric, self._capture)


@asynccontextmanager
async def expect_frames(
    fabric: Fabric,
    *what: str,
    least: int = 0,
    most: int | None = None,
    filter: str | None = None,  # noqa: A002 - the word that users know
    direction: Literal["in", "out"] | None = None,
    keep: str | os.PathLike[str] | None = None,
) -> AsyncIterator[Frames]:
    """While the block runs, at least `least` and at most `most` frames pass these ports, guests or networks.

    `filter` is in libpcap's language; `direction` `in` is to the switch, `out` to the guest. A frame is
    counted at every port that it passes. With `keep` the frames are kept there, as pcapng.
    """
    async with counted(fabric, what, direction=direction, filter=filter, keep=keep) as capture:
        yield Frames(fabric, capture)
        found = seen(fabric, capture)
        about = f"frames at {_said(what or 'all')}{f', {filter}' if filter else ''}"
        if found < least:
            raise AssertionError(f"{found} {about}; expected at least {least}")
        if most is not None and found > most:
            raise AssertionError(f"{found} {about}; expected at most {most}")


# -- how -----------------------------------------------------------------------------------------


async def _hold(
    fabric: Fabric,
    source: Names,
    target: Names,
    reach: bool,
    within: float,
    keys: dict[str, Any],
    *,
    count: bool = True,
) -> None:
    for names in (source, target):
        _matching(fabric, names)
    words = {"from": _listed(source), "to": _listed(target), "reach": reach, **keys}
    expect = read_assertion(words, fabric.topology)
    try:
        await Reach(fabric).hold(expect, within, count=count)
    except Failed as error:
        raise AssertionError(str(error)) from None


def _crowds(names: Names, guests: Sequence[Guest]) -> Iterator[tuple[Names, list[Guest]]]:
    """Guests, and how to call them, so many at a time that one filter has room for the addresses."""
    crowds: list[list[Guest]] = [[]]
    room = STATIONS
    for guest in guests:
        if crowds[-1] and len(guest.ports) > room:
            crowds.append([])
            room = STATIONS
        crowds[-1].append(guest)
        room -= len(guest.ports)
    for crowd in crowds:
        yield names if len(crowds) == 1 else [guest.name for guest in crowd], crowd


def _listed(names: Names) -> str | list[str]:
    return names if isinstance(names, str) else list(names)


def _said(names: Names) -> str:
    if isinstance(names, str):
        return names
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _matching(fabric: Fabric, names: Names) -> list[Guest]:
    """The guests that are meant. Raises BadInput for a name that means none."""
    from fnmatch import fnmatchcase

    from vnet.guests import suggestion

    found: dict[str, Guest] = {}
    for pattern in [names] if isinstance(names, str) else names:
        matching = {name: guest for name, guest in fabric.guests.items() if fnmatchcase(name, pattern)}
        if not matching:
            raise BadInput(f"there is no guest {pattern!r}{suggestion(pattern, list(fabric.guests))}")
        found |= matching
    return list(found.values())
