"""What goes wrong at a door, in words for the person who runs it."""

import errno
from collections.abc import Callable, Sequence


class VnetError(Exception):
    """Anything vnet refuses or fails at. `str()` is one line for a person."""


class BadInput(VnetError):
    """What was given is wrong; nothing was touched. The command line exits with 2.

    `args` are the problems found, each a line; `str()` is the lines.
    """

    paths: Sequence[tuple[str | int, ...] | None] = ()
    """Where in a topology each of `args` is, None: nowhere; () where that is not known of any."""

    def at(self, place: Callable[[tuple[str | int, ...]], str]) -> "BadInput":
        """The same with places in a file in front, as `place` has them for a path."""
        lines = zip(self.args, self.paths or [None] * len(self.args), strict=True)
        return BadInput(*(f"{place(path)}: {line}" if path else line for line, path in lines))

    def __str__(self) -> str:
        return "\n".join(map(str, self.args))


class Unreachable(VnetError, OSError):
    """There was no answer from there. `errno` says why: EHOSTUNREACH, ENETUNREACH."""

    def __init__(self, what: str, number: int = errno.EHOSTUNREACH) -> None:
        super().__init__(what)
        self.errno = number


class NicError(VnetError):
    """A NIC could not be opened or is broken. `remedy` says what to do about it."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(f"{what}: {remedy}" if remedy else what)
        self.what = what
        self.remedy = remedy
