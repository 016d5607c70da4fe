"""A capture while it runs.

The engine writes; here the file is opened, the filter compiled, and the end waited for. All that may
block (a FIFO without a reader, a filter that asks the resolver) is done in a thread.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import platform
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import trio

from vnet import drive
from vnet._native import VERSION, BpfProgram, CaptureHandle, Engine, start_capture
from vnet.capture.bpf import SNAPLEN, compile_filter
from vnet.capture.selection import Selection
from vnet.errors import BadInput, VnetError

T = TypeVar("T")

log = logging.getLogger("vnet")

Clock = Literal["thread", "trio", "virtual"]
"""Whose time the engine lives in: the monotonic clock, trio's, or trio's under a mock clock."""

ROOM = 16 << 20
"""Bytes that may wait for the writer."""
COUNT_MAX = 10**15
"""Frames to capture: more than a disk has room for, and a number that the engine can count to."""


class CaptureError(VnetError):
    """The file could not be opened, or could not be written to the end."""


class Capture:
    """Use as an async context manager; the file is whole when the block has been left.

    `target` is a path, or a descriptor that stays the caller's (a FIFO, standard output, a socket).
    A reader that is slow loses frames, counted in the file, and so does a capture that would slow down guests
    of a busy engine by more than a tenth, unless it is to be `complete`. A reader that goes away ends it,
    which is no error. A frame is seen where it comes in and again wherever it goes out; `direction`
    `in` (to the switch) or `out` (of it) shows one of these only. Checksums that a guest left to its NIC
    are complete in it. Super-frames are whole, or with `segment` the segments that a wire would see.

    In virtual time a regular file is written without a thread, nothing is lost, times begin at
    trio's, and the same run gives the same bytes. Raises BadInput for options that make no sense. What a
    descriptor's file had is overwritten, or with `truncate` gone, not before all of them make sense.
    """

    def __init__(
        self,
        engine: Engine,
        target: str | os.PathLike[str] | int,
        selection: Selection,
        *,
        clock: Clock,
        filter: str | BpfProgram | None = None,  # noqa: A002 - the word that users know
        count: int | None = None,
        direction: Literal["in", "out"] | None = None,
        drops: bool = False,
        snaplen: int = SNAPLEN,
        segment: bool = False,
        complete: bool = False,
        truncate: bool = False,
        room: int = ROOM,
    ) -> None:
        if direction not in (None, "in", "out"):
            raise BadInput(f"direction: found {direction!r}, expected in or out")
        check(count, snaplen)
        self._engine = engine
        self._target = target
        self._selection = selection
        self._clock = clock
        self._filter = filter if isinstance(filter, str) else ""
        self._program = filter if isinstance(filter, BpfProgram) else None
        self._count = count
        self._direction = direction
        self._drops = drops
        self._snaplen = snaplen
        self._segment = segment
        self._complete = complete
        self._truncate = truncate
        self._room = room
        self._handle: CaptureHandle | None = None
        self.where = ""
        """What the target is called, for who reads that it failed."""

    @property
    def _started(self) -> CaptureHandle:
        if self._handle is None:
            raise RuntimeError("the capture has not been started")
        return self._handle

    async def __aenter__(self) -> Self:
        program = self._program
        if self._filter:
            program = BpfProgram(await self._in_thread(compile_filter, self._filter))
        if isinstance(self._target, int):
            self._start(self._target, program)
        else:
            virtual = self._clock == "virtual"
            descriptor = create(self._target) if virtual else await open_for_writing(self._target)
            try:
                self._start(descriptor, program)
            finally:
                os.close(descriptor)
        return self

    async def _in_thread(self, function: Callable[[str], T], argument: str) -> T:
        """Run what may block in a thread; but not in virtual time, which would go on meanwhile, by
        as much as chance has it.
        """
        if self._clock == "virtual":
            return function(argument)
        return await trio.to_thread.run_sync(function, argument)

    def _start(self, descriptor: int, program: BpfProgram | None) -> None:
        self.where = name_of(self._target)
        if self._truncate:
            empty(descriptor)
        self._handle = start_capture(
            self._engine,
            descriptor,
            ports=self._selection.ports,
            vlans=self._selection.vlans,
            direction=self._direction,
            drops=self._drops,
            program=program,
            filter=self._filter,
            snaplen=self._snaplen,
            segment=self._segment,
            complete=self._complete,
            count=self._count,
            room=self._room,
            inline=self._clock == "virtual",
            epoch=epoch_of(self._clock),
            **described(self._clock),
        )

    @property
    def is_running(self) -> bool:
        """Whether there may be more in it than there is."""
        return self._handle is not None and not self._handle.ended

    def select(self, selection: Selection) -> None:
        """Capture these ports and VLANs instead. One of all ports stays one."""
        self._selection = selection
        if self._handle is not None and selection.ports is not None:
            self._handle.select(selection.ports, selection.vlans)

    async def wait(self) -> None:
        """Until the capture has ended by itself: `count` is reached, its reader is gone, or writing
        failed. All is written then.
        """
        handle = self._started
        while not handle.ended:
            await trio.lowlevel.wait_readable(handle.fileno())

    def stop(self) -> None:
        """End it now; `wait` then waits until all is written."""
        self._started.stop()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        handle = self._started
        handle.stop()
        # The writer gives up on a reader that takes nothing, so this ends.
        with trio.CancelScope(shield=True):
            await self.wait()
        failed = handle.error
        if failed is None or failed[0] == errno.EPIPE:
            return
        line = f"capture to {self.where}: {failed[1]}; {self.stats()['bytes']} bytes of it were written"
        if error is not None:
            log.error("%s", line)
        else:
            raise CaptureError(line)

    def stats(self) -> dict[str, Any]:
        """Counted so far: frames `received` at the ports in question, `accepted` by the filter,
        `lost` for want of room or time, `written`; `bytes` in the file; `error`, None or what writing failed
        with.
        """
        handle = self._started
        failed = handle.error
        return {**handle.stats(), "error": failed[1] if failed else None}


def check(count: int | None, snaplen: int) -> None:
    """Raise BadInput for numbers that make no sense."""
    if not 1 <= snaplen <= SNAPLEN:
        raise BadInput(f"snaplen: found {snaplen}, expected 1 to {SNAPLEN} bytes")
    if count is not None and not 1 <= count <= COUNT_MAX:
        raise BadInput(f"count: found {count}, expected 1 to {COUNT_MAX} frames")


def now_of(clock: Clock) -> int:
    """The engine's time, in nanoseconds."""
    return time.monotonic_ns() if clock == "thread" else drive.now()


