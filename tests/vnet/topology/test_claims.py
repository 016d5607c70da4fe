"""What NICs take for themselves, however it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import vnet
from vnet import BadInput, runtime


@pytest.fixture(autouse=True)
def base(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "base", lambda: Path("/run/vnet"))


def lab(*nics: dict[str, Any], guest: str = "g", name: str = "lab") -> vnet.Topology:
    text = f"name: {name}\nnetworks: {{red: {{}}}}\nguests:\n"
    for number, nic in enumerate(nics):
        text += f"  {guest}{number}:\n    kind: external\n    nics:\n      - network: red\n"
        text += f"        nic: {nic}\n" if nic else ""
    return vnet.Topology.from_text(text.replace("'", ""), "lab.yaml")


def stream(socket: str, **keys: Any) -> dict[str, Any]:
    return {"kind": "stream", "socket": f'"{socket}"', **keys}


@pytest.mark.parametrize("path", ["control.sock", "./lock", "namespaces", "a/../namespaces.new", "."])
@pytest.mark.parametrize("kind", ["stream", "vhost-user", "dgram", "vde"])
def test_what_is_the_fabrics_own_is_no_guests(path: str, kind: str) -> None:
    key = {"dgram": "local", "vde": "directory"}.get(kind, "socket")
    for text in (path, f"/run/vnet/lab/{path}"):
        with pytest.raises(BadInput, match=r"lab\.yaml:8:\d+: .* is the fabric's own, expected another"):
            lab({"kind": kind, key: text})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (stream("vm.sock"), stream("./vm.sock")),
        (stream("vm.sock"), stream("/run/vnet/lab/vm.sock")),
        (stream("vm.sock"), {"kind": "vhost-user", "socket": "x/../vm.sock"}),
        (stream("[::1]:5000"), stream("[0:0::1]:5000")),
        ({"kind": "vde", "directory": "a"}, {"kind": "vde", "directory": "/run/vnet/lab/a/"}),
        ({"kind": "pcap", "write": "a.pcap"}, {"kind": "pcap", "write": "./a.pcap"}),
    ],
)
def test_one_thing_by_two_names_is_one_nics(one: dict[str, Any], other: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=r"lab\.yaml:13:\d+: .* is guests\.g0\.nics\[0\]'s already"):
        lab(one, other)


def test_what_only_looks_alike_is_not_the_same() -> None:
    lab(stream("vm.sock"), stream("/run/vnet/other/vm.sock"), stream("@vm.sock"), stream("@./vm.sock"))
    lab(stream("vm.sock", role="client"), stream("./vm.sock", role="client"))


def test_a_path_that_is_too_long_where_it_lies_is_told_with_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runtime, "base", lambda: Path("/run/user/1000/vnet" + "x" * 40))
    lab({}, guest="g" * (107 - len("/run/user/1000/vnet/lab/") - 40 - len("0.0.sock")))
    with pytest.raises(BadInput, match=r"lab\.yaml:7:\d+: .* has 108 bytes, expected a shorter path"):
        lab({}, guest="g" * (108 - len("/run/user/1000/vnet/lab/") - 40 - len("0.0.sock")))
    with pytest.raises(BadInput, match=r"lab\.yaml:8:\d+: .* has 124 bytes"):
        lab(stream("s" * 60))
