"""The state folder of one fabric: what outlives it, and the log while it runs.

`$XDG_STATE_HOME/vnet/NAME/`; without the variable `/var/lib/vnet/NAME/` for root and
`~/.local/state/vnet/NAME/` for others, as the XDG Base Directory Specification has it. 0700.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import stat
from pathlib import Path
from typing import Any

from vnet.errors import VnetError
from vnet.runtime import private

log = logging.getLogger("vnet")

LOG = "log"
LOG_BEFORE = f"{LOG}.old"
"""Of the one before, if that ended badly."""


def base() -> Path:
    """The folder of all fabrics of this user."""
    if (home := os.environ.get("XDG_STATE_HOME", "")).startswith("/"):
        return Path(home) / "vnet"
    if os.geteuid() == 0:
        return Path("/var/lib/vnet")
    return Path("~/.local/state/vnet").expanduser()


def folder(name: str) -> Path:
    """That of the fabric `name`, made if it is not there. Raises VnetError when it can't be ours alone."""
    path = base() / name
    private(path.parent, "XDG_STATE_HOME")
    private(path, "XDG_STATE_HOME")
    return path


def log_path(name: str) -> Path:
    """Where a fabric in the background writes its log; it stays when it ended badly."""
    return base() / name / LOG


# -- documents that outlive a fabric -----------------------------------------------------------------

LARGEST = 64 * 1024 * 1024
"""Bytes of a document that are read at most."""


class Unusable(VnetError):
    """A document that can't be believed: somebody else's, cut off, no JSON. What is wrong with it."""


def load(path: Path) -> Any:
    """A document that `write` wrote; None when there is none. It stays as it is. Raises Unusable."""
    try:
        opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unusable(error.strerror or str(error)) from None
    with os.fdopen(opened, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            raise Unusable("it is no file of ours")
        if status.st_size > LARGEST:
            raise Unusable(f"it has {status.st_size} bytes")
        try:
            return json.loads(file.read(LARGEST))
        except (OSError, ValueError, RecursionError) as error:
            raise Unusable(str(error)) from None


def read(path: Path) -> Any:
    """The same, for a fabric that comes up. A document that can't be believed is told once, moved aside as
    `NAME.bad` and counts as none: what it knew is lost, and the fabric comes up all the same.
    """
    try:
        return load(path)
    except Unusable as error:
        return aside(path, str(error))


def aside(path: Path, why: str) -> None:
    """A document says nothing that can be used: tell, and keep it for whoever wants to look."""
    bad = path.with_name(f"{path.name}.bad")
    log.warning("%s can't be used: %s; it is kept as %s", path, why, bad.name)
    with contextlib.suppress(OSError):
        path.replace(bad)


def write(path: Path, document: Any) -> None:
    """Replace a document: after a crash, or without power, there is the old one or the new one. Raises
    OSError.
    """
    fresh = path.with_name(f"{path.name}.new")
    opened = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(opened, "w") as file:
        json.dump(document, file, separators=(",", ":"))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
