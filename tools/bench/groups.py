"""What guard and security groups cost: `python -m tools.bench.groups [--rounds N] [--flows N]`.

Two vhost-user guests, as in `tools.bench.vhost`, whose frames take source ports in turn: as many tracked
connections as flows, all of them busy, or (1 flow) one of them while the others are tracked still. In every
round vnet runs with no guard and no groups, with the guard, and with both, the groups of each guest having
a hundred rules; the load is the same. The table shows medians and what of the rate without is left. Where a
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


def document(way: str, sockets: list[Path]) -> dict[str, Any]:
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
        "name": FABRIC,
        "engine": {"driver": "thread", "cpu": CORE, "poll": "adaptive"},
        "networks": {"n": {"vlan": 10, "mtu": 9000, "subnets": ["10.0.0.0/24"], "gateway": []}},
        "groups": {"hundred": {"ingress": rules(), "egress": rules()}},
        "guests": guests,
    }


@contextlib.contextmanager
def serve(way: str, folder: Path) -> Iterator[list[Path]]:
    """A fabric, for as long as the block runs."""
    sockets = [folder / f"vnet{number}.sock" for number in range(2)]
    file = folder / "bench.yaml"
    file.write_text(json.dumps(document(way, sockets)))
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
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    with tempfile.TemporaryDirectory(prefix="vnet-bench-") as scratch:
        for _ in range(options.rounds):
            for way in WAYS:
                with serve(way, Path(scratch)) as sockets:
                    for name, case in wanted.items():
                        result = distance.alike(lambda c=case: load(sockets, c, options.seconds, False))
                        if case.figure not in result:
                            print(f"! {way}, {name}: {result}", file=sys.stderr)
                            continue
                        part = found.setdefault(result.get(distance.KEY, ""), {name: {} for name in wanted})
                        part[name].setdefault(way, []).append(float(result[case.figure]))
    for kind, part in found.items():
        print("\n".join(table(distance.title(kind), wanted, part)))


def table(title: str, wanted: dict[str, Case], found: dict[str, dict[str, list[float]]]) -> Iterator[str]:
    """The lines of what was found, by case and way."""
    yield f"| load{f', {title}' if title else ''} | {' | '.join(WAYS)} |"
    yield f"| --- |{' --- |' * len(WAYS)}"
    for name, by_way in found.items():
        base = statistics.median(by_way.get("without", [0.0]))
        cells = []
        for values in (by_way.get(way, []) for way in WAYS):
            middle = statistics.median(values) if values else 0
            spread = f"[{min(values, default=0):.3g}..{max(values, default=0):.3g}]"
            cells.append(f"{middle:.3g} {spread} {middle / base * 100 if base else 0:.0f} %")
        yield f"| {name}, {wanted[name].unit} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
