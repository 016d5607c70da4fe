"""From the running topology to another one: take the plan's steps, or take them all back.

A step that fails leaves nothing of itself behind; the steps before it are undone in reverse order,
so that what ran before runs on. Undoing can itself fail (a namespace's name was taken meanwhile,
say): that is logged, and the rest is undone all the same.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

import attrs
import trio

from nics.door import Place
from nics.netns import Namespace
from switch.policy import Policy
from vnet import beforehand, carrier, mirrors, uplinks
from vnet._native import hand_over
from vnet.connect.facts import facts_of
from vnet.errors import NicError
from vnet.guests import KINDS, NetnsGuest, QemuGuest
from vnet.port import Port, entries, groups, port_config
from vnet.topology import actions, plan
from vnet.topology.resolve import Port as WantedPort
from vnet.topology.resolve import Resolved, ResolvedGuest, ResolvedLink

if TYPE_CHECKING:
    from vnet.fabric import Fabric
    from vnet.topology import Topology

log = logging.getLogger("vnet")

Step = Callable[[], Awaitable[None]]


def namespace_name(fabric: str, guest: str) -> str:
    """What the namespace of a guest is called, in `ip netns list` for one."""
    return f"vnet-{fabric}.{guest}"


async def change(fabric: Fabric, wanted: Topology) -> list[str]:
    """Take `fabric` to `wanted`; what was done, a line each. For `Fabric.apply`."""
    resolved = wanted.resolve(keep=fabric.resolved)
    if fabric.confinement is not None:
        refused = fabric.machines.refused(fabric.resolved, resolved)
        fabric.confinement.admits(fabric.resolved, resolved, refused)
    fabric.machines.lacking(fabric.resolved, resolved)
    for line in carrier.blind(fabric.resolved, resolved):
        log.warning("%s", line)
    for _, line in uplinks.rings(fabric.resolved, resolved):
        log.warning("%s", line)
    steps = plan.plan(fabric.resolved, resolved)
    if fabric.resolved is not None:
        fabric.wiring.forget_cuts(fabric.resolved)
        running = (*fabric.resolved.guests, *resolved.guests)
        beforehand.look(steps, fabric.runtime, (namespace_name(fabric.name, guest) for guest in running))
    if _needs_runtime(resolved):
        runtime = await fabric.hold_runtime()
        kinds = [*(fabric.resolved.guests.values() if fabric.resolved else ()), *resolved.guests.values()]
        runtime.note({namespace_name(fabric.name, g.name) for g in kinds if g.kind == "netns"})
    before, fabric.topology = fabric.topology, wanted
    done: list[actions.Action] = []
    fabric.captures.changing(fabric.resolved, resolved)
    try:
        for action in steps:
            await _take(fabric, action)
            done.append(action)
    except BaseException:
        fabric.topology = before
        with trio.CancelScope(shield=True):
            for action in reversed(done):
                await _despite_errors(lambda action=action: _take(fabric, action.inverse()))  # type: ignore[misc]
            await _despite_errors(lambda: uplinks.tell(fabric))
            await _despite_errors(lambda: mirrors.tell(fabric))
            await _despite_errors(lambda: fabric.captures.changed(fabric.resolved))
        raise
    uplinks.tell(fabric)
    if resolved.mirrors:
        mirrors.tell(fabric)
    uplinks.introduce(fabric, uplinks.newcomers(steps))
    fabric.resolved = resolved
    fabric.captures.changed(resolved)
    return [str(action) for action in steps]


async def take_down(fabric: Fabric) -> None:
    """Remove every port and guest, in reverse order of their coming, whatever fails on the way."""
    await _despite_errors(lambda: fabric.machines.stop([*fabric.machines.by_name]))
    closing: list[Step] = []
    for name in reversed(list(fabric.ports)):
        await _despite_errors(lambda name=name: fabric.wiring.unplug(name, closing))  # type: ignore[misc]
    async with trio.open_nursery() as nursery:
        for close in closing:
            nursery.start_soon(_despite_errors, close)
    for name in reversed(list(fabric.links)):
        fabric.wiring.part(name)
    netns = [guest.namespace for guest in fabric.guests.values() if isinstance(guest, NetnsGuest)]
    await _despite_errors(lambda: Namespace.close_all([namespace for namespace in netns if namespace]))
    for name in reversed(list(fabric.guests)):
        await _despite_errors(lambda name=name: _remove_guest(fabric, name))  # type: ignore[misc]


def _needs_runtime(resolved: Resolved) -> bool:
    """Whether anything of it may leave a trace on disk: sockets, namespaces."""
    ports = (*resolved.ports.values(), *resolved.uplinks.values())
    return any(port.nic.kind not in ("stack", "pipe") for port in ports)


async def _despite_errors(step: Callable[[], Awaitable[None] | None]) -> None:
    try:
        if (more := step()) is not None:
            await more
    except Exception as error:
        # Whatever it is: what is left half undone can't be changed any more.
        log.error("while undoing: %s", error)


async def _take(fabric: Fabric, action: actions.Action) -> None:
    """Take one step, at the time that it is now."""
    fabric.tell_time()
    match action:
        case actions.AddGuest(part=guest):
            await _add_guest(fabric, guest)
        case actions.RemoveGuest(part=guest):
            await _remove_guest(fabric, guest.name)
        case actions.AddPort(part=port):
            await _add_port(fabric, port)
        case actions.ChangeGuest(after=guest):
            fabric.machines.change(guest)
        case actions.StartGuests(guests=names):
            await fabric.machines.start((name, fabric.guests[name].ports.values()) for name in names)
        case actions.StopGuests(guests=names):
            await fabric.machines.stop(names)
        case actions.RemovePort(part=port):
            if port.guest_kind == "qemu" and not port.is_uplink:
                await fabric.machines.one(port.guest).unplug(port.name)
            await fabric.wiring.unplug(port.name)
        case actions.ChangeRules(ports=rules):
            await _change_rules(fabric, rules)
        case actions.ChangePort(after=port):
            await _change_port(fabric, port)
        case actions.AddNetwork(part=network) | actions.ChangeNetwork(after=network):
            fabric.groups.network(network.name, network)
            await trio.lowlevel.checkpoint()
        case actions.HandOver():
            hand_over(fabric.engine, action.becomes)
            await trio.lowlevel.checkpoint()
        case actions.RemoveNetwork(part=network):
            fabric.groups.network(network.name, None)
            await trio.lowlevel.checkpoint()
        case actions.AddLink(part=link):
            _add_link(fabric, link)
        case actions.RemoveLink(part=link):
            fabric.wiring.part(link.name)
        case actions.ChangeLink(after=link):
            fabric.wiring.change_link(link)
        case actions.AddMirror(part=mirror):
            # It begins when every port is there.
            fabric.mirrors[mirror.name] = mirror
        case actions.RemoveMirror(part=mirror):
            del fabric.mirrors[mirror.name]
            mirrors.tell(fabric)
        case actions.RemoveSwitch(part=switch):
            fabric.wiring.forget_switch(switch.name)
        case actions.ChangeRecorder(after=recorder):
            fabric.set_recorder(recorder)
        case actions.ChangeFlows(after=flows):
            fabric.exporter.set(flows)
        case actions.ChangeSwitch(after=switch):
            fabric.wiring.set_switch(switch)
            await trio.lowlevel.checkpoint()
        case _:
            # The seed is for choices to come; a switch is made when its first port is.
            await trio.lowlevel.checkpoint()


async def _add_guest(fabric: Fabric, wanted: ResolvedGuest) -> None:
    guest = KINDS[wanted.kind](wanted.name, wanted.kind, fellows=fabric.guests)
    if isinstance(guest, NetnsGuest):
        guest.namespace = await Namespace.create(
            namespace_name(fabric.name, wanted.name), fabric.netlink, host=wanted.name
        )
    elif isinstance(guest, QemuGuest):
        guest.machine = await fabric.machines.make(wanted)
    fabric.guests[wanted.name] = guest


async def _remove_guest(fabric: Fabric, name: str) -> None:
    fabric.machines.by_name.pop(name, None)
    await fabric.guests.pop(name).aclose()


async def _add_port(fabric: Fabric, wanted: WantedPort) -> None:
    guest = None if wanted.is_uplink else fabric.guests[wanted.guest]
    place = Place(
        port=wanted.name,
        runtime=fabric.runtime,
        netlink=fabric.netlink,
        mac=wanted.mac,
        addresses=tuple(str(interface) for interface in wanted.addresses),
        gateways=tuple(str(gateway) for gateway in wanted.gateways),
        mtu=wanted.mtu,
        netns=guest.namespace.fd if isinstance(guest, NetnsGuest) and guest.namespace else None,
        # What can be foretold can be forged (sequence numbers, ports). Only the trio driver promises
        # the same again.
        seed=fabric.topology.seed if fabric.driver == "trio" else secrets.randbits(64),
    )
    opened = await wanted.nic.open(place)
    number = None
    # What the operator cut stays so when another NIC takes its place, from the first frame on.
    up = wanted.name not in fabric.wiring.cuts
    try:
        switch = fabric.wiring.switch(wanted.switch)
        number = fabric.engine.add_port(opened.door, switch, port_config(wanted, up=up))
        _enter(fabric, number, {}, wanted)
    except (OSError, ValueError, RuntimeError) as error:
        if number is not None:
            fabric.engine.remove_port(number)
        if opened.close is not None:
            await opened.close()
        raise NicError(f"{wanted.name}: {error}") from error
    port = Port(
        name=wanted.name,
        guest=wanted.guest,
        wanted=wanted,
        number=number,
        opened=opened,
        carrier=fabric.engine.carrier(number),
        engine=fabric.engine,
        cuts=fabric.wiring.cuts,
    )
    fabric.wiring.plug(port)
    if isinstance(guest, QemuGuest) and guest.machine is not None and guest.machine.is_running:
        try:
            await guest.machine.plug(facts_of(port, fabric.runtime))
        except BaseException:
            with trio.CancelScope(shield=True):
                await fabric.wiring.unplug(port.name)
            raise


def _add_link(fabric: Fabric, wanted: ResolvedLink) -> None:
    try:
        fabric.wiring.join(wanted)
    except (OSError, ValueError, RuntimeError) as error:
        raise NicError(f"{wanted.name}: {error}") from error


async def _change_rules(fabric: Fabric, rules: Mapping[str, tuple[tuple[str, ...], Policy | None]]) -> None:
    changed = [(fabric.ports[name], *rule) for name, rule in rules.items()]
    fabric.engine.set_groups([(port.number, groups(policy)) for port, _, policy in changed])
    for port, names, policy in changed:
        port.wanted = attrs.evolve(port.wanted, groups=names, policy=policy)
    await trio.lowlevel.checkpoint()


async def _change_port(fabric: Fabric, wanted: WantedPort) -> None:
    port = fabric.ports[wanted.name]
    fabric.engine.set_port(port.number, port_config(wanted, up=not port.is_cut))
    # With a VLAN, the entries in it are gone already.
    stayed = {vlan: sticky for vlan, sticky in entries(port.wanted).items() if vlan in wanted.vlans}
    was, port.wanted = port.wanted, wanted
    if was.cord != wanted.cord:
        fabric.wiring.set_cord(port)
    if (was.guard is None, was.stp) != (wanted.guard is None, wanted.stp):
        # Whoever takes part anew has to listen first.
        fabric.wiring.take_part(port)
    _enter(fabric, port.number, stayed, wanted)
    if wanted.settings.up and not was.settings.up:
        # The operator may have mended its cable meanwhile.
        fabric.wiring.show(port)
    await trio.lowlevel.checkpoint()


def _enter(fabric: Fabric, number: int, had: Mapping[int, bool], wanted: WantedPort) -> None:
    """Have the forwarding database know a port's own address as `wanted` says; it knew it as `had` says.
    There is room: the topology was checked for that.
    """
    new = entries(wanted)
    for vlan in had.keys() - new.keys():
        fabric.engine.fdb_remove(number, vlan, wanted.mac)
    for vlan, sticky in new.items():
        if had.get(vlan) != sticky:
            fabric.engine.fdb_set(number, vlan, wanted.mac, sticky=sticky)
