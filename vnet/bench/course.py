"""The course of measurements: what is repeated how often, and what comes out."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import trio

from vnet._native import VERSION, LoadFar, load_bulk, load_echo, load_flood
from vnet.bench.rigs import Rig, rig
from vnet.errors import VnetError

Tell = Callable[[str], None]
SIZES = (60, 1514)
GUESTS = (10, 100, 1000)
OTHER_GUESTS = {"pipe": 200, "tap": 100, "stream": 200, "vde": 200}
"""How many guests of other kinds than `stack`."""
ENOUGH = 100
"""From how many guests on memory says what one costs, and not what the fabric itself does."""
PATIENCE = 20.0
"""Seconds after which a frame that goes round is not waited for any more."""
SATURATED = 0.9
"""Share of its core from which on the engine is what limits."""


@attrs.frozen
class Spread:
    """The median of some repeats, and the least and most of them."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of these values, one at least."""
        return cls(statistics.median(values), min(values), max(values))

    @property
    def apart(self) -> float:
        """Half the distance between the extremes, as a share of the median."""
        return (self.most - self.least) / 2 / self.median if self.median else 0.0


@attrs.frozen
class Forwarding:
    """Frames of one size from one guest to another."""

    kind: str
    frame_bytes: int
    frames_per_s: Spread
    gbit_per_s: Spread
    cpu_ns_per_frame: Spread
    engine_busy: float
    engine_limited: bool
    lost: int


@attrs.frozen
class Latency:
    """Round trips of single frames."""

    kind: str
    p50_s: float
    p99_s: float
    samples: int


@attrs.frozen
class Bulk:
    """One TCP connection."""

    kind: str
    gbit_per_s: Spread


@attrs.frozen
class Guests:
    """What it takes to have so many guests."""

    kind: str
    guests: int
    seconds: Spread
    memory_bytes_per_guest: float | None


@attrs.frozen
class Skipped:
    """What could not be measured."""

    kind: str
    why: str


@attrs.define
class Results:
    """Everything that was found out; `attrs.asdict` of it is the JSON document."""

    vnet: str
    machine: dict[str, Any]
    disturbed: float = 0.0
    """The largest share of a measurement in which the engine waited for another program on its core."""
    forwarding: list[Forwarding] = attrs.field(factory=list)
    latency: list[Latency] = attrs.field(factory=list)
    tcp: list[Bulk] = attrs.field(factory=list)
    guests: list[Guests] = attrs.field(factory=list)
    skipped: list[Skipped] = attrs.field(factory=list)


@attrs.frozen
class _Flood:
    frames: int
    bytes: int
    lost: int
    nanos: int
    busy: float


