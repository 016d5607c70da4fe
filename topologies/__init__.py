"""Ready topologies, by name: `vnet up topology:tenants`, `topologies.load("tenants")`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nics.errors import BadInput
from nics.keys import did_you_mean, one_of

if TYPE_CHECKING:
    from vnet.topology import Topology

_FOLDER = Path(__file__).parent


def names() -> list[str]:
    """All there are."""
    return sorted(file.stem for file in _FOLDER.glob("*.yaml"))


def path(name: str) -> Path:
    """The file of one. Raises BadInput."""
    known = names()
    if name not in known:
        near = did_you_mean(name, known)
        hint = f" ({near})" if near else ""
        raise BadInput(f"topology:{name}: no such topology, expected {one_of(known)}{hint}")
    return _FOLDER / f"{name}.yaml"


def load(name: str) -> Topology:
    """Read one. Raises BadInput."""
    from vnet.topology import Topology

    return Topology.from_file(path(name))
