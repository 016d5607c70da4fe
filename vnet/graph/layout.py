"""Where switches and guests stand.

Every switch is a panel that holds its guests, a section for each network. Panels stand in rows by how many
links they are away from the middle of the fabric: so a link joins panels of one row or of two that
follow each other, and runs in the free strip between rows, across nothing.
A last row that is far too wide is folded, and links run down between its panels (`route.py`).
"""

from __future__ import annotations

import itertools
import math

from vnet.graph.picture import Panel, Picture, Section, shortened, text_width

NODE_HEIGHT = 38.0
GAP = 8.0
"""Between nodes, and around them."""
HEAD, TITLE = 40.0, 20.0
"""A panel's and a section's heading."""
APART = 36.0
"""Between panels."""
PITCH = 6.0
"""Between the links at a panel's edge."""
NAME, SMALL = 12, 10
"""Font sizes."""
LONGEST = 26
"""Characters of a name that are shown; all are in the tooltip."""
SHAPE = 1.5
"""Width to height that a picture should have."""


def place(picture: Picture) -> list[list[Panel]]:
    """Give all boxes their sizes and x, relative to their panels; the rows of panels, from the top."""
    rows = _rows(picture)
    width = max((_wanted(node.name, node.detail) for node in picture.nodes), default=90.0)
    best = min(
        itertools.product((0.4, 0.6, 1.0, 1.6, 2.5), (1, 2, 3, 4, 6, 9, 14)),
        key=lambda choice: _badness(rows, width, *choice),
    )
    _fill(rows, width, *best)
    return rows


def _wanted(name: str, detail: str) -> float:
    shown = text_width(shortened(name, LONGEST), NAME), text_width(shortened(detail, LONGEST), SMALL)
    return max(90.0, max(shown) + 42)


def _badness(rows: list[list[Panel]], width: float, stretch: float, columns: int) -> tuple[float, float]:
    _fill(rows, width, stretch, columns)
    wide = max((sum(panel.width + APART for panel in row) for row in rows), default=1.0)
    high = sum(max(panel.height for panel in row) + 80 for row in rows) or 1.0
    return abs(math.log(wide / high / SHAPE)) + wide * high / 4e7, wide


def _fill(rows: list[list[Panel]], width: float, stretch: float, columns: int) -> None:
    for row in rows:
        for panel in row:
            _panel(panel, width, stretch, columns)


def _panel(panel: Panel, width: float, stretch: float, columns: int) -> None:
    """Sections side by side, in as many shelves as it takes to stay within `columns` nodes."""
    widest = columns * (width + GAP) + 2 * GAP * columns
    x, y, shelf, reach = GAP, HEAD, 0.0, 0.0
    for section in panel.sections:
        _section(section, width, min(columns, max(1, round(stretch * math.sqrt(len(section.nodes))))))
        if x > GAP and x + section.width > widest:
            x, y, shelf = GAP, y + shelf + GAP, 0.0
        section.x, section.y = x, y
        x += section.width + GAP
        reach, shelf = max(reach, x), max(shelf, section.height)
    head = text_width(shortened(panel.title, 32), NAME + 2) + text_width(panel.detail, SMALL) + 64
    panel.width = max(reach, head, PITCH * (panel.links + 1))
    panel.height = y + shelf + GAP if panel.sections else HEAD


def _section(section: Section, width: float, columns: int) -> None:
    for index, node in enumerate(section.nodes):
        row, column = divmod(index, columns)
        node.width, node.height = width, NODE_HEIGHT
        node.x = GAP + column * (width + GAP)
        node.y = TITLE + row * (NODE_HEIGHT + GAP)
    title = text_width(shortened(section.title, LONGEST), SMALL) + 2 * GAP
    section.width = max(GAP + min(columns, len(section.nodes)) * (width + GAP), title)
    section.height = TITLE + math.ceil(len(section.nodes) / columns) * (NODE_HEIGHT + GAP)


def _rows(picture: Picture) -> list[list[Panel]]:
    near: dict[str, list[str]] = {name: [] for name in picture.panels}
    for cable in picture.cables:
        a, b = cable.ends
        near[a].append(b)
        near[b].append(a)
    layers: dict[int, list[str]] = {}
    left = list(picture.panels)
    while left:
        reached = _distances(left[:1], near)
        # The middle: nearest to the farthest, and of those the one with most links.
        middle = min(reached, key=lambda name: (max(_distances([name], near).values()), -len(near[name])))
        # Spines that lead to the same leaves stand side by side.
        found = _distances([name for name in reached if set(near[name]) == set(near[middle])], near)
        for name in sorted(found, key=lambda name: found[name]):
            layers.setdefault(found[name], []).append(name)
        left = [name for name in left if name not in found]
    _untangle(layers, near)
    for layer, names in layers.items():
        for name in names:
            picture.panels[name].layer = layer
    return [[picture.panels[name] for name in layers[layer]] for layer in sorted(layers)]


def _distances(starts: list[str], near: dict[str, list[str]]) -> dict[str, int]:
    """How many links away each switch is that can be reached, from the nearest of `starts`."""
    found, queue = dict.fromkeys(starts, 0), list(starts)
    for name in queue:
        for other in near[name]:
            if other not in found:
                found[other] = found[name] + 1
                queue.append(other)
    return found


def _untangle(layers: dict[int, list[str]], near: dict[str, list[str]]) -> None:
    """Have every switch stand near the middle of those that it is linked to, so that few links cross."""
    downwards = sorted(layers)
    place: dict[str, float] = {}

    def settle(names: list[str]) -> None:
        place.update({name: (index + 0.5) / len(names) for index, name in enumerate(names)})

    def middle(name: str) -> float:
        around = [place[other] for other in near[name]]
        return sum(around) / len(around) if around else place[name]

    for names in layers.values():
        settle(names)
    for layer in (*downwards[1:], *downwards[-2::-1], *downwards[1:]):
        layers[layer].sort(key=middle)
        settle(layers[layer])
