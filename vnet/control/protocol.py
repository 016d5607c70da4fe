"""The words on the control socket. No I/O here.

One JSON document a line, UTF-8, at most 16 MiB. A client sends calls and gets, for each, any number
of items and then one result or error; calls of one connection are answered as they come to an end,
so `id` (of the client's choice) tells them apart::

    -> {"id": 1, "call": "ping", "with": {"from": "web", "to": "db", "count": 2}}
    <- {"id": 1, "item": {"seq": 1, "rtt": 0.00021}}
    <- {"id": 1, "item": {"seq": 2, "rtt": 0.00019}}
    <- {"id": 1, "result": {"sent": 2, "received": 2}}

    <- {"id": 1, "error": {"kind": "BadInput", "text": "there is no guest wbe (did you mean web?)"}}

What is wrong with a topology has `lines`, and `paths` that say where in it each of them is:
`["guests", "web", "nics", 0]`, or null.

A client cancels a call with `{"id": 1, "cancel": true}` or by closing the connection. Descriptors
for a call (an output file, say) come with its line as SCM_RIGHTS.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

import attrs

from vnet.errors import BadInput, VnetError

LINE_MAX = 16 << 20

KINDS: dict[str, type[VnetError]] = {"BadInput": BadInput, "NicError": VnetError, "VnetError": VnetError}


class ProtocolError(VnetError):
    """The other side broke the rules above; the connection ends."""


class Lines:
    """Cuts a byte stream into lines, bounded."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes."""
        *lines, rest = data.split(b"\n")
        if lines:
            lines[0] = bytes(self._rest) + lines[0]
            self._rest.clear()
        # What came before is not looked through again.
        self._rest += rest
        if len(self._rest) > LINE_MAX or any(len(line) > LINE_MAX for line in lines):
            raise ProtocolError(f"a line of more than {LINE_MAX >> 20} MiB")
        return [line for line in lines if line.strip()]


@attrs.frozen
class Call:
    """A call, or with `cancel` the end of one."""

    id: int
    name: str = ""
    arguments: dict[str, Any] = attrs.field(factory=dict)
    cancel: bool = False


def parse_call(line: bytes) -> Call:
    """What a client said. Raises ProtocolError."""
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"not JSON: {error}") from None
    if not isinstance(document, dict) or not isinstance(document.get("id"), int):
        raise ProtocolError('a call is an object with an "id", which is an integer')
    if document.get("cancel") is True:
        return Call(document["id"], cancel=True)
    name, arguments = document.get("call"), document.get("with", {})
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise ProtocolError('a call has a name, "call", and its arguments in an object, "with"')
    return Call(document["id"], name, arguments)


text = json.JSONEncoder(separators=(",", ":")).encode
"""A value as it is written on the wire."""


def line(document: dict[str, Any]) -> bytes:
    """A document as it goes on the wire."""
    return text(document).encode() + b"\n"


def error_document(call: int, error: Exception) -> dict[str, Any]:
    """How an error is told to the client."""
    kind = next((kind.__name__ for kind in type(error).__mro__ if kind.__name__ in KINDS), "VnetError")
    told: dict[str, Any] = {"kind": kind, "text": str(error) or type(error).__name__}
    if isinstance(error, BadInput) and error.paths:
        told |= {"lines": list(error.args), "paths": list(error.paths)}
    return {"id": call, "error": told}


def raised(error: dict[str, Any]) -> VnetError:
    """The error that a client raises for what it was told."""
    kind, lines, paths = KINDS.get(str(error.get("kind")), VnetError), error.get("lines"), error.get("paths")
    if kind is BadInput and lines and paths and len(lines) == len(paths):
        problems = BadInput(*lines)
        problems.paths = [tuple(path) if path else None for path in paths]
        return problems
    return kind(str(error.get("text", "it failed")))


def ping_summary(sent: int, times: Iterable[float]) -> dict[str, Any]:
    """What `ping` says at its end: counts, and the round-trip times' spread in seconds."""
    values = list(times)
    summary: dict[str, Any] = {"sent": sent, "received": len(values)}
    if values:
        mean = sum(values) / len(values)
        spread = math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))
        summary |= {"min": min(values), "avg": mean, "max": max(values), "mdev": spread}
    return summary
