"""`vnet bench`: that it measures what it says, and tells it in 80 columns."""

from __future__ import annotations

import json
import subprocess
import sys

import attrs
import pytest

from tests.needs import needs_tun
from vnet import bench
from vnet.bench import report, rigs
from vnet.bench.course import (
    Bulk,
    Course,
    Forwarding,
    Guests,
    Latency,
    Results,
    Skipped,
    Spread,
    engine_thread,
)
from vnet.errors import NicError, VnetError

SECONDS = 0.2


def short(*kinds: str, parts: tuple[str, ...] = ("forwarding", "latency", "tcp")) -> Results:
    """As short a course as a busy machine allows."""
    course = Course(quick=True, kinds=kinds, parts=parts)
    course.repeats, course.seconds, course.trips = 1, SECONDS, 200
    course.numbers = (3, 100)
    said: list[str] = []
    results = course.run(said.append)
    assert said
    return results


def check(results: Results, kind: str) -> None:
    assert results.skipped == []
    assert [(row.kind, row.frame_bytes) for row in results.forwarding] == [(kind, 60), (kind, 1514)]
    for row in results.forwarding:
        assert row.frames_per_s.median > 0
        # Frames and bytes are read one after the other, with some bursts between them.
        bits = row.frame_bytes * 8 / 1e9
        between = 4 * 64 / SECONDS * bits
        assert row.gbit_per_s.median == pytest.approx(row.frames_per_s.median * bits, rel=0.1, abs=between)
        assert 10 < row.cpu_ns_per_frame.median < 1e8
        assert 0 < row.engine_busy < 1.5
    (latency,) = results.latency
    assert 100e-9 < latency.p50_s <= latency.p99_s < 2
    assert latency.samples > 0
    assert [row.kind for row in results.tcp] == ([kind] if kind in ("stack", "tap") else [])
    assert all(row.gbit_per_s.median > 0 for row in results.tcp)


@pytest.mark.parametrize("kind", ["pipe", "stack", "stream", "vde"])
def test_a_kind_is_measured(kind: str) -> None:
    check(short(kind), kind)


@needs_tun
def test_tap_is_measured() -> None:
    check(short("tap"), "tap")


def test_guests_are_counted_in_a_process_of_their_own() -> None:
    few, many = short("stack", parts=("guests",)).guests
    assert (few.guests, many.guests) == (3, 100)
    assert few.memory_bytes_per_guest is None
    assert many.memory_bytes_per_guest is not None
    assert 0 < many.memory_bytes_per_guest < 1e6
    assert 0 < few.seconds.median < 60
    assert 0 < many.seconds.median < 60


def test_what_can_not_be_measured_is_told_and_the_rest_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def refuse(*_: object) -> rigs.Rig:
        raise NicError("no TAP here", "be root")

    monkeypatch.setitem(rigs._MAKERS, "tap", refuse)
    results = short("tap", "pipe")
    assert results.skipped == [Skipped("tap", "no TAP here: be root")]
    assert len(results.forwarding) == 2
    # Only who asked for it by name is told by the exit code.
    assert bench.main(["--kind", "tap", "--only", "latency", "--quick"]) == 1
    assert "tap was not measured: no TAP here: be root" in capsys.readouterr().out


def test_an_engine_without_a_thread_has_no_clock() -> None:
    with pytest.raises(VnetError, match="no thread"):
        engine_thread()


SPREAD = Spread.of([1e9 / 3, 2e9 / 3, 4e9 / 3])
WIDE = Results(
    "10.10.10",
    {"cpu": "Intel(R) Xeon(R) Platinum 8488C CPU @ 2.40GHz", "cores": 192, "load": 99.9, "kernel": "6.18.44",
     "python": "3.13.11"},
    0.5,
    [Forwarding("stream", 1514, SPREAD, Spread.of([999.99]), Spread.of([123456.0]), 1.0, False, 1_000_000)],
    [Latency("stream", 123.4e-6, 123.4, 20_000)],
    [Bulk("stack", Spread.of([123.45]))],
    [Guests("stream", 1000, Spread.of([123.456]), 123456789.0)],
)  # fmt: skip


def test_tables_fit_eighty_columns() -> None:
    lines = list(report.lines(WIDE))
    assert max(map(len, lines)) <= 80, max(lines, key=len)
    assert "  stream  1514 B     667 M*  ±75%  999.99  123456 ns  100%  1000000" in lines
    assert any("Measure again on an idle machine" in line for line in lines)


def test_help_fits_eighty_columns() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "vnet", "bench", "--help"], capture_output=True, text=True, check=True,
        env={"COLUMNS": "80", "PATH": ""},
    )  # fmt: skip
    assert max(map(len, said.stdout.splitlines())) <= 80
    assert "vnet bench --quick --kind tap" in said.stdout


def test_json_has_stable_keys(capsys: pytest.CaptureFixture[str]) -> None:
    report.print_json(WIDE)
    document = json.loads(capsys.readouterr().out)
    assert document == json.loads(json.dumps(attrs.asdict(WIDE)))
    assert list(document) == [
        "vnet", "machine", "disturbed", "forwarding", "latency", "tcp", "guests", "skipped",
    ]  # fmt: skip
    assert list(document["forwarding"][0]) == [
        "kind", "frame_bytes", "frames_per_s", "gbit_per_s", "cpu_ns_per_frame", "engine_busy",
        "engine_limited", "lost",
    ]  # fmt: skip
    assert list(document["guests"][0]) == ["kind", "guests", "seconds", "memory_bytes_per_guest"]
    assert list(document["guests"][0]["seconds"]) == ["median", "least", "most"]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "0"),
        (12, "12"),
        (999.4, "999"),
        (1234, "1.23 k"),
        (2_310_000, "2.31 M"),
        (999_900, "1 M"),
        (3e9, "3 G"),
    ],
)
def test_amounts(number: float, words: str) -> None:
    assert report.amount(number) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(1.234, "1.23 s"), (0.0123, "12.3 ms"), (7.5e-6, "7.5 us"), (250e-9, "250 ns")]
)
def test_durations(seconds: float, words: str) -> None:
    assert report.duration(seconds) == words


def test_spread() -> None:
    spread = Spread.of([4, 1, 2])
    assert (spread.median, spread.least, spread.most) == (2, 1, 4)
    assert spread.apart == pytest.approx(0.75)
    assert Spread.of([0.0]).apart == 0
