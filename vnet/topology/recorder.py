"""The flight recorder: how much of the past is kept, and what has it written down."""

# ruff: noqa: D102 - what `expected`, `read` and `schema` do is said once, at Type

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import attrs

from nics.keys import Choice, Count, Key, Type, Wrong, did_you_mean
from nics.quantity import PACKETS, SIZE, TIME
from vnet._native import drop_reasons
from vnet.topology.model import Dump, Recorder
from vnet.topology.problems import Path, Problem
from vnet.topology.shape import ListOf, Table

HEAD = 128
"""Bytes of a frame that the recorder can keep: as many as the switch looks at."""
SMALLEST = 16 << 10


@functools.cache
def families() -> dict[str, tuple[str, ...]]:
    """Words that stand for several drop reasons, the first part of their names: `guard`, `group`, `tx`."""
    found: dict[str, list[str]] = {}
    for name, _ in drop_reasons():
        found.setdefault(name.partition("-")[0], []).append(name)
    return {word: tuple(names) for word, names in found.items() if len(names) > 1}


def reasons(words: tuple[str, ...]) -> list[str]:
    """The drop reasons that `words` mean; all of them when there is no word."""
    every = [name for name, _ in drop_reasons()]
    meant = {name for word in words for name in (*families().get(word, ()), word)}
    return [name for name in every if name in meant] if words else every


@attrs.frozen
class Reason(Type):
    """A drop reason, or several by the first part of their names."""

    @property
    def expected(self) -> str:
        return "a drop reason such as guard-mac, or guard for all of the guard's"

    def read(self, value: object) -> str:
        known = [*families(), *(name for name, _ in drop_reasons())]
        if isinstance(value, str) and value in known:
            return value
        raise Wrong(self.expected, did_you_mean(value, known))

    def schema(self) -> dict[str, Any]:
        return {"enum": [*families(), *(name for name, _ in drop_reasons())]}


DUMP = Table(
    "what has the past written down",
    (
        Key(
            "on",
            Choice(("drop", "carrier-loss", "expect")),
            "`drop`: a port drops frames. `carrier-loss`: a port, or a link, loses its carrier. `expect`: an"
            " expectation, or a step of the scenario, fails in `vnet test`.",
            example="drop",
            required=True,
        ),
        Key(
            "reason",
            ListOf(Reason(), "a list of drop reasons", fewest=1, most=64, or_one=True),
            "With `drop`: these reasons, by name, or by its first part (`guard`). Left out: any.",
            example="guard-mac",
        ),
        Key(
            "over",
            PACKETS,
            "With `drop`: when one port drops more than so many in a second. Left out: the first one.",
            example="10 /s",
        ),
    ),
)

RECORDER = Table(
    "a recorder",
    (
        Key(
            "size",
            attrs.evolve(SIZE, lowest=SMALLEST, highest=64 << 20),
            "Memory for each port, taken as frames come; a quarter of it is for dropped ones.",
            example="1 MiB",
            default=256 << 10,
        ),
        Key(
            "total",
            attrs.evolve(SIZE, lowest=SMALLEST, highest=16 << 30),
            "Memory for all ports together, beside 16 KiB for each.",
            example="128 MiB",
            default=64 << 20,
        ),
        Key(
            "snap",
            Count(14, HEAD, "a number of bytes"),
            "The first bytes of each frame that are kept.",
            example=128,
            default=96,
        ),
        Key(
            "dump",
            ListOf(DUMP, "a list of what has the past written down", most=32),
            "What has the past written to a file by itself: all that is kept of the port where it happens,"
            " for `expect` of all ports. In `/var/lib/vnet/NAME/past` for root, otherwise in"
            " `~/.local/state/vnet/NAME/past`, or where `$XDG_STATE_HOME` is.",
            example=[{"on": "drop", "reason": "guard"}],
        ),
        Key(
            "files",
            Count(1, 1000, "a number of files"),
            "How many of them there may be; the oldest go.",
            example=50,
            default=10,
        ),
        Key(
            "file_size",
            attrs.evolve(SIZE, lowest=4 << 20, highest=4 << 30),
            "How large such a file may be; it has the latest frames.",
            example="4 MiB",
            default=8 << 20,
        ),
        Key(
            "pause",
            attrs.evolve(TIME, lowest=10**9),
            "How long the same entry of `dump` rests after it had a file written.",
            example="1 min",
            default=10 * 10**9,
        ),
    ),
)


def build(values: Mapping[str, Any] | str) -> Recorder | None:
    """The values that were read; None: off."""
    if isinstance(values, str):
        return None
    given = dict(values)
    entries = given.pop("dump", ())
    # "" stands for what could not be read.
    dumps = (Dump(e.get("on", ""), tuple(e.get("reason", ())), e.get("over")) for e in entries)
    return Recorder(**given, dump=tuple(dumps))


def check(recorder: Recorder | None) -> list[Problem]:
    """Keys that don't go together."""
    problems = []
    for index, dump in enumerate(recorder.dump if recorder else ()):
        path: Path = ("recorder", "dump", index)
        for key in ("reason", "over"):
            if dump.on not in ("", "drop") and getattr(dump, key):
                problems.append(Problem((*path, key), f"{key} with on: {dump.on}", "on: drop"))
    return problems
