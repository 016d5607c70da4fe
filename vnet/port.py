"""A port of a running fabric: what is plugged in there, and what passed."""

from __future__ import annotations

from collections.abc import Iterable, Set
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Any
from weakref import WeakKeyDictionary

import attrs

from nics.door import Opened
from switch.policy import Allow, Policy
from switch.private import ISOLATED, PROMISCUOUS
from switch.storm import Storm
from vnet._native import Engine, Groups, Guard, Limits, PortConfig, Proxy, bond_view
from vnet.errors import VnetError
from vnet.flaps import Flaps
from vnet.topology.model import Limit
from vnet.topology.resolve import Port as Wanted
from vnet.topology.resolve import ProxiedNetwork, ProxiedStation

Reading = tuple[int, list[tuple[int, str, int | None]]]


@attrs.define
class Port:
    """A port while it exists. Its name is `GUEST.INDEX`, or an uplink's name."""

    name: str
    guest: str
    """"" for an uplink."""
    wanted: Wanted
    """As the topology has it, addresses filled in."""
    number: int
    opened: Opened
    carrier: bool
    engine: Engine = attrs.field(repr=False)
    cuts: Set[str] = attrs.field(repr=False, eq=False)
    """What the operator cut, of all that the fabric has: see `Wiring.cuts`."""
    flaps: Flaps = attrs.field(factory=Flaps, repr=False, eq=False)

    @property
    def is_cut(self) -> bool:
        """Whether the operator cut its cable."""
        return self.name in self.cuts

    @property
    def link(self) -> bool:
        """Whether it is up: the topology has it so, and the operator did not cut it."""
        return self.wanted.settings.up and not self.is_cut

    @property
    def kind(self) -> str:
        """The NIC's kind."""
        return self.wanted.nic.kind

    @property
    def switch(self) -> str:
        """The switch that it is at."""
        return self.wanted.switch

    @property
    def ip(self) -> list[IPv4Address | IPv6Address]:
        """Its addresses in its network, which on a trunk is the native one: the topology's, then what it
        has by DHCP now.
        """
        found = [*self.wanted.ip]
        if self.wanted.dhcp:
            ((_, bindings),) = self.engine.readings([self.number])
            networks = (ip_network(prefix) for vlan, prefix, _ in bindings if vlan == self.wanted.vlan)
            # A prefix that was delegated to it is for others, behind it.
            found += [each.network_address for each in networks if each.prefixlen == each.max_prefixlen]
        return found

    @property
    def description(self) -> str:
        """What it is, in a few words, as captures show it: `tap, network red, 10.0.10.11`."""
        wanted = self.wanted
        networks = ", ".join(wanted.networks)
        addresses = [str(address) for address in wanted.ip]
        kind = f"uplink, {self.kind}" if wanted.is_uplink else self.kind
        where = f"{'trunk' if wanted.is_trunk else 'network'} {networks}" if networks else "no network"
        return ", ".join([kind, where, *addresses])

    def counters(self) -> dict[str, Any]:
        """Counted so far; see `Engine.counters`."""
        return self.engine.counters(self.number)

    def status(self, reading: Reading | None = None) -> dict[str, Any]:
        """One entry of `vnet status --json`. `reading`: what `Engine.readings` has of it, for who has it."""
        connections, bindings = reading or self.engine.readings([self.number])[0]
        counted, wanted = self.counters(), self.wanted
        # By DHCP: address or prefix, and when that ends, in seconds of the engine's clock.
        leases = [
            {
                "ip": prefix.removesuffix("/32").removesuffix("/128"),
                "vlan": vlan,
                "until": until and until / 1e9,
            }
            for vlan, prefix, until in (bindings if wanted.dhcp else [])
        ]
        return {
            "port": self.name,
            "guest": self.guest,
            "kind": self.kind,
            "switch": wanted.switch,
            "network": wanted.network,
            "trunk": [name for name, _ in wanted.trunk],
            "vlan": wanted.vlan,
            "mac": wanted.mac,
            "ip": [str(address) for address in wanted.ip] + [lease["ip"] for lease in leases],
            "leases": leases,
            "groups": list(wanted.groups),
            "private": place(wanted),
            "connections": connections,
            "carrier": self.carrier,
            "link": "up" if self.link else "down",
            "carries": self.opened.carries,
            "bond": bond_view(self.engine, self.number) if self.kind == "bond" else None,
            "rx": {"frames": counted["rx_frames"], "bytes": counted["rx_bytes"]},
            "tx": {"frames": counted["tx_frames"], "bytes": counted["tx_bytes"]},
            "drops": counted["drops"],
            "held": counted["held"] / 1e9,
        }


ROLES = (
    "mac_changes",
    "promiscuous",
    "forged_transmits",
    "dhcp_server",
    "router_advertisements",
    "querier",
)


