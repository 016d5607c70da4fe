"""What is measured, and what has to come out.

A case is one kind of load; a bar is a ratio between two switches (or two cases) that must hold whatever
the machine, because both were measured in one run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import attrs

from tools.bench import distance


class Figure(Protocol):
    """What counts of a run."""

    @property
    def figure(self) -> str:
        """Its name in the run's result."""

    @property
    def unit(self) -> str: ...  # noqa: D102

    @property
    def more_is_better(self) -> bool: ...  # noqa: D102


@attrs.frozen
class Case:
    """One kind of load: the words for `vhost-load`, and which of its figures counts."""

    words: str
    figure: str
    unit: str
    jumbo: bool = False
    more_is_better: bool = True
    ports: int = 2
    guard: bool = True
    recorder: bool = True
    flows: int = 0
    """One of so many frames counted for IPFIX; 0: none."""


@attrs.frozen
class Bar:
    """`case` on vnet must be `least` times better than on `peer`, or than vnet in `other`."""

    case: str
    least: float
    peer: str = "vnet"
    other: str | None = None

    @property
    def against(self) -> str:
        """The other side, for people."""
        return self.peer if self.other is None else self.other


@attrs.frozen
class Course:
    """All that one benchmark measures, and what has to come out."""

    cases: Mapping[str, Figure]
    bars: tuple[Bar, ...]
    limits: Mapping[str, float]
    """Figures of vnet that must not be exceeded, by themselves."""
    titles: Mapping[str, str] = attrs.field(factory=dict)
    """What switches are called in the README, where that is not their name."""
    apart: str | None = None
    """Runs that differ in what they note under this are told, and compared, apart."""
    heading: Callable[[str], str] = str
    """The line about where it was measured ends with this, made of what they noted."""


STANDARD = {
    "64 B": Case("--touch", "mpps", "Mpps"),
    "64 B, 1,000 MACs": Case("--touch --macs 1000", "mpps", "Mpps"),
    "64 B both ways": Case("--touch --mode both", "mpps", "Mpps"),
    "1,518 B": Case("--touch --size 1514", "gbps", "Gbit/s"),
    "9,000 B": Case("--touch --size 9014", "gbps", "Gbit/s", jumbo=True),
    "cost, 64 B": Case("--touch", "cycles", "cycles", more_is_better=False),
    "cost, 64 B, 1,000 MACs": Case("--touch --macs 1000", "cycles", "cycles", more_is_better=False),
    "latency p50": Case("--mode latency", "p50_us", "us", more_is_better=False),
    "latency p99": Case("--mode latency", "p99_us", "us", more_is_better=False),
}

# Connected ports, of which two are busy.
SCALE = {f"64 B, {ports} ports": Case("--touch", "mpps", "Mpps", ports=ports) for ports in (2, 16, 64)}

GUARD = {
    "guard on": Case("--touch", "mpps", "Mpps"),
    "guard off": Case("--touch", "mpps", "Mpps", guard=False),
    "guard on, 1,000 MACs": Case("--touch --macs 1000", "mpps", "Mpps"),
    "guard off, 1,000 MACs": Case("--touch --macs 1000", "mpps", "Mpps", guard=False),
}

# Super-frames of 64 KB, as Linux sends them: headers, and page fragments of 32 KB or of 4 KB. These lie side
# by side in memory, as those do that were cut from one larger piece, or apart.
_LARGE, _SMALL = "--size 65000 --segments 4 --ring 256", "--size 65000 --segments 16 --ring 256"
GSO = {
    "64 KB": Case(f"--gso --touch {_LARGE} --buffer 65100", "gbps", "Gbit/s"),
    "copy of 64 KB": Case(f"--mode copy {_LARGE} --buffer 65100 --cpu 1", "gbps", "Gbit/s"),
    "64 KB in 16 pieces": Case(f"--gso --touch {_SMALL} --buffer 65100", "gbps", "Gbit/s"),
    "64 KB, 16 apart": Case(f"--gso --touch {_SMALL} --apart --buffer 65100", "gbps", "Gbit/s"),
    "64 KB into 4 KB": Case(f"--gso --touch {_LARGE} --buffer 4096", "gbps", "Gbit/s"),
    "64 KB into 1.5 KB": Case(f"--gso --touch {_LARGE} --buffer 1536", "gbps", "Gbit/s"),
}

# How near one core comes to what it could copy if it did nothing else.
COPY = {
    "1,518 B": STANDARD["1,518 B"],
    "copy of 1,518 B": Case("--mode copy --size 1514 --cpu 1", "gbps", "Gbit/s"),
    "9,000 B": STANDARD["9,000 B"],
    "copy of 9,000 B": Case("--mode copy --size 9014 --cpu 1", "gbps", "Gbit/s"),
}

