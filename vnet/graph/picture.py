"""What a picture is made of, with places in pixels that `layout.py` and `route.py` fill in."""

from __future__ import annotations

import math

import attrs

Point = tuple[float, float]


@attrs.define
class Box:
    """A rectangle; (x, y) is its upper left corner."""

    x: float = attrs.field(default=0.0, kw_only=True)
    y: float = attrs.field(default=0.0, kw_only=True)
    width: float = attrs.field(default=0.0, kw_only=True)
    height: float = attrs.field(default=0.0, kw_only=True)

    @property
    def right(self) -> float:
        """Its right edge."""
        return self.x + self.width

    @property
    def bottom(self) -> float:
        """Its lower edge."""
        return self.y + self.height

    def overlaps(self, other: Box) -> bool:
        """Whether the two share more than an edge."""
        return (
            self.x < other.right and other.x < self.right and self.y < other.bottom and other.y < self.bottom
        )


@attrs.define
class Node(Box):
    """A guest or an uplink."""

    name: str
    kind: str
    """A guest's kind, or `uplink`."""
    detail: str
    """The line below its name."""
    networks: tuple[str, ...]
    """Each once, that of the first NIC first."""
    tooltip: str


@attrs.define
class Section(Box):
    """The guests of a switch that are at home in one network."""

    title: str
    network: str | None
    nodes: list[Node]


@attrs.define
class Panel(Box):
    """A switch with what is plugged into it."""

    title: str
    detail: str
    sections: list[Section]
    links: int = 0
    """How many end here."""
    layer: int = 0
    """How many links away from the middle."""


@attrs.define
class Label(Box):
    """What a link does to frames."""

    lines: tuple[str, ...]


@attrs.define
class Cable:
    """A link."""

    name: str
    ends: tuple[str, str]
    up: bool
    label: Label | None
    tooltip: str
    points: list[Point] = attrs.field(factory=list)


@attrs.define
class Branch:
    """A NIC in another switch than the one that its guest is drawn at."""

    port: str
    guest: str
    switch: str
    network: str | None


@attrs.define
class Picture:
    """A whole picture."""

    title: str
    panels: dict[str, Panel]
    cables: list[Cable]
    branches: list[Branch]
    networks: dict[str, str]
    """What the legend says of each."""
    kinds: tuple[str, ...]
    """The kinds of nodes in it."""
    width: float = 0.0
    height: float = 0.0
    """Without title and legend."""

    @property
    def nodes(self) -> list[Node]:
        """Every guest and uplink."""
        return [
            node for panel in self.panels.values() for section in panel.sections for node in section.nodes
        ]


def text_width(text: str, size: float) -> float:
    """No less than `text` takes up in a usual sans-serif font of `size` pixels."""
    return math.ceil(sum(0.66 if ord(char) < 0x2E80 else 1.1 for char in text) * size)


def shortened(text: str, most: int) -> str:
    """`text` in at most `most` characters, without its middle: names often differ at the end."""
    tail = most // 3
    return text if len(text) <= most else f"{text[: most - tail - 1]}…{text[-tail:]}"
