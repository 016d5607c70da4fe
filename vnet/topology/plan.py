"""From what runs to what is wanted, in small steps. Pure: nothing is touched here.

    actions = plan(running, wanted)         # both resolved; running None: nothing runs yet

What is the same in both yields no action (`actions.py` has all there are).

The order is what keeps tenants apart on the way, for actions are carried out one by one while
frames flow. Ports that go are removed first, so that sockets, interfaces and VLANs are free for
what comes. Then ports change. When a network gives up its VLAN, the guests' ports that are in it
are first parked (administratively down), and links and uplinks leave it, for others go on there.
Then what was learned in it is handed over, and only then anybody moves: there is no moment at which
two networks meet in one VLAN. New ports come last, and then machines are started.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from nics.errors import BadInput
from vnet.topology.actions import (
    Action,
    AddGuest,
    AddLink,
    AddMirror,
    AddNetwork,
    AddPort,
    AddSwitch,
    ChangeFlows,
    ChangeGuest,
    ChangeLink,
    ChangeNetwork,
    ChangePort,
    ChangeRecorder,
    ChangeRules,
    ChangeSeed,
    ChangeSwitch,
    HandOver,
    RemoveGuest,
    RemoveLink,
    RemoveMirror,
    RemoveNetwork,
    RemovePort,
    RemoveSwitch,
    StartGuests,
    StopGuests,
)
from vnet.topology.problems import Path, Problem, bad_input
from vnet.topology.resolve import Port, Resolved, ResolvedGuest, ResolvedLink
from vnet.topology.shape import Table
from vnet.topology.table import ENGINE
from vnet.topology.table_switches import SWITCH_TABLE
from vnet.topology.write import value_words

LIVE = tuple(key.name for key in SWITCH_TABLE.keys)
"""Keys of a switch that change while it runs."""


def plan(running: Resolved | None, wanted: Resolved) -> list[Action]:
    """The steps from `running` to `wanted`. Raises BadInput for what can't change while it runs."""
    if running is None:
        running = Resolved(wanted.name, wanted.seed, wanted.engine, {}, {}, {}, {})
    _check_fixed(running, wanted)
    actions: list[Action] = []
    if running.seed != wanted.seed:
        actions.append(ChangeSeed(running.seed, wanted.seed))
    if running.recorder != wanted.recorder:
        actions.append(ChangeRecorder(running.recorder, wanted.recorder))
    if running.flows != wanted.flows:
        actions.append(ChangeFlows(running.flows, wanted.flows))
    removed, changed, added = _ports(running, wanted)
    again = {
        name
        for name, guest in running.guests.items()
        if name in wanted.guests and wanted.guests[name].kind != guest.kind
    }
    changing = _machines(running, wanted)
    gone, altered, new = _links(running, wanted)
    # A mirror that changes stops before anything does: nobody shall see what becomes another's.
    actions += [RemoveMirror(m) for name, m in running.mirrors.items() if wanted.mirrors.get(name) != m]
    # What goes. A machine that goes, or is started anew, needn't be asked for its NICs one by one.
    stopping = [g.name for g in running.guests.values() if g.machine and g.name not in wanted.guests]
    stopping += [name for name in again if running.guests[name].machine]
    anew = [after.name for before, after in changing if _restarted(before, after)]
    actions += [StopGuests(tuple(stopping))] if stopping else []
    actions += [StopGuests(tuple(anew), anew=True)] if anew else []
    actions += [RemovePort(port) for port in reversed(removed)]
    actions += [
        RemoveGuest(guest)
        for name, guest in reversed(list(running.guests.items()))
        if name not in wanted.guests or name in again
    ]
    actions += [RemoveLink(link) for link in gone]
    actions += [ChangeGuest(before, after) for before, after in changing]
    # What changes. A switch makes room before anything needs it, and gives it up afterwards.
    larger, smaller = _switches(running, wanted)
    actions += larger
    actions += [AddSwitch(s) for name, s in wanted.switches.items() if name not in running.switches]
    actions += [AddNetwork(n) for name, n in wanted.networks.items() if name not in running.networks]
    actions += [
        ChangeNetwork(running.networks[name], network)
        for name, network in wanted.networks.items()
        if name in running.networks and running.networks[name] != network
    ]
    changed = _rules(running, wanted, changed, actions)
    actions += _moves(running, wanted, changed, altered)
    actions += smaller
    actions += [RemoveNetwork(n) for name, n in running.networks.items() if name not in wanted.networks]
    actions += [RemoveSwitch(s) for name, s in running.switches.items() if name not in wanted.switches]
    # What comes.
    actions += [AddLink(link) for link in new]
    actions += [
        AddGuest(guest)
        for name, guest in wanted.guests.items()
        if name not in running.guests or name in again
    ]
    actions += [AddPort(port) for port in added]
    coming = [
        name
        for name, guest in wanted.guests.items()
        if guest.machine and (name not in running.guests or name in again or name in anew)
    ]
    actions += [StartGuests(tuple(coming))] if coming else []
    actions += [AddMirror(m) for name, m in wanted.mirrors.items() if running.mirrors.get(name) != m]
    return actions


