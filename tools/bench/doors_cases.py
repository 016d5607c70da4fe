"""What is measured between two namespaces, and what has to come out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from tools.bench import congestion
from tools.bench import doors_fair as fairness
from tools.bench import doors_load as load
from tools.bench.cases import Bar, Course
from tools.bench.doors_switches import Pair, VnetUplink

BESIDE = 50_000
"""Frames a second beside requests and answers."""


@attrs.frozen
class Case:
    """Which figure of which measurement. Cases of one measurement share its runs."""

    measure: Callable[[Pair, float], dict[str, Any]]
    figure: str
    unit: str
    more_is_better: bool = True
    by_tcp: bool = True
    """It depends on TCP's congestion control, so it is measured with each."""


def tcp1(pair: Pair, seconds: float) -> dict[str, Any]:
    """One connection."""
    return load.tcp(pair, 1, seconds)


def tcp8(pair: Pair, seconds: float) -> dict[str, Any]:
    """Eight of them."""
    return load.tcp(pair, 8, seconds)


def datagrams(pair: Pair, seconds: float) -> dict[str, Any]:
    """As fast as at most 1 % are lost."""
    del seconds  # it takes as long as its tries do
    return load.datagrams(pair)


def beside(pair: Pair, seconds: float) -> dict[str, Any]:
    """Requests while other frames pass."""
    return load.requests(pair, seconds, BESIDE)


STANDARD = {
    "TCP, 1 stream": Case(tcp1, "gbps", "Gbit/s"),
    "its CPU": Case(tcp1, "cpu_s_gb", "s/GB", more_is_better=False),
    "TCP, 8 streams": Case(tcp8, "gbps", "Gbit/s"),
    "their CPU": Case(tcp8, "cpu_s_gb", "s/GB", more_is_better=False),
    "64 B, 1 % lost": Case(datagrams, "kpps", "kpps", by_tcp=False),
    "64 B, flood": Case(datagrams, "flood_kpps", "kpps", by_tcp=False),
    "requests": Case(load.requests, "rate", "/s"),
    "requests p50": Case(load.requests, "p50_us", "us", more_is_better=False),
    "requests p99": Case(load.requests, "p99_us", "us", more_is_better=False),
    "beside 50 kpps p50": Case(beside, "p50_us", "us", more_is_better=False),
    "beside 50 kpps p99": Case(beside, "p99_us", "us", more_is_better=False),
    "idle": Case(load.idle, "cpu_percent", "% CPU", more_is_better=False, by_tcp=False),
}


def pour(guests: int) -> Callable[[Pair, float], dict[str, Any]]:
    """So many guests send to the world at once."""
    return lambda pair, seconds: load.pour(pair, guests, VnetUplink.WORLD, seconds)


# Guests behind one uplink, so many of them busy.
UPLINK = {f"{guests} busy": Case(pour(guests), "gbps", "Gbit/s") for guests in (1, 10, VnetUplink.GUESTS)}

# A guest that keeps within its share of a congested uplink, without and beside one that floods.
FAIR = {
    f"{what}, {where}": Case(measure, figure, unit, more)
    for where, measure in (("no flood", fairness.alone), ("flood", fairness.flooded))
    for what, figure, unit, more in (
        ("its share", "mbps", "Mbit/s", True),
        ("its p50", "p50_us", "us", False),
        ("its p99", "p99_us", "us", False),
    )
}


def asked(asker: int) -> Callable[[Pair, float], dict[str, Any]]:
    """That end asks while the first sends in bulk."""
    return lambda pair, seconds: load.beside_bulk(pair, seconds, asker)


# Requests between two ends of which one sends in bulk to the other.
BULK = {
    f"{what}, {way} TCP": Case(measure, figure, unit, more)
    for way, measure in (("along", asked(0)), ("against", asked(1)))
    for what, figure, unit, more in (
        ("requests", "rate", "/s", True),
        ("p50", "p50_us", "us", False),
        ("p99", "p99_us", "us", False),
    )
}

SUITES = {"standard": STANDARD, "uplink": UPLINK, "fair": FAIR, "bulk": BULK}

BARS = (
    *(
        Bar(case, least, peer)
        for case in ("TCP, 1 stream", "TCP, 8 streams")
        for peer, least in (("copier", 1.0), ("ovs-tso", 1.0), ("vde", 3.0))
    ),
    Bar("64 B, 1 % lost", 1.4, "copier"),
    Bar("64 B, 1 % lost", 1.0, "bridge"),
    Bar("requests p50", 1 / 0.7, "copier"),
    Bar("beside 50 kpps p50", 1 / 0.7, "copier"),
    Bar("its share, flood", 0.9, other="its share, no flood"),
    Bar("its p99, flood", 0.5, other="its p99, no flood"),
    *(Bar(f"p99, {way} TCP", 0.5, "copier") for way in ("along", "against")),
    *(Bar(f"{guests} busy", 0.9, other="1 busy") for guests in (10, VnetUplink.GUESTS)),
)

LIMITS = {"idle": 0.5}

COURSE = Course(
    {name: case for suite in SUITES.values() for name, case in suite.items()},
    BARS,
    LIMITS,
    apart=congestion.KEY,
    heading=congestion.title,
)
