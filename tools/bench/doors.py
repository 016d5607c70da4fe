"""Two network namespaces and what joins them, side by side: `python -m tools.bench.doors --help`.

Every round starts each switch once and measures it, in turn, so that the machine's drift falls on all
alike. All of it, interfaces and processes, lives in namespaces of the benchmark's own, which end with it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tools.bench import congestion, doors_fair, rounds
from tools.bench.doors_cases import COURSE, SUITES, Case
from tools.bench.doors_switches import Switch, Taps, VnetUplink, all_of_them
from tools.bench.processes import Failed
from tools.bench.results import Results

EXAMPLES = """\
examples:
  python -m tools.bench.doors --append doors.json        vnet, a plain copier, OVS, VDE, bridge, veth
  python -m tools.bench.doors --suite uplink --append doors.json    1, 10 and 50 guests behind one uplink
  python -m tools.bench.doors --suite fair --rounds 3    what a guest that floods an uplink costs another
  python -m tools.bench.doors --congestion cubic,bbr --case TCP    where pacing is no limit, and where it is
  python -m tools.bench.doors --report doors.json        what it came to, and which bars hold
  python -m tools.bench.doors vnet copier --case requests --rounds 5
  python -m tools.bench.doors vnet mine --peer 'mine=./switch {a} {b}'    a program that makes two TAPs

Needs root and iperf3; OVS (openvswitch-switch-dpdk) and VDE (vde2) are left out where they are missing.
"""
_INSIDE = "VNET_BENCH_INSIDE"


def secluded(module: str) -> None:
    """Go on in network, mount and process namespaces of our own, as `python -m MODULE` with the same words:
    what is made in there ends with us, even if we are killed. Returns in there.
    """
    if os.environ.get(_INSIDE):
        for folder in ("/run/netns", "/run/vnet"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=True)
        subprocess.run(["mount", "-t", "sysfs", "sysfs", "/sys"], check=True)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        sys.exit("it needs root, and unshare (util-linux)")
    own = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"]
    argv = ["unshare", *own, sys.executable, "-m", module, *sys.argv[1:]]
    os.execvpe("unshare", argv, {**os.environ, _INSIDE: "1"})


def once(
    switch: Switch,
    cases: dict[str, Case],
    controls: Sequence[str],
    folder: Path,
    seconds: float,
    results: Results,
) -> None:
    """Each measurement once with each congestion control, or with the first alone where there is no TCP. Its
    figures are cases.
    """
    by_measure: dict[Callable[[Any, float], dict[str, Any]], list[str]] = {}
    for name, case in cases.items():
        by_measure.setdefault(case.measure, []).append(name)
    with switch.serve(folder) as pair:
        for control, (measure, names) in itertools.product(controls, by_measure.items()):
            if control != controls[0] and not cases[names[0]].by_tcp:
                continue
            try:
                congestion.use(pair, control)
                result = measure(pair, seconds)
            except Failed as error:
                print(f"! {switch.name}, {names[0]}: {error}", file=sys.stderr)
                continue
            for name in names:
                results.add(switch.name, name, {**result, congestion.KEY: control})


def main() -> int:
    """The command."""
    parser = rounds.parser("doors", str(__doc__), EXAMPLES, SUITES)
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="NAME=COMMAND",
        help="another switch: a command that makes two TAPs, named {a} and {b}",
    )
    parser.add_argument("--poll", choices=("adaptive", "busy", "sleep"), default="adaptive", help="of vnet")
    parser.add_argument(
        "--congestion",
        metavar="NAME[,NAME..]",
        help="TCP's congestion control in all namespaces, e.g. cubic,bbr: measured and told with each; "
        "default: this machine's own",
    )
    options = parser.parse_args()
    results = Results.load(COURSE, options.report or options.append)
    left_out: list[str] = []
    if options.report is None:
        controls = congestion.chosen(parser, options.congestion)
        if not os.environ.get(_INSIDE):
            rounds.build("vnet-bench-doors")
        secluded("tools.bench.doors")
        known = all_of_them(options.poll)
        if options.suite == "uplink":
            known = [VnetUplink(poll=options.poll)]
        elif options.suite == "fair":
            known = [VnetUplink(rate=doors_fair.RATE, poll=options.poll)]
        known += [Taps(name, command) for name, command in rounds.peers(parser, options.peer).items()]
        switches = {switch.name: switch for switch in known}
        names = rounds.chosen(parser, options.switch, switches, list(switches))
        cases = rounds.cases(parser, SUITES[options.suite], options.case)
        with contextlib.suppress(KeyboardInterrupt):
            left_out = rounds.measure(
                names,
                options.rounds,
                lambda name, folder: once(switches[name], cases, controls, folder, options.seconds, results),
            )
    return rounds.tell(results, left_out, options)


if __name__ == "__main__":
    sys.exit(main())
