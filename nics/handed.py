"""Descriptors that whoever started this process handed over: by number, or by name as systemd does it.

`sd_listen_fds(3)`: they are numbered from 3 on, LISTEN_FDS says how many, LISTEN_FDNAMES how they are called,
and LISTEN_PID whom they are for.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator, MutableMapping

FIRST = 3
"""SD_LISTEN_FDS_START: those below are standard streams."""
_PID, _COUNT, _NAMES = "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"


class NotHandedOver(Exception):
    """There is no such descriptor; says which there are."""


def descriptors(which: int | str, count: int) -> tuple[int, ...]:
    """`count` descriptors from a number on, or all of a name. Raises NotHandedOver."""
    if isinstance(which, str):
        found = tuple(number for number, name in named() if name == which)
        if not found:
            names = sorted({name for _, name in named()})
            has = f"has {', '.join(names)}" if names else "has none for this process"
            raise NotHandedOver(f"no descriptor is called {which}: {_NAMES} {has}")
        return found
    found = tuple(range(which, which + count))
    for number in found:
        try:
            flags = fcntl.fcntl(number, fcntl.F_GETFD)
        except (OSError, OverflowError):
            raise NotHandedOver(f"there is no descriptor {number}") from None
        # What came through execve(2) has no such flag, and what we opened ourselves does: another's TAP, say.
        if flags & fcntl.FD_CLOEXEC:
            raise NotHandedOver(f"descriptor {number} was not handed over: it is this process's own")
    return found


def named() -> Iterator[tuple[int, str]]:
    """Descriptors that systemd, or who does the same, handed to this process: (number, name)."""
    count = os.environ.get(_COUNT, "")
    if os.environ.get(_PID) != str(os.getpid()) or not count.isdecimal():
        return
    names = os.environ.get(_NAMES, "").split(":")
    for index in range(min(int(count), 4096)):
        yield FIRST + index, names[index] if index < len(names) and names[index] else "unknown"


def pass_on(wanted: Iterable[tuple[int | str, int]], environment: MutableMapping[str, str]) -> set[int]:
    """What the child that goes on in our place gets: those that are `wanted`, as `descriptors` takes it, as
    far as they are there, and those with a name. Its `environment` says so to `take`.
    """
    passed = {number for number, _ in named()}
    if passed:
        environment[_PID] = f"child of {os.getpid()}"
    for which, count in wanted:
        with contextlib.suppress(NotHandedOver):  # which the child will say
            passed.update(descriptors(which, count))
    return passed


def take() -> None:
    """In that child: they are for this process now."""
    if os.environ.get(_PID) == f"child of {os.getppid()}":
        os.environ[_PID] = str(os.getpid())
