"""The topology that is brought up to be probed.

Every port is as in the file: VLANs, guard, groups, private networks, MAC and IP addresses. What is
behind it is ours, so that something can be sent from there: for frames the end of a pipe, for talking an
in-process TCP/IP guest. Network namespaces stay what they are. Behind an uplink is the end of a pipe instead
of its interface, so that nothing of a test leaves the machine. Left out is what would make a probe late or
lost by intention: impairments, limits.
"""

from __future__ import annotations

import attrs

from nics.pipe import Pipe
from nics.stack import Stack
from vnet.topology import Guest, Impair, NicPort, Resolved, Topology
from vnet.topology.model import Cord, Link
from vnet.topology.resolve import Port

PIPE = Pipe(limit=1 << 16)


def stand_in(topology: Topology, resolved: Resolved, *, talk: bool, namespaces: bool) -> Topology:
    """Such a topology. `namespaces`: those of the file; otherwise they are stood in for, too."""
    made = topology.copy()
    made.name = f"{topology.name[:27]}-test"
    made.expect, made.scenario = [], []
    made.uplinks = {name: attrs.evolve(uplink, nic=PIPE) for name, uplink in topology.uplinks.items()}
    made.links = [_faultless(link) for link in topology.links]
    made.networks = {
        name: attrs.evolve(network, vlan=resolved.networks[name].vlan)
        for name, network in topology.networks.items()
    }
    made.guests = {
        name: _guest(guest, resolved.ports_of(name), talk, namespaces)
        for name, guest in topology.guests.items()
    }
    return made


def as_written(topology: Topology, resolved: Resolved, *, namespaces: bool) -> Topology:
    """One to play a scenario in: limits and impairments are as in the file, and so are addresses."""
    made = stand_in(topology, resolved, talk=True, namespaces=namespaces)
    made.links = list(topology.links)
    for name, guest in made.guests.items():
        nics = tuple(
            attrs.evolve(nic, limits=written.limits, storm=written.storm, cord=written.cord)
            for nic, written in zip(guest.nics, topology.guests[name].nics, strict=True)
        )
        made.guests[name] = attrs.evolve(guest, nics=nics)
    return made


def _faultless(link: Link) -> Link:
    cables = tuple(attrs.evolve(cable, a_to_b=(), b_to_a=(), schedule=()) for cable in link.cables)
    return attrs.evolve(link, a_to_b=Impair(), b_to_a=Impair(), schedule=(), cables=cables)


def _guest(guest: Guest, ports: list[Port], talk: bool, namespaces: bool) -> Guest:
    if guest.kind == "netns" and namespaces:
        nics = tuple(_port(nic, port) for nic, port in zip(guest.nics, ports, strict=True))
        return attrs.evolve(guest, nics=nics)
    # An in-process guest has no DHCP client: it says nothing, as one that was given no address.
    nics = tuple(
        attrs.evolve(_port(nic, port), nic=Stack() if talk else PIPE, dhcp=nic.dhcp and not talk)
        for nic, port in zip(guest.nics, ports, strict=True)
    )
    return Guest(guest.name, "stack" if talk else "external", nics)


def _port(nic: NicPort, port: Port) -> NicPort:
    ip = port.addresses if port.vlan is not None else None
    return attrs.evolve(nic, mac=port.mac, ip=ip, limits=None, storm=None, cord=Cord())
