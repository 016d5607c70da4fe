"""Types of single values that only networks have: names, MAC and IP addresses, subnets."""

# ruff: noqa: D102 - what `expected`, `read`, `write` and `schema` do is said once, at Type

from __future__ import annotations

import ipaddress
import re
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Any

import attrs

from nics.keys import Text, Type, Wrong

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Subnet = IPv4Network | IPv6Network

_NAME = r"[a-z0-9](?:[a-z0-9-]{0,%d}[a-z0-9])?"


@attrs.frozen
class Name(Type):
    """The name of a fabric, network, guest, switch or uplink. It becomes part of paths and commands."""

    longest: int = 63

    @property
    def expected(self) -> str:
        return f"a name of a-z, 0-9 and - in between, at most {self.longest} characters"

    @property
    def pattern(self) -> str:
        """The regular expression of a whole name."""
        return _NAME % (self.longest - 2)

    def read(self, value: object) -> str:
        hint = ""
        try:
            return Text(self.expected, self.pattern).read(value)
        except Wrong as wrong:
            hint = wrong.hint
        if isinstance(value, str):
            near = re.sub(r"[^a-z0-9]+", "-", value.lower()).strip("-")
            if re.fullmatch(self.pattern, near):
                hint = f"did you mean {near}?"
        raise Wrong(self.expected, hint)

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^{self.pattern}$"}


@attrs.frozen
class Reference(Type):
    """The name of something that stands elsewhere in the file."""

    of: str
    """"network", "switch", ..."""

    @property
    def expected(self) -> str:
        return f"the name of a {self.of}"

    def read(self, value: object) -> str:
        return Text(self.expected).read(value)

    def schema(self) -> dict[str, Any]:
        return Name().schema()


@attrs.frozen
class LinkEnd(Reference):
    """A switch, or a NIC: GUEST.INDEX."""

    of: str = "switch"

    @property
    def expected(self) -> str:
        return "the name of a switch, or of a NIC such as web.0"

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": rf"^{Name().pattern}(?:\.[0-9]+)?$"}


@attrs.frozen
class Mac(Type):
    """A station's MAC address: 02:00:00:00:00:0a; also with - or as 0200.0000.000a."""

    @property
    def expected(self) -> str:
        return "a MAC address such as 02:00:00:00:00:0a"

    def read(self, value: object) -> str:
        if not isinstance(value, str):
            raise Wrong(self.expected)
        match = re.fullmatch(self._pattern(), value)
        if match is None:
            raise Wrong(self.expected)
        digits = re.sub(r"[^0-9a-f]", "", value.lower())
        if int(digits[:2], 16) & 1:
            first = int(digits[:2], 16) & 0xFE
            near = f"{first:02x}{digits[2:]}"
            raise Wrong("a station's address, with an even first byte", f"did you mean {self._colons(near)}?")
        if int(digits, 16) == 0:
            raise Wrong("a station's address, not zero")
        return self._colons(digits)

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^(?:{self._pattern()})$"}

    @staticmethod
    def _pattern() -> str:
        byte = "[0-9A-Fa-f]{2}"
        word = "[0-9A-Fa-f]{4}"
        return rf"{byte}(?:(?::{byte}){{5}}|(?:-{byte}){{5}})|{word}\.{word}\.{word}"

    @staticmethod
    def _colons(digits: str) -> str:
        return ":".join(digits[i : i + 2] for i in range(0, 12, 2))


@attrs.frozen
class IpAddress(Type):
    """An IPv4 or IPv6 address, perhaps with the prefix length of its subnet."""

    prefix: bool = False
    """Whether a prefix length may follow."""

    @property
    def expected(self) -> str:
        return "an IPv4 or IPv6 address"

    def read(self, value: object) -> Interface:
        """The address; without a prefix length it is that of a single host."""
        if isinstance(value, IPv4Interface | IPv6Interface):
            value = str(value)
        if isinstance(value, IPv4Address | IPv6Address):
            value = str(value)
        if not isinstance(value, str) or "%" in value:
            raise Wrong(self.expected)
        if "/" in value and not self.prefix:
            raise Wrong("an address without a prefix length", f"did you mean {value.partition('/')[0]}?")
        try:
            address = ipaddress.ip_interface(value)
        except ValueError:
            raise Wrong(self.expected) from None
        if address.is_multicast or address.is_unspecified:
            raise Wrong("the address of one station")
        return address

    def write(self, value: Any) -> str:
        return _without_host_prefix(value)

    def schema(self) -> dict[str, Any]:
        # Formats are notes to editors; whether an address is one, the reader says.
        return {"type": "string", "pattern": "^[0-9A-Fa-f:./]+$" if self.prefix else "^[0-9A-Fa-f:.]+$"}


