"""vhost-user switches side by side, in interleaved rounds: `python -m tools.bench.vhost --help`.

Every round starts each switch once and runs each case once, in turn, so that the machine's drift falls
on all alike. The load (`tools/bench/vhost`, built by cargo) is on core 0, the switches on core 1. Where a
virtual machine's host moves these about, runs with both near each other and with both far apart are told
apart.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tools.bench import distance, hugepages, rounds
from tools.bench.cases import SUITES, VHOST, Case
from tools.bench.distance import LOAD
from tools.bench.processes import cpu_seconds, thread_seconds
from tools.bench.results import Results
from tools.bench.switches import PAGES, Command, OvsDpdk, OvsVlan, Switch, Testpmd, Vnet, VnetAwake, Wanted

LEARNING = 1.0
"""Seconds in which the load connects, makes itself known and warms up."""

EXAMPLES = """\
examples:
  python -m tools.bench.vhost --rounds 3 --append all.json     vnet, OVS-DPDK twice, testpmd
  python -m tools.bench.vhost --suite scale --append all.json  2, 16 and 64 connected ports
  python -m tools.bench.vhost --report all.json                what it came to, and which bars hold
  python -m tools.bench.vhost --report all.json --markdown     the same as a table for the README
  python -m tools.bench.vhost vnet mine --peer 'mine=./switch -s {a} -s {b}' --case '64 B'
  python -m tools.bench.vhost --case cost                      cycles of the switch a frame

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


def cost(sockets: list[Path], case: Case, seconds: float, switch: Switch, ahead: bool) -> dict[str, Any]:
    """What a frame costs a switch that the load keeps busy, in cycles of the clock that ticks evenly (TSC).

    They are those that its busiest thread had the CPU for, so what else the machine does counts little.
    """
    if switch.process is None:
        return {"error": "only a switch that is one process can be looked at"}
    pid = switch.process.pid
    argv = words(sockets, case, seconds, ahead)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        # The load has begun to count by then, and has not stopped.
        time.sleep(LEARNING)
        begun, before = time.monotonic(), thread_seconds(pid)
        time.sleep(seconds / 2)
        after, elapsed = thread_seconds(pid), time.monotonic() - begun
        told, _ = process.communicate(timeout=60 + seconds)
    try:
        result = dict(json.loads(told))
    except ValueError:
        return {"error": told[-500:]}
    if "error" not in result:
        share = max(used - before.get(thread, 0.0) for thread, used in after.items()) / elapsed
        result |= {"share": round(share, 3), "cycles": round(share * result["mhz"] / result["mpps"], 1)}
    return result


def once(
    switch: Switch, cases: dict[str, Case], folder: Path, options: argparse.Namespace, results: Results
) -> None:
    """Each case once, starting the switch anew where the case needs another set-up."""
    ways: dict[Wanted, dict[str, Case]] = {}
    for name, case in cases.items():
        jumbo = case.jumbo and not switch.jumbo
        way = Wanted(case.ports, jumbo, case.guard, case.recorder, case.flows, options.ahead)
        ways.setdefault(way, {})[name] = case
    for way, some in ways.items():
        with switch.serve(folder, way) as sockets:
            for name, case in some.items():
                if case.figure == "cpu_percent":
                    result = idle(sockets, case, options.seconds, switch)
                elif case.figure == "cycles":
                    result = distance.alike(
                        lambda c=case: cost(sockets, c, options.seconds, switch, options.ahead)
                    )
                else:
                    result = distance.alike(lambda c=case: load(sockets, c, options.seconds, options.ahead))
                results.add(switch.name, name, result)
                if "error" in result:
                    print(f"! {switch.name}, {name}: {result['error']}", file=sys.stderr)


def main() -> int:
    """The command."""
    parser = rounds.parser("vhost", str(__doc__), EXAMPLES, SUITES)
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="NAME=COMMAND",
        help="another switch: its command, with {a} and {b} for two sockets to serve",
    )
    parser.add_argument("--poll", choices=("adaptive", "busy", "sleep"), default="adaptive", help="of vnet")
    parser.add_argument("--ahead", action="store_true", help="ahead of everything else on the machine")
    options = parser.parse_args()
    results = Results.load(VHOST, options.report or options.append)
    left_out: list[str] = []
    if options.report is None:
        rounds.build("vnet-bench-vhost")
        known: list[Switch] = [Vnet(poll=options.poll), OvsDpdk(), OvsVlan(), Testpmd()]
        if options.suite == "idle":
            known.append(VnetAwake(poll=options.poll))
        known += [Command(name, command) for name, command in rounds.peers(parser, options.peer).items()]
        switches = {switch.name: switch for switch in known}
        own = [switch.name for switch in known if isinstance(switch, Vnet)]
        usual = list(switches) if options.suite == "standard" else own
        names = rounds.chosen(parser, options.switch, switches, usual)
        cases = rounds.cases(parser, SUITES[options.suite], options.case)
        with hugepages.reserved(PAGES):
            left_out = rounds.measure(
                names,
                options.rounds,
                lambda name, folder: once(switches[name], cases, folder, options, results),
            )
    return rounds.tell(results, left_out, options)


if __name__ == "__main__":
    sys.exit(main())
