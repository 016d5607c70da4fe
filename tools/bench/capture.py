"""What a capture at full line costs guests that are not captured: `python -m tools.bench.capture --help`.

Two pairs of vhost-user guests send as fast as the engine takes it, the switch on core 1, the load on core 0.
`vnet capture` writes what one pair sends to a file, or to a FIFO whose reader is slow; the figure is what the
other pair gets meanwhile. What the capture lost is told beside it, as its file does. Every case is run once a
round, beside the one without a capture.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from tools.bench import hugepages, rounds
from tools.bench.cases import Bar, Course
from tools.bench.distance import LOAD
from tools.bench.results import Results
from tools.bench.switches import PAGES, Vnet, Wanted

EXAMPLES = """\
examples:
  python -m tools.bench.capture
  python -m tools.bench.capture --case '64 B' --rounds 5 --append capture.json
"""
SLOW = 1_000_000
"""Bytes a second that the slow reader takes."""


@attrs.frozen
class Case:
    """Frames of one size, and where a capture of what goes to."""

    size: int
    to: str | None = None
    what: tuple[str, ...] = ()
    figure: str = "others"
    unit: str = "Mpps"
    more_is_better: bool = True


def _cases(size: int) -> dict[str, Case]:
    name = f"{size + 4:,} B"
    return {
        f"{name}, no capture": Case(size),
        f"{name}, port to a file": Case(size, "file", ("g2.0",)),
        f"{name}, port to a slow FIFO": Case(size, "fifo", ("g2.0",)),
        f"{name}, drops of all": Case(size, "file", ("all", "--drops")),
        f"{name}, all to a file": Case(size, "file", ("all",)),
        f"{name}, all, a filter": Case(size, "file", ("all", "-f", "tcp port 80")),
    }


CASES = _cases(60) | _cases(1514)
BARS = tuple(
    Bar(name, 0.9, other=f"{name.partition(',')[0] if case.size < 1000 else '1,518 B'}, no capture")
    for name, case in CASES.items()
    if case.to is not None
)
COURSE = Course(CASES, BARS, {})


@contextlib.contextmanager
def capturing(case: Case, folder: Path) -> Iterator[dict[str, Any]]:
    """A capture for as long as the block runs; its counts afterwards."""
    told: dict[str, Any] = {}
    if case.to is None:
        yield told
        return
    path = folder / "x.pcapng"
    path.unlink(missing_ok=True)
    reader = None
    if case.to == "fifo":
        os.mkfifo(path)
        reader = threading.Thread(target=_read_slowly, args=(path,), daemon=True)
        reader.start()
    command = [sys.executable, "-m", "vnet", "capture", *case.what, "-w", str(path), "--json"]
    env = {**os.environ, "XDG_RUNTIME_DIR": str(folder)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env) as process:
        yield told
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    try:
        told |= json.loads(out)
    except ValueError:
        told["error"] = (out + err).decode(errors="replace")[-500:]
    path.unlink(missing_ok=True)


def _read_slowly(path: Path) -> None:
    tick = threading.Event()
    with path.open("rb", buffering=0) as fifo:
        while fifo.read(SLOW // 100):
            tick.wait(0.01)


def once(
    switch: Vnet, cases: dict[str, Case], folder: Path, options: argparse.Namespace, results: Results
) -> None:
    """Each case once."""
    seconds, keep = options.seconds, options.append
    for name, case in cases.items():
        argv = [str(LOAD), "--mode", "pairs", "--touch", "--size", str(case.size), "--seconds", str(seconds)]
        with switch.serve(folder, Wanted(ports=4)) as sockets, capturing(case, folder) as told:
            for socket in sockets:
                argv += ["--socket", str(socket)]
            done = subprocess.run(argv, capture_output=True, text=True, timeout=60 + seconds, check=False)
        result: dict[str, Any] = {"capture": told}
        try:
            result |= json.loads(done.stdout)
            result["others"], result["captured"] = result["pairs"]
        except (ValueError, KeyError):
            result["error"] = (done.stdout + done.stderr)[-500:]
        results.add(switch.name, name, result)
        if keep is not None:
            results.save(keep)
        if wrong := told.get("error") or result.get("error"):
            print(f"! {name}: {wrong}", file=sys.stderr)


def lost(results: Results) -> Iterator[str]:
    """A line for each case: what the captured pair got, and what the capture counted, of the last round."""
    for name, switches in results.runs.items():
        last = switches["vnet"][-1]
        if "captured" in last:
            told = last["capture"]
            counts = [
                f"{told[key] / 1e6:.2f} M {key}" for key in ("received", "written", "lost") if key in told
            ]
            yield f"{name}: the other pair {last['captured']:.3g} Mpps; " + (", ".join(counts) or "-")


def main() -> int:
    """The command."""
    parser = rounds.parser("capture", str(__doc__), EXAMPLES, ("standard",))
    options: argparse.Namespace = parser.parse_args()
    results = Results.load(COURSE, options.report or options.append)
    left_out: list[str] = []
    if options.report is None:
        rounds.build("vnet-bench-vhost")
        cases = rounds.cases(parser, CASES, options.case)
        with hugepages.reserved(PAGES):
            left_out = rounds.measure(
                ["vnet"],
                options.rounds,
                lambda _, folder: once(Vnet(), cases, folder, options, results),
            )
    code = rounds.tell(results, left_out, options)
    print("\n".join(lost(results)))
    return code


if __name__ == "__main__":
    sys.exit(main())