@attrs.frozen
class IpPrefix(Type):
    """An address or all addresses with a prefix."""

    multicast: bool = False
    """Whether it may be of multicast groups."""

    @property
    def expected(self) -> str:
        return "an IPv4 or IPv6 address, or a prefix such as 10.0.10.0/28"

    def read(self, value: object) -> Subnet:
        """The prefix; without a length it is that of a single host."""
        if isinstance(value, IPv4Address | IPv6Address | IPv4Network | IPv6Network):
            value = str(value)
        if not isinstance(value, str) or "%" in value:
            raise Wrong(self.expected)
        try:
            prefix = ipaddress.ip_network(value, strict=False)
        except ValueError:
            raise Wrong(self.expected) from None
        if ipaddress.ip_interface(value).ip != prefix.network_address:
            raise Wrong("a prefix without host bits", f"did you mean {prefix}?")
        if prefix.is_multicast and not self.multicast:
            raise Wrong("addresses that stations can have")
        return prefix

    def write(self, value: Any) -> str:
        return _without_host_prefix(value)

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": "^[0-9A-Fa-f:./]+$"}


def _without_host_prefix(value: Any) -> str:
    text = str(value)
    interface = ipaddress.ip_interface(text)
    return str(interface.ip) if interface.network.prefixlen == interface.max_prefixlen else text


@attrs.frozen
class IpSubnet(Type):
    """An IPv4 or IPv6 subnet for guests."""

    @property
    def expected(self) -> str:
        return "a subnet such as 10.0.10.0/24 or fd00:10::/64"

    def read(self, value: object) -> Subnet:
        if isinstance(value, IPv4Network | IPv6Network):
            value = str(value)
        if not isinstance(value, str) or "%" in value:
            raise Wrong(self.expected)
        try:
            near = ipaddress.ip_network(value, strict=False)
        except ValueError:
            raise Wrong(self.expected) from None
        if "/" not in value:
            raise Wrong("a subnet with its prefix length, such as 10.0.10.0/24 or fd00:10::/64")
        if ipaddress.ip_interface(value).ip != near.network_address:
            raise Wrong("a subnet without host bits", f"did you mean {near}?")
        if near.is_multicast or near.is_loopback or near.prefixlen == 0 or near.is_reserved:
            raise Wrong("a subnet that stations can have addresses in")
        if near.version == 6 and near.is_link_local:
            raise Wrong("a subnet other than fe80::/10, which every link has by itself")
        return near

    def write(self, value: Any) -> str:
        return str(value)

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": "^[0-9A-Fa-f:.]+/[0-9]{1,3}$"}


PATTERN = Text("the name of a guest, or a pattern such as web-*", r"[a-z0-9*?-]{1,63}")
"""The name of a guest or uplink, or a shell pattern that stands for several: `web-*`."""
MIRROR_PORT = Text(
    "the name of a guest or a port, such as web or web.0", r"[a-z0-9-]{1,63}(?:\.(?:[0-9]{1,2}|[ab]))?"
)
"""The name of a guest, an uplink, or one of their ports or a link's: `web`, `web.0`, `wan`, `s1-s2.a`."""


@attrs.frozen
class Family(Type):
    """A version of IP."""

    @property
    def expected(self) -> str:
        return "4 or 6"

    def read(self, value: object) -> int:
        if value in (4, 6) and not isinstance(value, bool):
            return 4 if value == 4 else 6
        raise Wrong(self.expected)

    def schema(self) -> dict[str, Any]:
        return {"enum": [4, 6]}
