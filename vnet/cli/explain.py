"""What would happen to a frame that came in at a port, step by step, and why. Nothing does happen.

The switches decide it by the code that forwards, with all that they have learned so far. FRAME is hex or a
scapy expression, as for `vnet send`; or take a real one: `--capture FILE --packet N`. With `--file`, each
step says where in the topology file its rule stands.

Examples:
  vnet explain web.0 "IP(dst='10.0.10.12')/ICMP()"
  vnet explain web "Ether(src='02:00:00:00:00:66')/IP(dst='10.0.10.12')" --file lab.yaml
  vnet explain --capture red.pcapng --packet 17
  vnet explain web.0 ffffffffffff02000000000188b5 --json

Exit code 0 when it would leave by some port, 1 when it would be dropped everywhere.

"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Callable
from typing import Any

from vnet.cli import words
from vnet.errors import BadInput, VnetError

WIDTH = 80
NAME = 12
"""Columns of a check's name."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """PORT FRAME | --capture FILE --packet N [PORT] [--file FILE] [--json]."""
    parser.add_argument("port", metavar="PORT", nargs="?", help="a port, or a guest for its first port")
    parser.add_argument("frame", metavar="FRAME", nargs="?", help="hex, or a scapy expression")
    parser.add_argument("--capture", metavar="FILE", help="take the frame from a pcapng file")
    parser.add_argument("--packet", type=int, metavar="N", help="its number in there, from 1")
    parser.add_argument("--file", metavar="FILE", help="the topology file, to say where rules stand in it")
    words.fabric_argument(parser, option=True)
    words.json_argument(parser)


def run(given: argparse.Namespace) -> int:
    """The command."""
    from vnet import spelling

    place = filled = None
    if given.file:
        from vnet.topology.reader import with_places

        _, place = with_places(given.file)
    if (given.capture is None) == (given.frame is None) or (given.capture is None) != (given.packet is None):
        raise BadInput("which frame? PORT FRAME, or --capture FILE --packet N")
    with words.client(given.name) as client:
        ports = client.call("status")["ports"]
        if given.capture is not None:
            where, frame = _captured(given.capture, given.packet)
            port = words.port_of(given.port or where, ports)
        else:
            port = words.port_of(given.port, ports)
            frame, filled = spelling.spelled(given.frame, port, ports)
        told = client.call("explain", port=port["port"], frame=frame.hex())
    for step in told["steps"]:
        step["place"] = place(tuple(step["path"])) if place and step["path"] else None
    if given.json:
        words.print_json(_dotted(told) | {"port": port["port"], "frame": frame.hex()})
    else:
        if filled:
            print(textwrap.fill(filled, WIDTH))
        show(told)
    return 0 if told["reaches"] else 1


def _captured(file: str, number: int) -> tuple[str, bytes]:
    """A frame of a capture, and the port that it came in by."""
    try:
        from scapy.utils import PcapNgReader
    except ImportError:
        raise VnetError("--capture needs scapy: pip install 'vnet-fabric[scapy]'") from None
    try:
        with PcapNgReader(file) as reader:
            for n, packet in enumerate(reader, 1):
                if n == number:
                    if packet.direction == 2:
                        raise BadInput(
                            f"{file}: packet {number} left the switch at {packet.sniffed_on}; expected one "
                            "that came in (capture with -Q in, or see tshark's frame.packet_flags_direction)"
                        )
                    return str(packet.sniffed_on or ""), bytes(packet)
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror or error}") from None
    except BadInput:
        raise
    except Exception as error:
        raise BadInput(f"{file}: {error}, expected a pcapng file") from None
    raise BadInput(f"{file}: there is no packet {number}")


def _dotted(told: dict[str, Any]) -> dict[str, Any]:
    from vnet.explain import dotted

    steps = [step | {"path": dotted(tuple(step["path"])) if step["path"] else None} for step in told["steps"]]
    return told | {"steps": steps}


def show(told: dict[str, Any]) -> None:
    """Print it, in lines of 80 columns where nothing is longer that can't be cut."""
    from vnet.explain import dotted

    paint: Callable[[str, str], str] = _paint if words.coloured() else lambda text, _: text
    for step in told["steps"]:
        reason = step["reason"]
        mark = paint("✗", "31") if reason else paint("✓", "32")
        text = f"{reason}: {step['text']}" if reason and step["check"] != "out" else step["text"]
        if step["depth"] == 0:
            print(paint(text, "1"))
            continue
        if reason and step["check"] == "out":
            text += f" ({reason})"
        where = step["place"] or (dotted(tuple(step["path"])) if step["path"] and reason else "")
        text += f"  [{where}]" if where else ""
        indent = " " * (NAME + 5)
        lines = textwrap.wrap(
            text,
            WIDTH,
            initial_indent=indent,
            subsequent_indent=indent,
            break_on_hyphens=False,
            break_long_words=False,
        )
        print(f"  {mark} {step['check']:<{NAME}} {lines[0].lstrip()}", *lines[1:], sep="\n")
    ports = ", ".join(told["reaches"])
    print(f"It would leave by {ports}." if ports else "It would leave nowhere.")


def _paint(text: str, colour: str) -> str:
    return f"\x1b[{colour}m{text}\x1b[0m"
