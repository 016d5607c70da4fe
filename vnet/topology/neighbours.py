"""What the switch answers for others: who is where in a network with `proxy_arp`, behind whom at an uplink.

Guests that don't reach each other find the gateway at each other's addresses (`switch/rust/src/proxy.rs`).
The gateway's MAC address is that of the NIC that has the gateway's address, by itself or by what its guard
allows; if no NIC has, the gateway is behind an uplink, and the switch finds out there.

At an uplink with `proxy_arp` what is asked for is answered in the name of the guest whose guard allows it the
prefix.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_network

import attrs

from vnet.topology.model import Uplink
from vnet.topology.resolve import (
    Port,
    ProxiedNetwork,
    ProxiedRoute,
    ProxiedStation,
    ProxiedSubnet,
    ResolvedNetwork,
)
from vnet.topology.values import Address, Subnet


def fill(ports: Mapping[str, Port], networks: Mapping[str, ResolvedNetwork]) -> dict[str, Port]:
    """The ports, those that are confined in such a network with what is answered to them."""
    proxied = {
        network.vlan: _network(network, ports.values()) for network in networks.values() if network.proxy_arp
    }

    def of(port: Port) -> tuple[ProxiedNetwork, ...]:
        return tuple(proxied[vlan] for vlan in port.private if vlan in proxied)

    return {name: attrs.evolve(port, proxied=of(port)) if of(port) else port for name, port in ports.items()}


def _network(network: ResolvedNetwork, ports: Iterable[Port]) -> ProxiedNetwork:
    stations = [station for port in ports for station in _stations(port, network)]
    macs: dict[Address, str] = {}
    for mac, station in stations:
        macs.setdefault(station.address, mac)
    subnets = [
        ProxiedSubnet(subnet, gateway, macs.get(gateway))
        for subnet in network.subnets
        for gateway in network.gateways
        if gateway in subnet
    ]
    known = sorted({station for _, station in stations}, key=str)
    return ProxiedNetwork(network.vlan, tuple(subnets), tuple(known))


def answer(
    uplinks: Mapping[str, Port],
    topology: Mapping[str, Uplink],
    ports: Mapping[str, Port],
    networks: Mapping[str, ResolvedNetwork],
) -> dict[str, Port]:
    """The uplinks, those with `proxy_arp` with what is answered there."""

    def of(name: str) -> tuple[ProxiedNetwork, ...]:
        uplink = topology.get(name)
        if uplink is None or not uplink.proxy_arp:
            return ()
        found = [_behind(networks[each], ports.values()) for each in uplink.networks]
        return tuple(network for network in found if network.routes)

    return {name: attrs.evolve(port, proxied=of(name)) for name, port in uplinks.items()}


def _behind(network: ResolvedNetwork, ports: Iterable[Port]) -> ProxiedNetwork:
    inside = [port for port in ports if network.name in port.networks]
    routes = {route for port in inside for route in _routes(port, network)}
    own = {station for port in inside for _, station in _stations(port, network)}
    return ProxiedNetwork(network.vlan, (), tuple(sorted(own, key=str)), tuple(sorted(routes, key=str)))


def _routes(port: Port, network: ResolvedNetwork) -> Iterator[ProxiedRoute]:
    for allowed in port.guard.allow if port.guard else ():
        prefix = allowed.ip
        if prefix is None or allowed.network not in (None, network.name):
            continue
        # A single address is answered for by who has it. What holds a whole subnet, or everything, is what a
        # router may forward from: others are in there, too.
        if prefix.prefixlen == prefix.max_prefixlen or not prefix.prefixlen:
            continue
        if not any(_within(subnet, prefix) for subnet in network.subnets):
            yield ProxiedRoute(prefix, allowed.mac or port.mac)


def _within(subnet: Subnet, prefix: Subnet) -> bool:
    if subnet.version != prefix.version:
        return False
    return subnet.prefixlen >= prefix.prefixlen and subnet.network_address in prefix


def _stations(port: Port, network: ResolvedNetwork) -> Iterator[tuple[str, ProxiedStation]]:
    """Every address that a port is known by in a network, with the MAC address that it answers with."""
    if network.name not in port.networks:
        return
    confined = network.vlan in port.private
    own = port.ip if network.vlan == port.vlan else ()
    for address in own:
        yield port.mac, ProxiedStation(address, port.mac, confined, port.community)
    for allowed in port.guard.allow if port.guard else ():
        if allowed.ip is None or allowed.network not in (None, network.name):
            continue
        address = allowed.ip.network_address
        if allowed.ip == ip_network(address):
            yield allowed.mac or port.mac, ProxiedStation(address, port.mac, confined, port.community)