# Rings as large as QEMU makes them: with as many buffers as they hold, which nearly fit into a core's second
# level of cache, and with as many as a guest of Linux had in turn (tools/README).
_TURNS = {1514: "--rotate 960 --sources 2000", 9014: "--rotate 600 --sources 350"}
RING = {
    "1,518 B": STANDARD["1,518 B"],
    "1,518 B, ring of 256": Case("--touch --size 1514 --ring 256", "gbps", "Gbit/s"),
    "1,518 B, buffers in turn": Case(f"--touch --size 1514 --ring 256 {_TURNS[1514]}", "gbps", "Gbit/s"),
    "9,000 B": STANDARD["9,000 B"],
    "9,000 B, ring of 256": Case("--touch --size 9014 --ring 256", "gbps", "Gbit/s", jumbo=True),
    "9,000 B, buffers in turn": Case(
        f"--touch --size 9014 --ring 256 {_TURNS[9014]}", "gbps", "Gbit/s", jumbo=True
    ),
}

# A bare wake is the part of a first one that is the machine's: waking any thread whose core rests.
IDLE = {
    "100 idle, CPU": Case("--mode idle", "cpu_percent", "%", more_is_better=False, ports=100),
    "first wake p50": Case("--mode wake", "p50_us", "us", more_is_better=False, ports=100),
    "first wake p99": Case("--mode wake", "p99_us", "us", more_is_better=False, ports=100),
    "bare wake p50": Case("--mode bare-wake", "p50_us", "us", more_is_better=False, ports=100),
    "bare wake p99": Case("--mode bare-wake", "p99_us", "us", more_is_better=False, ports=100),
}

RECORDER = {
    "recorder on": Case("--touch", "mpps", "Mpps"),
    "recorder off": Case("--touch", "mpps", "Mpps", recorder=False),
    "recorder on, 1,000 MACs": Case("--touch --macs 1000", "mpps", "Mpps"),
    "recorder off, 1,000 MACs": Case("--touch --macs 1000", "mpps", "Mpps", recorder=False),
    "recorder on, 1,518 B": Case("--touch --size 1514", "gbps", "Gbit/s"),
    "recorder off, 1,518 B": Case("--touch --size 1514", "gbps", "Gbit/s", recorder=False),
}

FLOWS = {
    "no flows": Case("--touch", "mpps", "Mpps"),
    "flows, each frame": Case("--touch", "mpps", "Mpps", flows=1),
    "flows, 1 of 100": Case("--touch", "mpps", "Mpps", flows=100),
    "no flows, 1,000 MACs": Case("--touch --macs 1000", "mpps", "Mpps"),
    "flows, each frame, 1,000 MACs": Case("--touch --macs 1000", "mpps", "Mpps", flows=1),
}

SUITES = {
    "standard": STANDARD,
    "scale": SCALE,
    "guard": GUARD,
    "gso": GSO,
    "copy": COPY,
    "ring": RING,
    "idle": IDLE,
    "recorder": RECORDER,
    "flows": FLOWS,
}

BARS = (
    *(Bar("64 B", 1.8, peer) for peer in ("ovs", "ovs-vlan")),
    *(Bar("64 B, 1,000 MACs", 3.0, peer) for peer in ("ovs", "ovs-vlan")),
    *(Bar("64 B both ways", 1.5, peer) for peer in ("ovs", "ovs-vlan")),
    *(Bar("1,518 B", 1.8, peer) for peer in ("ovs", "ovs-vlan")),
    *(Bar("9,000 B", 1.3, peer) for peer in ("ovs", "ovs-vlan")),
    *(Bar("1,518 B, buffers in turn", 1.8, peer) for peer in ("ovs", "ovs-vlan")),
    *(Bar("9,000 B, buffers in turn", 1.3, peer) for peer in ("ovs", "ovs-vlan")),
    *(Bar("latency p50", 1 / 0.65, peer) for peer in ("ovs", "ovs-vlan")),
    Bar("64 B", 1.25, "testpmd"),
    Bar("1,518 B", 1.6, "testpmd"),
    # A C experiment, not in this repository, that copies once between two sockets and does little else:
    # judged only where it is brought by `--peer 'vufwd=COMMAND with {a} and {b}'` (tools/README).
    Bar("64 B", 1 / 1.25, "vufwd"),
    Bar("64 B, 1,000 MACs", 1 / 1.25, "vufwd"),
    Bar("cost, 64 B", 1 / 1.25, "vufwd"),
    Bar("cost, 64 B, 1,000 MACs", 1 / 1.25, "vufwd"),
    *(Bar("64 B, 64 ports", 0.95, other=f"64 B, {ports} ports") for ports in (2, 16)),
    Bar("64 B, 16 ports", 0.95, other="64 B, 2 ports"),
    Bar("64 KB", 0.9, other="copy of 64 KB"),
    Bar("9,000 B", 0.9, other="copy of 9,000 B"),
    Bar("recorder on", 0.97, other="recorder off"),
)

LIMITS = {"100 idle, CPU": 1.0, "first wake p99": 100.0}

TITLES = {
    "ovs": "OVS-DPDK, L2 learning",
    "ovs-vlan": "the same, access ports",
    "testpmd": "testpmd `io`, switches nothing",
}

VHOST = Course(
    {name: case for suite in SUITES.values() for name, case in suite.items()},
    BARS,
    LIMITS,
    TITLES,
    apart=distance.KEY,
    heading=distance.title,
)
