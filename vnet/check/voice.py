"""Whose addresses a guest may send from, as its guard has it; and which it answers to.

Rules in words are at the top of `switch/rust/src/guard.rs`. This follows them from the topology, not
from that code: an address is a guest's if it is its own, follows from its MAC (link-local), or is
allowed it; in a network without subnets nobody knows, and without a guard everything passes. What the
file does not say is what it may come to have: by DHCP, and with another MAC address.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterator

from vnet.topology.resolve import Port
from vnet.topology.values import Address, Subnet

ANY4 = ipaddress.IPv4Network("0.0.0.0/0")
ANY6 = ipaddress.IPv6Network("::/0")
LINK_LOCAL = ipaddress.IPv6Network("fe80::/64")
"""What follows from some MAC address is in there."""

EVERYBODY: dict[int, tuple[Subnet, ...]] = {
    4: (ipaddress.IPv4Network("224.0.0.0/4"), ipaddress.IPv4Network("255.255.255.255")),
    6: (ipaddress.IPv6Network("ff00::/8"),),
}
"""Groups, and everybody on the link, by IP version."""


def link_local(mac: str) -> ipaddress.IPv6Address:
    """fe80:: with the modified EUI-64 of a MAC address (RFC 4291, 2.5.6)."""
    number = int(mac.replace(":", ""), 16)
    high, low = number >> 24, number & 0xFFFFFF
    return ipaddress.IPv6Address(0xFE80 << 112 | ((high << 40 | 0xFFFE << 24 | low) ^ 1 << 57))


@functools.lru_cache(1 << 16)
def host(address: Address) -> Subnet:
    """An address as a prefix."""
    return ipaddress.ip_network(address)


def unguarded(port: Port, vlan: int) -> bool:
    """Whether nobody looks at its addresses in `vlan`."""
    return port.guard is None or vlan in port.unknown


def own(port: Port, vlan: int) -> tuple[Address, ...]:
    """What it is configured with in `vlan`, its link-local address last."""
    configured = port.ip if vlan == port.vlan else ()
    return (*configured, link_local(port.mac))


def allowed(port: Port, vlan: int) -> Iterator[tuple[int, Subnet]]:
    """What its guard allows it in `vlan` beside its own: (index among the allowances, prefix)."""
    networks = dict(port.trunk) if port.trunk else {port.network: port.vlan}
    for index, allowance in enumerate(port.guard.allow if port.guard else ()):
        here = allowance.network is None or networks.get(allowance.network) == vlan
        if allowance.ip is not None and here:
            yield index, allowance.ip


def given(port: Port, vlan: int) -> tuple[Subnet, ...]:
    """What it may send from in `vlan` by the file, as prefixes: its own, and what it is allowed."""
    if unguarded(port, vlan):
        return ANY4, ANY6
    return (*map(host, own(port, vlan)), *(prefix for _, prefix in allowed(port, vlan)))


def taken(port: Port) -> tuple[Subnet, ...]:
    """What it may come to have beside, in any of its VLANs.

    By DHCP that is what a server says, or what one said before the file was changed. And a guest has the
    link-local address of each MAC address that it may send from.
    """
    if port.guard is None:
        return ()
    leased = (ANY4, ANY6) if port.dhcp else ()
    if "allow" in (port.guard.mac_changes, port.guard.forged_transmits):
        return (*leased, LINK_LOCAL)
    return (*leased, *(host(link_local(each.mac)) for each in port.guard.allow if each.mac is not None))


def claims(port: Port, vlan: int) -> tuple[Subnet, ...]:
    """All prefixes that it may ever send from in `vlan`."""
    found = given(port, vlan)
    return found if unguarded(port, vlan) else tuple(dict.fromkeys((*found, *taken(port))))


def may_claim(port: Port, vlan: int, prefix: Subnet) -> bool:
    """Whether some address of `prefix` may be sent from there, by the file."""
    return any(touch(claim, prefix) for claim in given(port, vlan))


def passes_on(port: Port, vlan: int, claim: Subnet, *, is_taken: bool) -> list[Subnet]:
    """What a guest may send of what others send from `claim`; `is_taken`: they may come to have that.

    Nobody comes to have what is the guest's own: what it sends from there is its own word.
    """
    if unguarded(port, vlan):
        return [claim]
    others = (*(prefix for _, prefix in allowed(port, vlan)), *taken(port))
    mine = others if is_taken else claims(port, vlan)
    return [common(claim, prefix) for prefix in mine if touch(claim, prefix)]


def says(port: Port, vlan: int, address: Address) -> bool:
    """Whether it may send from `address` with its own MAC address, and without a lease."""
    if unguarded(port, vlan) or address in own(port, vlan):
        return True
    allow = port.guard.allow if port.guard else ()
    return any(
        allow[index].mac in (None, port.mac) and touch(prefix, host(address))
        for index, prefix in allowed(port, vlan)
    )


def touch(one: Subnet, other: Subnet) -> bool:
    """Whether two prefixes have an address in common."""
    return one.version == other.version and one.overlaps(other)


def common(one: Subnet, other: Subnet) -> Subnet:
    """What is in both of two prefixes that touch."""
    return max(one, other, key=lambda prefix: prefix.prefixlen)


def inside(one: Subnet, other: Subnet) -> bool:
    """Whether all of `one` lies in `other`."""
    return one.version == other.version and one.subnet_of(other)  # type: ignore[arg-type]
