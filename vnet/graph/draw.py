"""A picture as SVG 1.1, plain enough for every viewer: no script, no style sheet, nothing from elsewhere."""

from __future__ import annotations

import colorsys
import re
from collections.abc import Iterator
from xml.sax.saxutils import escape, quoteattr

from vnet.graph.layout import LONGEST, NAME, SMALL, place
from vnet.graph.picture import Box, Cable, Label, Node, Panel, Picture, shortened, text_width
from vnet.graph.read import read
from vnet.graph.route import LINE, route
from vnet.topology import Topology

INK, FAINT, PAPER = "#1f2933", "#52606d", "#ffffff"
PANEL, EDGE, CABLE, DOWN = "#f5f7fa", "#9aa5b1", "#3e4c59", "#c0392b"
NOBODY = "#9aa5b1"
"""The colour of what is in no network."""
COLOURS = (
    "#d64545",
    "#2f6fde",
    "#2e9e5b",
    "#e08a00",
    "#8a4fd3",
    "#0f9aa8",
    "#d2499b",
    "#7a8b00",
    "#8d5a2b",
    "#4453a8",
)
MARGIN, TOP = 24.0, 64.0
KINDS = {
    "stack": "in-process guest",
    "netns": "namespace",
    "qemu": "virtual machine",
    "external": "virtual machine or other",
    "uplink": "uplink",
}
_FORBIDDEN = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 has no way to write."""


def svg(topology: Topology) -> str:
    """`topology` drawn. Raises BadInput when it can't be resolved."""
    picture = read(topology.resolve())
    route(picture, place(picture))
    return "".join(f"{line}\n" for line in _document(picture))


def text(value: str) -> str:
    """`value` as character data."""
    return escape(_FORBIDDEN.sub("\ufffd", value))


def attribute(value: str) -> str:
    """`value` as an attribute's value, with its quotes."""
    return quoteattr(_FORBIDDEN.sub("\ufffd", value))


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def colours(networks: list[str]) -> dict[str, str]:
    """A colour for each: the first ones chosen by hand, the others around the wheel."""
    found = {}
    for index, name in enumerate(networks):
        if index < len(COLOURS):
            found[name] = COLOURS[index]
            continue
        hue, light = index * 0.618034 % 1, (0.36, 0.48, 0.6)[index % 3]
        red, green, blue = (round(255 * part) for part in colorsys.hls_to_rgb(hue, light, 0.6))
        found[name] = f"#{red:02x}{green:02x}{blue:02x}"
    return found


