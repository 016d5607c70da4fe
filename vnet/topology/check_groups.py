"""What the rules of security groups, and NICs in private networks, have to do with the rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_network
from typing import TYPE_CHECKING
from typing import Protocol as Like

from nics.keys import one_of
from switch.policy import ICMP, ICMP6, WITH_PORTS, WITH_TYPES
from vnet.topology.model import Group, NicPort, Rule
from vnet.topology.problems import Path, Problem
from vnet.topology.rules import PROTOCOLS, Protocol
from vnet.topology.values import Address

if TYPE_CHECKING:
    from vnet.topology.topology import Topology

Problems = Iterator[Problem]


def rules(group: Group) -> Iterator[tuple[Path, Rule]]:
    """Every rule of a group, and where it stands."""
    for way, written in (("ingress", group.ingress), ("egress", group.egress or ())):
        for index, rule in enumerate(written):
            yield ("groups", group.name, way, index), rule


def groups(topology: Topology) -> Problems:
    """Each rule by itself."""
    for group in topology.groups.values():
        for path, rule in rules(group):
            yield from _rule(rule, path)


def _rule(rule: Rule, path: Path) -> Problems:
    protocol = ((*path, "protocol"),)
    said = "no protocol" if rule.protocol is None else f"protocol {Protocol().write(rule.protocol)}"
    if rule.ports and rule.protocol not in WITH_PORTS:
        names = [name for name, number in PROTOCOLS.items() if number in WITH_PORTS]
        yield Problem((*path, "ports"), f"ports with {said}", f"protocol: {one_of(names)}", because=protocol)
    if rule.type is not None and rule.protocol not in WITH_TYPES:
        yield Problem((*path, "type"), f"type with {said}", "protocol: icmp or icmp6", because=protocol)
    if rule.code is not None and rule.type is None:
        because = ((*path, "type"),)
        yield Problem((*path, "code"), "code without type", "type: a number", because=because)
    if rule.group is not None and rule.prefix:
        yield Problem((*path, "group"), "prefix and group", "one of them, or two rules")
    version = {ICMP: 4, ICMP6: 6}.get(rule.protocol or 0)
    for index, prefix in enumerate(rule.prefix):
        if version is not None and prefix.version != version:
            found = f"{prefix} with {said}"
            yield Problem((*path, "prefix", index), found, f"a prefix of IPv{version}", because=protocol)


class Private(Like):
    """A network, worked out or not."""

    @property
    def name(self) -> str:
        """What the file calls it."""

    @property
    def private(self) -> bool:
        """Whether its guests are apart."""


def is_confined(port: NicPort, network: Private, gateways: Iterable[Address]) -> bool:
    """Whether a NIC is less than promiscuous in a network with these gateways."""
    if port.private is not None:
        return port.private != "promiscuous"
    if not network.private or port.guard == "off":
        return network.private
    # The gateway of a private network is for everybody.
    theirs = {ip_network(gateway) for gateway in gateways}
    allowed = port.guard.allow if port.guard else ()
    return not any(allow.ip in theirs and allow.network in (None, network.name) for allow in allowed)


def networks(topology: Topology) -> Problems:
    """What belongs to private networks alone."""
    for name, network in topology.networks.items():
        if network.proxy_arp and not network.private:
            path: Path = ("networks", name)
            because = ((*path, "private"),)
            found = "proxy_arp in a network that is not private"
            yield Problem((*path, "proxy_arp"), found, "private: true", because=because)
