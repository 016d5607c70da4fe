"""Uplinks of one network, and what is said of a ring that may run through them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import vnet
from vnet import uplinks
from vnet.cli import main
from vnet.topology import Topology


def two_wires(links: bool = True, **switch: Any) -> dict[str, Any]:
    """Two uplinks of red at two switches, and one more of blue."""
    uplinks = {
        name: {"nic": {"kind": "pipe"}, "native": native, "switch": at}
        for name, native, at in (("wan", "red", "a"), ("lan", "red", "c"), ("other", "blue", "a"))
    }
    return {
        "name": "two",
        "networks": {"red": {"vlan": 10}, "blue": {"vlan": 20}},
        "switches": dict.fromkeys("abc", switch),
        "links": [{"ends": ["a", "b"]}, {"ends": ["b", "c"], "networks": ["red" if links else "blue"]}],
        "uplinks": uplinks,
    }


@pytest.mark.usefixtures("autojump_clock")
async def test_uplinks_that_may_make_a_ring_are_told(caplog: pytest.LogCaptureFixture) -> None:
    told = "uplinks wan, lan all carry red: where they lead to one physical network"

    def found() -> int:
        count = sum(told in message for message in caplog.messages)
        caplog.clear()
        return count

    async with vnet.Fabric.from_dict(two_wires(links=False)) as fabric:
        assert found() == 0, "nothing leads from one to the other"
        await fabric.apply(Topology.from_dict(two_wires()))
        assert found() == 1
        wider = two_wires()
        wider["networks"]["green"] = {"vlan": 30}
        await fabric.apply(Topology.from_dict(wider))
        assert found() == 0, "once is enough"
    tree = Topology.from_dict(two_wires(stp="rstp")).resolve()
    assert len(list(uplinks.rings(None, tree))) == 1, "no tree has uplinks in it"


def test_the_check_tells_of_a_possible_ring(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "two.json"
    file.write_text(json.dumps(two_wires()))
    assert main(["check", str(file)]) == 0
    assert f"note: {file}:1:" in (told := capsys.readouterr().err)
    assert "uplinks wan, lan all carry red" in told
    file.write_text(json.dumps(two_wires(links=False)))
    assert main(["check", str(file)]) == 0
    assert capsys.readouterr().err == ""
