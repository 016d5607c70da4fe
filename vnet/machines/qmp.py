"""A client of QEMU's machine protocol: one JSON document a line, replies matched by id, and events.

QEMU's docs/interop/qmp-spec.rst: a greeting, `qmp_capabilities`, then commands:
`await qmp("set_link", name="nic0", up=False)`, `await qmp.event("DEVICE_DELETED")`. A guest may have taken
its QEMU over, so what is kept of what that says is bounded.
"""

from __future__ import annotations

import contextlib
import json
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import trio

from vnet.errors import VnetError

LINE_MAX = 1 << 20
"""Bytes; longer ones end the connection."""
DESCRIPTION = 500
"""Characters of what it says of an error."""
_EVENTS_MAX = 256
"""Events that are kept for who asks later."""


ODD = (ValueError, KeyError, TypeError, AttributeError, RecursionError, trio.WouldBlock)
"""What a line comes to that is none of QEMU's."""


class QmpError(VnetError):
    """QEMU refused a command, or went away."""


class Qmp:
    """A connection; `run` reads it and must be running while it is used."""

    def __init__(
        self, stream: trio.SocketStream, told: Callable[[dict[str, Any]], None] = lambda event: None
    ) -> None:
        """`told` is called for each event."""
        self._stream = stream
        self._told = told
        self._count = 0
        self._waiting: dict[int, trio.MemorySendChannel[dict[str, Any]]] = {}
        self._events: deque[dict[str, Any]] = deque(maxlen=_EVENTS_MAX)
        self._news = trio.Condition()
        self._sending = trio.Lock()
        self._gone = False
        self._greeted = False
        self.ready = trio.Event()
        """It takes commands, or is gone."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Read replies and events until QEMU is gone. Started once it takes commands."""
        rest = b""
        try:
            async with trio.open_nursery() as nursery:
                # In here: outside, the nursery would have made a group of it.
                with contextlib.suppress(trio.BrokenResourceError, ConnectionError):
                    async for data in self._stream:
                        *lines, rest = (rest + data).split(b"\n")
                        try:
                            for line in lines:
                                await self._take(json.loads(line), nursery, task_status)
                        except ODD:
                            break  # whoever speaks there is QEMU no longer
                        if len(rest) > LINE_MAX:
                            break
                nursery.cancel_scope.cancel()
        finally:
            self._gone = True
            self._stream.socket.close()
            self.ready.set()
            for reply in self._waiting.values():
                reply.close()
            with trio.CancelScope(shield=True):
                async with self._news:
                    self._news.notify_all()

    async def _take(
        self, told: dict[str, Any], nursery: trio.Nursery, task_status: trio.TaskStatus[None]
    ) -> None:
        if "QMP" in told and not self._greeted:
            self._greeted = True

            async def negotiate() -> None:
                with contextlib.suppress(QmpError):
                    await self("qmp_capabilities")
                    task_status.started()
                    self.ready.set()

            nursery.start_soon(negotiate)
        elif "event" in told:
            if not isinstance(told.get("data", {}), dict):
                raise TypeError("an event's data is an object")
            self._told(told)
            async with self._news:
                self._events.append(told)
                self._news.notify_all()
        elif (reply := self._waiting.get(told.get("id", 0))) is not None:
            reply.send_nowait(told)

    async def __call__(self, command: str, **arguments: Any) -> Any:
        """Run a command and return what it returns; `_` in argument names stands for `-`."""
        return await self.execute(
            command, {name.replace("_", "-"): value for name, value in arguments.items()}
        )

    async def execute(self, command: str, arguments: Mapping[str, Any]) -> Any:
        """Run a command with arguments as they are called, and return what it returns. Raises QmpError."""
        self._count += 1
        number = self._count
        send, receive = trio.open_memory_channel[dict[str, Any]](1)
        self._waiting[number] = send
        request = {"execute": command, "arguments": dict(arguments), "id": number}
        try:
            async with self._sending:
                await self._stream.send_all(json.dumps(request).encode() + b"\n")
            if self._gone:
                raise QmpError(f"{command}: QEMU is gone")
            reply = await receive.receive()
        except (trio.EndOfChannel, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise QmpError(f"{command}: QEMU is gone") from error
        finally:
            del self._waiting[number]
        if "return" in reply:
            return reply["return"]
        refusal = reply.get("error")
        what = refusal.get("desc") if isinstance(refusal, dict) else "QEMU does not say what came of it"
        raise QmpError(f"{command}: {str(what)[:DESCRIPTION]}")

    async def event(self, name: str, **data: Any) -> dict[str, Any]:
        """Wait for the next event of a name, whose data has these values, since the last one taken."""
        async with self._news:
            while True:
                for told in self._events:
                    if told["event"] == name and data.items() <= told.get("data", {}).items():
                        self._events.remove(told)
                        return told
                if self._gone:
                    raise QmpError(f"QEMU is gone and did not tell {name}")
                await self._news.wait()
