"""What guard and security groups cost: `python -m tools.bench.groups [--rounds N] [--flows N] [--bars]`.

Two vhost-user guests, as in `tools.bench.vhost`, whose frames take source ports in turn: as many tracked
connections as flows, all of them busy, or (1 flow) one of them while the others are tracked still. There is
a fabric with no guard and no groups, one with the guard, and one with both, the groups of each guest having
a hundred rules. All are up at once, asleep but for the one whose turn it is: in every round each load goes
through all of them, one right after the other, so that the machine's drift falls on all alike. The table
shows medians of the rates, and of what is left of the rate without in the same round, which the bars are
about: 85 % of short frames, and of long ones so much that what is missing could not be measured. Where a
virtual machine's host moves the two cores about, there is one for runs with both near each other, and one
for those with both far apart.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tools.bench import distance
from tools.bench.cases import Bar, Case, Course
from tools.bench.distance import LOAD
from tools.bench.processes import FABRIC, appear, living_in, running
from tools.bench.results import Results
from tools.bench.rounds import ROOT
from tools.bench.switches import CORE
from tools.bench.vhost import load

RULES = 100
WAYS = ("without", "guard", "guard and groups")
ALL = WAYS[-1]
SHORT, LONG = 0.85, 0.98
"""What has to be left of the rate of short frames, and of long ones."""


def course(loads: dict[str, Case]) -> Course:
    """Each load in each way, and what has to come out."""
    return Course(
        {named(load, way): case for load, case in loads.items() for way in WAYS},
        tuple(
            Bar(named(load, ALL), SHORT if load.startswith("64 B") else LONG, other=named(load, WAYS[0]))
            for load in loads
        ),
        {},
        apart=distance.KEY,
        heading=distance.title,
    )


def named(load: str, way: str) -> str:
    """A load that goes through the fabric of this way."""
    return f"{load}, {way}"


def cases(flows: int) -> dict[str, Case]:
    """The load, by name."""
    return {
        f"64 B one way, {flows} flows": Case(f"--touch --flows {flows}", "mpps", "Mpps"),
        "64 B one way, 1 flow": Case("--touch", "mpps", "Mpps"),
        f"64 B both ways, {flows} flows": Case(f"--touch --flows {flows} --mode both", "mpps", "Mpps"),
        f"1,514 B one way, {flows} flows": Case(f"--touch --flows {flows} --size 1514", "mpps", "Mpps"),
        "1,514 B one way, 1 flow": Case("--touch --size 1514", "mpps", "Mpps"),
    }


def rules() -> list[dict[str, Any]]:
    """A hundred, of which one allows the load."""
    found: list[dict[str, Any]] = [
        {"protocol": "tcp", "ports": 100 + number, "prefix": f"198.51.{number}.0/24"}
        for number in range(RULES - 1)
    ]
    return [*found, {"protocol": "udp", "prefix": "10.0.0.0/24"}]


def document(name: str, way: str, sockets: list[Path]) -> dict[str, Any]:
    """The topology."""
    guests = {}
    for number, path in enumerate(sockets):
        nic: dict[str, Any] = {
            "network": "n",
            "mac": f"02:00:00:00:00:{number + 1:02x}",
            "ip": [f"10.0.0.{number + 1}"],
            "nic": {"kind": "vhost-user", "role": "server", "socket": str(path)},
        }
        if way == "without":
            nic["guard"] = "off"
        if way == "guard and groups":
            nic["groups"] = ["hundred"]
        guests[f"g{number}"] = {"kind": "external", "nics": [nic]}
    return {
        "name": name,
        "engine": {"driver": "thread", "cpu": CORE, "poll": "adaptive"},
        "networks": {"n": {"vlan": 10, "mtu": 9000, "subnets": ["10.0.0.0/24"], "gateway": []}},
        "groups": {"hundred": {"ingress": rules(), "egress": rules()}},
        "guests": guests,
    }


@contextlib.contextmanager
def serve(way: str, folder: Path) -> Iterator[list[Path]]:
    """A fabric, in a folder of its own, for as long as the block runs."""
    sockets = [folder / f"vnet{number}.sock" for number in range(2)]
    file = folder / "bench.yaml"
    file.write_text(json.dumps(document(f"{FABRIC}-{folder.name}", way, sockets)))
    argv = [sys.executable, "-m", "vnet", "up", str(file)]
    with running(argv, folder / "vnet.log", env=living_in(folder)) as process:
        appear(sockets, process, folder / "vnet.log")
        yield sockets


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5, help="length of one run")
    parser.add_argument("--flows", type=int, default=10_000)
    parser.add_argument("--case", action="append", help="only cases whose name has this in it")
    parser.add_argument("--ahead", action="store_true", help="ahead of everything else on the machine")
    parser.add_argument("--bars", action="store_true", help="exit with 1 if a bar is missed")
    options = parser.parse_args()
    build = ["cargo", "build", "--release", "-q", "-p", "vnet-bench-vhost"]
    subprocess.run(build, cwd=ROOT, check=True)
    assert LOAD.exists()
    wanted = {
        name: case
        for name, case in cases(options.flows).items()
        if not options.case or any(part in name for part in options.case)
    }
    results = Results(course(wanted))
    with tempfile.TemporaryDirectory(prefix="vnet-bench-") as scratch, contextlib.ExitStack() as up:
        doors = {}
        for number, way in enumerate(WAYS):
            folder = Path(scratch, str(number))
            folder.mkdir(0o700)
            doors[way] = up.enter_context(serve(way, folder))
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
            for name, case in wanted.items():
                run = partial(measure, doors, case, options.seconds, options.ahead)
                took = distance.alike(run)
                if "error" in took:
                    print(f"! {name}: {took['error']}", file=sys.stderr)
                    continue
                apart = took.get(distance.KEY, "")
                for way in WAYS:
                    results.add("vnet", named(name, way), {case.figure: took[way], distance.KEY: apart})
    well = True
    for kind, part in results.parts().items():
        lines, holds = part.bars()
        well &= holds
        print("\n".join([*table(distance.title(kind), wanted, part), *lines]))
    return 1 if options.bars and not well else 0


def measure(doors: dict[str, list[Path]], case: Case, seconds: float, ahead: bool) -> dict[str, Any]:
    """The rate of one load through each fabric, or `error`."""
    took: dict[str, Any] = {}
    for way, sockets in doors.items():
        result = load(sockets, case, seconds, ahead)
        if case.figure not in result:
            return {"error": f"{way}: {result}"}
        took[way] = float(result[case.figure])
    return took


def table(title: str, wanted: dict[str, Case], found: Results) -> Iterator[str]:
    """The lines of what was found, by case and way."""
    yield f"| load{f', {title}' if title else ''} | {' | '.join(WAYS)} |"
    yield f"| --- |{' --- |' * len(WAYS)}"
    for name, case in wanted.items():
        cells = []
        for way in WAYS:
            values = found.values("vnet", named(name, way))
            middle = statistics.median(values) if values else 0
            spread = f"[{min(values, default=0):.3g}..{max(values, default=0):.3g}]"
            left = found.better(named(name, way), "vnet", named(name, WAYS[0])) or 0
            cells.append(f"{middle:.3g} {spread} {left * 100:.0f} %")
        yield f"| {name}, {case.unit} | {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
