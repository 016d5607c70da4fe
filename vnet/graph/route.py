"""The strips between rows: where links run, and where their labels stand without covering each other."""

from __future__ import annotations

import math
from itertools import pairwise

from vnet.graph.layout import APART, SHAPE, SMALL
from vnet.graph.picture import Cable, Label, Panel, Picture, Point, text_width

EMPTY = 40.0
"""Height of a strip without links."""
LINE = 14.0
"""Height of a label's line."""
STEP = 6.0
"""Between places that are tried for a label."""
STEEP = 0.1
"""A strip's height for each pixel that a link goes sideways."""
FOLD = 44.0
"""Between the bands of a row that is folded."""
LANE = 6.0
"""Between links that run side by side."""
WIDE = 3000.0
"""A last row that is wider is folded when that makes the picture less oblong."""
MOST = 4000.0
"""A strip does not grow beyond."""


def route(picture: Picture, rows: list[list[Panel]]) -> None:
    """Give panels, nodes, links and labels their places in the picture."""
    for cable in picture.cables:
        if (label := cable.label) is not None:
            label.width = max(text_width(line, SMALL) for line in label.lines) + 8
            label.height = LINE * len(label.lines) + 2
    bands = [1] * len(rows)
    if rows:
        bands[-1] = folded(picture, rows)
    stacks = [
        [row[start : start + count] for start in range(0, len(row), count)]
        for row, count in zip(rows, bands, strict=True)
    ]
    lanes = _lanes(picture, stacks[-1]) if rows else {}
    needed = max((cable.label.width for cable in picture.cables if cable.label), default=0.0)
    picture.width = max([needed, *(_width(stack, lanes) for stack in stacks)]) + 2 * APART
    for stack in stacks:
        x = (picture.width - _width(stack, lanes)) / 2
        for column in stack:
            x += _side(column, lanes)
            for panel in column:
                panel.x = round(x, 1)
            x += max(panel.width for panel in column) + APART
    ways: dict[str, float] = {}
    for name, (column, number) in lanes.items():
        ways[name] = column[0].x - LANE * number - APART / 2
    y = 0.0
    entries: dict[str, float] = {}
    for row, count in zip(rows, bands, strict=True):
        for band in range(count):
            y += FOLD if band else 0.0
            for panel in row[band::count]:
                _move(panel, y)
            y += max(panel.height for panel in row[band::count])
        height, ends = _strip(picture, row, y, ways)
        entries |= ends
        y += height
    for cable in picture.cables:
        if cable.name in ways:
            below = max((picture.panels[end] for end in cable.ends), key=lambda panel: panel.layer)
            cable.points += [(ways[cable.name], below.y - FOLD / 2), (entries[cable.name], below.y)]
    picture.height = max((panel.bottom for row in rows for panel in row), default=0.0)
    for cable in picture.cables:
        picture.height = max([picture.height, *(point[1] for point in cable.points)])
        picture.height = max(picture.height, cable.label.bottom if cable.label else 0.0)


def folded(picture: Picture, rows: list[list[Panel]]) -> int:
    """In how many bands the last row is to stand, for it may be far too wide for one."""
    row = rows[-1]
    panels = picture.panels
    if len(rows) == 1 or any(panels[a].layer == panels[b].layer == row[0].layer
                             for a, b in (cable.ends for cable in picture.cables)):  # fmt: skip
        return 1
    wide = sum(panel.width + APART for panel in row)
    own = max(panel.height for panel in row) + FOLD
    above = sum(max(panel.height for panel in other) + 80 for other in rows[:-1])
    if wide < WIDE:
        return 1
    return min(range(1, 9), key=lambda count: abs(math.log(wide / count / (above + own * count) / SHAPE)))


def _lanes(picture: Picture, stack: list[list[Panel]]) -> dict[str, tuple[list[Panel], int]]:
    """The links that pass by the first band: each with the column that it runs left of, and its number."""
    found: dict[str, tuple[list[Panel], int]] = {}
    for column in stack:
        # What goes to the first band below runs innermost, so that none crosses another.
        passing = [
            cable.name for panel in column[1:] for cable in picture.cables if panel.title in cable.ends
        ]
        found |= {name: (column, number) for number, name in enumerate(passing)}
    return found


def _side(column: list[Panel], lanes: dict[str, tuple[list[Panel], int]]) -> float:
    return LANE * sum(of is column for of, _ in lanes.values())


def _width(stack: list[list[Panel]], lanes: dict[str, tuple[list[Panel], int]]) -> float:
    columns = (max(panel.width for panel in column) + _side(column, lanes) for column in stack)
    return sum(columns) + APART * (len(stack) - 1)


def _move(panel: Panel, y: float) -> None:
    """Put a panel whose x is known where it belongs, with all that is in it."""
    panel.y = y
    for section in panel.sections:
        section.x, section.y = section.x + panel.x, section.y + panel.y
        for node in section.nodes:
            node.x, node.y = node.x + section.x, node.y + section.y


