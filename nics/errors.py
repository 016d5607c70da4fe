"""What goes wrong at a door, in words for the person who runs it."""

import errno


class VnetError(Exception):
    """Anything vnet refuses or fails at. `str()` is one line for a person."""


class BadInput(VnetError):
    """What was given is wrong; nothing was touched. The command line exits with 2.

    `args` are the problems found, each a line; `str()` is the lines.
    """

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
