"""A capture as lines of text, by scapy: `vnet capture --decode`.

scapy is imported when this is used: it is an extra, and GPL.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import IO, Any

from vnet.errors import VnetError

ARROWS = {1: ">", 2: "<"}
"""`epb_flags` direction: into the switch, and out of it."""


def lines(stream: IO[bytes], *, details: bool = False) -> Iterator[str]:
    """One line for each frame of a pcapng stream, as it comes: time, port, direction (`>` into the switch,
    `<` out of it), what scapy makes of it, and why it was dropped. `details`: all fields, indented.

    Raises VnetError without scapy.
    """
    try:
        # All of it: what a frame is made of is known once its layers have been imported.
        from scapy.all import PcapNgReader, Scapy_Exception
    except ImportError:
        raise VnetError("--decode needs scapy: pip install 'vnet-fabric[scapy]'") from None
    try:
        reader = PcapNgReader(stream)
    except (Scapy_Exception, EOFError):
        # The fabric ended before it wrote anything.
        return
    for packet in reader:
        yield _line(packet, details)


def _line(packet: Any, details: bool) -> str:
    stamp = float(packet.time)
    clock = time.strftime("%H:%M:%S", time.localtime(stamp)) + f"{stamp % 1:.6f}"[1:]
    port = packet.sniffed_on or "?"
    told = (packet.comment or b"").decode(errors="replace")
    dropped = f"  [{told}]" if told else ""
    text = f"{clock} {port} {ARROWS.get(packet.direction, '-')} {_summary(packet)}{dropped}"
    if details:
        text += "\n" + "\n".join(f"    {line}" for line in packet.show(dump=True).splitlines())
    return text


def _summary(packet: Any) -> str:
    """One line of printable characters, whatever a guest sent."""
    text = str(packet.summary())
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
