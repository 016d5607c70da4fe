"""vhost-user switches side by side, in interleaved rounds: `python -m tools.bench.vhost --help`.

Every round starts each switch once and runs each case once, in turn, so that the machine's drift falls
on all alike. The load (`tools/bench/vhost`, built by cargo) is on core 0, the switches on core 1.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.bench import hugepages
from tools.bench.cases import SUITES, Case
from tools.bench.results import Results, machine
from tools.bench.switches import PAGES, Command, Failed, Missing, OvsDpdk, OvsVlan, Switch, Testpmd, Vnet

ROOT = Path(__file__).parents[2]
LOAD = ROOT / "target/release/vhost-load"

EXAMPLES = """\
examples:
  python -m tools.bench.vhost --rounds 3 --append all.json     vnet, OVS-DPDK twice, testpmd
  python -m tools.bench.vhost --suite scale --append all.json  2, 16 and 64 connected ports
  python -m tools.bench.vhost --report all.json                what it came to, and which bars hold
  python -m tools.bench.vhost vnet mine --peer 'mine=./switch -s {a} -s {b}' --case '64 B'

OVS-DPDK and testpmd need root and 900 huge pages of 2 MB, which are reserved for the run and given back.
What can't be run here is left out, with the reason.
"""


def words(sockets: list[Path], case: Case, seconds: float, ahead: bool) -> list[str]:
    """The load's command line."""
    argv = ["nice", "-n", "-20"] if ahead else []
    argv += [str(LOAD), "--seconds", str(seconds), *case.words.split()]
    for path in sockets:
        argv += ["--socket", str(path)]
    return argv


def load(sockets: list[Path], case: Case, seconds: float, ahead: bool) -> dict[str, Any]:
    """One run of the load; what it measured, or `error`."""
    argv = words(sockets, case, seconds, ahead)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60 + seconds, check=False)
    try:
        return dict(json.loads(done.stdout))
    except ValueError:
        return {"error": (done.stdout + done.stderr)[-500:]}


def idle(sockets: list[Path], case: Case, seconds: float, switch: Switch) -> dict[str, Any]:
    """How much of a core the switch takes while its guests, all of them connected, do nothing."""
    if switch.process is None:
        return {"error": "only a switch that is one process can be looked at"}
    pid = switch.process.pid
    with subprocess.Popen(words(sockets, case, seconds, False), stdout=subprocess.DEVNULL) as process:
        time.sleep(1)
        begun, before = time.monotonic(), cpu_seconds(pid)
        time.sleep(max(5.0, seconds))
        percent = (cpu_seconds(pid) - before) / (time.monotonic() - begun) * 100
        process.terminate()
    return {"cpu_percent": round(percent, 4)}


def cpu_seconds(pid: int) -> float:
    """Of all threads of a process, as the scheduler counts it."""
    times = [int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir()]
    return sum(times) / 1e9


def once(
    switch: Switch, cases: dict[str, Case], folder: Path, options: argparse.Namespace, results: Results
) -> None:
    """Each case once, starting the switch anew where the case needs another set-up."""
    ways: dict[tuple[int, bool, bool], dict[str, Case]] = {}
    for name, case in cases.items():
        ways.setdefault((case.ports, case.jumbo and not switch.jumbo, case.guard), {})[name] = case
    for (ports, jumbo, guard), some in ways.items():
        with switch.serve(folder, ports=ports, jumbo=jumbo, guard=guard, ahead=options.ahead) as sockets:
            for name, case in some.items():
                if case.figure == "cpu_percent":
                    result = idle(sockets, case, options.seconds, switch)
                else:
                    result = load(sockets, case, options.seconds, options.ahead)
                results.add(switch.name, name, result)
                if "error" in result:
                    print(f"! {switch.name}, {name}: {result['error']}", file=sys.stderr)


def measure(
    names: list[str],
    switches: dict[str, Switch],
    cases: dict[str, Case],
    options: argparse.Namespace,
    results: Results,
) -> list[str]:
    """All rounds. What was left out and why."""
    missing: dict[str, str] = {}
    with scratch() as folder:
        for number in range(options.rounds):
            for name in names:
                if name in missing:
                    continue
                print(f"round {number + 1} of {options.rounds}: {name}", file=sys.stderr, flush=True)
                try:
                    once(switches[name], cases, folder, options, results)
                except Missing as error:
                    missing[name] = str(error)
                except (Failed, subprocess.SubprocessError, OSError) as error:
                    print(f"! {name}: {error}", file=sys.stderr)
    return [f"left out: {name}: {why}" for name, why in missing.items()]


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder for sockets and logs."""
    with tempfile.TemporaryDirectory(prefix="vnet-bench-") as folder:
        yield Path(folder)


def parse() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.bench.vhost",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "switch", nargs="*", help="vnet, ovs, ovs-vlan, testpmd and names of --peer; default: all"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one run")
    parser.add_argument("--suite", choices=SUITES, default="standard")
    parser.add_argument("--case", action="append", help="only cases whose name has this in it")
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="NAME=COMMAND",
        help="another switch: its command, with {a} and {b} for two sockets to serve",
    )
    parser.add_argument("--poll", choices=("adaptive", "busy", "sleep"), default="adaptive", help="of vnet")
    parser.add_argument("--ahead", action="store_true", help="ahead of everything else on the machine")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run there")
    parser.add_argument("--append", type=Path, metavar="FILE", help="add to the runs of a file")
    parser.add_argument("--report", type=Path, metavar="FILE", help="measure nothing, show a file")
    parser.add_argument("--bars", action="store_true", help="exit with 1 if a bar is missed")
    return parser, parser.parse_args()


def main() -> int:
    """The command."""
    parser, options = parse()
    results = Results.load(options.report or options.append or Path("/nonexistent"))
    left_out: list[str] = []
    if options.report is None:
        build = ["cargo", "build", "--release", "-q", "-p", "vnet-bench-vhost"]
        subprocess.run(build, cwd=ROOT, check=True)
        known: list[Switch] = [Vnet(poll=options.poll), OvsDpdk(), OvsVlan(), Testpmd()]
        switches = {switch.name: switch for switch in known}
        for word in options.peer:
            name, equals, command = word.partition("=")
            if not equals or not name:
                parser.error(f"--peer {word}: expected NAME=COMMAND")
            switches[name] = Command(name, command)
        names = options.switch or (list(switches) if options.suite == "standard" else ["vnet"])
        if unknown := set(names) - set(switches):
            parser.error(f"no such switch: {', '.join(sorted(unknown))}; there are {', '.join(switches)}")
        cases = SUITES[options.suite]
        if options.case:
            cases = {name: case for name, case in cases.items() if any(p in name for p in options.case)}
        if not cases:
            parser.error(f"no such case; there are {', '.join(SUITES[options.suite])}")
        with hugepages.reserved(PAGES):
            left_out = measure(names, switches, cases, options, results)
    print(machine())
    print(results.table())
    lines, well = results.bars()
    print("\n".join([*lines, *left_out]))
    for file in (options.json, options.append):
        if file is not None:
            results.save(file)
    return 1 if options.bars and not well else 0


if __name__ == "__main__":
    sys.exit(main())
