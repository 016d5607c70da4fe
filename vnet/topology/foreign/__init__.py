"""Other tools' networks, wherever a file may stand: `mininet:FILE.py:CLASS` and `containerlab:FILE`.

What they say of hosts, switches, links and addresses is taken over. What has no counterpart here is refused
in one clear line where the network would be another without it, and told in a note where it would not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from vnet.topology.topology import Topology

PREFIXES = ("mininet:", "containerlab:")


@attrs.define
class Converted:
    """A topology, and what of the original is not in it."""

    topology: Topology
    notes: list[str] = attrs.field(factory=list)


def is_foreign(name: str) -> bool:
    """Whether a name is of another tool's network."""
    return name.startswith(PREFIXES)


def convert(name: str) -> Converted:
    """Read one. Parameters may follow a `?`: `kind=netns`, and those of a Mininet class. Raises BadInput."""
    from topologies.builders import parameters
    from vnet.topology.foreign import containerlab, mininet

    words, _, query = name.partition("?")
    tool, _, rest = words.partition(":")
    values = parameters(query, words)
    return mininet.convert(rest, values) if tool == "mininet" else containerlab.convert(rest, values)
