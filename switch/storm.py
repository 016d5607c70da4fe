"""Storm control: how much may come in at a port of what goes to every port."""

from __future__ import annotations

import attrs


@attrs.frozen
class Storm:
    """Frames/s of each kind of flood; None: any. A tenth of a second's worth passes at once."""

    broadcast: int | None = None
    multicast: int | None = None
    unknown: int | None = None
    """Unicast to stations that are not known."""

    @property
    def rates(self) -> tuple[int, int, int]:
        """As the native switch is told: 0 for any."""
        return self.broadcast or 0, self.multicast or 0, self.unknown or 0
