"""The captures of a running fabric: which ports and VLANs they look at, as these come, go and change hands.

A port's number, and a network's VLAN, is another's sooner or later. So captures keep what they were asked
for, and are told numbers anew whenever these may be others: as soon as a port comes, and around every change
of the topology. A port that goes is out of every capture at once (`rust/src/capture/`).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import attrs

from vnet.capture import Asked, Capture, Names, Selection, past, read

if TYPE_CHECKING:
    from vnet.fabric import Fabric
    from vnet.links import LinkEnd
    from vnet.port import Port
    from vnet.topology import Resolved

log = logging.getLogger("vnet")


@attrs.define
class _Kept:
    """What is known of a capture."""

    asked: Asked
    tell: Callable[[str], None] | None
    empty: bool
    """There is nothing of what it was asked for."""


class Captures:
    """Of one fabric."""

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric
        self._kept: WeakKeyDictionary[Capture, _Kept] = WeakKeyDictionary()
        self._vlans: dict[str, Collection[int]] = {}
        """Of each network."""
        self._owners: dict[int, str] = {}
        """Of each VLAN, before the change that is under way."""
        self._handed: dict[int, int] = {}
        """When VLANs became their owners'."""
        self._passing: set[int] = set()
        """VLANs that the change under way gives to others than had them, for a while at least."""
        self._began = 0

    def capture(
        self,
        target: str | os.PathLike[str] | int,
        words: Iterable[str],
        *,
        tell: Callable[[str], None] | None = None,
        **options: Any,
    ) -> Capture:
        """A capture of what `words` mean. `tell`, otherwise the log, gets a line when nothing of that is
        there any more. Raises BadInput.
        """
        names = self._names()
        asked = read(words, names)
        selection = asked.selection(names)
        capture = Capture(self._fabric.engine, target, selection, clock=self._fabric.clock, **options)
        self._kept[capture] = _Kept(asked, tell, selection.is_empty)
        return capture

    def running(self) -> list[Capture]:
        """Those that look at something, or would."""
        return [capture for capture in self._kept if capture.is_running]

    async def past(
        self, target: str | os.PathLike[str] | int, words: Iterable[str], **options: Any
    ) -> dict[str, Any]:
        """Write what passed of what `words` mean now, see `vnet.capture.past`. Of a network, that is what
        passed since its VLAN is its own. Raises BadInput.
        """
        names, clock = self._names(), self._fabric.clock
        selection = read(words, names).selection(names)
        return await past(self._fabric.engine, target, selection, clock=clock, handed=self._handed, **options)

    def came(self, port: Port | LinkEnd) -> None:
        """A port is there: captures that were asked for it see what it does from the beginning."""
        things = {("port", port.name), ("guest", port.guest), ("switch", port.switch)}
        self._renew(
            [kept for kept in self._kept.items() if not things.isdisjoint(kept[1].asked.things or ())]
        )

    def changing(self, running: Resolved | None, wanted: Resolved) -> None:
        """A change of the topology begins. Until it has ended, captures of a network look at the VLAN that it
        had and at the one that it gets, unless that was or will be another's.
        """
        self._began = self._fabric.time()
        before, after = _vlans(running), _vlans(wanted)
        had, gets = ({vlan: name for name, vlan in vlans.items()} for vlans in (before, after))
        self._passing = {vlan for vlan, name in had.items() if gets.get(vlan, name) != name}
        self._vlans = {
            name: [
                vlan
                for vlan in {vlans[name] for vlans in (before, after) if name in vlans}
                if had.get(vlan, name) == gets.get(vlan, name) == name
            ]
            for name in before | after
        }
        self._renew([*self._kept.items()])

    def changed(self, resolved: Resolved | None) -> None:
        """It has ended, and this is what runs. Captures that nothing is left of are told."""
        vlans = _vlans(resolved)
        self._vlans = {name: [vlan] for name, vlan in vlans.items()}
        owners = {vlan: name for name, vlan in vlans.items()}
        for vlan in owners:
            if vlan not in self._owners:
                self._handed[vlan] = self._began
            elif vlan in self._passing:
                # What passed until now, others may have sent, also if the change was undone.
                self._handed[vlan] = self._fabric.time() + 1
        self._owners = owners
        for capture, kept, selection in self._renew([*self._kept.items()]):
            if selection.is_empty and not kept.empty and capture.is_running:
                line = f"there is nothing to capture until {kept.asked} is back"
                if kept.tell is not None:
                    kept.tell(line)
                else:
                    log.warning("capture to %s: %s", capture.where, line)
            kept.empty = selection.is_empty

    def _renew(self, captures: Collection[tuple[Capture, _Kept]]) -> list[tuple[Capture, _Kept, Selection]]:
        """Have captures look at what they were asked for."""
        names = self._names() if captures else {}
        renewed = [(capture, kept, kept.asked.selection(names)) for capture, kept in captures]
        for capture, _, selection in renewed:
            capture.select(selection)
        return renewed

    def _names(self) -> Names:
        """What there is to capture."""
        wiring = self._fabric.wiring
        ports: dict[str, Port | LinkEnd] = {**wiring.ports, **wiring.link_ends()}
        guests: dict[str, list[int]] = {}
        switches: dict[str, list[int]] = {name: [] for name in wiring.switches}
        for port in ports.values():
            if port.guest:
                guests.setdefault(port.guest, []).append(port.number)
            switches.setdefault(port.switch, []).append(port.number)
        return {
            "port": {name: [port.number] for name, port in ports.items()},
            "guest": guests,
            "network": self._vlans,
            "switch": switches,
        }


def _vlans(resolved: Resolved | None) -> dict[str, int]:
    return {name: network.vlan for name, network in resolved.networks.items()} if resolved else {}