class Course:
    """All measurements, or some."""

    def __init__(self, *, quick: bool, kinds: Sequence[str], parts: Sequence[str] | None = None) -> None:
        self.kinds = kinds
        self.parts = set(parts or ("forwarding", "latency", "tcp", "guests"))
        self.repeats = 3 if quick else 5
        self.seconds = 0.2 if quick else 0.5
        self.trips = 2_000 if quick else 20_000
        self.numbers: Sequence[int] = GUESTS[:-1] if quick else GUESTS
        self.others = OTHER_GUESTS
        self.results = Results(VERSION, machine())

    def run(self, tell: Tell) -> Results:
        """Do it, telling what is being measured."""
        trio.run(self._run, tell)
        return self.results

    async def _run(self, tell: Tell) -> None:
        for kind in self.kinds:
            try:
                if self.parts & {"forwarding", "latency", "tcp"}:
                    async with rig(kind) as made:
                        await self._on(kind, made, tell)
                if "guests" in self.parts:
                    await self._guests(kind, tell)
            except (VnetError, OSError) as error:
                self.results.skipped.append(Skipped(kind, str(error)))

    async def _on(self, kind: str, made: Rig, tell: Tell) -> None:
        if "forwarding" in self.parts:
            for size in SIZES:
                tell(f"{kind}: frames of {size} bytes")
                self.results.forwarding.append(await self._flood(kind, made, size))
        if "tcp" in self.parts and made.tcp is not None:
            tell(f"{kind}: TCP")
            made.start("adaptive")
            self.results.tcp.append(await self._tcp(kind, made))
        if "latency" in self.parts:
            tell(f"{kind}: round trips")
            made.start("adaptive")
            self.results.latency.append(await self._echo(kind, made))

    async def _flood(self, kind: str, made: Rig, size: int) -> Forwarding:
        fars = made.fars(size, False)
        # As it is by default; and without looking on for more while there is nothing, so that the
        # time that its thread takes is all work.
        usual = await self._floods(made, fars, "adaptive")
        frugal = await self._floods(made, fars, "sleep")
        busy = statistics.median(one.busy for one in frugal)
        return Forwarding(
            kind,
            size,
            Spread.of([one.frames * 1e9 / one.nanos for one in usual]),
            Spread.of([one.bytes * 8 / one.nanos for one in usual]),
            Spread.of([one.busy * one.nanos / max(one.frames, 1) for one in frugal]),
            busy,
            busy >= SATURATED,
            sum(one.lost for one in usual + frugal),
        )

    async def _floods(self, made: Rig, fars: tuple[LoadFar, LoadFar], poll: str) -> list[_Flood]:
        made.start(poll)
        thread = engine_thread()
        floods = []
        for _ in range(self.repeats + 1):
            before = cpu_time(thread)
            done = await made.load(load_flood, made.engine, *fars, *made.ports, made.window, self.seconds)
            ran, waited = (after - then for after, then in zip(cpu_time(thread), before, strict=True))
            floods.append(_Flood(*done, ran / done[-1]))
            self.results.disturbed = max(self.results.disturbed, waited / done[-1])
        return floods[1:]  # the first is the warm-up

    async def _echo(self, kind: str, made: Rig) -> Latency:
        near, far = made.fars(60, True)
        limit = self.seconds * self.repeats
        await made.load(load_echo, near, far, self.trips // 10, limit)
        trips: list[int] = []
        # On a machine with other things to do, a thread may wait longer than that for its core.
        deadline = trio.current_time() + PATIENCE
        while len(trips) < 2 and trio.current_time() < deadline:
            trips += await made.load(load_echo, near, far, self.trips, limit)
        if len(trips) < 2:
            raise VnetError(f"no frame came back in {PATIENCE:g} s")
        cuts = statistics.quantiles(trips, n=100)
        return Latency(kind, cuts[49] / 1e9, cuts[98] / 1e9, len(trips))

    async def _tcp(self, kind: str, made: Rig) -> Bulk:
        assert made.tcp is not None
        source, sink = await made.load(made.tcp)
        rates = []
        for repeat in range(self.repeats + 1):
            count, nanos = await made.load(load_bulk, source, sink, self.seconds)
            if repeat:
                rates.append(count * 8 / nanos)
        return Bulk(kind, Spread.of(rates))

    async def _guests(self, kind: str, tell: Tell) -> None:
        for number in self.numbers if kind == "stack" else (self.others[kind],):
            tell(f"{kind}: {number} guests")
            times, memory = [], []
            for _ in range(self.repeats if number <= 100 else 3):
                done = await trio.run_process(
                    [sys.executable, "-m", "vnet.bench.crowd", kind, str(number)],
                    capture_stdout=True,
                    capture_stderr=True,
                    check=False,
                )
                if done.returncode != 0:
                    words = done.stderr.decode(errors="replace").strip().splitlines()
                    raise VnetError(f"{number} guests: {words[-1] if words else 'no reason given'}")
                found = json.loads(done.stdout)
                times.append(found["seconds"])
                memory.append(found["memory"] / number)
            each = statistics.median(memory) if number >= ENOUGH else None
            self.results.guests.append(Guests(kind, number, Spread.of(times), each))


def engine_thread() -> int:
    """The number of the engine's thread, which gives itself its name (`thread.rs`)."""
    for _ in range(1000):
        for task in Path("/proc/self/task").iterdir():
            if (task / "comm").read_text().strip() == "vnet-engine":
                return int(task.name)
        time.sleep(0.001)  # it has just been started
    raise VnetError("the engine has no thread")


def cpu_time(thread: int) -> tuple[int, int]:
    """Nanoseconds that a thread ran, and that it waited for its core."""
    # clock_getcpuclockid(3) for one thread: MAKE_THREAD_CPUCLOCK(tid, CPUCLOCK_SCHED).
    ran = time.clock_gettime_ns((~thread << 3) | 6)
    try:
        waited = int(Path(f"/proc/self/task/{thread}/schedstat").read_text().split()[1])
    except FileNotFoundError:  # a kernel without CONFIG_SCHED_INFO
        waited = 0
    return ran, waited


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "kernel": platform.release(),
        "python": platform.python_version(),
    }
