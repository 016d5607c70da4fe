"""Addresses for guests that have theirs by DHCP: a test asks no server, so they are given some here."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from vnet.check import voice
from vnet.topology import Resolved
from vnet.topology.values import Address, Subnet

FAR = 1 << 16
"""Addresses that are looked at for one that is free."""


def leases(resolved: Resolved) -> dict[str, tuple[Address, ...]]:
    """By port: one address in each subnet of its home network that has one left."""
    taken: dict[int, set[Subnet]] = {}
    for network in resolved.networks.values():
        taken[network.vlan] = {*map(voice.host, network.gateways)}
    for port in resolved.ports.values():
        for vlan in port.vlans:
            taken[vlan] |= {
                *map(voice.host, voice.own(port, vlan)),
                *(ip for _, ip in voice.allowed(port, vlan)),
            }
    found: dict[str, tuple[Address, ...]] = {}
    for port in resolved.ports.values():
        if port.dhcp and port.vlan is not None and port.network is not None:
            mine = [_free(subnet, taken[port.vlan]) for subnet in resolved.networks[port.network].subnets]
            found[port.name] = tuple(address for address in mine if address is not None)
            taken[port.vlan] |= {*map(voice.host, found[port.name])}
    return found


def _free(subnet: Subnet, taken: set[Subnet]) -> Address | None:
    """The last address of a subnet that is nobody's, and not in what somebody is allowed."""
    wide = [prefix for prefix in taken if prefix.num_addresses > 1]
    for address in _from_the_end(subnet):
        host = voice.host(address)
        if host not in taken and not any(voice.touch(prefix, host) for prefix in wide):
            return address
    return None


def _from_the_end(subnet: Subnet) -> Iterator[Address]:
    last = int(subnet.broadcast_address) - 1
    for number in range(last, max(int(subnet.network_address), last - FAR), -1):
        yield ipaddress.IPv4Address(number) if subnet.version == 4 else ipaddress.IPv6Address(number)