def guard(wanted: Wanted) -> Guard | None:
    """What the switch lets the guest of a port be; None: anything.

    Its addresses are those of its network, which on a trunk is the native one.
    """
    if wanted.guard is None:
        return None
    vlans: dict[str | None, int | None] = {wanted.network: wanted.vlan, **dict(wanted.trunk)}
    own = [f"{address}/{address.max_prefixlen}" for address in wanted.ip]
    allow = wanted.guard.allow
    return Guard(
        wanted.mac,
        macs=[allowed.mac for allowed in allow if allowed.mac is not None and allowed.ip is None],
        addresses=[
            *((prefix, None, wanted.vlan) for prefix in own),
            *(
                (str(allowed.ip), allowed.mac, vlans[allowed.network] if allowed.network else None)
                for allowed in allow
                if allowed.ip is not None
            ),
        ],
        unknown=wanted.unknown,
        learns=wanted.dhcp,
        **{role: getattr(wanted.guard, role) == "allow" for role in ROLES},
    )


def entries(wanted: Wanted) -> dict[int, bool]:
    """The VLANs in which the forwarding database knows a port's own address for good, and whether frames
    from that address at other ports are dropped.
    """
    return dict.fromkeys(wanted.vlans, wanted.settings.sticky) if wanted.settings.static else {}


def place(wanted: Wanted) -> str:
    """Where a port stands in private networks: `promiscuous`, `isolated`, `community NAME`."""
    if not wanted.private:
        return "promiscuous"
    return "isolated" if wanted.community is None else f"community {wanted.community}"


_compiled: WeakKeyDictionary[Policy, Groups] = WeakKeyDictionary()


def groups(policy: Policy | None) -> Groups | None:
    """What the switch is told about security groups; ports that share a policy share it."""
    if policy is None:
        return None
    compiled = _compiled.get(policy)
    if compiled is None:
        compiled = Groups(_rules(policy.ingress), _rules(policy.egress), log=policy.log)
        _compiled[policy] = compiled
    return compiled


def _rules(
    allows: Iterable[Allow],
) -> list[tuple[int | None, tuple[int, int], list[tuple[str, int | None]] | None]]:
    return [
        (
            allow.protocol,
            allow.numbers,
            None
            if allow.remotes is None
            else [(str(remote.prefix), remote.vlan) for remote in allow.remotes],
        )
        for allow in allows
    ]


def community(name: str | None) -> int:
    """A community's number, the same wherever the name is; 0: none. Numbers are never used again: two
    communities that shared one would reach each other. Raises VnetError when all are taken.
    """
    if name is None:
        return 0
    if name not in _communities and len(_communities) >= COMMUNITIES_MAX:
        raise VnetError(f"community {name}: this process has had {COMMUNITIES_MAX} of them; start it anew")
    return _communities.setdefault(name, len(_communities) + 1)


_proxies: dict[tuple[ProxiedNetwork, ...], Proxy] = {}


def proxy(networks: tuple[ProxiedNetwork, ...]) -> Proxy | None:
    """What a port is told for others; ports with the same networks share it. None: nothing."""
    if not networks:
        return None
    if networks not in _proxies:
        # One fabric has few of them at a time, and each `apply` makes new ones.
        while len(_proxies) >= PROXIES_MAX:
            del _proxies[next(iter(_proxies))]
        _proxies[networks] = Proxy(
            [
                (
                    network.vlan,
                    [(str(each.subnet), str(each.gateway), each.mac) for each in network.subnets],
                    [(str(station.address), _place(station), station.mac) for station in network.stations],
                )
                for network in networks
            ],
            [
                (network.vlan, str(route.prefix), route.mac)
                for network in networks
                for route in network.routes
            ],
        )
    return _proxies[networks]


PROXIES_MAX = 64
"""Kept for the next port that wants the same."""


def _place(station: ProxiedStation) -> int:
    return ISOLATED + community(station.community) if station.confined else PROMISCUOUS


COMMUNITIES_MAX = 0xFFFD
"""The switch tells places apart by 16 bits: these, isolated, promiscuous, and not told."""
_communities: dict[str, int] = {}


def limits(wanted: Wanted) -> Limits | None:
    """What the switch lets the guest of a port carry; None: anything."""
    if wanted.limits is None and wanted.storm is None:
        return None

    def way(limit: Limit | None) -> tuple[int, int, int, int]:
        if limit is None:
            return 0, 0, 0, 0
        return limit.rate or 0, limit.burst or 0, limit.one_time_burst or 0, limit.packets or 0

    return Limits(
        egress=way(wanted.limits.egress if wanted.limits else None),
        ingress=way(wanted.limits.ingress if wanted.limits else None),
        storm=(wanted.storm or Storm()).rates,
    )


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
        "uplink": wanted.is_uplink,
        "translate": list(wanted.translate) or None,
        "guard": guard(wanted),
        "groups": groups(wanted.policy),
        "connections": settings.connections,
        "private": wanted.private,
        "community": community(wanted.community),
        "proxy": proxy(wanted.proxied),
        "station": wanted.mac or None,
        "limits": limits(wanted),
    }
    if wanted.is_trunk or wanted.vlan is None:
        # In no network at all: a trunk of none.
        return PortConfig(
            tagged=list(wanted.tagged), native=wanted.vlan, native_tagged=wanted.native_tagged, **common
        )
    return PortConfig(vlan=wanted.vlan, **common)
