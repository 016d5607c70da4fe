"""Who shares a broadcast domain with whom: VLANs, switches and the links between them, private VLANs.

IEEE 802.1Q: frames of one VLAN never get into another inside of the fabric. So two ports exchange
frames if a VLAN is at both, their switches are connected, both are up, and the network is not private
for both of them.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from vnet.topology.model import DEFAULT_SWITCH, Uplink
from vnet.topology.problems import Path
from vnet.topology.resolve import Port, Resolved, ResolvedLink


@attrs.frozen
class Ear:
    """A place where frames come out and go in: a guest's port, or an uplink."""

    name: str
    owner: str
    """The guest's name, or the uplink's."""
    path: Path
    switch: str
    networks: dict[int, str]
    """The VLANs that it is in, with their networks."""
    native: int | None
    port: Port | None
    """None: an uplink."""
    up: bool = True

    def hears(self, kind: str) -> bool:
        """Whether frames that go to everybody go to it: `unknown`, `multicast`, `broadcast`."""
        if self.port is None:
            return True
        return bool(getattr(self.port.settings, f"flood_{kind}"))


def of_port(port: Port) -> Ear:
    """The ear of a guest's port."""
    networks = (
        {vlan: name for name, vlan in port.trunk}
        if port.trunk
        else {port.vlan: port.network or ""} if port.vlan is not None
        # It hears mirrors alone.
        else {}
    )  # fmt: skip
    path: Path = ("guests", port.guest, "nics", port.index)
    return Ear(port.name, port.guest, path, port.switch, networks, port.vlan, port, port.settings.up)


def of_uplink(uplink: Uplink, resolved: Resolved) -> Ear:
    """The ear of an uplink."""
    names = [*([uplink.native] if uplink.native else []), *uplink.tagged]
    networks = {resolved.networks[name].vlan: name for name in names}
    native = resolved.networks[uplink.native].vlan if uplink.native else None
    switch = uplink.switch or next(iter(resolved.switches), DEFAULT_SWITCH)
    return Ear(uplink.name, uplink.name, ("uplinks", uplink.name), switch, networks, native, None)


class Islands:
    """Switches that links connect, VLAN by VLAN, whatever a spanning tree does about loops."""

    def __init__(self, switches: Iterable[str], links: Iterable[ResolvedLink]) -> None:
        self._switches = list(switches)
        self._links = [link for link in links if link.whole]
        self._roots: dict[int, dict[str, str]] = {}

    def together(self, one: str, other: str, vlan: int) -> bool:
        """Whether frames of `vlan` get from one switch to another."""
        return one == other or self._of(one, vlan) == self._of(other, vlan)

    def _of(self, switch: str, vlan: int) -> str:
        """One switch of all that are connected with it, always the same."""
        if vlan not in self._roots:
            self._roots[vlan] = {name: name for name in self._switches}
            for link in self._links:
                if vlan in link.vlans:
                    a, b = (self._of(end, vlan) for end in link.ends)
                    self._roots[vlan][a] = b
        root = self._roots[vlan]
        while root[switch] != switch:
            switch = root[switch]
        return switch


def where(ear: Ear, vlan: int) -> Path:
    """The key that puts it into a network."""
    if ear.port is None:
        return (*ear.path, "native" if vlan == ear.native else "tagged")
    return (*ear.path, "trunk" if ear.port.trunk else "network")
