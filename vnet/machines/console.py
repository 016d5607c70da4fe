"""The serial console of a machine: what it said lately, a bounded log, and whoever watches and types.

A guest may write as fast as it likes; it is read at a pace that costs little, and waits meanwhile.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import trio

TAIL = 64 << 10
"""Bytes that are remembered."""
SHOWN = 4 << 10
"""Of those, what somebody who comes gets to see."""
LOG = 512 << 10
"""Bytes of the log, after which it begins anew; the one before is kept."""
PACE = 1 << 20
"""Bytes in a second."""
CHUNK = 4096
_WAITING = 64
"""Chunks that wait for a slow watcher before it loses some."""


class Console:
    """Of one guest, whatever runs for it."""

    def __init__(self, log: Path) -> None:
        self.tail = b""
        self._log = log
        self._written = 0
        self._watchers: set[trio.MemorySendChannel[bytes]] = set()
        self._stream: trio.SocketStream | None = None
        self._typing = trio.Lock()
        """A guest may not read for as long as it likes; the next who types waits, too."""

    async def run(self, stream: trio.SocketStream) -> None:
        """Read a machine's console to its end. What an earlier one said is in the log alone."""
        self._stream = stream
        self.tail = b""
        try:
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                while data := await stream.receive_some(CHUNK):
                    self._take(data)
                    await trio.sleep(len(data) / PACE)
        finally:
            if self._stream is stream:
                self._stream = None
            await trio.aclose_forcefully(stream)

    def _take(self, data: bytes) -> None:
        self.tail = (self.tail + data)[-TAIL:]
        with contextlib.suppress(OSError):  # a full disk keeps nobody from talking
            if self._written > LOG:
                self._log.replace(self._log.with_suffix(".log.1"))
                self._written = 0
            with self._log.open("ab") as file:
                file.write(data)
            self._written += len(data)
        for watcher in self._watchers:
            with contextlib.suppress(trio.WouldBlock):
                watcher.send_nowait(data)

    async def attach(self, stream: trio.abc.Stream) -> None:
        """Show the console to somebody who may type, until they are gone. The stream is theirs to close."""
        send, receive = trio.open_memory_channel[bytes](_WAITING)
        self._watchers.add(send)
        shown = self.tail[-SHOWN:]
        try:
            async with trio.open_nursery() as nursery:

                async def show() -> None:
                    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                        if shown:
                            await stream.send_all(shown)
                        async for data in receive:
                            await stream.send_all(data)
                    nursery.cancel_scope.cancel()

                nursery.start_soon(show)
                with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    while data := await stream.receive_some(CHUNK):
                        await self._type(bytes(data))
                nursery.cancel_scope.cancel()
        finally:
            self._watchers.discard(send)

    async def _type(self, data: bytes) -> None:
        async with self._typing:
            if self._stream is not None:
                with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    await self._stream.send_all(data)
