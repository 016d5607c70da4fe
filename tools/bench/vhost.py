"""vhost-user switches side by side: `python -m tools.bench.vhost [--rounds N] [--peer NAME=COMMAND]`.

Every round starts each switch once and runs each case once, in turn, so that the machine's drift falls
on all alike. The load (`tools/bench/vhost`, built by cargo) is on core 0, the switches on core 1. The
table shows medians and, behind them, how many times better vnet is; `--json FILE` has every run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import attrs

from tools.bench.switches import Command, Failed, Missing, OvsDpdk, Switch, Testpmd, Vnet

ROOT = Path(__file__).parents[2]
LOAD = ROOT / "target/release/vhost-load"


@attrs.frozen
class Case:
    """One kind of load."""

    words: str
    figure: str
    unit: str
    jumbo: bool = False
    more_is_better: bool = True
    ports: int = 2


CASES = {
    "64 B one way": Case("--touch", "mpps", "Mpps"),
    "64 B, 1,000 MACs": Case("--touch --macs 1000", "mpps", "Mpps"),
    "64 B both ways": Case("--touch --mode both", "mpps", "Mpps"),
    "64 B, data untouched": Case("", "mpps", "Mpps"),
    "1,518 B": Case("--touch --size 1514", "gbps", "Gbit/s"),
    "9,000 B": Case("--touch --size 9014", "gbps", "Gbit/s", jumbo=True),
    "latency p50": Case("--mode latency", "p50_us", "us", more_is_better=False),
    "latency p99": Case("--mode latency", "p99_us", "us", more_is_better=False),
}

SCALE = {f"64 B, {ports} ports": Case("--touch", "mpps", "Mpps", ports=ports) for ports in (2, 16, 64)}
"""Connected ports, of which two are busy."""

GSO = {
    "64 KB super-frames": Case(
        "--gso --size 65000 --segments 16 --buffer 65100 --ring 256", "gbps", "Gbit/s"
    ),
    "64 KB into 4 KB buffers": Case("--gso --size 65000 --segments 16 --buffer 4096", "gbps", "Gbit/s"),
}


def load(sockets: list[Path], case: Case, seconds: float, realtime: bool) -> dict[str, Any]:
    """One run of the load; what it measured, or `error`."""
    argv = ["chrt", "-f", "20"] if realtime else []
    argv += [str(LOAD), "--seconds", str(seconds), *case.words.split()]
    for path in sockets:
        argv += ["--socket", str(path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60 + seconds, check=False)
    try:
        return dict(json.loads(done.stdout))
    except ValueError:
        return {"error": (done.stdout + done.stderr)[-500:]}


class Runs:
    """Every run of every case of every switch."""

    def __init__(self) -> None:
        self.all: dict[str, dict[str, list[dict[str, Any]]]] = {}

    def add(self, switch: str, case: str, result: dict[str, Any]) -> None:
        """Note a run."""
        self.all.setdefault(case, {}).setdefault(switch, []).append(result)

    def median(self, switch: str, name: str, case: Case) -> tuple[float, float, float] | None:
        """Median, least and most."""
        runs = self.all.get(name, {}).get(switch, [])
        values = [float(run[case.figure]) for run in runs if case.figure in run]
        return (statistics.median(values), min(values), max(values)) if values else None

    def table(self, switches: list[str], cases: dict[str, Case]) -> str:
        """Markdown."""
        lines = [f"| load | {' | '.join(switches)} |", f"| --- |{' --- |' * len(switches)}"]
        for name, case in cases.items():
            ours = self.median(switches[0], name, case)
            cells = []
            for switch in switches:
                if (found := self.median(switch, name, case)) is None:
                    cells.append("-")
                    continue
                middle, least, most = found
                cell = f"{middle:.3g} [{least:.3g}..{most:.3g}]"
                if switch != switches[0] and ours is not None and middle > 0:
                    better = ours[0] / middle
                    cell += f" **{better:.2f}x**"
                cells.append(cell)
            lines.append(f"| {name}, {case.unit} | {' | '.join(cells)} |")
        return "\n".join(lines)


def once(
    switch: Switch, cases: dict[str, Case], folder: Path, options: argparse.Namespace, runs: Runs
) -> None:
    """Each case once, starting the switch anew where the case needs another set-up."""
    ways: dict[tuple[int, bool], dict[str, Case]] = {}
    for name, case in cases.items():
        ways.setdefault((case.ports, case.jumbo and not switch.jumbo), {})[name] = case
    for (ports, jumbo), some in ways.items():
        with switch.serve(folder, ports=ports, jumbo=jumbo, realtime=options.realtime) as sockets:
            for name, case in some.items():
                result = load(sockets, case, options.seconds, options.realtime)
                runs.add(switch.name, name, result)
                if "error" in result:
                    print(f"! {switch.name}, {name}: {result['error']}", file=sys.stderr)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("switch", nargs="*", help="vnet, ovs, testpmd and names of --peer; default: all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one run")
    parser.add_argument("--suite", choices=("standard", "scale", "gso"), default="standard")
    parser.add_argument("--case", action="append", help="only cases whose name has this in it")
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="NAME=COMMAND",
        help="another switch: its command, with {a} and {b} for two sockets to serve",
    )
    parser.add_argument("--realtime", action="store_true", help="ahead of everything else on the machine")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    build = ["cargo", "build", "--release", "-q", "-p", "vnet-bench-vhost"]
    subprocess.run(build, cwd=ROOT, check=True)

    switches: dict[str, Switch] = {switch.name: switch for switch in (Vnet(), OvsDpdk(), Testpmd())}
    for word in options.peer:
        name, _, command = word.partition("=")
        switches[name] = Command(name, command)
    if options.suite != "standard":
        switches = {"vnet": switches["vnet"]}
    names = options.switch or list(switches)
    if unknown := set(names) - set(switches):
        parser.error(f"no such switch: {', '.join(sorted(unknown))}")
    cases = {"standard": CASES, "scale": SCALE, "gso": GSO}[options.suite]
    if options.case:
        cases = {name: case for name, case in cases.items() if any(part in name for part in options.case)}

    runs = Runs()
    with tempfile.TemporaryDirectory(prefix="vnet-bench-") as scratch:
        for number in range(options.rounds):
            for name in list(names):
                print(f"round {number + 1} of {options.rounds}: {name}", file=sys.stderr, flush=True)
                try:
                    once(switches[name], cases, Path(scratch), options, runs)
                except Missing as error:
                    print(f"! {name} is left out: {error}", file=sys.stderr)
                    names.remove(name)
                except (Failed, subprocess.SubprocessError, OSError) as error:
                    print(f"! {name}: {error}", file=sys.stderr)
    print(runs.table(names, cases))
    if options.json is not None:
        options.json.write_text(json.dumps(runs.all, indent=1))


if __name__ == "__main__":
    main()
