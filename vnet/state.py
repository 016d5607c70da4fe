"""The state folder of one fabric: what outlives it, and while it runs the log, and whose its name is.

`$XDG_STATE_HOME/vnet/NAME/`; without the variable `/var/lib/vnet/NAME/` for root and
`~/.local/state/vnet/NAME/` for others, as the XDG Base Directory Specification has it. 0700.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from vnet import runtime
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


# -- whose a name is ---------------------------------------------------------------------------------


@attrs.frozen
class Owner:
    """A fabric that runs."""

    pid: int
    runtime: Path
    """Its runtime folder, which need not be where this process would look for it."""


def owner(name: str) -> Owner | None:
    """Who has the name; None: nobody, or one that is only coming up or going."""
    if not runtime.is_running(base() / name):
        return None
    try:
        pid, _, where = (base() / name / runtime.LOCK).read_text().rstrip("\n").partition(" ")
        return Owner(int(pid), Path(where))
    except (OSError, ValueError):
        return None


def elsewhere() -> dict[str, Owner]:
    """Those whose runtime folder is not where this process would look for it, by their names."""
    try:
        names = sorted(entry.name for entry in base().iterdir())
    except OSError:
        return {}
    owners = {name: there for name in names if (there := owner(name)) is not None}
    return {name: there for name, there in owners.items() if there.runtime != runtime.base() / name}


def claim(name: str) -> int:
    """Have a name for this process and its children: a descriptor, for `owning`. It is the state folder's
    lock, for what is kept there must be one fabric's whatever runtime folder its shell knew of. Raises Busy.
    """

    def busy() -> str:
        if (there := owner(name)) is None:
            return f"a fabric named {name} is just coming up or going down: try again, or use another name"
        how = f"vnet down {name}" if runtime.is_running(runtime.base() / name) else f"kill {there.pid}"
        return (
            f"a fabric named {name} is running in {there.runtime} (process {there.pid}): "
            f"bring it down ({how}) or use another name"
        )

    lock = runtime.hold(lambda: folder(name), busy)
    # Perhaps that of one that crashed, whose process may be any by now.
    os.truncate(lock, 0)
    return lock


@contextlib.contextmanager
def owning(name: str, claimed: int | None = None) -> Iterator[None]:
    """Have a name while the block lasts; `claimed` by who started this process, perhaps. Raises Busy."""
    lock = claim(name) if claimed is None else claimed
    try:
        with contextlib.suppress(OSError):  # a full disk keeps no fabric down
            os.pwrite(lock, f"{os.getpid()} {runtime.base() / name}\n".encode(), 0)
        yield
    finally:
        runtime.let_go(base() / name, lock)
        with contextlib.suppress(OSError):  # others are in it
            base().rmdir()


# -- documents that outlive a fabric -----------------------------------------------------------------

LARGEST = 64 * 1024 * 1024
"""Bytes of a document that are read at most."""


class Unusable(VnetError):
    """A document that can't be believed: somebody else's, cut off, no JSON. What is wrong with it."""


def load(path: Path) -> Any:
    """A document that `write` wrote; None when there is none. It stays as it is. Raises Unusable, and
    VnetError when the system doesn't let us read it now, which says nothing about what is in it.
    """
    try:
        opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(opened, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
                raise Unusable("it is no file of ours")
            if status.st_size > LARGEST:
                raise Unusable(f"it has {status.st_size} bytes")
            return json.loads(file.read(LARGEST))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise Unusable(str(error)) from None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link, a socket
            raise Unusable("it is no file of ours") from None
        raise VnetError(f"{path} can't be read: {error.strerror or error}") from None


def read(path: Path) -> Any:
    """The same, for a fabric that comes up. A document that can't be believed is told once, moved aside as
    `NAME.bad` and counts as none: what it knew is lost, and the fabric comes up all the same. One that
    can't be read counts as none, too, and stays until there is another to write.
    """
    try:
        return load(path)
    except Unusable as error:
        return aside(path, str(error))
    except VnetError as error:
        log.warning(str(error))
        return None


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
    try:
        with os.fdopen(opened, "w") as file:
            # Not `dump`, which encodes in Python.
            file.write(json.dumps(document, separators=(",", ":")))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


_failing: dict[Path, str] = {}
"""Documents that could not be written when last tried, and why."""


def note(path: Path, document: Any, anything: bool, what: str) -> bool:
    """Write a document if there is `anything` in it, or an older one that it replaces. That it can't be
    written is told when it begins and when it ends, not each time; `what` it is says how. False: it has to
    be tried again.
    """
    try:
        if not anything and not path.exists():
            return True
        write(path, document)
    except OSError as error:
        why = error.strerror or str(error)
        if _failing.get(path) != why:
            log.warning("%s can't be noted in %s: %s", what, path, why)
        _failing[path] = why
        return False
    else:
        if _failing.pop(path, None) is not None:
            log.warning("%s can be noted in %s again", what, path)
        return True
