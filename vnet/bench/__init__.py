"""What this machine forwards, how fast, and what a guest costs.

Each figure is the median of repeats after a warm-up; `±` is how far the
repeats lie apart. Frames are counted without FCS, as everywhere in vnet.

forwarding  Frames a second from one guest to another of the same VLAN, through
            doors of one kind and the switch, on one engine thread. They are
            counted where they leave, and at most some hundred are on their way,
            so it is what is forwarded without loss. CPU is the time of the
            engine's thread a frame, system calls included, and `busy` its share
            of a core; both with an engine that does not poll (`poll: sleep`).
            The rates are those of the default. The far sides are native code in
            one other thread: a pipe's end, a framed unix socket, packet sockets
            in two network namespaces, UDP sockets of two in-process guests.
            Where the engine was not busy all the time, they were the slower
            ones: a `*` says so, and the rate is a lower bound.
latency     Round trips of single frames of 60 bytes through the same doors, one
            at a time; the far sides look for it without sleeping, the engine
            polls as it does by default. `tap` includes the packet sockets of
            two kernels, `stack` two UDP stacks.
tcp         One connection, in Gbit/s of payload: between two in-process guests,
            and between two namespaces, whose TAPs exchange super-frames.
guests      The time from `Fabric.from_dict` until every port is up, and the
            memory that this adds to the process (the kernel's is not in it);
            each time in a fresh process, whose own start does not count.

All of it runs on this machine, the engine and the far sides each on a core of
its own. With fewer than two idle cores the figures say little, and the report
says so.

Examples:
  vnet bench
  vnet bench --quick --kind tap
  vnet bench --only guests --json

"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

KINDS = ("pipe", "stack", "tap", "stream", "vde")


def arguments(parser: argparse.ArgumentParser) -> None:
    """[--quick] [--json] [--kind KIND]... [--only PART]..."""
    parser.add_argument("--quick", action="store_true", help="shorter and fewer repeats: a rough idea")
    parser.add_argument("--json", action="store_true", help="one JSON document with stable keys")
    parser.add_argument(
        "--kind", action="append", choices=KINDS, help="only this kind of NIC (may be repeated)"
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=("forwarding", "latency", "tcp", "guests"),
        help="only this part (may be repeated)",
    )


def run(given: argparse.Namespace) -> int:
    """Measure and tell; 1 when a kind could not be measured that was asked for by name."""
    from vnet.bench import report
    from vnet.bench.course import Course

    course = Course(quick=given.quick, kinds=tuple(given.kind or KINDS), parts=given.only)
    with report.progress(quiet=given.json) as tell:
        results = course.run(tell)
    if given.json:
        report.print_json(results)
    else:
        report.print_tables(results)
    asked = {skipped.kind for skipped in results.skipped} & set(given.kind or ())
    return 1 if asked else 0


def main(argv: Sequence[str] | None = None) -> int:
    """The command by itself: `python -m vnet.bench`."""
    parser = argparse.ArgumentParser(
        prog="vnet bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments(parser)
    return run(parser.parse_args(argv))
