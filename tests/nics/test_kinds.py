"""The table of NIC kinds and the classes that it names say the same."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from nics import kinds
from nics.door import Nic
from nics.keys import Wrong
from nics.kinds import KINDS, Kind

EXAMPLES: dict[str, dict[str, Any]] = {
    kind.name: {key.name: key.example for key in kind.keys} for kind in KINDS.values()
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_class_and_table_agree(kind: Kind) -> None:
    described: Any = kind.load()
    assert described.kind == kind.name
    fields = attrs.fields_dict(described)
    assert set(fields) == {key.name for key in kind.keys}, "a key without attribute, or the reverse"
    for key in kind.keys:
        default = fields[key.name].default
        assert (default is attrs.NOTHING) == key.required, key
        assert key.required or default == key.default, key


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_made_from_keys_and_back(kind: Kind) -> None:
    keys = {key: value for key, value in EXAMPLES[kind.name].items() if (kind.name, key) != ("tap", "fd")}
    check_round(kind, keys)


def test_a_tap_that_was_handed_over_is_made_from_keys_and_back() -> None:
    check_round(KINDS["tap"], {"fd": 7, "queues": 2})
    check_round(KINDS["tap"], {"fd": "lan"})


def check_round(kind: Kind, keys: dict[str, Any]) -> None:
    def made(said: dict[str, Any]) -> Nic:
        return kinds.make(
            kind.name, {key.name: key.type.read(said[key.name]) for key in kind.keys if key.name in said}
        )

    nic = made(keys)
    words = {"kind": kind.name, **keys}
    for key in kind.keys:
        if key.name in keys and keys[key.name] == key.default:
            del words[key.name]
    assert kinds.words(nic) == words
    assert made(words) == nic
    assert hash(made(words)) == hash(nic)


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_every_key_has_words_and_a_right_example(kind: Kind) -> None:
    assert kind.doc.endswith(".")
    for key in kind.keys:
        assert key.doc.endswith(".")
        assert key.type.read(key.example) is not None
        assert key.type.schema()
    assert set(kind.claims) <= {key.name for key in kind.keys}
    assert set(kind.any_of) <= {key.name for key in kind.keys}


def test_claims() -> None:
    def claims(kind: str, **keys: Any) -> list[tuple[str, str, str]]:
        return list(kinds.claims(kinds.make(kind, keys)))

    assert claims("stream", socket="vm.sock") == [("socket", "socket", "vm.sock")]
    assert claims("stream", socket="vm.sock", role="client") == []
    assert claims("vde", directory="vm.vde") == [("directory", "folder", "vm.vde")]
    assert claims("vde", directory="/run/vde.ctl", role="client") == []
    assert claims("tap") == []
    assert claims("tap", name="tap0") == [("name", "interface", "tap0")]


@pytest.mark.parametrize("name", ["", "x" * 16, "a/b", "a b", "a:b", "tap%d", ".", "..", "täp", 5, None])
def test_interface_names_that_the_kernel_refuses(name: object) -> None:
    with pytest.raises(Wrong):
        kinds.InterfaceName().read(name)


@pytest.mark.parametrize("name", ["eth0", "x" * 15, "eth0.10", "br-lan", "veth@a"])
def test_interface_names_that_it_takes(name: str) -> None:
    assert kinds.InterfaceName().read(name) == name


def test_paths_are_bounded_in_bytes() -> None:
    for kind in (kinds.SocketPath(), kinds.SocketAddress()):
        assert kind.read("x" * 107)
        for wrong in ("x" * 108, "ä" * 54, "a\0b", ""):
            with pytest.raises(Wrong):
                kind.read(wrong)
