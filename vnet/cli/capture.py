"""Write frames to a pcapng file while they pass: ports, guests, links, networks, switches, or all.

Each port is an interface of its own in the file; `-w -` is for Wireshark. Ctrl-C ends it. Where a guest is
called like a network, guest:red and network:red say which is meant (and port:, switch:).

Examples:
  vnet capture -w all.pcapng
  vnet capture red db.0 -w red.pcapng -f 'tcp port 80' -c 1000
  vnet capture web -w - | tshark -r -
  vnet capture -w ring.pcapng -b filesize:100000 -b files:5
  vnet capture web -w wire.pcapng --segment
  vnet capture --drops -w drops.pcapng
  vnet capture web --decode -f icmp
  vnet capture --past 10s web -w before.pcapng
  vnet capture --past all --drops --decode

What is named is captured also where it comes later, or is in another VLAN then.

With -b, ring_00001_20260131120000.pcapng is the first file, and so on; each can be read by itself. One is
full at filesize (of 1000 bytes; or 10 MiB), packets, or with the first frame behind duration; of more than
files the oldest go.

A capture takes little of the time of a fabric that is busy, so that guests don't notice it, and loses what it
can't look at: the line at the end says how much, the file in front of which frame. Name fewer ports, or
say --complete.

Checksums that a guest left to its network card are complete in captures.

With --past, what passed lately is written at once, from what the flight recorder kept of it: each frame
where it came in, with its first bytes and where it went or why it was dropped. A port then means what
came in there, was sent there, or was refused there.

"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from nics.keys import Wrong
from nics.quantity import TIME
from vnet.capture import ring
from vnet.cli import words
from vnet.errors import BadInput, VnetError


def arguments(parser: argparse.ArgumentParser) -> None:
    """[PORT|NETWORK|SWITCH|all]... -w FILE|- [--past TIME] [-f BPF] [-c N] [-Q in|out] [--drops]."""
    parser.add_argument("targets", metavar="PORT|NETWORK|SWITCH|all", nargs="*", help="what to capture (all)")
    parser.add_argument("-w", "--write", metavar="FILE", help="a file, or - for stdout")
    parser.add_argument(
        "--decode", action="count", help="print what scapy makes of each frame; twice: every field"
    )
    parser.add_argument(
        "--past", metavar="TIME", help="what passed in the last so long (10s, all), instead of what comes"
    )
    parser.add_argument("-f", "--filter", metavar="BPF", help="a capture filter, as in tcpdump")
    parser.add_argument(
        "-c", "--count", type=int, metavar="N", help="end after so many frames; of the past, the latest"
    )
    parser.add_argument(
        "-s", "--snaplen", type=int, default=262_144, metavar="BYTES", help="keep of each frame (all)"
    )
    parser.add_argument(
        "-Q", "--direction", choices=["in", "out"], help="only frames into the switch, or out of it (both)"
    )
    parser.add_argument(
        "-b",
        "--ring",
        metavar="WHAT:N",
        action="append",
        default=[],
        help="several files, as of dumpcap: filesize:KB, duration:S, packets:N, files:N",
    )
    parser.add_argument(
        "--segment", action="store_true", help="super-frames as the segments that a wire would see"
    )
    parser.add_argument(
        "--complete", action="store_true", help="lose less where there is much to do, and slow guests down"
    )
    parser.add_argument("--drops", action="store_true", help="dropped frames only, with the reason")
    words.fabric_argument(parser, option=True)
    words.json_argument(parser)


def run(given: argparse.Namespace) -> int:
    """The command."""
    if (given.write is None) == (given.decode is None):
        raise BadInput("where to? -w FILE, -w - for standard output, or --decode to read it here")
    if given.write == "-" and sys.stdout.isatty():
        raise BadInput("standard output is a terminal: vnet capture -w - | wireshark -k -i -")
    past = _seconds(given.past)
    limits = ring.limits(given.ring)
    if limits and (given.write in (None, "-") or past is not None):
        raise BadInput("-b: expected -w FILE with it, and what comes, not the past")
    with words.client(given.name) as client, contextlib.ExitStack() as ours:
        decoder, files, new = None, None, False
        if limits:
            files = ring.Ring(given.write, limits)
            descriptor = files.start()
        elif given.decode:
            descriptor, decoder = _decoder(given.decode > 1)
        elif given.write == "-":
            descriptor = os.dup(sys.stdout.fileno())
        else:
            new = not os.path.lexists(given.write)
            descriptor = _opened(given.write)
        ours.callback(os.close, descriptor)
        call = client.stream(
            "capture" if past is None else "past",
            descriptors=[descriptor],
            targets=given.targets or ["all"],
            filter=given.filter,
            count=given.count,
            snaplen=given.snaplen,
            direction=given.direction,
            drops=given.drops,
            segment=given.segment,
            complete=given.complete,
            truncate=given.write not in (None, "-"),
            **({} if past is None else {"seconds": past or None}),
        )
        # Ctrl-C and SIGTERM end the capture, not this program: the file's end is still to come.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: client.cancel())
        result: dict[str, Any] | None
        try:
            while True:
                item = next(call)
                if told := item.get("told"):
                    # One document is all that there is to be, wherever it goes.
                    if not (given.json and given.write == "-"):
                        print(f"vnet capture: {told}", file=sys.stderr)
                    continue
                # The fabric has it now; the reader's end comes when the fabric closes it.
                ours.close()
                if sys.stderr.isatty():
                    print("capturing; Ctrl-C ends it", file=sys.stderr)
        except StopIteration as end:
            result = end.value
        except VnetError:
            if new and Path(given.write).stat().st_size == 0:
                Path(given.write).unlink()
            raise
    if decoder is not None:
        decoder.join()
    stats = result or {}
    if files is not None:
        stats["files"] = files.finish()
    if given.json:
        print(json.dumps(stats), file=sys.stderr if given.write == "-" else sys.stdout)
    else:
        print(_told(stats), file=sys.stderr)
    return 0


def _opened(path: str) -> int:
    """A file to write to. What it has stays until the fabric finds nothing wrong with what is asked for.
    Raises BadInput.
    """
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from None


def _seconds(text: str | None) -> float | None:
    """What `--past` says: 0 for all, None where nothing is said. Raises BadInput."""
    if text is None:
        return None
    if text == "all":
        return 0
    try:
        return max(TIME.read(text), 1) / 1e9
    except Wrong as wrong:
        raise BadInput(f"--past {text}: expected all, or {wrong.expected}") from None


def _told(stats: dict[str, Any]) -> str:
    """One line about what was captured."""
    if "files" in stats:
        kept, written = len(stats["files"]), stats.get("written", 0)
        kept_are = f"{words.several(kept, 'file')} {'is' if kept == 1 else 'are'} kept"
        return f"{words.several(written, 'frame')} captured, {stats.get('lost', 0)} lost; {kept_are}"
    if "left_out" not in stats:
        return f"{words.several(stats.get('written', 0), 'frame')} captured, {stats.get('lost', 0)} lost"
    line = f"{words.several(stats['written'], 'frame')} of the past"
    if stats["oldest"] is not None:
        line += f", the oldest from {words.ago(stats['oldest'])} ago"
    if stats["left_out"]:
        line += f"; {stats['left_out']} more were counted and not kept"
    if stats["unseen"]:
        line += f"; the filter asks for more than is kept of {stats['unseen']}"
    return line


def _decoder(details: bool) -> tuple[int, threading.Thread]:
    """A descriptor to capture to, and the thread that prints what comes until it is closed."""
    from vnet.capture.decoded import lines

    reading, writing = os.pipe()

    def work() -> None:
        with os.fdopen(reading, "rb") as stream:
            try:
                for line in lines(stream, details=details):
                    print(line, flush=True)
            except VnetError as error:
                print(f"vnet capture: {error}", file=sys.stderr)
            except BrokenPipeError:
                # Whoever read our output has seen enough; the capture ends with its reader.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    thread = threading.Thread(target=work)
    thread.start()
    return writing, thread
