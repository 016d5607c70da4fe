"""What Python's collector of reference cycles looks at in a process that keeps a fabric up.

A full collection looks at every object there is: with thousands of guests tens of milliseconds, in which no
client is answered and no timer fires. A fabric that is up hardly ever becomes garbage, so it is set aside;
what was removed since then is looked for once in a while.
"""

from __future__ import annotations

import gc

_CHANGES = 100


class Cycles:
    """The process' objects: `settle` once a fabric is up, `changed` after each change of it."""

    def __init__(self) -> None:
        self._changes = 0

    def settle(self) -> None:
        """Collect what is garbage, and look at the rest no more."""
        self._changes = 0
        gc.unfreeze()
        gc.collect()
        gc.freeze()

    def changed(self) -> None:
        """Guests came or went. Every hundredth time what went is looked for."""
        self._changes += 1
        if self._changes >= _CHANGES:
            self.settle()
