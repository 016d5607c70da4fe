"""What the switch answers for others in networks with `proxy_arp`, from the topology alone.

At a port that is confined there, a question for an address of a subnet is answered with the gateway's MAC
address, unless somebody has the address whom the port reaches, itself included. (RFC 1027, RFC 4389)
"""

from __future__ import annotations

from collections.abc import Iterable

from vnet.topology.resolve import Port
from vnet.topology.values import Address


def is_answered(port: Port | None, vlan: int, target: Address) -> bool:
    """Whether the switch answers a port that asks who has `target`, so that nobody else hears of it.

    A gateway behind an uplink counts as not known yet.
    """
    for network in port.proxied if port else ():
        if port is None or network.vlan != vlan:
            continue
        subnet = next((each for each in network.subnets if target in each.subnet), None)
        if subnet is None or subnet.mac is None or subnet.gateway == target:
            return False
        return not any(
            station.mac == port.mac
            or not station.confined
            or (port.community is not None and station.community == port.community)
            for station in network.stations
            if station.address == target
        )
    return False


def looks_for_gateway(port: Port | None, vlan: int, target: Address) -> bool:
    """Whether a port that asks for `target` may be told of the gateway, now or once that was heard."""
    subnets = [
        subnet
        for network in (port.proxied if port else ())
        if network.vlan == vlan
        for subnet in network.subnets
    ]
    return any(target in subnet.subnet for subnet in subnets)


def beyond_uplinks(ports: Iterable[Port]) -> frozenset[tuple[int, int]]:
    """(VLAN, IP version) of networks in which such a gateway is behind an uplink."""
    return frozenset(
        (network.vlan, subnet.subnet.version)
        for port in ports
        for network in port.proxied
        for subnet in network.subnets
        if subnet.mac is None
    )
