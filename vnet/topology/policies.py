"""From the rules of security groups to the policy of each port: names become addresses.

A rule's remote group stands for the addresses of the NICs that have it: their own, the link-local
one that follows from the MAC, and what their guard allows them within their network's subnets (an
allowance of more, a router's for instance, makes nobody a member). An address counts in the network
of its NIC. In another network it counts unless that has a subnet around it: tenants may overlap, and
there it would be somebody else's.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv6Address, ip_network

import attrs

from switch.policy import Allow, Policy, Remote
from switch.policy import Subnet as Prefix
from vnet.topology.model import Group, Rule
from vnet.topology.resolve import Port, ResolvedNetwork


def link_local(mac: str) -> IPv6Address:
    """The link-local address that follows from a MAC address (RFC 4291, appendix A)."""
    octets = bytes.fromhex(mac.replace(":", ""))
    return IPv6Address(
        b"\xfe\x80" + bytes(6) + bytes([octets[0] ^ 2]) + octets[1:3] + b"\xff\xfe" + octets[3:]
    )


def _addresses(port: Port, networks: Mapping[str, ResolvedNetwork]) -> list[tuple[Prefix, int]]:
    """What a member of a group has: (prefix, VLAN of its network)."""
    found: list[tuple[Prefix, int]] = []
    if port.vlan is not None:
        found += [(ip_network(address.ip), port.vlan) for address in port.addresses]
    for name in port.networks:
        network = networks[name]
        found.append((ip_network(link_local(port.mac)), network.vlan))
        for allowed in port.guard.allow if port.guard else ():
            if allowed.ip is None or allowed.network not in (None, name):
                continue
            if any(_inside(allowed.ip, subnet) for subnet in network.subnets):
                found.append((allowed.ip, network.vlan))
    return found


def _inside(one: Prefix, other: Prefix) -> bool:
    return one.version == other.version and one.subnet_of(other)  # type: ignore[arg-type]


class Policies:
    """The policies of a topology's ports; ports that are alike share one."""

    def __init__(
        self, groups: Mapping[str, Group], ports: Mapping[str, Port], networks: Mapping[str, ResolvedNetwork]
    ) -> None:
        self._groups = groups
        self._networks = networks
        self._members: dict[str, list[tuple[Prefix, int]]] = {name: [] for name in groups}
        for port in ports.values():
            for group in port.groups:
                self._members[group] += _addresses(port, networks)
        self._remotes: dict[tuple[str, tuple[str, ...]], tuple[Remote, ...]] = {}
        self._policies: dict[tuple[tuple[str, ...], tuple[str, ...]], Policy] = {}

    def of(self, port: Port) -> Policy | None:
        """What the groups of `port` come to; None: it has none."""
        if not port.groups:
            return None
        key = (port.groups, port.networks)
        if key not in self._policies:
            self._policies[key] = self._policy(*key)
        return self._policies[key]

    def _policy(self, names: tuple[str, ...], networks: tuple[str, ...]) -> Policy:
        ingress: list[Allow] = []
        egress: list[Allow] = []
        for name in names:
            group = self._groups[name]
            for index, rule in enumerate(group.ingress):
                ingress += self._allows(rule, networks, f"groups.{name}.ingress[{index}]")
            if group.egress is None:
                egress.append(Allow(because=f"groups.{name} without egress"))
            for index, rule in enumerate(group.egress or ()):
                egress += self._allows(rule, networks, f"groups.{name}.egress[{index}]")
        return Policy(tuple(ingress), tuple(egress), any(self._groups[name].log for name in names))

    def _allows(self, rule: Rule, networks: tuple[str, ...], because: str) -> list[Allow]:
        remotes: tuple[Remote, ...] | None = None
        if rule.group is not None:
            remotes = self.members(rule.group, networks)
        elif rule.prefix:
            remotes = tuple(Remote(prefix) for prefix in rule.prefix)
        numbers = rule.ports or (_types(rule),)
        return [Allow(rule.protocol, each, remotes, because) for each in numbers]

    def members(self, group: str, networks: tuple[str, ...]) -> tuple[Remote, ...]:
        """The members of `group` as they are seen from `networks`."""
        key = (group, networks)
        if key not in self._remotes:
            found = set()
            for name in networks:
                network = self._networks[name]
                for prefix, vlan in self._members[group]:
                    # A link-local address means nothing elsewhere.
                    elsewhere = prefix.is_link_local or any(_touch(prefix, s) for s in network.subnets)
                    if vlan == network.vlan or not elsewhere:
                        found.add(Remote(prefix, network.vlan))
            self._remotes[key] = tuple(sorted(found, key=_order))
        return self._remotes[key]


def _order(remote: Remote) -> tuple[int, int, int, int]:
    prefix = remote.prefix
    return remote.vlan or 0, prefix.version, int(prefix.network_address), prefix.prefixlen


def _touch(one: Prefix, other: Prefix) -> bool:
    return one.version == other.version and one.overlaps(other)


def _types(rule: Rule) -> tuple[int, int]:
    """ICMP type and code as one number."""
    if rule.type is None:
        return 0, 0xFFFF
    first, last = (0, 0xFF) if rule.code is None else (rule.code, rule.code)
    return rule.type << 8 | first, rule.type << 8 | last


def fill(
    groups: Mapping[str, Group], ports: Mapping[str, Port], networks: Mapping[str, ResolvedNetwork]
) -> dict[str, Port]:
    """`ports` with their policies."""
    policies = Policies(groups, ports, networks)
    return {name: attrs.evolve(port, policy=policies.of(port)) for name, port in ports.items()}
