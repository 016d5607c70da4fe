"""The reference of local proxy ARP and ND: who is told what, said once more, slowly.

Built with scapy, from RFC 826, 5227, 4861 and 4862; `test_proxy.py` compares it with the native switch.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

import attrs
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6NDOptDstLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP, Dot1Q, Ether

from switch.private import PROMISCUOUS, reaches

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@attrs.frozen
class Question:
    """Who has `target`?"""

    target: Address
    sender: Address | None
    """None: it is a probe."""
    mac: str
    vid: int | None


@attrs.frozen
class ReferenceProxy:
    """One private network, and the gateways of its subnets."""

    vlan: int
    subnets: Mapping[str, tuple[str, str | None]]
    """By prefix: the gateway, and its MAC address."""
    stations: tuple[tuple[str, int, str], ...]
    """(address, place, MAC address of its NIC)."""

    def answer(self, question: Question, vlan: int, place: int, station: str) -> bytes | None:
        """What a port at `place` is told, whose NIC is `station`; None: the question passes."""
        if vlan != self.vlan or place == PROMISCUOUS:
            return None
        target = question.target
        homes = [prefix for prefix in self.subnets if target in ipaddress.ip_network(prefix)]
        if not homes:
            return None
        gateway, mac = self.subnets[homes[0]]
        owners = [known for known in self.stations if ipaddress.ip_address(known[0]) == target]
        near = any(owner == station or reaches(place, at) for _, at, owner in owners)
        if mac is None or near or str(target) == gateway or question.sender == target:
            return None
        if question.sender is None and not owners:
            return None
        return reply(question, mac)


def reply(question: Question, gateway: str) -> bytes:
    """The frame that says that the target is at the gateway."""
    tags = [] if question.vid is None else [Dot1Q(vlan=question.vid)]
    if question.target.version == 4:
        link = Ether(src=gateway, dst=question.mac)
        upper = ARP(
            op=2,
            hwsrc=gateway,
            psrc=str(question.target),
            hwdst=question.mac,
            pdst=str(question.sender or "0.0.0.0"),
        )
    else:
        probe = question.sender is None
        link = Ether(src=gateway, dst="33:33:00:00:00:01" if probe else question.mac)
        upper = (
            IPv6(src=str(question.target), dst="ff02::1" if probe else str(question.sender), hlim=255)
            / ICMPv6ND_NA(tgt=str(question.target), R=0, S=0 if probe else 1, O=0)
            / ICMPv6NDOptDstLLAddr(lladdr=gateway)
        )
    for tag in tags:
        link /= tag
    return bytes(link / upper)
