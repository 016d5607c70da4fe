"""The program that starts machines for a fabric, and outlives it by nothing.

A fabric gives up starting programs and sending signals (`vnet/sandbox/`). So before it does it starts this
file as a program of its own, with the standard library alone, and sends its wishes by the socket that is our
standard input: one JSON document a message, descriptors beside it.

    {"do": "start", "id": 1, "argv": [...]}  with descriptors: monitor, console, agent, output
    {"do": "kill", "id": 1}
    {"do": "seal"}        from now on only what was started before is started again, word by word
    {"id": 1, "pid": 4711}, or {"id": 1, "error": "..."}, and at its end {"id": 1, "exit": 0}

A fabric that somebody took over could otherwise have any disk of its user's written by a machine of its own.

What runs is killed when the fabric is gone, however it ended, and by the kernel when we are. It gets no
capability, no new privilege, no terminal, and nothing of ours but those descriptors.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

MESSAGE = 1 << 18
"""Longest message, in bytes."""
DESCRIPTORS = 4
_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 24, 38
_CAPABILITIES = 64

_libc = ctypes.CDLL(None, use_errno=True)


def _confine() -> None:
    """In the child, before it becomes the program."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # Root without a bounding set comes out of execve without capabilities (capabilities(7)).
    for capability in range(_CAPABILITIES):
        _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)


def _words(monitor: int, console: int, agent: int) -> list[str]:
    """What QEMU is told of the descriptors that it gets."""
    return [
        *("-chardev", f"socket,id=monitor,fd={monitor}", "-mon", "chardev=monitor,mode=control"),
        *("-chardev", f"socket,id=console,fd={console}", "-serial", "chardev:console"),
        *("-chardev", f"socket,id=agent,fd={agent}"),
        *("-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"),
    ]


class _Keeper:
    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.running: dict[int, tuple[subprocess.Popen[bytes], int]] = {}
        """By number: the process, and a handle that is readable at its end."""
        self.known: set[tuple[str, ...]] = set()
        self.sealed = False

    def start(self, number: int, argv: list[str], given: list[int]) -> int:
        if self.sealed and tuple(argv) not in self.known:
            raise PermissionError(0, "the sandbox is closed, and this was not started before")
        if len(given) != DESCRIPTORS or number in self.running:
            raise ValueError("a start has a number of its own and four descriptors")
        monitor, console, agent, output = given
        process = subprocess.Popen(
            [*argv, *_words(monitor, console, agent)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[monitor, console, agent],
            start_new_session=True,
            preexec_fn=_confine,  # there is one thread
        )
        self.known.add(tuple(argv))
        self.running[number] = process, os.pidfd_open(process.pid)
        return process.pid

    def answer(self, wish: dict[str, Any], given: list[int]) -> dict[str, Any] | None:
        match wish["do"]:
            case "start":
                return {"pid": self.start(wish["id"], wish["argv"], given)}
            case "kill":
                if wish["id"] in self.running:
                    self.running[wish["id"]][0].kill()
            case "seal":
                self.sealed = True
        return None

    def serve(self) -> None:
        while True:
            poll = select.poll()
            poll.register(self.control, select.POLLIN)
            ends = {handle: number for number, (_, handle) in self.running.items()}
            for handle in ends:
                poll.register(handle, select.POLLIN)
            ready = dict(poll.poll())
            for handle in ready.keys() & ends.keys():
                process, _ = self.running.pop(ends[handle])
                os.close(handle)
                self.tell({"id": ends[handle], "exit": process.wait()})
            if self.control.fileno() in ready and not self.listen():
                return

    def listen(self) -> bool:
        """Take one wish. False: the fabric is gone."""
        message, given, _, _ = socket.recv_fds(self.control, MESSAGE, DESCRIPTORS)
        if not message:
            return False
        wish: dict[str, Any] = {}
        try:
            wish = json.loads(message)
            reply = self.answer(wish, given)
        except Exception as error:  # whatever it is, it is the fabric's to tell
            what = error.strerror if isinstance(error, OSError) else str(error)
            reply = {"error": what or type(error).__name__}
        finally:
            for descriptor in given:
                os.close(descriptor)
        if reply is not None:
            self.tell({"id": wish.get("id", 0), **reply})
        return True

    def tell(self, document: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # it is gone, which the next look shows
            self.control.send(json.dumps(document).encode())

    def end(self) -> None:
        for process, _ in self.running.values():
            process.kill()
        for process, _ in self.running.values():
            process.wait()


def main() -> int:
    """Serve the fabric at the other end of standard input until it is gone."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the fabric decides when it ends
    os.chdir("/")
    keeper = _Keeper(socket.socket(fileno=os.dup(0)))
    try:
        keeper.serve()
    finally:
        keeper.end()
    return 0


def program() -> list[str]:
    """The command line that runs this file."""
    return [sys.executable or "python3", "-I", "-S", os.fspath(Path(__file__).resolve())]


if __name__ == "__main__":
    sys.exit(main())
