"""What a guest can make happen as often as it likes, as a carrier that comes and goes: it is told at once,
and then at most once a second. What it came to in the end is always told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import attrs
import trio

if TYPE_CHECKING:
    from vnet.fabric import Fabric
    from vnet.links import LinkEnd
    from vnet.port import Port

    P = TypeVar("P", bound=Port | LinkEnd)

SECOND = 10**9
PAUSE = SECOND
"""From one telling to the next, in nanoseconds."""


@attrs.define
class Seldom:
    """One kind of change of a port, and when it may be told again."""

    _rests: int = 0
    """Until then, in the engine's time."""
    _changes: int = 0
    """That are not told yet."""

    def changed(self, fabric: Fabric, port: P, tell: Callable[[Fabric, P, int], None], times: int) -> None:
        """It has changed, so often: have `tell` called with how often in all, now or after the pause."""
        waits = self._changes > 0
        self._changes += times
        if waits:
            return
        if fabric.time() < self._rests:
            fabric.soon(self._later, fabric, port, tell)
        else:
            self._now(fabric, port, tell)

    def _now(self, fabric: Fabric, port: P, tell: Callable[[Fabric, P, int], None]) -> None:
        self._rests = fabric.time() + PAUSE
        changes, self._changes = self._changes, 0
        tell(fabric, port, changes)

    async def _later(self, fabric: Fabric, port: P, tell: Callable[[Fabric, P, int], None]) -> None:
        await trio.sleep(max(0, self._rests - fabric.time()) / SECOND)
        if fabric.wiring.numbers.get(port.number) is port:
            self._now(fabric, port, tell)


@attrs.define
class Flaps:
    """Of one port."""

    carrier: Seldom = attrs.field(factory=Seldom)
    moved: Seldom = attrs.field(factory=Seldom)
