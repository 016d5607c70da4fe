"""A capture in several files, of which the latest may be all that is kept: `dumpcap -b`.

The capture's process writes to a pipe and never opens a file. Whoever asked for it cuts what comes into
files, outside of the process that carries frames and with the rights of whoever asked.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path

import attrs

from nics.keys import Wrong, did_you_mean
from nics.quantity import SIZE, TIME
from vnet._native import split_capture
from vnet.capture.running import COUNT_MAX
from vnet.errors import BadInput, VnetError

PIPE = 1 << 20
"""Bytes that may wait in the pipe: what the kernel lets everybody have."""
KILO = 1000
WORDS = ("filesize", "duration", "packets", "files")


@attrs.frozen
class Limits:
    """When a file is full, and how many there may be; None: any."""

    bytes: int | None = None
    nanos: int | None = None
    packets: int | None = None
    files: int | None = None


def limits(given: Iterable[str]) -> Limits | None:
    """What `-b` says, each `WHAT:N`; None when it is not given. Raises BadInput."""
    found: dict[str, int] = {}
    for text in given:
        word, colon, value = text.partition(":")
        if word not in WORDS or not colon:
            hint = did_you_mean(word, list(WORDS))
            told = f"; {hint}" if hint else ""
            raise BadInput(f"-b {text}: expected filesize:KB, duration:SECONDS, packets:N or files:N{told}")
        if word in found:
            raise BadInput(f"-b {text}: {word} is given twice")
        found[word] = _number(text, word, value)
    if not found:
        return None
    if found.keys() == {"files"}:
        raise BadInput(
            "-b files: expected filesize, duration or packets with it, which say when a file is full"
        )
    return Limits(found.get("filesize"), found.get("duration"), found.get("packets"), found.get("files"))


def _number(text: str, word: str, value: str) -> int:
    number = 0
    with contextlib.suppress(Wrong, ValueError):
        if word == "duration":
            number = TIME.read(float(value) if value.replace(".", "", 1).isdigit() else value)
        elif word == "filesize":
            number = int(value) * KILO if value.isdigit() else SIZE.read(value)
        else:
            number = int(value)
    expected, most = {
        "duration": (
            f"seconds, or a time such as 1 min, at most {TIME.write(TIME.highest)}",
            TIME.highest,
        ),
        "filesize": (f"kB, or a size such as 10 MiB, at most {SIZE.write(SIZE.highest)}", SIZE.highest),
    }.get(word, (f"a whole number from 1 to {COUNT_MAX}", COUNT_MAX))
    if not 1 <= number <= most:
        raise BadInput(f"-b {text}: expected {expected}")
    return number


class Ring:
    """Files `stem_00001_20260131120000.suffix` and so on beside `path`, made as frames come.

    `start` gives the descriptor to capture to, which is the caller's to close; when all its copies are,
    `finish` waits for what is left and returns the paths of the files that are kept. Raises VnetError when a
    file can't be written; the capture has ended then, because nobody reads it any more.
    """

    def __init__(self, path: str | os.PathLike[str], wanted: Limits) -> None:
        self._path = Path(path)
        self._wanted = wanted
        self._kept: deque[Path] = deque()
        self._open: int | None = None
        self._failed: BaseException | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> int:
        """Begin; the descriptor to capture to. Raises BadInput where there can't be files."""
        folder = self._path.parent
        if not os.access(folder, os.W_OK | os.X_OK):
            raise BadInput(f"{self._path}: expected a folder that files may be made in, found {folder}")
        reading, writing = os.pipe()
        with contextlib.suppress(OSError):
            # Pipes of many kinds may have used up what a user may have: then it is as it is.
            fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE)
        self._thread = threading.Thread(target=self._work, args=(reading,))
        self._thread.start()
        return writing

    def _work(self, reading: int) -> None:
        wanted = self._wanted
        try:
            split_capture(
                reading, self._begin, bytes=wanted.bytes, nanos=wanted.nanos, packets=wanted.packets
            )
        except Exception as error:
            self._failed = error
        finally:
            os.close(reading)
            self._close()

    def _close(self) -> None:
        if self._open is not None:
            os.close(self._open)
            self._open = None

    def _begin(self, number: int, nanos: int) -> int:
        """Open the next file, and forget the oldest beyond what there may be."""
        self._close()
        seconds = nanos / 1e9 if nanos else time.time()
        stamp = time.strftime("%Y%m%d%H%M%S", time.localtime(seconds))
        path = self._path.with_name(f"{self._path.stem}_{number:05}_{stamp}{self._path.suffix}")
        self._open = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._kept.append(path)
        while self._wanted.files and len(self._kept) > self._wanted.files:
            self._kept.popleft().unlink(missing_ok=True)
        return self._open

    def finish(self) -> list[str]:
        """Wait until all is written; the paths of the files, oldest first."""
        if self._thread is not None:
            self._thread.join()
        if isinstance(self._failed, OSError):
            raise VnetError(f"{self._failed.filename or self._path}: {self._failed.strerror or self._failed}")
        if self._failed is not None:
            raise self._failed
        return [str(path) for path in self._kept]
