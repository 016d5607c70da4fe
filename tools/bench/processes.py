"""Programs that run for as long as a measurement needs them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path


class Missing(Exception):
    """A switch can't be run here, and why."""


class Failed(Exception):
    """A switch did not come up."""


FABRIC = f"bench-{os.getpid()}"
"""The name of a measured fabric: of each run its own, so that a second one is not kept out."""


WITH_US = ("setpriv", "--pdeathsig", "TERM")
"""Before a command: it is asked to end when the measurement does, however that is, `kill -9` included."""


def living_in(folder: Path) -> dict[str, str]:
    """An environment in which `vnet up` keeps all that it keeps in a folder: it is gone with that."""
    return {**os.environ, "XDG_RUNTIME_DIR": str(folder), "XDG_STATE_HOME": str(folder / "state")}


@contextlib.contextmanager
def running(
    argv: Sequence[str],
    log: Path,
    *,
    ahead: bool = False,
    env: Mapping[str, str] | None = None,
    stdin: int = subprocess.DEVNULL,
) -> Iterator[subprocess.Popen[bytes]]:
    """A process, for as long as the block runs."""
    words = [*WITH_US, *(("nice", "-n", "-20") if ahead else ()), *argv]
    with log.open("wb") as out:
        process = subprocess.Popen(
            words, stdin=stdin, stdout=out, stderr=out, env=env, start_new_session=True
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


def appear(paths: Sequence[Path], process: subprocess.Popen[bytes], log: Path, seconds: float = 20) -> None:
    """Wait until sockets are there."""
    end = time.monotonic() + seconds
    while not all(path.exists() for path in paths):
        if process.poll() is not None or time.monotonic() > end:
            told = log.read_text(errors="replace")[-2000:]
            raise Failed(f"{process.args!r} did not come up:\n{told}")
        time.sleep(0.02)


def cpu_seconds(pid: int) -> float:
    """Of all threads of a process, as the scheduler counts it."""
    return sum(thread_seconds(pid).values())


def thread_seconds(pid: int) -> dict[str, float]:
    """The same of each thread."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return {task.name: int((task / "schedstat").read_text().split()[0]) / 1e9 for task in tasks}
