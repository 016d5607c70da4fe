"""The runtime folder of one fabric: who holds it, its sockets, and what to clean after a crash.

`$XDG_RUNTIME_DIR/vnet/NAME/`, without the variable `/tmp/vnet-UID/NAME/`, or `/run/vnet/NAME/` for root,
all 0700. A lock file in it is held for as long as the fabric lives; the kernel lets go of it however the
process ends, so a lock that can be taken means that nobody is there, and whatever else lies in the folder
was left by a crash.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from vnet.errors import BadInput, VnetError

LOCK = "lock"
NAMESPACES = "namespaces"
CONTROL = "control.sock"
OWN = (LOCK, NAMESPACES, f"{NAMESPACES}.new", CONTROL)
"""What the fabric itself has in its folder."""
TRIES = 100
"""Times that a folder is made again when another fabric, which ends, removes it at that moment."""
LOOKERS = 5.0
"""Seconds that a fabric waits for those who only look whether it is there, which takes them no time."""


def base() -> Path:
    """The folder of all fabrics of this user."""
    if os.geteuid() == 0:
        return Path("/run/vnet")
    if (runtime := os.environ.get("XDG_RUNTIME_DIR", "")).startswith("/"):
        return Path(runtime) / "vnet"
    # The same for every process of this user, however full it is and whatever TMPDIR says: in another one a
    # fabric that runs would not be found.
    return Path(f"/tmp/vnet-{os.geteuid()}")  # noqa: S108  `private` refuses somebody else's


def private(folder: Path, variable: str | None = None) -> None:
    """Make `folder` ours alone, or refuse: somebody who could write there could pose as us. `variable` is
    what would choose another one; None: what would choose another runtime folder, if anything does.
    """
    if variable is None and os.geteuid() != 0:
        variable = "XDG_RUNTIME_DIR"
    for left in reversed(range(TRIES)):
        try:
            # Path.mkdir's own parents would be open to others.
            for each in reversed((folder, *folder.parents)):
                if not each.exists():
                    each.mkdir(mode=0o700, exist_ok=True)
            status = folder.lstat()
            break
        except OSError as error:
            if left and isinstance(error, FileNotFoundError | FileExistsError):
                continue
            why = error.strerror or str(error)
            remedy = f": set {variable} to a folder of yours" if variable else ""
            raise VnetError(f"{folder} can't be made: {why}{remedy}") from None
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        remedy = f", or set {variable} to a folder that is" if variable else ""
        raise VnetError(f"{folder} is not a folder of yours: remove it{remedy}")
    if stat.S_IMODE(status.st_mode) != 0o700:
        folder.chmod(0o700)


class Busy(VnetError):
    """A fabric of this name is running."""


class Runtime:
    """A held runtime folder. Use as a context manager; it is removed at the end."""

    def __init__(self, name: str, folder: Path | None = None) -> None:
        self.name = name
        self.path = folder or base() / name
        self._above = base() if folder is None else None
        """The folder of all fabrics. What is above a folder of the caller's choice is not ours."""
        self._lock: int | None = None
        self._noted: frozenset[str] = frozenset()

    def __enter__(self) -> Runtime:
        self._lock = hold(self._folder, self._busy)
        return self

    def _folder(self) -> Path:
        if self._above is not None:
            private(self._above)
        private(self.path)
        return self.path

    def _busy(self) -> str:
        remedy = f"bring it down (vnet down {self.name}) or use another name"
        return f"a fabric named {self.name} is running: {remedy}"

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            with contextlib.suppress(OSError):
                self.sweep()
            # Last: without it the folder is the next fabric's, with whatever it puts there.
            let_go(self.path, self._lock)
            self._lock = None
            if self._above is not None:
                with contextlib.suppress(OSError):
                    self._above.rmdir()

    def note(self, namespaces: Iterable[str]) -> None:
        """Note what would have to be removed if this process died now. Whole or not at all. Raises
        VnetError.
        """
        # What is noted already needs no room on a disk that may be full.
        if (wanted := frozenset(namespaces)) == self._noted:
            return
        path = self.path / NAMESPACES
        fresh = path.with_name(f"{NAMESPACES}.new")
        try:
            fresh.write_text("".join(f"{name}\n" for name in sorted(wanted)))
            fresh.replace(path)
        except OSError as error:
            raise VnetError(f"{path} can't be written: {error.strerror or error}") from None
        self._noted = wanted

    def clean(self) -> list[str]:
        """Remove what an earlier fabric in this folder left when it was killed; the namespaces' names.

        Raises NicError.
        """
        try:
            noted = (self.path / NAMESPACES).read_text().split()
        except OSError:
            noted = []
        removed = []
        if noted:
            from nics.netns import remove_leftover

            removed = [name for name in noted if remove_leftover(name)]
        self.sweep()
        return removed

    def sweep(self) -> None:
        """Remove sockets and files that an earlier fabric left here."""
        for entry in self.path.iterdir():
            if entry.name == LOCK:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)


