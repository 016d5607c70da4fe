"""A topology's text or Python objects as nodes that know where they stand.

YAML is read by PyYAML's parser, but composed and resolved here, for what a configuration needs and
PyYAML's loaders don't do:

* scalars of YAML 1.2's core schema (10.3.2). In YAML 1.1 `02:00:00:00:00:10` is a number in base 60,
  and `on`, `off`, `yes`, `no` are truth values; here they are the text that they look like;
* a key that is given twice is an error, not overwritten;
* every node keeps its line and column;
* no recursion, and bounds on bytes, depth and nodes *as expanded*, so that a few lines of nested
  aliases ("billion laughs") can't grow into gigabytes. An alias shares its node, it copies nothing.

Merge keys (`<<: *base`) work as in YAML 1.1's draft: what stands in the mapping itself wins. JSON is
read by the same way: YAML 1.2 contains it but for tabs, which JSON knows between tokens only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import yaml

from vnet.topology.problems import Mark, Path, Problem

MOST_BYTES = 8 * 2**20
MOST_NODES = 500_000
MOST_DEPTH = 50
_CORE = "tag:yaml.org,2002:"
_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@attrs.frozen(eq=False)
class Scalar:
    """A single value: text, number, truth value, nothing, or a Python object that is given as such."""

    value: object
    mark: Mark | None = None
    size: int = 1


@attrs.define(eq=False)
class Items:
    """A list."""

    items: list[Node]
    mark: Mark | None = None
    size: int = 1


@attrs.define(eq=False)
class Fields:
    """A mapping."""

    fields: dict[str, Node]
    mark: Mark | None = None
    size: int = 1
    keys: dict[str, Mark | None] = attrs.field(factory=dict)
    """Where each key stands."""
    twice: list[tuple[str, Mark | None]] = attrs.field(factory=list)
    """Keys that were given again, and where."""


Node = Scalar | Items | Fields


class Unreadable(Exception):
    """The text is not YAML, or more than is read; `problem` says what."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem = problem


def _stop(mark: Mark | None, found: str, expected: str = "", hint: str = "") -> Unreadable:
    return Unreadable(Problem((), found, expected, hint, mark))


def locate(root: Node, path: Path) -> Mark | None:
    """Where the value at `path` stands, or the nearest thing around it.

    A mapping or list stands where its key does: it begins a line later, or in an alias elsewhere.
    """
    node, mark = root, root.mark
    for step in path:
        if isinstance(node, Fields) and isinstance(step, str) and step in node.fields:
            key = node.keys.get(step)
            node = node.fields[step]
            mark = (node.mark if isinstance(node, Scalar) else key) or mark
        elif isinstance(node, Items) and isinstance(step, int) and step < len(node.items):
            node = node.items[step]
            mark = node.mark or mark
        else:
            break
    return mark


# -- Python objects ------------------------------------------------------------------------------


def from_object(value: object, depth: int = 0) -> Node:
    """Nodes of dicts, lists and scalars, without positions. Raises Unreadable."""
    if depth > MOST_DEPTH:
        raise _stop(None, f"nested more than {MOST_DEPTH} deep")
    if isinstance(value, Mapping):
        return Fields({str(key): from_object(item, depth + 1) for key, item in value.items()})
    if isinstance(value, list | tuple | set | frozenset):
        items = sorted(value, key=str) if isinstance(value, set | frozenset) else value
        return Items([from_object(item, depth + 1) for item in items])
    return Scalar(value)


def to_object(node: Node) -> object:
    """The dicts, lists and scalars that nodes stand for."""
    match node:
        case Fields(fields):
            return {key: to_object(item) for key, item in fields.items()}
        case Items(items):
            return [to_object(item) for item in items]
        case Scalar(value):
            return value


# -- text ----------------------------------------------------------------------------------------


