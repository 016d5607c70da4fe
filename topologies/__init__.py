"""Ready topologies, by name: `vnet up topology:tenants`, `topologies.load("tenants")`.

Some are files, others are made when asked for, by parameters: `vnet up 'topology:ring?switches=6'`,
`topologies.build("ring", switches=6)`. Where both have a
name, it alone is the file, and with a `?` the other.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nics.errors import BadInput
from nics.keys import did_you_mean, one_of
from topologies.builders import BUILDERS, parameters

if TYPE_CHECKING:
    from vnet.topology import Topology

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """All files there are."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def path(name: str) -> Path:
    """The file of one. Raises BadInput."""
    if name not in names():
        raise _unknown(name, sorted({*names(), *BUILDERS}))
    return FOLDER / f"{name}.yaml"


def build(name: str, /, **values: Any) -> Topology:
    """Make one by its parameters: `build("leaf-spine", spines=2)`. Raises BadInput."""
    if name not in BUILDERS:
        raise _unknown(name, list(BUILDERS))
    return BUILDERS[name].build(values)


def is_made(name: str) -> bool:
    """Whether `name` is of one that is made, not of a file."""
    return "?" in name or (name in BUILDERS and name not in names())


def load(name: str) -> Topology:
    """Read or make one: `tenants`, `ring`, `leaf-spine?spines=2&leaves=4`. Raises BadInput."""
    from vnet.topology import Topology

    if is_made(name):
        builder, _, query = name.partition("?")
        if builder not in BUILDERS and builder in names():
            raise BadInput(f"topology:{builder}: a file without parameters, expected nothing after its name")
        if builder not in BUILDERS:
            raise _unknown(builder, list(BUILDERS))
        return BUILDERS[builder].build(parameters(query, f"topology:{builder}"))
    return Topology.from_file(path(name))


def _unknown(name: str, known: list[str]) -> BadInput:
    near = did_you_mean(name, known)
    hint = f" ({near})" if near else ""
    return BadInput(f"topology:{name}: no such topology, expected {one_of(known, len(known))}{hint}")
