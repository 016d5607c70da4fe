"""Threads, processes and namespaces (nics/inside.py, tests/qemu/machine.py): prctl(2), setns(2)."""

from __future__ import annotations

import os
import select
import subprocess
import threading
from pathlib import Path

from tests.needs import needs_root, needs_tool


@needs_tool("setpriv")
def test_the_death_signal_comes_when_the_thread_ends_not_the_process() -> None:
    started: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        started.append(subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "sleep", "50"]))
        told = os.pidfd_open(started[0].pid)
        # setpriv becomes sleep only after it asked for the signal.
        while Path(f"/proc/{started[0].pid}/comm").read_text() != "sleep\n":
            select.select([told], [], [], 0.01)
        os.close(told)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert started[0].wait(timeout=40) == -9


@needs_root
@needs_tool("unshare")
def test_a_descriptor_keeps_a_namespace_that_nobody_is_in_any_more() -> None:
    with subprocess.Popen(
        ["unshare", "--net", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as inside:
        assert inside.stdin is not None
        assert inside.stdout is not None
        inside.stdin.write(b"in\n")
        inside.stdin.flush()
        assert inside.stdout.readline() == b"in\n"
        kept = os.open(f"/proc/{inside.pid}/ns/net", os.O_RDONLY)
        inside.stdin.close()
    ours = Path("/proc/thread-self/ns/net").stat().st_ino
    told: list[int] = []

    def join() -> None:
        import ctypes

        assert ctypes.CDLL(None).setns(kept, 0x40000000) == 0
        told.append(Path("/proc/thread-self/ns/net").stat().st_ino)

    thread = threading.Thread(target=join)
    thread.start()
    thread.join()
    assert told[0] == os.fstat(kept).st_ino
    # Only that thread moved.
    assert Path("/proc/thread-self/ns/net").stat().st_ino == ours != told[0]
    os.close(kept)
