"""What both tools describe: hosts, switches and cables between any two of them, made into a topology.

Here a guest's NIC is plugged into a switch, and what its cable does to frames is the NIC's to do. A link
joins two switches, or two NICs.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from nics.errors import BadInput

if TYPE_CHECKING:
    from vnet.topology.topology import Topology

Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface


@attrs.define
class Cable:
    """Between two nodes. `impair` is in the words of a topology file."""

    ends: tuple[str, str]
    impair: Mapping[str, Any] = attrs.field(factory=dict)
    addresses: tuple[list[Interface], list[Interface]] = attrs.field(factory=lambda: ([], []))
    """Of each end, where it is a host's."""
    macs: tuple[str | None, str | None] = (None, None)
    mtu: int | None = None
    """Of the hosts' ends."""


@attrs.define
class Sketch:
    """A network as other tools see it."""

    name: str
    where: str
    """What errors call it."""
    hosts: list[str] = attrs.field(factory=list)
    switches: list[str] = attrs.field(factory=list)
    cables: list[Cable] = attrs.field(factory=list)

    def topology(self, kind: str) -> Topology:
        """All of it in one network, as none of these tools knows tenants. Raises BadInput."""
        from vnet.topology.topology import Topology

        names = self._names()
        topology = Topology(fit(self.name), seed=1)
        topology.network("lan", **self._subnets())
        stp = {"stp": "rstp"} if self._loops() else {}
        for switch in self.switches:
            topology.switch(names[switch], **stp)
        nics: dict[str, list[dict[str, Any]]] = {host: [] for host in self.hosts}
        for cable in self.cables:
            self._lay(topology, cable, names, nics)
        for host, found in nics.items():
            topology.guest(names[host], kind=kind, nics=found)
        return topology

    def _names(self) -> dict[str, str]:
        """Ours for theirs."""
        names: dict[str, str] = {}
        taken: dict[str, str] = {}
        for theirs in (*self.hosts, *self.switches):
            ours = fit(theirs)
            if ours in taken:
                raise BadInput(f"{self.where}: {theirs} and {taken[ours]} are both {ours} here")
            names[theirs] = ours
            taken[ours] = theirs
        return names

    def _subnets(self) -> dict[str, Any]:
        networks = {
            interface.network
            for cable in self.cables
            for end in cable.addresses
            for interface in end
            if interface.network.prefixlen < interface.max_prefixlen
        }
        # One subnet within another would be two words for the same addresses.
        outer = [
            network
            for network in networks
            if not any(
                network != other and network.version == other.version and network.subnet_of(other)  # type: ignore[arg-type]
                for other in networks
            )
        ]
        ordered = sorted(outer, key=lambda network: (network.version, int(network.network_address)))
        return {"subnets": [str(network) for network in ordered], "gateway": []}

    def _loops(self) -> bool:
        """Whether switches are joined in a loop."""
        root = {switch: switch for switch in self.switches}

        def find(node: str) -> str:
            while root[node] != node:
                node = root[node]
            return node

        for cable in self.cables:
            if all(end in root for end in cable.ends):
                one, other = (find(end) for end in cable.ends)
                if one == other:
                    return True
                root[one] = other
        return False

    def _lay(
        self,
        topology: Topology,
        cable: Cable,
        names: Mapping[str, str],
        nics: dict[str, list[dict[str, Any]]],
    ) -> None:
        impair = {"impair": dict(cable.impair)} if cable.impair else {}
        one, other = cable.ends
        hosts = [end for end in cable.ends if end in nics]
        if not hosts:
            topology.link(names[one], names[other], **impair)
            return
        ends = []
        for index, end in enumerate(cable.ends):
            if end not in nics:
                continue
            nic: dict[str, Any] = {"network": "lan"}
            if len(hosts) == 1:
                nic |= {"switch": names[other if end == one else one], **impair}
            nic["ip"] = [str(interface.ip) for interface in cable.addresses[index]]
            if (mac := cable.macs[index]) is not None:
                nic["mac"] = mac
            if cable.mtu is not None:
                nic["mtu"] = cable.mtu
            ends.append(f"{names[end]}.{len(nics[end])}")
            nics[end].append(nic)
        if len(hosts) == 2:
            topology.link(ends[0], ends[1], **impair)


def fit(name: str) -> str:
    """A name as ours are: small letters, digits and -, up to 32."""
    small = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:32].strip("-")
    return small or "node"
