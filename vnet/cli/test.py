"""Bring a topology file up, probe every pair of guests, play its scenario.

Every port sends what honest guests send and what bad ones would: spoofed MAC and IP addresses, ARP and
neighbour advertisements for others, router advertisements, DHCP offers, foreign VLAN tags. Then every
guest talks to every other. What arrives is compared with what `vnet check` proves and with `expect`;
any difference is a failure and exit code 1.

Guests that somebody else starts are stood in for, uplinks are left out: nothing leaves this machine.
With in-process guests alone the test runs in virtual time, which takes a moment; network namespaces are
tested in real time, or with --virtual stood in for, too.

Examples:
  vnet test topology:tenants
  vnet test lab.yaml --junit lab.xml
  vnet test lab.yaml --scenario             only the scenario
  vnet test lab.yaml --virtual --json

"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vnet.cli import words
from vnet.errors import BadInput


def arguments(parser: argparse.ArgumentParser) -> None:
    """FILE [--scenario] [--virtual] [--junit FILE] [--json]."""
    parser.add_argument("file", metavar="FILE", help="a topology file")
    parser.add_argument("--scenario", action="store_true", help="play the scenario only; probe no pairs")
    parser.add_argument("--virtual", action="store_true", help="stand in for namespaces; virtual time")
    parser.add_argument("--patience", type=float, metavar="SECONDS", help="how long an answer may take")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write JUnit XML, too")
    words.json_argument(parser)


def run(given: argparse.Namespace) -> int:
    """The command."""
    from vnet.probe import report
    from vnet.probe.course import Options
    from vnet.probe.course import run as course
    from vnet.topology import Topology

    topology = Topology.from_file(given.file)
    if given.patience is not None and not 0 < given.patience < 3600:
        raise BadInput(f"--patience {given.patience:g}, expected seconds above 0 and below 3600")
    if given.scenario and not topology.scenario:
        raise BadInput(f"{given.file} has no scenario")
    folder = _folder(given.file)
    for index, step in enumerate(topology.scenario):
        if step.action == "apply":
            # Half an hour of other steps may be before it.
            try:
                Topology.from_file(folder / step.values["value"])
            except BadInput as error:
                where = f"{given.file}: scenario[{index}].apply"
                raise BadInput(*(f"{where}: {line}" for line in error.args)) from None
    if given.junit is not None:
        _try_to_write(given.junit)
    options = Options(given.virtual, given.patience, not given.scenario, folder)
    with _quiet():
        result = course(topology, options, (lambda _: None) if given.json else _live)
    if given.json:
        words.print_json(report.document(result))
    else:
        time = "virtual" if result.virtual else "real"
        print(f"\n{result.name}: tested in {time} time, {result.seconds:.1f} s")
        for line in report.lines(result):
            print(line)
    if given.junit is not None:
        try:
            given.junit.write_bytes(report.junit(result))
        except OSError as error:
            raise BadInput(f"{given.junit}: {error.strerror}") from None
    return 1 if result.findings else 0


def _try_to_write(path: Path) -> None:
    """Raise BadInput where nothing can be written; what is there stays as it is."""
    there = path.exists()
    if there and not path.is_file():
        return  # whoever reads it is not to think that this was all
    try:
        path.open("ab").close()
        if not there:
            path.unlink()
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing is logged: what is denied, a test brings about itself."""
    log = logging.getLogger("vnet")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)


def _folder(file: str) -> Path:
    """Where a file lies; the relative paths of its scenario are from there."""
    import topologies
    from vnet.topology.reader import READY

    if file.startswith(READY):
        return topologies.FOLDER
    return Path() if file == "-" else Path(file).parent


def _live(line: str) -> None:
    print(f"... {line}" if not line.startswith(" ") else line, flush=True)
    sys.stdout.flush()
