"""Commands in a machine, by QEMU's guest agent, where the guest runs it (qemu-ga, docs/interop/qemu-ga.rst).

The agent is the guest's: what it says is bounded, and it is asked for no longer than somebody waits.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from collections.abc import Sequence
from typing import Any

import attrs
import trio

from vnet.errors import VnetError

ANSWER = 3.0
"""Seconds that an agent may take to answer, or to go on with an answer."""
LINE_MAX = 32 << 20
"""Bytes of an answer: the 16 MiB of output that an agent keeps, in base64, and something around it."""
MEMBERS = 1000
"""Commas in an answer, in which are few things, if long ones: of millions, we would be busy making them."""
_PAUSE, _PAUSE_MAX = 0.02, 0.5
"""Seconds between two looks whether a command has ended; they grow."""


@attrs.frozen
class Outcome:
    """Of a command."""

    code: int
    """As a shell has it: 128 and the number of a signal."""
    output: bytes
    errors: bytes


class AgentError(VnetError):
    """There is no agent, or it refused."""


class Agent:
    """The agent at the other end of a stream."""

    def __init__(self, guest: str, stream: trio.SocketStream) -> None:
        self._guest = guest
        self._stream = stream
        self._rest = bytearray()
        self._lock = trio.Lock()

    def close(self) -> None:
        """The machine is gone."""
        self._stream.socket.close()

    async def run(self, argv: Sequence[str]) -> Outcome:
        """Run a command to its end. Raises AgentError."""
        async with self._lock:
            await self._meet()
            words = {"path": argv[0], "arg": list(argv[1:]), "capture-output": True}
            pid = (await self._ask("guest-exec", words)).get("pid")
        pause = _PAUSE
        while True:
            async with self._lock:
                told = await self._ask("guest-exec-status", {"pid": pid})
            if told.get("exited"):
                return self._outcome(told)
            await trio.sleep(pause)
            pause = min(2 * pause, _PAUSE_MAX)

    def _outcome(self, told: dict[str, Any]) -> Outcome:
        try:
            output, errors = (base64.b64decode(told.get(key, "")) for key in ("out-data", "err-data"))
            code = int(told["exitcode"]) if "exitcode" in told else 128 + int(told["signal"])
        except (binascii.Error, KeyError, TypeError, ValueError, OverflowError):
            raise self._odd() from None
        return Outcome(code, output, errors)

    async def _meet(self) -> None:
        """Find the agent, past what an earlier one, or another question, left on the way."""
        number = secrets.randbits(31)
        with trio.move_on_after(ANSWER) as patience:
            await self._send("guest-sync", {"id": number})
            while True:
                try:
                    if (await self._answer(patience)).get("return") == number:
                        return
                except ValueError:
                    continue
        raise AgentError(
            f"{self._guest}: no guest agent answers in it: have it run qemu-guest-agent, or use vnet console"
        )

    async def _ask(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        with trio.move_on_after(ANSWER) as patience:
            await self._send(command, arguments)
            try:
                told = await self._answer(patience)
            except ValueError:
                raise self._odd() from None
            if "error" in told:
                what = told["error"].get("desc") if isinstance(told["error"], dict) else told["error"]
                raise AgentError(f"{self._guest}: its agent: {str(what)[:200]}")
            if not isinstance(told.get("return"), dict):
                raise self._odd()
            return dict(told["return"])
        raise AgentError(f"{self._guest}: its agent does not answer any more")

    async def _send(self, command: str, arguments: dict[str, Any]) -> None:
        try:
            text = json.dumps({"execute": command, "arguments": arguments})
            await self._stream.send_all(text.encode() + b"\n")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise self._gone() from None

    async def _answer(self, patience: trio.CancelScope) -> dict[str, Any]:
        """The next line. Raises ValueError for one that is no JSON object, or for more than an answer has."""
        seen = 0
        while (end := self._rest.find(b"\n", seen)) < 0:
            seen = len(self._rest)
            if seen > LINE_MAX:
                self._rest.clear()
                raise self._odd()
            try:
                data = await self._stream.receive_some(65536)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                data = b""
            if not data:
                raise self._gone()
            self._rest += data
            patience.deadline = trio.current_time() + ANSWER
        line = self._rest[:end]
        del self._rest[: end + 1]
        if line.count(b",") > MEMBERS:
            raise ValueError("too many members")
        try:
            told = json.loads(line)
        except RecursionError as error:
            raise ValueError("nested too deep") from error
        if not isinstance(told, dict):
            raise ValueError("no object")
        return told

    def _gone(self) -> AgentError:
        return AgentError(f"{self._guest}: the machine has ended")

    def _odd(self) -> AgentError:
        return AgentError(f"{self._guest}: its agent says what no agent says")
