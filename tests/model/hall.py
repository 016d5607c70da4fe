"""The switches of a topology without an engine: what each makes of a frame, and what goes on over links.

Ports are numbered as in `Resolved.ports`, the ends of links after them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from switch.private import UNTOLD
from vnet import links
from vnet._native import Switch
from vnet.check import Proof
from vnet.port import port_config
from vnet.topology.resolve import ResolvedLink

HOPS = 16
"""Switches that the copies of a frame pass: more than there are, without a loop."""


@attrs.define
class Hall:
    """All switches, of either make: `receive(switch, ingress, data, place)` gives a verdict or an outcome."""

    proof: Proof
    receive: Callable[[Any, int, bytes, int], Any]
    switches: dict[str, Any] = attrs.field(factory=dict)
    homes: dict[int, str] = attrs.field(factory=dict)
    """By port: its switch."""
    peers: dict[int, int] = attrs.field(factory=dict)
    """By the end of a link: the other end."""

    def number(self) -> Iterator[tuple[str, int, ResolvedLink | None]]:
        """(switch, port, the link that it is an end of) of every port."""
        ports = list(self.proof.resolved.ports.values())
        for number, port in enumerate(ports):
            yield port.switch, number, None
        for index, link in enumerate(self.proof.resolved.links.values()):
            for side, switch in enumerate(link.ends):
                number = len(ports) + 2 * index + side
                self.peers[number] = len(ports) + 2 * index + 1 - side
                yield switch, number, link

    def forward(self, port: int, data: bytes) -> list[Any]:
        """What every switch on its way makes of a frame that comes in at `port`, the first one first."""
        waiting = deque([(port, data, UNTOLD)])
        found = []
        while waiting:
            ingress, frame, beside = waiting.popleft()
            made = self.receive(self.switches[self.homes[ingress]], ingress, frame, beside)
            found.append(made)
            assert len(found) <= HOPS, "a frame that does not come to an end"
            for egress, copy in made.copies:
                if egress in self.peers:
                    waiting.append((self.peers[egress], copy, made.place))
        return found

    def out(self, made: list[Any]) -> list[tuple[int, bytes, int]]:
        """(port, the frame as it leaves, VLAN) of every copy that a guest gets."""
        return [
            (egress, copy, each.vlan)
            for each in made
            for egress, copy in each.copies
            if egress not in self.peers
        ]


def native(proof: Proof) -> Hall:
    """The switches that a fabric would have."""
    hall = Hall(proof, lambda switch, port, data, place: switch.forward(0, port, [data], place=place)[0])
    ports = list(proof.resolved.ports.values())
    hall.switches = {name: Switch() for name in proof.resolved.switches}
    for switch, number, link in hall.number():
        config = port_config(ports[number]) if link is None else links.port_config(link)
        hall.switches[switch].add_port(number, config)
        hall.homes[number] = switch
    return hall
