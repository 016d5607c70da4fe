"""The reading of YAML and JSON: the core schema, positions, and bounds on what a hostile file costs."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from vnet.topology import nodes
from vnet.topology.nodes import Fields, Items, Node, Scalar, Unreadable, from_object, from_text, locate


def plain(node: Node) -> Any:
    match node:
        case Fields():
            return {key: plain(value) for key, value in node.fields.items()}
        case Items():
            return [plain(value) for value in node.items]
        case Scalar():
            return node.value


def read(text: str) -> Any:
    return plain(from_text(text.encode()))


def refused(text: str | bytes) -> str:
    with pytest.raises(Unreadable) as error:
        from_text(text if isinstance(text, bytes) else text.encode())
    return error.value.problem.line("f", error.value.problem.mark)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("02:00:00:00:00:10", "02:00:00:00:00:10"),
        ("190:20:30", "190:20:30"),
        ("on", "on"),
        ("yes", "yes"),
        ("NO", "NO"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("0o17", 15),
        ("017", 17),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("2026-11-22", "2026-11-22"),
        ("'12'", "12"),
        ("!!str 12", "12"),
        ("! 12", "12"),
        ("0.1 %", "0.1 %"),
        ("9" * 100, "9" * 100),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    read_value = read(f"a: {text}")["a"]
    assert read_value == value
    assert type(read_value) is type(value)


def test_keys_are_text_whatever_they_look_like() -> None:
    assert read("1: a\ntrue: b\nnull: c\n0x10: d") == {"1": "a", "true": "b", "null": "c", "0x10": "d"}


def test_anchors_aliases_and_merge_keys() -> None:
    text = """
        x-base: &base {a: 1, b: 2}
        x-more: &more {b: 3, c: 4}
        one: {<<: *base, a: 9}
        two: {<<: [*base, *more]}
        list: &l [1, 2]
        again: *l
        """
    found = read(text)
    assert found["one"] == {"a": 9, "b": 2}
    assert found["two"] == {"a": 1, "b": 2, "c": 4}
    assert found["again"] == [1, 2]


def test_a_quoted_merge_key_is_a_key() -> None:
    assert read("'<<': 1") == {"<<": 1}


def test_positions() -> None:
    root = from_text(b"a: 1\nb:\n  - x: {y: 2}\n  - 3\nc: &c\n  d: 4\ne: *c\n")

    def at(*path: str | int) -> tuple[int, int]:
        mark = locate(root, path)
        assert mark is not None
        return mark.line, mark.column

    assert at("a") == (1, 4)
    assert at("b") == (2, 1), "a collection stands where its key does"
    assert at("b", 0) == (3, 5)
    assert at("b", 0, "x", "y") == (3, 12)
    assert at("b", 1) == (4, 5)
    assert at("e") == (7, 1)
    assert at("e", "d") == (6, 6), "a value in an alias stands where it is written"
    assert at("b", 0, "nothing", "there") == (3, 5), "the nearest thing around it"


def test_duplicate_keys_keep_the_first_and_are_noted() -> None:
    root = from_text(b"a: 1\nb: 2\na: 3\n")
    assert isinstance(root, Fields)
    assert plain(root) == {"a": 1, "b": 2}
    ((name, mark),) = root.twice
    assert (name, mark and mark.line) == ("a", 3)


@pytest.mark.parametrize("indent", [None, 2, "\t"])
def test_json(indent: int | str | None) -> None:
    document = {"name": "a", "n": [1, -2.5, 1e30, True, None, 'ä\t"\\/'], "o": {"p": {}, "q": []}}
    assert read(json.dumps(document, indent=indent)) == document


def test_byte_order_mark() -> None:
    assert read("\ufeffa: 1") == {"a": 1}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "f: nothing in it, expected a topology"),
        ("# only a comment\n", "f: nothing in it, expected a topology"),
        ("a: 1\n--- \nb: 2", "f:2:1: a second document, expected one topology in a file"),
        ("a: !!python/object:os.system x", "f:1:4: tag python/object:os.system, expected no tag"),
        ("a: !x {b: 1}", "f:1:4: tag !x, expected no tag"),
        ("a: *b", "f:1:4: alias *b, expected an anchor &b before it"),
        ("a: &a [*a]", "f:1:8: alias *a inside of what it names, expected an anchor &a before it"),
        ("? [a]\n: 1", "f:1:3: a mapping or list as a key, expected a name"),
        ("a: {<<: 1}", "f:1:5: a merge key with something else, expected a mapping or a list of mappings"),
        ("a: b\x01", "f:1:5: control character U+0001, expected text"),
        (b"a: 1\nb: \xff\n", "f:2:4: byte 0xff, expected text in UTF-8"),
        ("a: \ud800".encode(errors="surrogatepass"), "f:1:4: byte 0xed, expected text in UTF-8"),
        ("a: [1, 2", "f:2:1: not YAML: did not find expected ',' or ']' while parsing a flow sequence that"
         " begins in line 1"),
        ("a:\n\tb: 1", "f:2:1: not YAML: found character that cannot start any token while scanning for the"
         " next token (indent with spaces, not tabs)"),
        ("a: @b", "f:1:4: not YAML: found character that cannot start any token while scanning for the next"
         " token (quote the value)"),
        ("a: [fd00::]", "f:1:10: not YAML: found unexpected ':' while scanning a plain scalar"
         " (quote the value)"),
        ("a: 1\nb 2\nc: 3", "f:3:1: not YAML: could not find expected ':' while scanning a simple key that"
         " begins in line 2"),
    ],
)  # fmt: skip
def test_what_can_not_be_read(text: str | bytes, line: str) -> None:
    found = refused(text)
    if "not YAML" in line and not yaml.__with_libyaml__:
        assert found.startswith(line.split("not YAML")[0])
    else:
        assert found == line


def test_nested_aliases_do_not_multiply() -> None:
    levels = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    text = "\n".join(["a0: &a0 [x, x, x, x, x, x, x, x, x]", *levels])
    begun = time.process_time()
    assert "values, aliases expanded" in refused(text)
    assert time.process_time() - begun < 5


def test_merged_aliases_do_not_multiply() -> None:
    wide = "{" + ", ".join(f"k{n}: 1" for n in range(1000)) + "}"
    text = f"a: &a {wide}\nb:\n" + "  - {<<: *a}\n" * 1000
    assert "values, aliases expanded" in refused(text)


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 1000, "a:\n  " + "- " * 1000 + "b", "? " * 1000])
def test_depth_is_bounded(text: str) -> None:
    assert "deep" in refused(text) or "as a key" in refused(text)


def test_size_is_bounded() -> None:
    assert refused(b"#" * (nodes.MOST_BYTES + 1)) == "f: larger than 8 MiB, expected a topology"


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    problem = None
    try:
        from_text(data)
    except Unreadable as error:
        problem = error.problem
    assert problem is None or "\n" not in problem.line("f", None)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )
)
def test_objects_become_nodes(value: object) -> None:
    assert plain(from_object(value)) == value


def test_objects_in_themselves_are_refused() -> None:
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(Unreadable):
        from_object(endless)
