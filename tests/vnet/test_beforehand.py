"""A change that can be seen to fail removes nothing first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import vnet


def lab(*nics: dict[str, Any], gso: bool = True) -> vnet.Topology:
    guests: dict[str, Any] = {
        "web": {"nics": [{"network": "red", "nic": {"kind": "stack", "gso": gso}}]},
        "db": {"nics": [{"network": "red"}]},
    }
    for number, nic in enumerate(nics):
        guests[f"new{number}"] = {"kind": "external", "nics": [{"network": "red", "nic": nic}]}
    return vnet.Topology.from_dict({"name": "lab", "networks": {"red": {}}, "guests": guests})


@pytest.mark.parametrize(
    ("nic", "said"),
    [
        ({"kind": "packet", "interface": "no-such"}, "there is no interface no-such"),
        ({"kind": "packet", "interface": "lo", "netns": "no-such"}, "there is no namespace no-such"),
        ({"kind": "pcap", "read": "no-such.pcap"}, "there is no file no-such.pcap"),
        ({"kind": "pcap", "write": "no/such.pcap"}, "there is no folder no"),
        ({"kind": "stream", "socket": "file"}, "file is there and is no socket"),
        ({"kind": "vhost-user", "socket": "no/such"}, "there is no folder .*no"),
        ({"kind": "dgram", "local": "x" * 90}, "expected at most 107"),
    ],
)
async def test_what_is_refused_in_time_leaves_the_ports_that_were_to_go(
    nic: dict[str, Any], said: str, tmp_path: Path
) -> None:
    runtime = tmp_path / ("r" * 20)
    async with vnet.Fabric(lab(), runtime=runtime) as fabric:
        await fabric.hold_runtime()
        (runtime / "file").touch()
        web = fabric.port("web")
        with pytest.raises(vnet.NicError, match=f"new0.0: .*{said}"):
            await fabric.apply(lab(nic, gso=False))
        assert fabric.port("web") is web
        # What is there, or comes in the same change, is no reason.
        await fabric.apply(lab({"kind": "stream", "socket": "s.sock"}, {"kind": "dgram", "local": "@x"}))
        await fabric.apply(lab({"kind": "vhost-user", "socket": "s.sock"}, gso=False))
        assert fabric.port("web") is not web
