"""From the running topology to another one: take the plan's steps, or take them all back.

A step that fails leaves nothing of itself behind; the steps before it are undone in reverse order,
so that what ran before runs on. Undoing can itself fail (a namespace's name was taken meanwhile,
say): that is logged, and the rest is undone all the same.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import attrs
import trio

from nics.door import Place
from nics.netns import Namespace
from vnet.errors import NicError, VnetError
from vnet.guests import KINDS, NetnsGuest
from vnet.port import Port, port_config
from vnet.topology import plan
from vnet.topology.model import Guest as WantedGuest
from vnet.topology.model import NicPort, Topology

if TYPE_CHECKING:
    from vnet.fabric import Fabric

log = logging.getLogger("vnet")

Undo = Callable[[], Awaitable[None]]


async def change(fabric: Fabric, wanted: Topology) -> list[str]:
    """Take `fabric` to `wanted`; what was done, a line each. For `Fabric.apply`."""
    actions = plan.plan(fabric.topology, wanted)
    if _needs_runtime(wanted):
        runtime = fabric.hold_runtime()
        runtime.note(_traces(fabric, wanted))
    undone: list[Undo] = []
    before = fabric.topology
    fabric.topology = wanted
    try:
        for action in actions:
            undone.append(await _take(fabric, action))
    except BaseException:
        fabric.topology = before
        with trio.CancelScope(shield=True):
            for undo in reversed(undone):
                await _despite_errors(undo)
        raise
    return [str(action) for action in actions]


async def take_down(fabric: Fabric) -> None:
    """Remove every port and guest, in reverse order of their coming, whatever fails on the way."""
    for name in reversed(list(fabric.ports)):
        await _despite_errors(lambda name=name: fabric.unplug(name))  # type: ignore[misc]
    for name in reversed(list(fabric.guests)):
        await _despite_errors(lambda name=name: _remove_guest(fabric, name))  # type: ignore[misc]


async def _despite_errors(step: Undo) -> None:
    try:
        await step()
    except (OSError, VnetError, KeyError, RuntimeError) as error:
        log.error("while undoing: %s", error)


async def _take(fabric: Fabric, action: plan.Action) -> Undo:
    """Take one step; how to take it back."""
    match action:
        case plan.AddGuest(guest=guest):
            await _add_guest(fabric, guest)
            return lambda: _remove_guest(fabric, guest.name)
        case plan.RemoveGuest(guest=guest):
            await _remove_guest(fabric, guest.name)
            return lambda: _add_guest(fabric, guest)
        case plan.AddPort(guest=guest, port=port):
            await _add_port(fabric, guest, port)
            return lambda: fabric.unplug(port.name)
        case plan.RemovePort(guest=guest, port=port):
            await fabric.unplug(port.name)
            return lambda: _add_port(fabric, guest, port)
        case plan.ChangePort(before=before, after=after):
            await _change_port(fabric, after)
            return lambda: _change_port(fabric, before)
    raise VnetError(f"no way to {action}")


async def _add_guest(fabric: Fabric, wanted: WantedGuest) -> None:
    guest = KINDS[wanted.kind](wanted.name, wanted.kind)
    if isinstance(guest, NetnsGuest):
        guest.namespace = await Namespace.create(f"vnet-{fabric.name}-{wanted.name}", fabric.netlink)
    fabric.guests[wanted.name] = guest


async def _remove_guest(fabric: Fabric, name: str) -> None:
    await fabric.guests.pop(name).aclose()


async def _add_port(fabric: Fabric, guest_name: str, wanted: NicPort) -> None:
    guest = fabric.guests[guest_name]
    place = Place(
        port=wanted.name,
        runtime=fabric.runtime,
        netlink=fabric.netlink,
        mac=wanted.mac,
        addresses=tuple(str(interface) for interface in wanted.ip),
        gateways=tuple(str(gateway) for gateway in wanted.gateways),
        mtu=wanted.mtu,
        netns=guest.namespace.fd if isinstance(guest, NetnsGuest) and guest.namespace else None,
        seed=fabric.topology.seed,
    )
    opened = await wanted.nic.open(place)
    try:
        number = fabric.engine.add_port(opened.door, fabric.switch_number(wanted.switch), port_config(wanted))
    except (OSError, ValueError, RuntimeError) as error:
        if opened.close is not None:
            await opened.close()
        raise NicError(f"{wanted.name}: {error}") from error
    fabric.plug(
        Port(
            name=wanted.name,
            guest=guest_name,
            wanted=wanted,
            number=number,
            opened=opened,
            carrier=fabric.engine.carrier(number),
            engine=fabric.engine,
        )
    )


async def _change_port(fabric: Fabric, wanted: NicPort) -> None:
    port = fabric.ports[wanted.name]
    fabric.engine.set_port(port.number, port_config(wanted, up=port.link))
    port.wanted = wanted
    await trio.lowlevel.checkpoint()