def name_of(target: str | os.PathLike[str] | int) -> str:
    """What a person calls a target: a path, also that of a descriptor's file if it has one."""
    if not isinstance(target, int):
        return os.fspath(target)
    with contextlib.suppress(OSError):
        path = os.readlink(f"/proc/self/fd/{target}")  # noqa: PTH115 - no path: it may be `pipe:[1]`
        if path.startswith("/"):
            return path
    return f"descriptor {target}"


def empty(descriptor: int) -> None:
    """Have nothing in a file; FIFOs and sockets have nothing."""
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)


def epoch_of(clock: Clock) -> int:
    """Nanoseconds from the Unix epoch to the engine's time 0; in virtual time they are the same."""
    return 0 if clock == "virtual" else (time.time_ns() - now_of(clock)) % 2**64


def described(clock: Clock) -> dict[str, str]:
    """What a file's section header says. A run in virtual time gives the same file on every machine."""
    virtual = clock == "virtual"
    return {
        "hardware": "" if virtual else platform.machine(),
        "os": "" if virtual else f"{platform.system()} {platform.release()}",
        "application": f"vnet {VERSION}",
    }


def create(path: str | os.PathLike[str]) -> int:
    """Open for writing, at once. Raises CaptureError."""
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CaptureError(f"capture to {os.fspath(path)}: {error.strerror}") from None


async def open_for_writing(path: str | os.PathLike[str]) -> int:
    """Open for writing. A FIFO opens when it has a reader, so this may take its time."""
    given_up = False
    decided = threading.Lock()
    opened: list[int] = []

    def work() -> int:
        descriptor = create(path)
        with decided:
            if given_up:
                os.close(descriptor)
            else:
                opened.append(descriptor)
        return descriptor

    try:
        return await trio.to_thread.run_sync(work, abandon_on_cancel=True)
    except trio.Cancelled:
        with decided:
            given_up = True
            for descriptor in opened:
                os.close(descriptor)
        raise