def from_text(data: bytes) -> Node:
    """Nodes of a YAML or JSON document in UTF-8. Raises Unreadable."""
    if len(data) > MOST_BYTES:
        raise _stop(None, f"larger than {MOST_BYTES // 2**20} MiB", "a topology")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", errors="replace")
        raise _stop(_mark_after(before), f"byte 0x{data[error.start]:02x}", "text in UTF-8") from None
    if (strange := _FORBIDDEN.search(text)) is not None:
        found = f"control character U+{ord(strange[0]):04X}"
        raise _stop(_mark_after(text[: strange.start()]), found, "text")
    if text.lstrip()[:1] in ("{", "["):
        text = text.replace("\t", " ")
    try:
        return _Composer().compose(yaml.parse(text, Loader=_LOADER))
    except yaml.MarkedYAMLError as error:
        raise _syntax(error, text) from None
    except yaml.YAMLError as error:
        raise _stop(None, f"not YAML: {error}") from None


def _mark_after(text: str) -> Mark:
    return Mark(text.count("\n") + 1, len(text) - text.rfind("\n"))


def _syntax(error: yaml.MarkedYAMLError, text: str) -> Unreadable:
    at = error.problem_mark or error.context_mark
    mark = Mark(at.line + 1, at.column + 1) if at else None
    if "nesting depth" in (error.problem or ""):  # the parser's own bound, which some versions have
        return _stop(mark, f"nested more than {MOST_DEPTH} deep")
    lines = text.split("\n")
    line = lines[at.line] if at and at.line < len(lines) else ""
    character = line[at.column : at.column + 1] if at else ""
    problem = " ".join(filter(None, (error.problem, error.context))) or "something else"
    if "nesting depth" in problem:
        # libyaml has a limit of its own since 0.2.6, and scans ahead of what it gives us.
        return _stop(mark, f"nested more than {MOST_DEPTH} deep")
    begun = error.context_mark
    if begun and at and begun.line != at.line:
        problem += f" that begins in line {begun.line + 1}"
    hint = ""
    if character == "\t":
        hint = "indent with spaces, not tabs"
    elif ("start any token" in problem and character) or "unexpected ':'" in problem:
        hint = "quote the value"
    elif "undefined alias" in problem:
        hint = "name it before with &"
    return _stop(mark, f"not YAML: {problem}", hint=hint)


