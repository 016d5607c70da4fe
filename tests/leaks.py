"""What a test left behind: descriptors, processes, network interfaces, network namespaces.

A snapshot is taken when a test's own code begins, after its fixtures, and compared when it ends. A
descriptor that only waits for the garbage collector is given that chance first, and what a thread or
the kernel is about to take away, a moment. Processes are found by an environment variable that names
the test, so a daemon that left our process tree is found too.
"""

from __future__ import annotations

import gc
import os
import select
import socket
import sys
import time
from pathlib import Path

import attrs

MARK = "VNET_TEST_RUNS"
EXIT_TIME = 20.0
"""Seconds that processes and threads which were told to stop may take to be gone."""
_IGNORED = ("/dev/null", "/dev/urandom", "/proc/")
_spawned = False


def _audit(event: str, _args: tuple[object, ...]) -> None:
    global _spawned
    if event in ("subprocess.Popen", "os.posix_spawn", "os.fork", "os.forkpty", "os.exec"):
        _spawned = True


sys.addaudithook(_audit)


def _descriptors() -> dict[int, str]:
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            name = str(entry.readlink())
        except FileNotFoundError:  # the folder's own descriptor
            continue
        if not name.startswith(_IGNORED):
            found[int(entry.name)] = name
    return found


def _interfaces() -> set[str]:
    return {name for _, name in socket.if_nameindex()}


def _namespaces() -> set[str]:
    return {path.name for path in Path("/run/netns").glob("*")}


_ENDS = {"cmdline": (48, 49), "environ": (50, 51)}
"""Which fields of proc_pid_stat(5) say where each begins and ends in the memory of its process."""


def _words(folder: Path, name: str, deadline: float) -> list[bytes]:
    """The `cmdline` or `environ` of a process.

    In the midst of execve(2) it has neither for a moment, the old ones gone and the new ones not yet
    there; but it has memory, as a thread of the kernel and a process that has ended have not.
    """
    while not (found := (folder / name).read_bytes()) and time.monotonic() < deadline:
        # Behind the name, which may have anything in it, field 3 is the first; 23 is the memory's size.
        fields = (folder / "stat").read_text().rpartition(") ")[2].split()
        memory, begin, end = (int(fields[number - 3]) for number in (23, *_ENDS[name]))
        if memory == 0 or begin == end != 0:
            break
    return found.split(b"\0")


def _processes(mark: str) -> dict[int, str]:
    """Processes with our mark in their environment, but ourselves."""
    wanted = f"{MARK}={mark}".encode()
    deadline = time.monotonic() + EXIT_TIME
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            if wanted in _words(folder, "environ", deadline):
                words = b" ".join(_words(folder, "cmdline", deadline)).decode(errors="replace")
                found[int(folder.name)] = words.strip()[:120]
        except OSError:
            continue
    return found


def _survivors(mark: str) -> dict[int, str]:
    """Marked processes that are still there after a moment to finish exiting."""
    deadline = time.monotonic() + EXIT_TIME
    for pid in _processes(mark):
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        finally:
            os.close(descriptor)
    return _processes(mark)


@attrs.frozen
class Snapshot:
    mark: str
    descriptors: dict[int, str]
    interfaces: set[str]
    namespaces: set[str]

    @classmethod
    def take(cls, mark: str) -> Snapshot:
        global _spawned
        _spawned = False
        os.environ[MARK] = mark
        return cls(mark, _descriptors(), _interfaces(), _namespaces())

    def leaks(self, *, alone: bool) -> list[str]:
        """What is here now and was not then. `alone`: no other test runs beside us on this machine."""
        if self._new_descriptors():
            gc.collect()
        found = []
        if _spawned:
            found += [f"process {pid}: {words}" for pid, words in _survivors(self.mark).items()]
        deadline = time.monotonic() + EXIT_TIME
        # Of a thread that has said its last word, or of a namespace, nothing tells when it is gone.
        while (others := self._new_others(alone)) and time.monotonic() < deadline:
            time.sleep(0.001)
        return found + others

    def _new_others(self, alone: bool) -> list[str]:
        found = [f"descriptor {fd}: {name}" for fd, name in self._new_descriptors().items()]
        if alone:
            found += [f"interface {name}" for name in _interfaces() - self.interfaces]
            found += [f"network namespace {name}" for name in _namespaces() - self.namespaces]
        return found

    def _new_descriptors(self) -> dict[int, str]:
        return {fd: name for fd, name in _descriptors().items() if self.descriptors.get(fd) != name}