def _document(picture: Picture) -> Iterator[str]:
    paint = colours(list(picture.networks))
    entries = list(_entries(picture))
    cell = max((text_width(said, SMALL) for _, _, said in entries), default=0.0) + 50
    title = f"{picture.title}: {_counts(picture)}"
    width = max(picture.width, cell, text_width(title, 16)) + 2 * MARGIN
    columns = max(1, int((width - 2 * MARGIN) // cell))
    legend = TOP + picture.height + 32
    height = legend + 24 * -(-len(entries) // columns) + MARGIN
    w, h = _number(width), _number(height)
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{w}" height="{h}" viewBox="0 0 {w} {h}" role="img"'
        ' font-family="DejaVu Sans, Verdana, Helvetica, Arial, sans-serif">'
    )
    yield f"<title>{text(title)}</title>"
    yield f'<rect width="{w}" height="{h}" fill="{PAPER}"/>'
    yield _text(MARGIN, 34, picture.title, 18, weight="bold")
    yield _text(MARGIN, 52, _counts(picture), 11, FAINT)
    left = (width - picture.width) / 2
    yield f'<g transform="translate({_number(left)} {_number(TOP)})">'
    for cable in picture.cables:
        yield from _cable(cable)
    for panel in picture.panels.values():
        yield from _panel(panel, paint)
    yield from _branches(picture, paint)
    for node in picture.nodes:
        yield from _node(node, paint)
    for cable in picture.cables:
        if cable.label is not None:
            yield from _label(cable.label, cable.up)
    yield "</g>"
    yield '<g class="legend">'
    for index, (kind, network, said) in enumerate(entries):
        row, column = divmod(index, columns)
        x, y = MARGIN + column * cell, legend + 24 * row
        if kind:
            yield from _frame(Box(x=x, y=y - 8, width=26, height=16), kind)
            yield from _icon(x + 13, y, kind)
        else:
            yield _rect(Box(x=x, y=y - 8, width=26, height=16), paint[network], more=' rx="3"')
        yield _text(x + 34, y + 4, said, SMALL)
    yield "</g>"
    yield "</svg>"


def _counts(picture: Picture) -> str:
    uplinks = sum(node.kind == "uplink" for node in picture.nodes)
    guests = len(picture.nodes) - uplinks
    counted = [
        (guests, "guest"),
        (len(picture.panels), "switch"),
        (len(picture.cables), "link"),
        (uplinks, "uplink"),
        (len(picture.networks), "network"),
    ]
    plural = {"switch": "switches"}
    return ", ".join(f"{n} {what if n == 1 else plural.get(what, what + 's')}" for n, what in counted if n)


def _entries(picture: Picture) -> Iterator[tuple[str, str, str]]:
    """The legend: kind of node or "", network, what is said."""
    for name, said in picture.networks.items():
        yield "", name, f"{shortened(name, LONGEST)}: {shortened(said, 60)}"
    for kind in picture.kinds:
        yield kind, "", f"{kind}: {KINDS[kind]}" if KINDS[kind] != kind else kind


def _text(
    x: float, y: float, said: str, size: float, fill: str = INK, weight: str = "", anchor: str = ""
) -> str:
    more = (f' font-weight="{weight}"' if weight else "") + (f' text-anchor="{anchor}"' if anchor else "")
    place = f'x="{_number(x)}" y="{_number(y)}"'
    return f'<text {place} font-size="{_number(size)}" fill="{fill}"{more}>{text(said)}</text>'


def _rect(box: Box, fill: str, stroke: str = "none", more: str = "") -> str:
    return (
        f'<rect x="{_number(box.x)}" y="{_number(box.y)}" width="{_number(box.width)}"'
        f' height="{_number(box.height)}" fill="{fill}" stroke="{stroke}"{more}/>'
    )


def _panel(panel: Panel, paint: dict[str, str]) -> Iterator[str]:
    yield f'<g class="switch" data-name={attribute(panel.title)}>'
    yield f"<title>{text(f'{panel.title}: {panel.detail}')}</title>"
    yield _rect(panel, PANEL, EDGE, ' rx="8" stroke-width="1.5"')
    x = panel.x + 12
    yield f'<g fill="none" stroke="{INK}" stroke-width="1.5">'
    yield f'<rect x="{_number(x)}" y="{_number(panel.y + 13)}" width="20" height="13" rx="2"/>'
    for port in range(3):
        yield f'<path d="M{_number(x + 4 + 5 * port)} {_number(panel.y + 22)}h2"/>'
    yield "</g>"
    yield _text(x + 28, panel.y + 25, shortened(panel.title, 32), NAME + 2, weight="bold")
    yield _text(panel.right - 12, panel.y + 25, panel.detail, SMALL, FAINT, anchor="end")
    for section in panel.sections:
        colour = paint.get(section.network or "", NOBODY)
        yield _rect(section, colour, more=' fill-opacity="0.12" rx="5"')
        yield _text(section.x + 8, section.y + 14, shortened(section.title, LONGEST), SMALL, FAINT, "bold")
    yield "</g>"


def _node(node: Node, paint: dict[str, str]) -> Iterator[str]:
    what = "uplink" if node.kind == "uplink" else "guest"
    yield f'<g class="{what}" data-kind={attribute(node.kind)} data-name={attribute(node.name)}>'
    yield f"<title>{text(node.tooltip)}</title>"
    yield from _frame(node, node.kind)
    # Its networks' colours, from top to bottom, that of the first NIC first.
    count = max(1, len(node.networks))
    for index, network in enumerate(node.networks or ("",)):
        part = (node.height - 8) / count
        strip = Box(x=node.x + 4, y=node.y + 4 + index * part, width=5, height=part)
        yield _rect(strip, paint.get(network, NOBODY))
    yield from _icon(node.x + 22, node.y + node.height / 2, node.kind)
    middle = node.y + (node.height / 2 + 4 if not node.detail else 16)
    yield _text(node.x + 35, middle, shortened(node.name, LONGEST), NAME)
    if node.detail:
        yield _text(node.x + 35, node.y + 30, shortened(node.detail, LONGEST), SMALL, FAINT)
    yield "</g>"


def _frame(box: Box, kind: str) -> Iterator[str]:
    more = {
        "netns": ' rx="4" stroke-dasharray="4 2"',
        "uplink": ' rx="0"',
        "external": ' rx="0"',
        "qemu": ' rx="0"',
    }
    fill = "#e4e7eb" if kind == "uplink" else PAPER
    yield _rect(box, fill, FAINT, more.get(kind, ' rx="8"'))


def _icon(x: float, y: float, kind: str) -> Iterator[str]:
    """A sign for a kind, about 14 pixels wide, around (x, y)."""
    drawn = {
        "stack": "M-5 -5h10M-5 0h10M-5 5h10",
        "netns": "M-2 -6h-4v12h4M2 -6h4v12h-4",
        "qemu": "M-7 -6h14v9h-14zM-3 6h6M0 3v3M-1 -4l3 2.5l-3 2.5z",
        "external": "M-7 -6h14v9h-14zM-3 6h6M0 3v3",
        "uplink": "M0 6v-12M-5 -1l5 -5l5 5",
    }[kind]
    yield (
        f'<path d="{drawn}" transform="translate({_number(x)} {_number(y)})" fill="none" stroke="{INK}"'
        ' stroke-width="1.5"/>'
    )


def _cable(cable: Cable) -> Iterator[str]:
    points = " ".join(f"{_number(x)},{_number(y)}" for x, y in cable.points)
    colour, more = (CABLE, "") if cable.up else (DOWN, ' stroke-dasharray="6 4"')
    yield f'<g class="link" data-name={attribute(cable.name)}>'
    yield f"<title>{text(cable.tooltip)}</title>"
    yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{more}/>'
    yield "</g>"


def _label(label: Label, up: bool) -> Iterator[str]:
    yield _rect(label, PAPER, more=' rx="3" fill-opacity="0.92"')
    for index, line in enumerate(label.lines):
        y = label.y + LINE * index + 12
        yield _text(label.x + label.width / 2, y, line, SMALL, INK if up else DOWN, anchor="middle")


def _branches(picture: Picture, paint: dict[str, str]) -> Iterator[str]:
    """NICs in other switches: from the guest to the switch's nearest corner of its heading."""
    nodes = {node.name: node for node in picture.nodes if node.kind != "uplink"}
    for branch in picture.branches:
        node, panel = nodes[branch.guest], picture.panels[branch.switch]
        to_right = panel.x + panel.width / 2 > node.x + node.width / 2
        x1, y1 = (node.right if to_right else node.x), node.y + node.height / 2
        x2, y2 = (panel.x if to_right else panel.right), panel.y + 20
        colour = paint.get(branch.network or "", NOBODY)
        bend = _number((x1 + x2) / 2)
        start, end = f"{_number(x1)} {_number(y1)}", f"{_number(x2)} {_number(y2)}"
        curve = f"M{start}C{bend} {_number(y1)} {bend} {_number(y2)} {end}"
        yield f'<g class="branch" data-name={attribute(branch.port)}>'
        yield f"<title>{text(f'{branch.port} at {branch.switch}')}</title>"
        yield f'<path d="{curve}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        yield f'<circle cx="{_number(x2)}" cy="{_number(y2)}" r="3.5" fill="{colour}"/>'
        yield "</g>"
