"""`pcap`: plays a capture into the switch, and records what comes out of it.

Any program's pcap or pcapng file can be played if it was captured on Ethernet; the recording is
pcapng with nanoseconds. Both may be FIFOs: what another program writes is played as it comes, and
Wireshark can watch (`wireshark -k -i FIFO`).

Playing begins when the NIC is attached and keeps the file's own timing, scaled by `speed`. Files are
read ahead and written behind by threads of their own; a recording whose disk or reader is too slow
loses frames, which are counted as `tx-full` and told in the file. In virtual time there are no such
threads, so that the same run gives the same frames and the same file.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import attrs
import trio
import trio.testing

from nics.door import Opened, Place
from nics.errors import BadInput, NicError
from vnet._native import VERSION, Door, PcapFiles, pcap_door

log = logging.getLogger("vnet")


def _valid_path(_pcap: Pcap, attribute: attrs.Attribute[str | None], value: object) -> None:
    if value is None:
        return
    if not isinstance(value, str) or not value or "\0" in value:
        raise BadInput(f"{attribute.name}: found {value!r}, expected a file's path")


@attrs.frozen
class Pcap:
    """A NIC whose guest is a capture file."""

    kind: ClassVar[str] = "pcap"

    read: str | None = attrs.field(default=None, validator=_valid_path)
    """The capture to play. A relative path is looked for where vnet was started."""
    write: str | None = attrs.field(default=None, validator=_valid_path)
    """Where to record to; a file that exists is replaced."""
    speed: float = 1.0
    """How many times as fast as recorded; 0: as fast as possible."""

    def __attrs_post_init__(self) -> None:
        if self.read is None and self.write is None:
            raise BadInput("read and write: both are missing, at least one is needed")
        if not isinstance(self.speed, int | float) or not 0 <= self.speed < math.inf:
            raise BadInput(f"speed: found {self.speed!r}, expected a factor, or 0 for as fast as possible")
        if self.read is not None and self.read == self.write:
            raise BadInput(f"read and write: both are {self.read!r}, which would be lost")

    async def open(self, place: Place) -> Opened:
        """Open the files. Raises NicError."""
        virtual = isinstance(trio.lowlevel.current_clock(), trio.testing.MockClock)
        if virtual:
            # A clock that jumps would do so meanwhile, by as much as chance has it.
            door, files = self._open(place.port, 0)
        else:
            door, files = await trio.to_thread.run_sync(self._open, place.port, None)

        async def close() -> None:
            await _end(files, place.port)

        carries = " ".join(path for path in (self.read, self.write) if path is not None)
        return Opened(door, close=close, carries=carries)

    def _open(self, port: str, epoch: int | None) -> tuple[Door, PcapFiles]:
        with contextlib.ExitStack() as stack:
            source = stack.enter_context(_opened(port, self.read)) if self.read is not None else None
            target = None
            if self.write is not None:
                target = stack.enter_context(_opened(port, self.write, writing=True))
            if source is not None and target is not None and os.path.sameopenfile(source, target):
                raise NicError(f"{port}: {self.read} and {self.write} are the same file", "record to another")
            application = f"vnet {VERSION}"
            try:
                return pcap_door(
                    source, target, speed=float(self.speed), name=port, application=application, epoch=epoch
                )
            except NicError as error:
                raise NicError(f"{port}: {self.read}: {error.what}", error.remedy) from None


@contextlib.contextmanager
def _opened(port: str, path: str, *, writing: bool = False) -> Iterator[int]:
    """A descriptor for the block. A file that was made for it goes with a block that fails."""
    # Never blocks: a FIFO is opened for both ways when it is written to, so that it needs no reader
    # now and may have another one later; one that is read needs no writer yet.
    flags = os.O_CLOEXEC | os.O_NONBLOCK
    made = writing and not Path(path).exists()
    if not writing:
        flags |= os.O_RDONLY
    elif Path(path).is_fifo():
        flags |= os.O_RDWR
    else:
        flags |= os.O_WRONLY | os.O_CREAT
    try:
        descriptor = os.open(path, flags, 0o644)
    except OSError as error:
        doing = "record to" if writing else "play"
        remedies: dict[type[OSError], str] = {
            FileNotFoundError: "make its folder first" if writing else "check the path",
            IsADirectoryError: "give a file's path",
            PermissionError: "check who may open it",
        }
        raise NicError(
            f"{port}: can't {doing} {path}: {error.strerror}", remedies.get(type(error), "")
        ) from None
    try:
        yield descriptor
    except BaseException:
        if made:
            Path(path).unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


async def _end(files: PcapFiles, port: str) -> None:
    """Wait until the threads that read and write have ended, and all that was recorded is written."""
    for descriptor in files.filenos():
        await trio.lowlevel.wait_readable(descriptor)
    if (error := files.error()) is not None:
        log.warning("%s: the recording is not complete: %s", port, error)