def _machines(running: Resolved, wanted: Resolved) -> list[tuple[ResolvedGuest, ResolvedGuest]]:
    """Guests whose machine is to be another: as it is, and as it becomes."""
    return [
        (guest, wanted.guests[name])
        for name, guest in running.guests.items()
        if name in wanted.guests
        and wanted.guests[name].kind == guest.kind
        and wanted.guests[name].machine != guest.machine
    ]


def _restarted(before: ResolvedGuest, after: ResolvedGuest) -> bool:
    """Whether a machine has to be started anew for it to be another."""
    assert before.machine is not None
    assert after.machine is not None
    # When it is started again and how long it may take to stop is vnet's own business.
    was, becomes = (attrs.evolve(m, restart="never", stop_timeout=0) for m in (before.machine, after.machine))
    return was != becomes


def _check_fixed(running: Resolved, wanted: Resolved) -> None:
    """Raise BadInput for what is made once, when a fabric is brought up."""
    if running.name != wanted.name:
        raise BadInput(
            f"name: {wanted.name}, expected {running.name}, which runs (a fabric can't be renamed)"
        )
    fixed: list[tuple[Path, Any, Any, Table]] = [(("engine",), running.engine, wanted.engine, ENGINE)]
    fixed += [
        (("switches", name), running.switches[name], switch, SWITCH_TABLE)
        for name, switch in wanted.switches.items()
        if name in running.switches
    ]
    problems = []
    for path, before, after, table in fixed:
        for key in table.keys:
            if table is SWITCH_TABLE and key.name in LIVE:
                continue
            was, becomes = getattr(before, key.name), getattr(after, key.name)
            if was != becomes:
                found = "nothing" if becomes is None else value_words(key.type, becomes)
                expected = f"{'nothing' if was is None else value_words(key.type, was)}, which runs"
                hint = "this changes only when the fabric is brought down and up"
                problems.append(Problem((*path, key.name), str(found), expected, hint))
    if problems:
        raise bad_input(problems)


def _switches(running: Resolved, wanted: Resolved) -> tuple[list[Action], list[Action]]:
    """Changes of switches: those that give room, and those that take some."""
    larger: list[Action] = []
    smaller: list[Action] = []
    for name, after in wanted.switches.items():
        before = running.switches.get(name, after)
        if before != after:
            (smaller if after.fdb_limit < before.fdb_limit else larger).append(ChangeSwitch(before, after))
    return larger, smaller


def _ports(running: Resolved, wanted: Resolved) -> tuple[list[Port], list[tuple[Port, Port]], list[Port]]:
    """Ports to remove, to change (before, after) and to add."""
    removed, changed, added = [], [], []
    # Guests first: when an uplink comes, they are there.
    before, after = {**running.ports, **running.uplinks}, {**wanted.ports, **wanted.uplinks}
    for name, port in before.items():
        if name not in after or _replugged(port, after[name]):
            removed.append(port)
        elif port != after[name]:
            changed.append((port, after[name]))
    for name, port in after.items():
        if name not in before or _replugged(before[name], port):
            added.append(port)
    return removed, changed, added