def resolved(text: str) -> object:
    """A plain scalar's value by the core schema (YAML 1.2.2, 10.3.2)."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE"):
        return True
    if text in ("false", "False", "FALSE"):
        return False
    if len(text) <= 64 and text[0] in "+-.0123456789":  # longer numbers mean nothing here
        if re.fullmatch(r"[-+]?[0-9]+", text):
            return int(text)
        if re.fullmatch(r"0o[0-7]+", text):
            return int(text, 0)
        if re.fullmatch(r"0x[0-9a-fA-F]+", text):
            return int(text, 0)
        if re.fullmatch(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", text):
            return float(text)
        if re.fullmatch(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", text):
            return float(text.replace(".", ""))
    return text


@attrs.define
class _Open:
    """A mapping or list whose end has not come yet."""

    node: Items | Fields
    anchor: str | None
    key: tuple[str, Mark] | None = None
    merge: Mark | None = None
    """A merge key whose value comes next."""
    merges: list[tuple[Mark, Node]] = attrs.field(factory=list)


class _Composer:
    """Events in, the one document's root node out."""

    def __init__(self) -> None:
        self._open: list[_Open] = []
        self._anchors: dict[str, Node | None] = {}
        self._root: Node | None = None
        self._nodes = 0

    def compose(self, events: Iterator[Any]) -> Node:
        documents = 0
        for event in events:
            mark = Mark(event.start_mark.line + 1, event.start_mark.column + 1)
            match event:
                case yaml.DocumentStartEvent():
                    documents += 1
                    if documents > 1:
                        raise _stop(mark, "a second document", "one topology in a file")
                case yaml.ScalarEvent():
                    self._scalar(event, mark)
                case yaml.AliasEvent():
                    name = str(event.anchor)
                    node = self._anchors.get(name)
                    if node is None:
                        inside = " inside of what it names" if name in self._anchors else ""
                        found = f"alias *{name[:40]}{inside}"
                        raise _stop(mark, found, f"an anchor &{name[:40]} before it")
                    self._grow(node.size, mark)
                    self._place(node, mark)
                case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                    self._start(event, mark)
                case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                    self._end(mark)
        if self._root is None:
            raise _stop(None, "nothing in it", "a topology")
        return self._root

    def _grow(self, nodes: int, mark: Mark) -> None:
        self._nodes += nodes
        if self._nodes > MOST_NODES:
            raise _stop(mark, f"more than {MOST_NODES} values, aliases expanded", "a smaller topology")

    def _scalar(self, event: Any, mark: Mark) -> None:
        self._grow(1, mark)
        tag: str | None = event.tag
        if tag is None or tag == "!":
            value = resolved(event.value) if event.implicit[0] and tag is None else event.value
        elif tag in (f"{_CORE}str", f"{_CORE}int", f"{_CORE}float", f"{_CORE}bool", f"{_CORE}null"):
            value = event.value if tag.endswith("str") else resolved(event.value)
        else:
            raise _stop(mark, f"tag {_short(tag)}", "no tag")
        top = self._open[-1] if self._open else None
        if top and isinstance(top.node, Fields) and top.key is None and top.merge is None:
            # A key is its text, whatever it looks like: a network may be named 10 or true.
            if event.anchor is not None:
                self._anchors[event.anchor] = Scalar(value, mark)
            if event.value == "<<" and event.implicit[0]:
                top.merge = mark
            else:
                top.key = (event.value, mark)
            return
        node = Scalar(value, mark)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        self._place(node, mark)

    def _start(self, event: Any, mark: Mark) -> None:
        self._grow(1, mark)
        mapping = isinstance(event, yaml.MappingStartEvent)
        if event.tag not in (None, "!", f"{_CORE}map" if mapping else f"{_CORE}seq"):
            raise _stop(mark, f"tag {_short(event.tag)}", "no tag")
        if len(self._open) >= MOST_DEPTH:
            raise _stop(mark, f"nested more than {MOST_DEPTH} deep")
        self._check_key(mark)
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        self._open.append(_Open(Fields({}, mark) if mapping else Items([], mark), event.anchor))

    def _end(self, mark: Mark) -> None:
        done = self._open.pop()
        node = done.node
        if isinstance(node, Fields):
            self._merge(node, done.merges)
            node.size = 1 + sum(child.size for child in node.fields.values())
        else:
            node.size = 1 + sum(child.size for child in node.items)
        if done.anchor is not None:
            self._anchors[done.anchor] = node
        self._place(node, mark)

    def _check_key(self, mark: Mark) -> None:
        top = self._open[-1] if self._open else None
        if top and isinstance(top.node, Fields) and top.key is None and top.merge is None:
            raise _stop(mark, "a mapping or list as a key", "a name")

    def _place(self, node: Node, mark: Mark) -> None:
        """Put a finished node where it belongs: into the innermost open node, or as the root."""
        if not self._open:
            self._root = node
            return
        top = self._open[-1]
        if isinstance(top.node, Items):
            top.node.items.append(node)
            return
        if top.merge is not None:
            top.merges.append((top.merge, node))
            top.merge = None
            return
        self._check_key(mark)
        assert top.key is not None
        name, at = top.key
        top.key = None
        if name in top.node.fields:
            top.node.twice.append((name, at))
        else:
            top.node.fields[name] = node
            top.node.keys[name] = at

    def _merge(self, node: Fields, merges: list[tuple[Mark, Node]]) -> None:
        for mark, merged in merges:
            for source in merged.items if isinstance(merged, Items) else [merged]:
                if not isinstance(source, Fields):
                    raise _stop(mark, "a merge key with something else", "a mapping or a list of mappings")
                for name, value in source.fields.items():
                    if name not in node.fields:
                        self._grow(value.size, mark)
                        node.fields[name] = value
                        node.keys[name] = source.keys.get(name)


def _short(tag: str) -> str:
    return tag.removeprefix(_CORE)[:40]
