"""Rates from samples of a fabric's status: pure, time is an argument.

A sample is the document of `vnet status --json`. Counters only grow while a port lives; one that is
smaller than before is a port that went and came again, and counts from zero.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import attrs

KEPT = 60
"""Samples remembered for each port's sparkline."""


@attrs.frozen
class Rate:
    """What one port did between two samples, by the second."""

    port: str
    guest: str
    kind: str
    network: str
    up: bool
    """The operator wants it up and its peer is there."""
    rx_frames: float
    rx_bits: float
    tx_frames: float
    tx_bits: float
    drops: float
    reason: str
    """The reason of most drops since the sample before, otherwise of most drops ever, or empty."""
    dropped: int
    """Drops since the port came up."""
    trend: tuple[float, ...] = ()
    """Bits a second, both directions together, the latest last."""

    @property
    def bits(self) -> float:
        """Both directions together."""
        return self.rx_bits + self.tx_bits


@attrs.frozen
class Total:
    """The whole fabric: what its ports took in, by the second."""

    ports: int
    down: int
    frames: float
    bits: float
    drops: float


ORDERS: dict[str, tuple[str, Callable[[Rate], tuple[Any, ...]]]] = {
    "b": ("bits", lambda rate: (-rate.bits, rate.port)),
    "r": ("rx", lambda rate: (-rate.rx_frames, rate.port)),
    "t": ("tx", lambda rate: (-rate.tx_frames, rate.port)),
    "d": ("drops", lambda rate: (-rate.drops, -rate.dropped, rate.port)),
    "p": ("port", lambda rate: (rate.port,)),
}
"""Key to press, what it sorts by, and how."""


@attrs.frozen
class _Counted:
    rx_frames: int
    rx_bytes: int
    tx_frames: int
    tx_bytes: int
    drops: dict[str, int]

    @classmethod
    def of(cls, port: dict[str, Any]) -> _Counted:
        rx, tx = port["rx"], port["tx"]
        return cls(rx["frames"], rx["bytes"], tx["frames"], tx["bytes"], dict(port["drops"]))


NOTHING = _Counted(0, 0, 0, 0, {})


class History:
    """The last sample, and each port's trend."""

    def __init__(self) -> None:
        self._at: float | None = None
        self._before: dict[str, _Counted] = {}
        self._trends: dict[str, deque[float]] = {}

    def add(self, now: float, status: dict[str, Any]) -> list[Rate]:
        """The rates between the sample before and this one, taken at `now` (seconds, growing), in the
        order of the ports. The first sample has no rates: all are 0.
        """
        span = now - self._at if self._at is not None else 0.0
        found = [self._rate(port, span) for port in status["ports"]]
        self._at = now
        self._before = {port["port"]: _Counted.of(port) for port in status["ports"]}
        self._trends = {rate.port: self._trends[rate.port] for rate in found}
        return found

    def _rate(self, port: dict[str, Any], span: float) -> Rate:
        name, counted = port["port"], _Counted.of(port)
        before = self._before.get(name, NOTHING if self._before else counted)
        if counted.rx_frames < before.rx_frames or counted.tx_frames < before.tx_frames:
            before = NOTHING

        def rate(now: int, then: int) -> float:
            return max(now - then, 0) / span if span > 0 else 0.0

        fresh = {reason: n - before.drops.get(reason, 0) for reason, n in counted.drops.items()}
        worst = max(fresh.items(), key=lambda drop: (drop[1], counted.drops[drop[0]]), default=("", 0))
        rx_bits = 8 * rate(counted.rx_bytes, before.rx_bytes)
        tx_bits = 8 * rate(counted.tx_bytes, before.tx_bytes)
        trend = self._trends.setdefault(name, deque(maxlen=KEPT))
        if span > 0:
            trend.append(rx_bits + tx_bits)
        return Rate(
            port=name,
            guest=port["guest"] or "",
            kind=port["kind"],
            network=port["network"] or ",".join(port.get("trunk", ())),
            up=bool(port["carrier"]) and port["link"] == "up",
            rx_frames=rate(counted.rx_frames, before.rx_frames),
            rx_bits=rx_bits,
            tx_frames=rate(counted.tx_frames, before.tx_frames),
            tx_bits=tx_bits,
            drops=sum(max(n, 0) for n in fresh.values()) / span if span > 0 else 0.0,
            reason=worst[0],
            dropped=sum(counted.drops.values()),
            trend=tuple(trend),
        )


def total(rates: list[Rate]) -> Total:
    """All ports together."""
    return Total(
        ports=len(rates),
        down=sum(1 for rate in rates if not rate.up),
        frames=sum(rate.rx_frames for rate in rates),
        bits=sum(rate.rx_bits for rate in rates),
        drops=sum(rate.drops for rate in rates),
    )
