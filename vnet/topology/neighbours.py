"""What the switch answers in private networks for others: who is where in a network with `proxy_arp`.

Guests that don't reach each other find the gateway at each other's addresses (`switch/rust/src/proxy.rs`).
The gateway's MAC address is that of the NIC that has the gateway's address, by itself or by what its guard
allows; if no NIC has, the gateway is behind an uplink, and the switch finds out there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_network

import attrs

from vnet.topology.resolve import Port, ProxiedNetwork, ProxiedStation, ProxiedSubnet, ResolvedNetwork
from vnet.topology.values import Address


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
