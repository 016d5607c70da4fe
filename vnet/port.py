"""A port of a running fabric: what is plugged in there, and what passed."""

from __future__ import annotations

from typing import Any

import attrs

from nics.door import Opened
from vnet._native import Engine, PortConfig
from vnet.topology.resolve import Port as Wanted


@attrs.define
class Port:
    """A port while it exists. Its name is `GUEST.INDEX`."""

    name: str
    guest: str
    wanted: Wanted
    """As the topology has it, addresses filled in."""
    number: int
    opened: Opened
    carrier: bool
    engine: Engine = attrs.field(repr=False)
    link: bool = True
    """As the operator set it."""

    @property
    def kind(self) -> str:
        """The NIC's kind."""
        return self.wanted.nic.kind

    @property
    def description(self) -> str:
        """What it is, in a few words, as captures show it: `tap, network red, 10.0.10.11`."""
        wanted = self.wanted
        networks = ", ".join(wanted.networks)
        addresses = [str(address) for address in wanted.ip]
        return ", ".join([self.kind, f"{'trunk' if wanted.is_trunk else 'network'} {networks}", *addresses])

    def counters(self) -> dict[str, Any]:
        """Counted so far; see `Engine.counters`."""
        return self.engine.counters(self.number)

    def status(self) -> dict[str, Any]:
        """One entry of `vnet status --json`."""
        counted, wanted = self.counters(), self.wanted
        return {
            "port": self.name,
            "guest": self.guest,
            "kind": self.kind,
            "switch": wanted.switch,
            "network": wanted.network,
            "trunk": [name for name, _ in wanted.trunk],
            "vlan": wanted.vlan,
            "mac": wanted.mac,
            "ip": [str(address) for address in wanted.ip],
            "carrier": self.carrier,
            "link": "up" if self.link else "down",
            "carries": self.opened.carries,
            "rx": {"frames": counted["rx_frames"], "bytes": counted["rx_bytes"]},
            "tx": {"frames": counted["tx_frames"], "bytes": counted["tx_bytes"]},
            "drops": counted["drops"],
        }


def port_config(wanted: Wanted, *, up: bool = True) -> PortConfig:
    """How the switch is told about a port."""
    settings = wanted.settings
    common: dict[str, Any] = {
        "mtu": wanted.mtu,
        "priority_tags": settings.priority_tags,
        "mac_limit": settings.mac_limit,
        "mac_limit_drops": settings.mac_limit_action == "drop",
        "learning": settings.learning,
        "sticky": settings.sticky,
        "transparent": settings.transparent,
        "flood_unknown": settings.flood_unknown,
        "flood_multicast": settings.flood_multicast,
        "flood_broadcast": settings.flood_broadcast,
        "up": up and settings.up,
    }
    if wanted.is_trunk:
        return PortConfig(
            tagged=list(wanted.tagged), native=wanted.vlan, native_tagged=wanted.native_tagged, **common
        )
    return PortConfig(vlan=wanted.vlan, **common)
