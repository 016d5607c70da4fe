"""What security groups let pass, as sets of packets, with the rule that says so.

A port without groups lets everything pass. With groups, what no rule of any of them allows is denied;
directions are the guest's. A remote group stands for its members: what the NICs that have it are
configured with, their link-local addresses, and what their guards allow them inside of their networks'
subnets. A member counts in its own network; elsewhere unless a subnet there has its address, which
would be somebody else's.
"""

from __future__ import annotations

from typing import Literal

import attrs

from vnet.check.packets import ALL, ICMP, ICMP6, OTHERS, TCP, UDP, Packets, union
from vnet.check.voice import allowed, host, inside, link_local, touch
from vnet.topology.model import Rule
from vnet.topology.problems import Path
from vnet.topology.resolve import Port, Resolved
from vnet.topology.values import Subnet

Direction = Literal["ingress", "egress"]


@attrs.frozen(hash=True)
class Let:
    """What one direction of one port lets pass."""

    packets: Packets
    because: tuple[Path, ...]
    """The rules that let any of it pass; (): no groups are in the way, or nothing passes."""


class Rules:
    """The security groups of a topology."""

    def __init__(self, resolved: Resolved) -> None:
        self._groups = resolved.groups
        self._vlans = {network.vlan: network for network in resolved.networks.values()}
        self._members: dict[str, list[tuple[Subnet, int]]] = {name: [] for name in resolved.groups}
        for port in resolved.ports.values():
            for name in port.groups:
                self._members[name] += self._has(port)
        named = {
            rule.protocol
            for group in resolved.groups.values()
            for rule in (*group.ingress, *(group.egress or ()))
            if rule.protocol is not None
        }
        self.protocols = tuple(sorted(named | {OTHERS, ICMP, TCP, UDP, ICMP6}))
        """All that have to be told apart."""
        self._every = {family: Packets.everything(self.protocols, family) for family in (4, 6)}
        self._known: dict[object, Let] = {}

    def everything(self, family: int) -> Packets:
        """All packets of an IP version."""
        return self._every[family]

    def let(self, port: Port, direction: Direction, remote: Subnet, vlan: int) -> Let:
        """What passes to (`ingress`) or from (`egress`) its guest when the other end is in `remote`.

        `remote` is an address, or a prefix: then what passes for any address in it.
        """
        every = self._every[remote.version]
        if not port.groups:
            return Let(every, ())
        key = (port.groups, direction, remote, vlan)
        if key not in self._known:
            self._known[key] = self._let(port.groups, direction, remote, vlan, every)
        return self._known[key]

    def _let(
        self, names: tuple[str, ...], direction: Direction, remote: Subnet, vlan: int, every: Packets
    ) -> Let:
        packets = Packets()
        because: list[Path] = []
        for name in names:
            rules: tuple[Rule, ...] | None = getattr(self._groups[name], direction)
            if rules is None:  # no egress rules: everybody
                packets, because = packets | every, [*because, ("groups", name)]
                continue
            for index, rule in enumerate(rules):
                if self._is_about(rule, remote, vlan):
                    passes = self._packets(rule) & every
                    if passes:
                        packets, because = packets | passes, [*because, ("groups", name, direction, index)]
        return Let(packets, tuple(because))

    def _is_about(self, rule: Rule, remote: Subnet, vlan: int) -> bool:
        if rule.group is not None:
            return any(touch(member, remote) for member in self.members(rule.group, vlan))
        return not rule.prefix or any(touch(prefix, remote) for prefix in rule.prefix)

    def _packets(self, rule: Rule) -> Packets:
        if rule.protocol is None:
            return Packets(dict.fromkeys(self.protocols, ALL))
        numbers = ALL
        if rule.ports:
            numbers = union(rule.ports)
        elif rule.type is not None:
            low, high = (0, 0xFF) if rule.code is None else (rule.code, rule.code)
            numbers = ((rule.type << 8 | low, rule.type << 8 | high),)
        return Packets({rule.protocol: numbers})

    def members(self, group: str, vlan: int) -> list[Subnet]:
        """The addresses of a group as they count in `vlan`."""
        subnets = self._vlans[vlan].subnets if vlan in self._vlans else ()
        return [
            prefix
            for prefix, home in self._members[group]
            if home == vlan or not (prefix.is_link_local or any(touch(prefix, subnet) for subnet in subnets))
        ]

    def _has(self, port: Port) -> list[tuple[Subnet, int]]:
        found: list[tuple[Subnet, int]] = []
        for vlan in port.vlans:
            subnets = self._vlans[vlan].subnets
            found.append((host(link_local(port.mac)), vlan))
            if vlan == port.vlan:
                found += [(host(address), vlan) for address in port.ip]
            found += [
                (prefix, vlan)
                for _, prefix in allowed(port, vlan)
                if any(inside(prefix, subnet) for subnet in subnets)
            ]
        return found
