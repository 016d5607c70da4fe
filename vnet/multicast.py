"""Multicast groups of a running fabric: in which networks its switches snoop them, and who wants which."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

import attrs

from vnet import drive, trees
from vnet._native import Engine, Snooping, multicast_members, multicast_sides, set_multicast
from vnet.topology.model import Multicast
from vnet.topology.resolve import ResolvedNetwork

PAGE = 256
"""Groups asked for at once, so that many of them do not hold the engine up."""


def link_local(mac: str) -> str:
    """The IPv6 link-local address of a MAC address (RFC 4291, appendix A)."""
    a, b, c, d, e, f = bytes.fromhex(mac.replace(":", ""))
    identifier = bytes((a ^ 2, b, c, 0xFF, 0xFE, d, e, f))
    return str(ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + identifier))


def setup(mac: str, wanted: Multicast) -> Snooping:
    """How a switch with this MAC address is told about a network's multicast."""
    return Snooping(
        mac,
        ip4=str(wanted.address or "0.0.0.0"),  # noqa: S104 - nothing is bound to it
        ip6=link_local(mac),
        unknown=wanted.unknown,
        querier=wanted.querier,
        interval=wanted.interval,
        fast_leave=wanted.fast_leave,
        suppress=wanted.report_suppression,
        groups=wanted.groups,
        port_groups=wanted.nic_groups,
    )


@attrs.define
class Groups:
    """What each switch of a fabric was told."""

    fabric: str
    seed: int
    engine: Engine = attrs.field(repr=False)
    _wanted: dict[str, tuple[int, Multicast]] = attrs.field(factory=dict)
    """By network: its VLAN and how."""
    _switches: dict[str, int] = attrs.field(factory=dict)
    _told: dict[str, dict[int, Multicast]] = attrs.field(factory=dict)
    """By switch and VLAN."""

    def network(self, name: str, network: ResolvedNetwork | None) -> None:
        """A network is from now on so, or gone."""
        self._wanted.pop(name, None)
        if network is not None and network.multicast is not None:
            self._wanted[name] = (network.vlan, network.multicast)
        for switch in self._switches:
            self._tell(switch)

    def switch(self, name: str, number: int) -> None:
        """A switch was made."""
        self._switches[name] = number
        self._tell(name)

    def forget(self, name: str) -> None:
        """A switch is gone."""
        self._switches.pop(name, None)
        self._told.pop(name, None)

    def _tell(self, switch: str) -> None:
        told, number = self._told.setdefault(switch, {}), self._switches[switch]
        # When two networks change places, one of them has the VLAN of both for a moment.
        wanted = dict(self._wanted.values())
        for vlan in told.keys() - wanted.keys():
            set_multicast(self.engine, number, vlan, None)
            del told[vlan]
        mac = trees.mac(self.fabric, self.seed, f"switch {switch}")
        for vlan, how in wanted.items():
            if told.get(vlan) != how:
                set_multicast(self.engine, number, vlan, setup(mac, how))
                told[vlan] = how

    def status(
        self, switch: str, names: Mapping[int, str], networks: Mapping[int, str]
    ) -> list[dict[str, Any]]:
        """Queriers and routers at a switch, with ports and networks by name; times in seconds."""
        found = []
        for side in multicast_sides(self.engine, self._switches[switch]):
            side["network"] = networks.get(side["vlan"])
            side["querier_port"] = names.get(side["querier_port"])
            side["interval"] /= drive.NANO
            side["routers"] = sorted(names.get(port, str(port)) for port in side["routers"])
            found.append(side)
        return found

    def members(
        self, names: Mapping[int, str], networks: Mapping[int, str], now: int
    ) -> list[dict[str, Any]]:
        """Who wants which group, sorted: switch, vlan, network, group, port, sources, excluded, expires
        in seconds.
        """
        found = []
        for switch, number in self._switches.items():
            cursor: int | None = 0
            while cursor is not None:
                page, cursor = multicast_members(self.engine, number, cursor, PAGE)
                for vlan, group, port, sources, excluded, until in page:
                    found.append(
                        {
                            "switch": switch,
                            "vlan": vlan,
                            "network": networks.get(vlan),
                            "group": group,
                            "port": names.get(port, str(port)),
                            "sources": sources,
                            "excluded": excluded,
                            "expires": max(0, until - now) / drive.NANO,
                        }
                    )
        return sorted(found, key=_order)


def _order(entry: dict[str, Any]) -> tuple[Any, ...]:
    group = ipaddress.ip_address(entry["group"])
    return entry["switch"], entry["vlan"], group.version, group, entry["port"]
