"""Frames that leave ports of the switch, counted: what arrives is seen, whether anybody answers or not.

The filters are made here, so that libpcap's own need not be installed.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

from vnet._native import BpfProgram
from vnet.capture import Capture
from vnet.check.packets import ECHO, TCP, UDP
from vnet.fabric import Fabric
from vnet.topology.values import Address

# Instructions of the classic BPF: loads of a word, a half, a byte; from behind IPv4's options, whose length
# `LENGTH` takes into the index register; a comparison and the end.
LOAD, LOAD_HALF, LOAD_BYTE = 0x20, 0x28, 0x30
LENGTH, HALF_BEHIND, BYTE_BEHIND = 0xB1, 0x48, 0x50
EQUAL, RETURN = 0x15, 0x06
TAKEN, LEFT = (RETURN, 0, 0, 0xFFFF), (RETURN, 0, 0, 0)
STATIONS = TRIES = 800
"""What a filter has room for: 4096 instructions, 5 for each."""

Instruction = tuple[int, int, int, int]


@asynccontextmanager
async def counted(
    fabric: Fabric,
    what: Iterable[str],
    *,
    direction: Literal["in", "out"] | None,
    filter: str | BpfProgram | None,  # noqa: A002 - the word that users know
    keep: str | os.PathLike[str] | None = None,
) -> AsyncIterator[Capture]:
    """Count frames while the block runs, and keep them with `keep`."""
    with tempfile.TemporaryDirectory(prefix="vnet-") as folder:
        file = Path(keep) if keep is not None else Path(folder) / "frames.pcapng"
        async with fabric.capture(file, *what, filter=filter, direction=direction) as capture:
            yield capture


def seen(fabric: Fabric, capture: Capture) -> int:
    """How many frames were counted, those included that are sent already: what a socket took is carried
    by a turn of the engine, which comes later.
    """
    fabric.engine.settle(fabric.time())
    return int(capture.stats()["accepted"])


@asynccontextmanager
async def arriving(
    fabric: Fabric,
    ports: Iterable[str],
    filter: BpfProgram,  # noqa: A002
) -> AsyncIterator[Callable[[], int]]:
    """How many frames were handed to what is behind these ports meanwhile: dropped there, they are not."""
    names = list(ports)
    with tempfile.TemporaryFile() as file, tempfile.TemporaryFile() as other:
        options: dict[str, Any] = {"filter": filter, "direction": "out", "complete": True}
        everything = fabric.capture_to(file.fileno(), *names, **options)
        drops = fabric.capture_to(other.fileno(), *names, **options, drops=True)
        async with everything, drops:

            def count() -> int:
                before = -1
                while (dropped := seen(fabric, drops)) != before:
                    before, found = dropped, seen(fabric, everything)
                return found - dropped

            yield count


def sent_by(macs: Sequence[bytes]) -> BpfProgram:
    """A filter for frames from any of these stations."""
    program: list[Instruction] = []
    for mac in macs:
        program += [
            (LOAD, 0, 0, 6),
            (EQUAL, 0, 3, int.from_bytes(mac[:4])),
            (LOAD_HALF, 0, 0, 10),
            (EQUAL, 0, 1, int.from_bytes(mac[4:])),
            TAKEN,
        ]
    return BpfProgram([*program, LEFT])


def sent_to(source: Address, target: Address, tries: Iterable[tuple[str, int]]) -> BpfProgram:
    """A filter for what a guest sends with its own address to another's: echo requests, and TCP and UDP to
    ports that are tried. Untagged, as guests use their addresses.
    """
    four = source.version == 4
    program = [(LOAD_HALF, 0, 0, 12), *_only(0x0800 if four else 0x86DD)]
    for address, offset in ((source, 26 if four else 22), (target, 30 if four else 38)):
        packed = address.packed
        for place in range(0, len(packed), 4):
            program += [(LOAD, 0, 0, offset + place), *_only(int.from_bytes(packed[place : place + 4]))]
    half, byte, behind = (HALF_BEHIND, BYTE_BEHIND, 14) if four else (LOAD_HALF, LOAD_BYTE, 54)
    if four:
        program.append((LENGTH, 0, 0, 14))
    for protocol, port in tries:
        if protocol == "icmp":
            number, kind = ECHO[source.version]
            load, wanted = (byte, 0, 0, behind), kind >> 8
        else:
            number = TCP if protocol == "tcp" else UDP
            load, wanted = (half, 0, 0, behind + 2), port
        program += [
            (LOAD_BYTE, 0, 0, 23 if four else 20),
            (EQUAL, 0, 3, number),
            load,
            (EQUAL, 0, 1, wanted),
            TAKEN,
        ]
    return BpfProgram([*program, LEFT])


def _only(value: int) -> list[Instruction]:
    """Nothing but what has this where it was loaded from."""
    return [(EQUAL, 1, 0, value), LEFT]
