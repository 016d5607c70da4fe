"""Every kind of NIC that the tests speak of is there, also before its module is."""

from __future__ import annotations

import importlib.util
from typing import Any

import attrs
import pytest
from hypothesis import settings

from nics import kinds

# Every test has a deadline of its own; one on a single example fails when the machine is busy.
settings.register_profile("vnet", deadline=None)
settings.load_profile("vnet")

SPOKEN_OF = ("stack", "pipe", "tap", "stream", "dgram", "vhost-user", "pcap")


@pytest.fixture(autouse=True)
def nic_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SPOKEN_OF:
        kind = kinds.KINDS[name]
        module, _, class_name = kind.where.partition(":")
        if importlib.util.find_spec(module) is None:
            stand_in: Any = attrs.make_class(
                class_name,
                {key.name: attrs.field(default=key.default) for key in kind.keys},
                frozen=True,
                slots=False,
            )
            stand_in.kind = name
            STAND_INS[name] = stand_in
    original = kinds.Kind.load
    monkeypatch.setattr(kinds.Kind, "load", lambda kind: STAND_INS.get(kind.name) or original(kind))


STAND_INS: dict[str, type] = {}