def _strip(
    picture: Picture, row: list[Panel], top: float, lanes: dict[str, float]
) -> tuple[float, dict[str, float]]:
    """Draw the links of the strip below `row`, which begins at `top`; how high it is.

    And at which x each comes in below. `lanes`: the x of those that run on between panels first.
    """
    layer = row[0].layer
    panels = picture.panels
    cables = [c for c in picture.cables if min(panels[end].layer for end in c.ends) == layer]
    if not cables:
        return EMPTY, {}
    ways = _ends(picture, cables, layer)
    flat = [c for c in cables if panels[c.ends[0]].layer == panels[c.ends[1]].layer]
    span = max(abs(a[0] - b[0]) for a, b in ways.values())
    height = 70.0 + 14 * len(flat) + STEEP * span
    while True:
        for cable in cables:
            cable.points = []
        for index, cable in enumerate(flat):
            (x1, y1), (x2, y2) = ways[cable.name]
            level = top + height * (index + 1) / (len(flat) + 1)
            cable.points = [(x1, y1), (x1, level), (x2, level), (x2, y2)]
        for cable in cables:
            if not cable.points:
                (x1, y1), (x2, _) = ways[cable.name]
                cable.points = [(x1, y1), (x1, top), (lanes.get(cable.name, x2), top + height)]
        if _labels(picture, cables, top, height, give_up=height > MOST):
            return height, {name: ends[1][0] for name, ends in ways.items()}
        height *= 1.25


def _ends(picture: Picture, cables: list[Cable], layer: int) -> dict[str, tuple[Point, Point]]:
    """Where each link leaves its panels: spread over their edges, in the order of where they go.

    The first point is the upper panel's (the left one's, of two in a row).
    """
    panels = picture.panels
    edges: dict[tuple[str, bool], list[tuple[float, int]]] = {}
    sides = []
    for index, cable in enumerate(cables):
        pair = sorted(cable.ends, key=lambda end: (panels[end].layer, _centre(picture, end)))
        sides.append(pair)
        for end, other in (pair, pair[::-1]):
            edges.setdefault((end, panels[end].layer == layer), []).append((_centre(picture, other), index))
    xs: dict[tuple[str, int], float] = {}
    for (end, _), found in edges.items():
        panel = panels[end]
        for position, (_, index) in enumerate(sorted(found)):
            xs[end, index] = round(panel.x + panel.width * (position + 1) / (len(found) + 1), 1)
    return {
        cable.name: tuple((xs[end, index], panels[end].bottom) for end in sides[index])  # type: ignore[misc]
        for index, cable in enumerate(cables)
    }


def _centre(picture: Picture, name: str) -> float:
    panel = picture.panels[name]
    return panel.x + panel.width / 2


def _labels(picture: Picture, cables: list[Cable], top: float, height: float, give_up: bool) -> bool:
    """Place the labels on their links; False: there is no room for all.

    With `give_up`, those without room are left to the tooltips.
    """
    taken: list[Label] = []
    for cable in sorted(cables, key=lambda cable: cable.points[-1][0]):
        label = cable.label
        if label is None:
            continue
        others = [other for other in cables if other is not cable]
        free: list[tuple[int, Point]] = []
        for x, y in _candidates(cable, top, height, label.height):
            label.x = round(min(max(x - label.width / 2, 2.0), picture.width - label.width - 2), 1)
            label.y = round(y - label.height / 2, 1)
            if not any(label.overlaps(other) for other in taken):
                free.append((sum(_covers(label, other) for other in others), (label.x, label.y)))
                if not free[-1][0]:
                    break
        if not free:
            if give_up:
                cable.label = None
                continue
            return False
        label.x, label.y = min(free, key=lambda place: place[0])[1]
        taken.append(label)
    return True


def _covers(label: Label, cable: Cable) -> bool:
    """Whether a label hides a piece of a link."""
    for (x1, y1), (x2, y2) in pairwise(cable.points):
        # What is left of the piece between the label's upper and lower edge.
        high, low = max(min(y1, y2), label.y), min(max(y1, y2), label.bottom)
        if high > low:
            continue
        ends = sorted([x1, x2] if y1 == y2 else [x1 + (x2 - x1) * (y - y1) / (y2 - y1) for y in (high, low)])
        if ends[0] < label.right and ends[1] > label.x:
            return True
    return False


def _candidates(cable: Cable, top: float, height: float, own: float) -> list[Point]:
    """Points of a link where its label may stand, best first."""
    if len(cable.points) == 4 and cable.points[1][1] == cable.points[2][1]:
        (x1, level), (x2, _) = cable.points[1], cable.points[2]
        return [(x1 + (x2 - x1) * share, level) for share in (0.5, 0.35, 0.65, 0.2, 0.8)]
    (x1, _), (x2, _) = cable.points[-2:]
    lowest, highest = top + own / 2 + 6, top + height - own / 2 - 6
    ys = [lowest + STEP * step for step in range(int((highest - lowest) / STEP) + 1)] or [top + height / 2]
    ys.sort(key=lambda y: abs(y - (top + height * 0.6)))
    return [(x1 + (x2 - x1) * (y - top) / height, y) for y in ys]
