"""Interleaved rounds, and the command line that the benchmarks of switches share.

Every round starts each switch once and runs each case once, in turn, so that the machine's drift falls
on all alike.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from tools.bench.cases import Figure
from tools.bench.processes import Failed, Missing
from tools.bench.results import Results, machine

ROOT = Path(__file__).parents[2]

_Case = TypeVar("_Case", bound=Figure)


def parser(program: str, doc: str, examples: str, suites: Collection[str]) -> argparse.ArgumentParser:
    """The command line; a benchmark adds its own words."""
    made = argparse.ArgumentParser(
        prog=f"python -m tools.bench.{program}",
        description=doc,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("switch", nargs="*", help="names of switches, those of --peer too; default: all")
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument("--seconds", type=float, default=2.0, help="length of one run")
    made.add_argument("--suite", choices=suites, default="standard")
    made.add_argument("--case", action="append", help="only cases whose name has this in it")
    made.add_argument("--json", type=Path, metavar="FILE", help="write every run there")
    made.add_argument("--append", type=Path, metavar="FILE", help="add to the runs of a file")
    made.add_argument("--report", type=Path, metavar="FILE", help="measure nothing, show a file")
    made.add_argument("--markdown", action="store_true", help="the table as the README has it")
    made.add_argument("--bars", action="store_true", help="exit with 1 if a bar is missed")
    return made


def build(package: str) -> None:
    """The load, which is a program of its own."""
    subprocess.run(["cargo", "build", "--release", "-q", "-p", package], cwd=ROOT, check=True)


def peers(parser: argparse.ArgumentParser, words: Sequence[str]) -> dict[str, str]:
    """Commands of further switches, by name."""
    found = {}
    for word in words:
        name, equals, command = word.partition("=")
        if not equals or not name:
            parser.error(f"--peer {word}: expected NAME=COMMAND")
        found[name] = command
    return found


def chosen(
    parser: argparse.ArgumentParser, names: Sequence[str], switches: Collection[str], usual: Sequence[str]
) -> list[str]:
    """The switches that were asked for."""
    if unknown := set(names) - set(switches):
        parser.error(f"no such switch: {', '.join(sorted(unknown))}; there are {', '.join(switches)}")
    return list(names or usual)


def cases(
    parser: argparse.ArgumentParser, suite: Mapping[str, _Case], parts: Sequence[str] | None
) -> dict[str, _Case]:
    """The cases that were asked for."""
    found = {name: case for name, case in suite.items() if not parts or any(part in name for part in parts)}
    if not found:
        parser.error(f"no such case; there are {', '.join(suite)}")
    return found


def measure(names: Sequence[str], rounds: int, once: Callable[[str, Path], None]) -> list[str]:
    """All rounds: `once(name, folder)` runs all cases of a switch. What was left out and why."""
    missing: dict[str, str] = {}
    with scratch() as folder:
        for number in range(rounds):
            for name in names:
                if name in missing:
                    continue
                print(f"round {number + 1} of {rounds}: {name}", file=sys.stderr, flush=True)
                try:
                    once(name, folder)
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


def tell(results: Results, left_out: Sequence[str], options: argparse.Namespace) -> int:
    """Print the tables and the bars, and keep the runs. The exit code."""
    well = True
    for number, (name, part) in enumerate(results.parts().items()):
        if number:
            print()
        print("; ".join(filter(None, (machine(), results.course.heading(name)))))
        print(part.markdown() if options.markdown else part.table())
        lines, holds = part.bars()
        well &= holds
        print("\n".join(lines))
    for line in left_out:
        print(line)
    for file in (options.json, options.append):
        if file is not None:
            results.save(file)
    return 1 if options.bars and not well else 0