def _rules(
    running: Resolved,
    wanted: Resolved,
    changed: list[tuple[Port, Port]],
    actions: list[Action],
) -> list[tuple[Port, Port]]:
    """Add the step that changes rules; what else of `changed` there is to do after it."""
    stay = [(before, after) for before, after in changed if before.vlans == after.vlans]
    rules = {
        after.name: ((before.groups, before.policy), (after.groups, after.policy))
        for before, after in stay
        if (before.groups, before.policy) != (after.groups, after.policy)
    }
    if rules or running.groups != wanted.groups:
        ports_before = {name: before for name, (before, _) in rules.items()}
        ports = {name: after for name, (_, after) in rules.items()}
        actions.append(ChangeRules(running.groups, wanted.groups, ports_before, ports))
    left = []
    for before, after in changed:
        if after.name in rules:
            before = attrs.evolve(before, groups=after.groups, policy=after.policy)
        if before != after:
            left.append((before, after))
    return left


def _replugged(before: Port, after: Port) -> bool:
    """Whether a port can't change in place, because its NIC was opened with something else."""
    if before.is_uplink and after.is_uplink:
        # The MTU of an interface is the host's business.
        return (before.nic, before.switch, before.mac) != (after.nic, after.switch, after.mac)
    if (before.guest_kind, before.nic, before.switch, before.mac, before.mtu) != (
        after.guest_kind,
        after.nic,
        after.switch,
        after.mac,
        after.mtu,
    ):
        return True
    # A machine sets its addresses itself; the others got them when their NIC was opened.
    told = before.guest_kind not in ("external", "qemu")
    return told and (before.addresses, before.gateways) != (after.addresses, after.gateways)


def _links(
    running: Resolved, wanted: Resolved
) -> tuple[list[ResolvedLink], list[tuple[ResolvedLink, ResolvedLink]], list[ResolvedLink]]:
    """Links to remove, to change (before, after; also those that stay as they are) and to add."""
    removed, changed = [], []
    for name, link in running.links.items():
        if name in wanted.links and _same_cables(link, wanted.links[name]):
            changed.append((link, wanted.links[name]))
        else:
            removed.append(link)
    kept = {link.name for link, _ in changed}
    return removed, changed, [link for name, link in wanted.links.items() if name not in kept]


def _same_cables(one: ResolvedLink, other: ResolvedLink) -> bool:
    """Whether one becomes the other without being taken away."""
    what = [
        (link.ends, link.bond if link.several else None, [(c.name, c.priority) for c in link.several])
        for link in (one, other)
    ]
    return what[0] == what[1]


def _owners(resolved: Resolved) -> dict[int, str]:
    return {network.vlan: network.name for network in resolved.networks.values()}


def _moves(
    running: Resolved,
    wanted: Resolved,
    changed: Iterable[tuple[Port, Port]],
    links: Iterable[tuple[ResolvedLink, ResolvedLink]],
) -> list[Action]:
    """Changes of ports and links, nobody left in VLANs that networks give up before any moves.

    What is on a link in such a VLAN is lost then: a slow one could deliver it to the wrong network.
    """
    had, have = _owners(running), _owners(wanted)
    given_up = {vlan for vlan, name in had.items() if have.get(vlan) != name}
    parked: list[Action] = []
    moves: list[Action] = []
    for before, after in changed:
        start = before
        if before.settings.up and not given_up.isdisjoint(before.vlans):
            start = _parked(before, given_up)
            parked.append(ChangePort(before, start))
        if start != after:
            moves.append(ChangePort(start, after))
    for link, becomes in links:
        begin = attrs.evolve(link, vlans=tuple(vlan for vlan in link.vlans if vlan not in given_up))
        if begin != link:
            parked.append(ChangeLink(link, begin))
        if begin != becomes:
            moves.append(ChangeLink(begin, becomes))
    return [*parked, *([HandOver(had, have)] if given_up else []), *moves]


def _parked(port: Port, given_up: set[int]) -> Port:
    """A port that is in none of these VLANs any more. A guest's has to be down for that: its leases in them
    are kept for as long as it is in them.
    """
    if port.is_uplink and not given_up.issuperset(port.vlans):
        trunk = tuple((name, vlan) for name, vlan in port.trunk if vlan not in given_up)
        network, vlan = (None, None) if port.vlan in given_up else (port.network, port.vlan)
        return attrs.evolve(port, network=network, vlan=vlan, trunk=trunk)
    return attrs.evolve(port, settings=attrs.evolve(port.settings, up=False))
