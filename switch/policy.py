"""What the security groups of a port come to: who may talk to its guest, and whom it may talk to.

A `Policy` is plain data with every name resolved, the same that the native switch compiles, and
`Policy.allows` is the slow and readable judge of one connection's first packet. Directions are the
guest's, as in clouds: ingress is to the guest, egress from it. What follows from a connection that
was allowed (replies, related errors) needs no rule; see `tests/model/groups.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Literal

import attrs

Direction = Literal["ingress", "egress"]
Address = IPv4Address | IPv6Address
Subnet = IPv4Network | IPv6Network

ICMP, TCP, UDP, DCCP, ICMP6, SCTP, UDPLITE = 1, 6, 17, 33, 58, 132, 136
WITH_PORTS = frozenset({TCP, UDP, DCCP, SCTP, UDPLITE})
"""Protocols whose header begins with a source and a destination port."""
WITH_TYPES = frozenset({ICMP, ICMP6})
EVERY_NUMBER = (0, 0xFFFF)


@attrs.frozen
class Remote:
    """Addresses at the other end: a prefix, in one VLAN or (None) in any."""

    prefix: Subnet
    vlan: int | None = None

    def has(self, address: Address, vlan: int) -> bool:
        """Whether the station with `address` in `vlan` is one of them."""
        return self.vlan in (None, vlan) and address.version == self.prefix.version and address in self.prefix


@attrs.frozen
class Allow:
    """One thing that is allowed. Whatever no `Allow` allows is denied."""

    protocol: int | None = None
    """The number of the upper-layer protocol (IANA); None: any."""
    numbers: tuple[int, int] = EVERY_NUMBER
    """Destination ports, first and last; of ICMP `type << 8 | code`; of other protocols, all."""
    remotes: tuple[Remote, ...] | None = None
    """The other end; None: anybody."""
    because: str = attrs.field(default="", eq=False)
    """Where it is written, for explanations: `groups.web.ingress[0]`."""

    def matches(self, protocol: int, number: int, remote: Address, vlan: int) -> bool:
        """Whether this allows it."""
        low, high = self.numbers
        return (
            self.protocol in (None, protocol)
            and (protocol, remote.version) not in ((ICMP, 6), (ICMP6, 4))
            and low <= number <= high
            and (self.remotes is None or any(known.has(remote, vlan) for known in self.remotes))
        )


@attrs.frozen(cache_hash=True)
class Policy:
    """All that the groups of one port allow. Order says nothing: what one allows, no other denies."""

    ingress: tuple[Allow, ...] = ()
    egress: tuple[Allow, ...] = (Allow(),)
    log: bool = True
    """Tell of what is denied."""

    def allows(
        self, direction: Direction, protocol: int, number: int, remote: Address, vlan: int
    ) -> Allow | None:
        """What lets a connection begin, or None: nothing does.

        `protocol` is the upper-layer protocol, `number` its destination port, of ICMP `type << 8 |
        code`, else 0; `remote` the other end's address in `vlan`.
        """
        rules: Iterable[Allow] = self.ingress if direction == "ingress" else self.egress
        return next((rule for rule in rules if rule.matches(protocol, number, remote, vlan)), None)
