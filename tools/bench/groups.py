"""What guard and security groups cost: `python -m tools.bench.groups [--rounds N] [--flows N]`.

Two vhost-user guests, as in `tools.bench.vhost`, whose frames take source ports in turn: as many tracked
connections as flows, all of them busy, or (1 flow) one of them while the others are tracked still. There is
a fabric with no guard and no groups, one with the guard, and one with both, the groups of each guest having
a hundred rules. All are up at once, asleep but for the one whose turn it is: in every round each load goes
through all of them, one right after the other, so that the machine's drift falls on all alike. The table
shows medians of the rates, and of what is left of the rate without in the same round. Where a virtual
machine's host moves the two cores about, there is one for runs with both near each other, and one for those
with both far apart.
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
from pathlib import Path
from typing import Any

from tools.bench import distance
from tools.bench.cases import Case
from tools.bench.distance import LOAD
from tools.bench.processes import FABRIC, appear, living_in, running
from tools.bench.rounds import ROOT
from tools.bench.switches import CORE
from tools.bench.vhost import load

RULES = 100
WAYS = ("without", "guard", "guard and groups")
Found = dict[str, dict[str, dict[str, list[float]]]]
"""Rates in order of the rounds, by the cores' distance, the load and the way."""


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


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5, help="length of one run")
    parser.add_argument("--flows", type=int, default=10_000)
    parser.add_argument("--case", action="append", help="only cases whose name has this in it")
    options = parser.parse_args()
    build = ["cargo", "build", "--release", "-q", "-p", "vnet-bench-vhost"]
    subprocess.run(build, cwd=ROOT, check=True)
    assert LOAD.exists()
    wanted = {
        name: case
        for name, case in cases(options.flows).items()
        if not options.case or any(part in name for part in options.case)
    }
    found: Found = {}
    with tempfile.TemporaryDirectory(prefix="vnet-bench-") as scratch, contextlib.ExitStack() as up:
        doors = {}
        for number, way in enumerate(WAYS):
            folder = Path(scratch, str(number))
            folder.mkdir(0o700)
            doors[way] = up.enter_context(serve(way, folder))
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
            for name, case in wanted.items():
                took = distance.alike(lambda c=case: measure(doors, c, options.seconds))
                if "error" in took:
                    print(f"! {name}: {took['error']}", file=sys.stderr)
                    continue
                part = found.setdefault(took.get(distance.KEY, ""), {name: {} for name in wanted})
                for way in WAYS:
                    part[name].setdefault(way, []).append(took[way])
    for kind, part in found.items():
        print("\n".join(table(distance.title(kind), wanted, part)))


def measure(doors: dict[str, list[Path]], case: Case, seconds: float) -> dict[str, Any]:
    """The rate of one load through each fabric, or `error`."""
    took: dict[str, Any] = {}
    for way, sockets in doors.items():
        result = load(sockets, case, seconds, False)
        if case.figure not in result:
            return {"error": f"{way}: {result}"}
        took[way] = float(result[case.figure])
    return took


def table(title: str, wanted: dict[str, Case], found: dict[str, dict[str, list[float]]]) -> Iterator[str]:
    """The lines of what was found, by case and way."""
    yield f"| load{f', {title}' if title else ''} | {' | '.join(WAYS)} |"
    yield f"| --- |{' --- |' * len(WAYS)}"
    for name, by_way in found.items():
        cells = []
        for way in WAYS:
            values = by_way.get(way, [])
            left = [
                value / base for value, base in zip(values, by_way.get("without", []), strict=True) if base
            ]
            spread = f"[{min(values, default=0):.3g}..{max(values, default=0):.3g}]"
            middle, part = (statistics.median(each) if each else 0 for each in (values, left))
            cells.append(f"{middle:.3g} {spread} {part * 100:.0f} %")
        yield f"| {name}, {wanted[name].unit} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
