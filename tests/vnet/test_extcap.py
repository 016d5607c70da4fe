"""What Wireshark is offered can be captured, whatever things are called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import vnet
from vnet import Fabric, extcap, runtime
from vnet.cli import words

LAB = {
    "name": "lab",
    "networks": {"lan": {}, "red": {}, "blue": {}},
    "switches": {"lan": {}, "far": {}, "wan": {}},
    "uplinks": {"wan": {"nic": {"kind": "pipe"}, "native": "lan", "switch": "wan"}},
    "links": [{"ends": ["lan", "far"], "name": "cable"}],
    "guests": {
        "a": {"nics": [{"network": "lan", "switch": "lan"}]},
        "red": {"nics": [{"network": "red", "switch": "far"}]},
        "b": {"nics": [{"network": "red", "switch": "lan"}, {"network": "blue", "switch": "far"}]},
    },
}


async def test_each_can_be_captured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async with Fabric(vnet.Topology.from_dict(LAB)) as fabric:
        status = fabric.status()

        class Client:
            def __enter__(self) -> Client:
                return self

            def __exit__(self, *_: object) -> None:
                pass

            def call(self, _name: str) -> dict[str, Any]:
                return status

        monkeypatch.setattr(runtime, "running", lambda: ["lab"])
        monkeypatch.setattr(words, "client", lambda _name: Client())
        offered = [line.split("}")[0].removeprefix("interface {value=") for line in extcap.interfaces()[1:]]
        targets = [name.removeprefix("vnet:lab:") for name in offered]
        assert targets == [
            "all",
            *("network:lan", "network:red", "blue"),
            *("a.0", "red.0", "b.0", "b.1", "port:wan", "cable.a", "cable.b"),
        ]
        for target in targets:
            fabric.capture(tmp_path / "a.pcapng", target)