def hold(make: Callable[[], Path], busy: Callable[[], str]) -> int:
    """Take the lock in the folder that `make` makes: a descriptor, for `let_go`. The kernel does the same
    when every process that has it is gone. Raises Busy, with what `busy` says.
    """
    while True:
        path = make() / LOCK
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except FileNotFoundError:
            continue  # a fabric that ends took the folder away
        except OSError as error:
            raise VnetError(f"{path} can't be made: {error.strerror or error}") from None
        held = False
        try:
            _take(lock, busy)
            held = _is(path, lock)
        except OSError as error:
            raise VnetError(f"{path} can't be locked: {error.strerror or error}") from None
        finally:
            if not held:
                os.close(lock)
        if held:
            return lock


def _take(lock: int, busy: Callable[[], str]) -> None:
    deadline = time.monotonic() + LOOKERS
    while not _locked(lock, fcntl.LOCK_EX):
        # Those who look share it among them, and whoever holds it shares it with nobody.
        if not _locked(lock, fcntl.LOCK_SH) or time.monotonic() > deadline:
            raise Busy(busy())
        fcntl.flock(lock, fcntl.LOCK_UN)
        time.sleep(0.001)


def let_go(folder: Path, lock: int) -> None:
    """The folder is the next one's; it goes if nothing else is in it."""
    with contextlib.suppress(OSError):
        (folder / LOCK).unlink()
        folder.rmdir()
    os.close(lock)


def _locked(lock: int, how: int) -> bool:
    """Whether the lock could be taken at once."""
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is(path: Path, descriptor: int) -> bool:
    """Whether an open file is still the one that is called so."""
    try:
        there = path.lstat()
    except OSError:
        return False
    return os.path.samestat(there, os.fstat(descriptor))


def is_running(folder: Path) -> bool:
    """Whether somebody holds `folder`. Whoever wants to meanwhile can wait for that, see `Runtime`."""
    try:
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        return not _locked(lock, fcntl.LOCK_SH)
    finally:
        os.close(lock)


def _folders(wanted: Callable[[Path], bool]) -> list[str]:
    try:
        # In /tmp somebody else may have been there first, and pose as our fabrics.
        if base().lstat().st_uid != os.geteuid():
            return []
        entries = sorted(base().iterdir())
    except OSError:
        return []
    return [entry.name for entry in entries if (entry / LOCK).exists() and wanted(entry)]


def running() -> list[str]:
    """Names of this user's running fabrics, sorted."""
    return _folders(is_running)


def crashed() -> list[str]:
    """Names of this user's fabrics that ended without cleaning up, sorted."""
    return _folders(lambda folder: not is_running(folder))


def _instead(name: str | None) -> str | None:
    """What there is of the fabric `name`, or of any when it is None, although it does not run here."""
    from vnet import state

    for other, owner in state.elsewhere().items():
        if name in (None, other):
            return (
                f"{other} does not run in {base()} but in {owner.runtime} (process {owner.pid}): "
                "set XDG_RUNTIME_DIR as it is there"
            )
    for other in crashed():
        if name in (None, other):
            log = state.log_path(other)
            where = f"its log is {log}; " if log.exists() else ""
            return f"{other} has crashed: {where}`vnet down {other}` cleans up"
    return None


def the_one(name: str | None) -> str:
    """`name`, or the only running fabric when it is None. Raises BadInput with what to do."""
    names = running()
    if name in names:
        return name
    if (name is not None or not names) and (instead := _instead(name)):
        raise BadInput(instead)
    if name is not None:
        if not names:
            raise BadInput(f"no fabric named {name} is running: start it with `vnet up FILE`")
        raise BadInput(f"no fabric named {name} is running; running: {', '.join(names)}")
    if len(names) == 1:
        return names[0]
    if not names:
        raise BadInput("no fabric is running: start one with `vnet up FILE`")
    raise BadInput(f"several fabrics are running, so name one: {', '.join(names)}")
