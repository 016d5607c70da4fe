"""The log of a fabric in the background: a file that guests can't make grow without end.

Guests have lines written, each kind so often at most: carriers that flap, packets that were denied where that
is logged. Over a year that is much all the same, on the disk where usage and leases are noted.
"""

from __future__ import annotations

import contextlib
import logging
import os
from logging.handlers import RotatingFileHandler
from pathlib import Path

from vnet import state

LOG_MAX = 16 << 20
"""Bytes; one full log is kept beside the one that is written."""


class Log(RotatingFileHandler):
    """Writes the log at `path`. What others of this process say on standard output and standard error, an
    interpreter or a library that fails, goes there too.
    """

    def __init__(self, path: Path, most: int = LOG_MAX) -> None:
        super().__init__(path, maxBytes=most)

    def doRollover(self) -> None:  # noqa: N802 - as the library calls it
        """Begin a new file. Where that can't be done the log goes on as it is."""
        log = Path(self.baseFilename)
        with contextlib.suppress(OSError):
            log.replace(log.with_name(state.LOG_BEFORE))
            fresh = self._open()
            for standard in (1, 2):
                os.dup2(fresh.fileno(), standard)
            if (full := self.setStream(fresh)) is not None:
                full.close()


def write_to(path: Path, layout: str) -> None:
    """Have what is logged written to `path`, if that is where standard error leads."""
    if not path.exists() or not os.path.samestat(path.stat(), os.fstat(2)):
        return
    root = logging.getLogger()
    for handler in [*root.handlers]:
        if type(handler) is logging.StreamHandler:
            root.removeHandler(handler)
    handler = Log(path)
    handler.setFormatter(logging.Formatter(layout))
    root.addHandler(handler)
