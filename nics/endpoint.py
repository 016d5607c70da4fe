"""Where a socket is, as a topology file says it: a path, `@name`, `127.0.0.1:5000` or `[::1]:5000`.

A text with a slash is a path, and one that starts with `@` is a name in the abstract namespace of
unix sockets; one that ends in a colon and digits is an internet address; anything else is a path.
Host names are not resolved: that would block, and what it gives can change while the door is open.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Any

import attrs

from nics.door import Place
from nics.errors import BadInput

PATH_MAX = 107
"""The longest path of a unix socket in bytes (unix(7))."""

FORMS = "expected a path, @name, 127.0.0.1:5000 or [::1]:5000"


@attrs.frozen
class Endpoint:
    """The address of a socket."""

    text: str
    """As it was written."""
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address | None = None
    """Of an internet address; None for a unix socket."""
    port: int = 0

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """What `text` means. Raises ValueError with one line that says what is expected."""
        if not text:
            raise ValueError(f"is empty: {FORMS}")
        if "\0" in text:
            raise ValueError(f"{text!r} holds a NUL character: {FORMS}")
        if text == "@":
            raise ValueError(f"'@' has no name behind it: {FORMS}")
        if not text.startswith("@") and (found := re.fullmatch(r"([^/]*):([0-9]+)", text)):
            return cls(text, *_inet(text, *found.groups()))
        if (length := len(text.removeprefix("@").encode())) > PATH_MAX:
            raise ValueError(f"is {length} bytes long, and a unix socket's path has at most {PATH_MAX}")
        return cls(text)

    @property
    def family(self) -> str:
        """`unix`, `IPv4` or `IPv6`."""
        return f"IPv{self.ip.version}" if self.ip is not None else "unix"

    @property
    def multicast(self) -> bool:
        """Whether it is a group's address."""
        return self.ip is not None and self.ip.is_multicast

    def at(self, place: Place) -> str:
        """The text with a relative path laid into the runtime folder, as native code wants it."""
        if self.ip is not None or self.text.startswith("@"):
            return self.text
        return str(place.runtime / Path(self.text))


def _inet(text: str, host: str, port: str) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]:
    if len(port) > 5 or int(port) > 65_535:
        raise ValueError(f"{text!r}: port {port} is not in 0..65535")
    try:
        if host.startswith("[") and host.endswith("]"):
            return ipaddress.IPv6Address(host[1:-1]), int(port)
        return ipaddress.IPv4Address(host), int(port)
    except ipaddress.AddressValueError:
        raise ValueError(
            f"{text!r}: {host!r} is not an IPv4 address or an IPv6 address in brackets;"
            f" {FORMS}; a path that looks like this needs a slash (./{text})"
        ) from None


def valid(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """An attrs validator for the text of an endpoint. Raises BadInput."""
    if not isinstance(value, str):
        raise BadInput(f"{attribute.name}: found {value!r}: {FORMS}")
    try:
        Endpoint.parse(value)
    except ValueError as error:
        raise BadInput(f"{attribute.name}: {error}") from None
