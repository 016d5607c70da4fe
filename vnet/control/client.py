"""A client of the control socket, for the command line: plain blocking code, no trio to start."""

from __future__ import annotations

import array
import contextlib
import json
import os
import socket
import struct
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from vnet.control import protocol
from vnet.errors import VnetError

GONE = "the fabric went away"
PATIENCE = 20.0
"""Seconds in which a fabric says something to a call that is answered at once, however busy it is."""
QUICK = (
    "connect",
    "connections",
    "console_log",
    "down",
    "drops",
    "enter",
    "explain",
    "fdb",
    "link",
    "members",
    "status",
    "usage",
)
"""Calls that are answered at once. Others take as long as they take."""


class Silent(VnetError):
    """The fabric is there and does not answer: it was stopped (SIGSTOP), say, or is stuck."""


class Client:
    """A connection to a running fabric. Use as a context manager."""

    def __init__(self, path: Path, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        # It blocks while many others wait to be let in; with a timeout of Python's it would fail at once.
        whole, rest = divmod(int(patience * 1e6), 10**6)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", whole, rest))
        try:
            self._socket.connect(os.fspath(path))
        except BlockingIOError:
            self._socket.close()
            raise Silent(f"the fabric does not answer at {path}: too many wait for it") from None
        except OSError as error:
            self._socket.close()
            raise VnetError(f"the fabric does not answer at {path}: {error.strerror or error}") from None
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, 0))
        self._next = 0
        self._lines = protocol.Lines()
        self._ready: list[bytes] = []

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        # A thread that still waits for an answer would keep the connection open.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def call(self, name: str, /, *, descriptors: Sequence[int] = (), **arguments: Any) -> Any:
        """Call and wait for the result. Raises what the fabric raised."""
        iterator = self.stream(name, descriptors=descriptors, **arguments)
        while True:
            try:
                next(iterator)
            except StopIteration as end:
                return end.value

    def stream(
        self, name: str, /, *, descriptors: Sequence[int] = (), **arguments: Any
    ) -> Generator[Any, None, Any]:
        """Call and yield the items as they come; the generator's value is the result."""
        self._socket.settimeout(self._patience if name in QUICK else None)
        self._next += 1
        call = self._next
        text = protocol.line({"id": call, "call": name, "with": arguments})
        ancillary = (
            [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        )
        try:
            sent = self._socket.sendmsg([text], ancillary)
            if rest := text[sent:]:
                self._socket.sendall(rest)
        except TimeoutError:
            raise self._silent() from None
        except OSError:
            raise VnetError(GONE) from None
        while True:
            document = self._document()
            if document.get("id") != call:
                continue
            if "error" in document:
                raise protocol.raised(document["error"])
            if "item" not in document:
                return document.get("result")
            yield document["item"]

    def cancel(self) -> None:
        """End the latest call; its result still comes."""
        self._socket.sendall(protocol.line({"id": self._next, "cancel": True}))

    def peer(self) -> int:
        """The fabric's process."""
        peer = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", peer)[0])

    def _silent(self) -> Silent:
        return Silent(f"the fabric (process {self.peer()}) does not answer")

    def _document(self) -> dict[str, Any]:
        while not self._ready:
            try:
                data = self._socket.recv(65536)
            except TimeoutError:
                raise self._silent() from None
            except ConnectionError:
                data = b""
            if not data:
                raise VnetError(GONE)
            self._ready = self._lines.feed(data)
        try:
            document = json.loads(self._ready.pop(0))
        except (ValueError, RecursionError):
            raise protocol.ProtocolError("the fabric says what no fabric says") from None
        return document if isinstance(document, dict) else {}
