"""A topology as a picture: `svg(topology)`. Same topology, same bytes; nothing is started."""

from __future__ import annotations

from vnet.graph.draw import svg

__all__ = ["svg"]
