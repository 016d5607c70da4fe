"""Types of single values in the rules of security groups, and of a NIC's place in a private network."""

# ruff: noqa: D102 - what `expected`, `read`, `write` and `schema` do is said once, at Type

from __future__ import annotations

import re
from typing import Any

import attrs

from nics.keys import Type, Wrong, did_you_mean
from switch.policy import DCCP, ICMP, ICMP6, SCTP, TCP, UDP, UDPLITE
from vnet.topology.values import Name

PROTOCOLS = {
    "icmp": ICMP,
    "igmp": 2,
    "tcp": TCP,
    "udp": UDP,
    "dccp": DCCP,
    "gre": 47,
    "esp": 50,
    "ah": 51,
    "icmp6": ICMP6,
    "sctp": SCTP,
    "udplite": UDPLITE,
}


@attrs.frozen
class Protocol(Type):
    """An upper-layer protocol, by name or IANA number; reads as the number."""

    @property
    def expected(self) -> str:
        return "tcp, udp, icmp, icmp6, sctp, another protocol's name, or its number from 0 to 255"

    def read(self, value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255:
            return value
        if isinstance(value, str) and value in PROTOCOLS:
            return PROTOCOLS[value]
        meant = {"icmpv6": "icmp6", "ipv6-icmp": "icmp6", "icmpv4": "icmp"}.get(str(value).lower())
        hint = f"did you mean {meant}?" if meant else did_you_mean(value, PROTOCOLS)
        if value in ("any", "all"):
            hint = "leave it out for any protocol"
        raise Wrong(self.expected, hint if isinstance(value, str) else "")

    def write(self, value: Any) -> object:
        names = {number: name for name, number in PROTOCOLS.items()}
        return names.get(value, value)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"enum": list(PROTOCOLS)}, {"type": "integer", "minimum": 0, "maximum": 255}]}


@attrs.frozen
class PortRange(Type):
    """A port or a range of ports; reads as (first, last)."""

    @property
    def expected(self) -> str:
        return "a port from 0 to 65535, or a range such as 8000-8080"

    def read(self, value: object) -> tuple[int, int]:
        if isinstance(value, tuple):
            value = f"{value[0]}-{value[-1]}"
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        match = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", value) if isinstance(value, str) else None
        if match is None:
            raise Wrong(self.expected)
        first = int(match[1])
        last = int(match[2] or first)
        if first > last:
            raise Wrong(self.expected, f"did you mean {last}-{first}?" if first < 65536 else "")
        if last > 65535:
            raise Wrong(self.expected)
        return first, last

    def write(self, value: Any) -> object:
        first, last = value
        return first if first == last else f"{first}-{last}"

    def schema(self) -> dict[str, Any]:
        return {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": 65535},
                {"type": "string", "pattern": "^[0-9]{1,5}(?:-[0-9]{1,5})?$"},
            ]
        }


COMMUNITY = "community "


@attrs.frozen
class Place(Type):
    """Where a NIC stands in a private network: promiscuous, isolated, or in a community."""

    @property
    def expected(self) -> str:
        return "promiscuous, isolated or community NAME"

    def read(self, value: object) -> str:
        if isinstance(value, str):
            if value in ("promiscuous", "isolated"):
                return value
            name = value.removeprefix(COMMUNITY)
            if name != value and re.fullmatch(Name().pattern, name):
                return value
        if value == "community":
            raise Wrong(self.expected, "which one?")
        raise Wrong(
            self.expected, did_you_mean(value, ("promiscuous", "isolated")) if isinstance(value, str) else ""
        )

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^(?:promiscuous|isolated|{COMMUNITY}{Name().pattern})$"}
