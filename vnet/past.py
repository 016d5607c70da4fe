"""The past, written down by itself: when a port drops what it should not, loses its carrier, or a test fails.

The engine counts drops and says when a trigger goes off (`rust/src/recorder/trigger.rs`); here the file is
written, with the time and the cause as its name, and the oldest ones are removed. Everything is bounded: how
often an entry goes off, how large a file is, how many there are.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from vnet import state
from vnet._native import drop_reasons
from vnet.errors import VnetError
from vnet.topology.model import Dump, Recorder
from vnet.topology.recorder import reasons

if TYPE_CHECKING:
    from vnet.fabric import Fabric

log = logging.getLogger("vnet")

SECOND = 10**9
PORT = 512
"""Bytes that a port's name and counts take, and its share of the file's head; what it is comes on top."""
ENDING = ".pcapng"

Trigger = tuple[list[str], int, int, int]


class Keeper:
    """Writes one fabric's past down."""

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric
        self._wanted = Recorder()
        self._counted: list[Dump] = []
        """The entries that the engine counts for, by the number of their trigger."""
        self._quiet: dict[Dump, int] = {}
        """Until when an entry rests."""
        self._writing = trio.Lock()

    def set(self, wanted: Recorder) -> list[Trigger]:
        """Go by these settings; the triggers for the engine."""
        self._wanted = wanted
        self._counted = [dump for dump in wanted.dump if dump.on == "drop"]
        return [(reasons(dump.reason), dump.over or 0, SECOND, wanted.pause) for dump in self._counted]

    @property
    def folder(self) -> Path:
        """Where the files are. Raises VnetError."""
        return state.folder(self._fabric.name) / "past"

    async def dropped(self, port: str, number: int) -> None:
        """The engine says that trigger `number` went off at a port."""
        if number < len(self._counted):
            await self._write("-".join(self._counted[number].reason) or "drop", [port])

    async def carrier_lost(self, port: str) -> None:
        """A port, or a link's end, has no carrier any more."""
        if self._goes_off("carrier-loss"):
            await self._write("carrier-loss", [port])

    async def failed(self) -> Path | None:
        """An expectation, or a step of a scenario, failed; the file, if there is to be one."""
        return await self._write("expect", []) if self._goes_off("expect") else None

    def _goes_off(self, cause: str) -> bool:
        """Whether an entry waits for this and does not rest; it rests from now on."""
        now = self._fabric.time()
        for dump in self._wanted.dump:
            if dump.on == cause and now >= self._quiet.get(dump, 0):
                self._quiet[dump] = now + self._wanted.pause
                return True
        return False

    async def _write(self, cause: str, ports: Sequence[str]) -> Path | None:
        """Write what is kept of `ports`, of all if there is none, and tell where. No failure is raised."""
        where = " ".join(ports) or self._fabric.name
        async with self._writing:
            try:
                path, written = await self._file(cause, ports)
            except (OSError, VnetError) as error:
                log.warning("%s: %s: the past could not be written: %s", where, cause, str(error))
                return None
        log.warning("%s: %s: what was before is in %s (%d frames)", where, cause, path, written)
        return path

    async def _file(self, cause: str, ports: Sequence[str]) -> tuple[Path, int]:
        folder = self.folder
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / "-".join([self._stamp(), cause, *ports])
        path = path.with_name(path.name[:200] + ENDING)
        all_ports = self._fabric.wiring.numbers.values()
        told = [self._fabric.wiring.at(port) for port in ports] or [*all_ports]
        room = self._wanted.file_size - sum(PORT + len(port.description) for port in told)
        most = frame_size(self._wanted.snap, (port.name for port in all_ports))
        part = path.with_suffix(".part")
        try:
            stats = await self._fabric.past(part, *ports, count=max(1, room // most))
            part.rename(path)
        finally:
            part.unlink(missing_ok=True)
        # Names begin with times, but runs in virtual time have times of their own.
        others = (other for other in folder.glob(f"[0-9]*{ENDING}") if other != path)
        for old in sorted(others, key=_written, reverse=True)[self._wanted.files - 1 :]:
            old.unlink(missing_ok=True)
        return path, stats["written"]

    def _stamp(self) -> str:
        """The time: the clock's, or in virtual time so many seconds."""
        if self._fabric.clock == "virtual":
            return f"{self._fabric.time() / SECOND:017.6f}"
        now = time.time_ns()
        return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(now // SECOND))}.{now % SECOND // 1000:06}"


def frame_size(snap: int, names: Iterable[str]) -> int:
    """Bytes that a frame takes in a file at most, of which `snap` are kept, where ports have these names."""
    sent = (_option(len(f"to {name}")) for name in names)
    dropped = (drop_size(name, text) for name, text in drop_reasons())
    # A packet's block with flags, what was lost before it, and its number: `nics/rust/src/pcapng.rs`.
    return 28 + snap + -snap % 4 + max(*sent, *dropped) + _option(4) + _option(8) + _option(8) + 4 + 4


def drop_size(name: str, text: str) -> int:
    """Bytes that a drop reason takes: in the comment with what it means, and as the verdict."""
    return _option(len(f"dropped: {name}: {text.lstrip()}".encode())) + _option(1 + len(name))


def _option(length: int) -> int:
    return 4 + length + -length % 4


def _written(path: Path) -> tuple[int, str]:
    """When a file was written; of those that were at the same time, its name decides."""
    try:
        return path.stat().st_mtime_ns, path.name
    except OSError:
        # Somebody else removes files, too.
        return 0, path.name
