"""What the topology file already has words for and this version can't do yet.

Such a key is read and checked like any other, and then refused in one line where it stands. To
lift one, delete its row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from vnet.topology.problems import Path, Problem

NOT_YET: tuple[tuple[str, str, Callable[[Any], bool]], ...] = (
    ("guests.*.kind", "a guest of kind qemu is", lambda kind: kind == "qemu"),
)


def _matches(value: Any, steps: tuple[str, ...], path: Path) -> Iterator[tuple[Path, Any]]:
    if not steps:
        yield path, value
    elif isinstance(value, Mapping):
        for name in value if steps[0] == "*" else [steps[0]]:
            if name in value:
                yield from _matches(value[name], steps[1:], (*path, name))
    elif isinstance(value, list) and steps[0] == "*":
        for index, item in enumerate(value):
            yield from _matches(item, steps[1:], (*path, index))


def not_yet(topology: Mapping[str, Any]) -> list[Problem]:
    """What `topology`, as keys and values, asks for that this version can't do."""
    return [
        Problem(path, f"{what} not supported yet by this version", unsupported=True)
        for pattern, what, asked in NOT_YET
        for path, value in _matches(topology, tuple(pattern.split(".")), ())
        if asked(value)
    ]
