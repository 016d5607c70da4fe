"""A fabric's side of `keeper.py`: starting programs, ending them, and hearing how they ended."""

from __future__ import annotations

import array
import contextlib
import json
import os
import socket
import subprocess
from collections.abc import Callable, Sequence
from typing import Any

import trio

from vnet.errors import VnetError
from vnet.machines import keeper

Ended = Callable[[int | None], None]
"""Called with an exit code, negative for a signal; None: nobody knows."""


class Keeping:
    """Use `run` as a task; it is ready when that has started. Programs end with it."""

    def __init__(self) -> None:
        self.known: set[tuple[str, ...]] = set()
        """What may be started anew once it is sealed."""
        self.sealed = False
        self._socket: trio.socket.SocketType | None = None
        self._count = 0
        self._starting: dict[int, trio.MemorySendChannel[dict[str, Any]]] = {}
        self._running: dict[int, Ended] = {}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Start the keeper and hear what it says, until it is gone or this is cancelled."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            # Not trio.open_process: it waits by means that a confined process has not.
            process = subprocess.Popen(  # noqa: ASYNC220
                keeper.program(),
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._socket = trio.socket.from_stdlib_socket(ours)
        try:
            task_status.started()
            while message := await self._socket.recv(keeper.MESSAGE):
                self._take(json.loads(message))
        except OSError:
            pass
        finally:
            self._socket.close()
            self._socket = None
            for reply in self._starting.values():
                reply.close()
            for ended in [*self._running.values()]:
                ended(None)
            self._running.clear()
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(process.wait)

    def _take(self, told: dict[str, Any]) -> None:
        number = told["id"]
        if "exit" in told:
            self._running.pop(number)(told["exit"])
        elif number in self._starting:
            self._starting[number].send_nowait(told)
        elif "error" in told and number in self._running:
            self._running.pop(number)(None)  # nobody waits for it any more

    async def start(self, argv: Sequence[str], given: Sequence[int], ended: Ended) -> tuple[int, int]:
        """Start a program with descriptors: its number here, and its process. Raises VnetError.

        Who is cancelled is told by `ended` alone when there is none: it is killed as soon as it is there.
        """
        self._count += 1
        number = self._count
        send, receive = trio.open_memory_channel[dict[str, Any]](1)
        self._starting[number] = send
        self._running[number] = ended
        try:
            with trio.CancelScope(shield=True):
                await self._send({"do": "start", "id": number, "argv": list(argv)}, given)
            told = await receive.receive()
        except trio.Cancelled:
            # Wishes are granted in turn, so this needs no process to be known.
            with trio.CancelScope(shield=True), contextlib.suppress(OSError):
                await self.kill(number)
            raise
        except (trio.EndOfChannel, OSError) as error:
            self._running.pop(number, None)
            raise VnetError("the process that starts machines is gone: start the fabric anew") from error
        finally:
            del self._starting[number]
        if "error" in told:
            self._running.pop(number, None)
            raise VnetError(f"{os.path.basename(argv[0])} can't be started: {told['error']}")  # noqa: PTH119
        if not self.sealed:
            self.known.add(tuple(argv))
        return number, int(told["pid"])

    async def kill(self, number: int) -> None:
        """End one."""
        await self._send({"do": "kill", "id": number})

    async def seal(self) -> None:
        """Have nothing started any more but what was before."""
        self.sealed = True
        if self._socket is not None:
            await self._send({"do": "seal"})

    async def _send(self, wish: dict[str, Any], given: Sequence[int] = ()) -> None:
        if self._socket is None:
            raise OSError("it is gone")
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", given))] if given else []
        await self._socket.sendmsg([json.dumps(wish).encode()], ancillary)
