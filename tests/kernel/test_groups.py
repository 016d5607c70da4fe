"""The host's own TCP through security groups: namespaces with offloads, and an in-process guest."""

from __future__ import annotations

import itertools

import pytest

import vnet
from tests import peers
from tests.needs import needs_root, needs_tun
from tests.qemu import lab

pytestmark = [needs_root, needs_tun]

MESH = {"ingress": [{"protocol": "tcp", "ports": "5000-5099", "group": "mesh"}]}


async def test_transfers_between_members() -> None:
    """Both ends have groups; super-segments, partial checksums, scaled windows and all."""
    nic = {"network": "n", "groups": ["mesh"]}
    document = {
        "name": "mesh",
        "networks": {"n": {"subnets": lab.SUBNETS}},
        "groups": {"mesh": MESH},
        "guests": {
            "one": {"kind": "netns", "nics": [nic]},
            "two": {"kind": "netns", "nics": [nic]},
            "stack": {"nics": [nic]},
        },
    }
    async with vnet.Fabric.from_dict(document) as fabric:
        everybody: dict[str, peers.Peer] = {name: lab.peer(fabric, name) for name in ("one", "two", "stack")}
        for number, (giver, taker) in enumerate(itertools.permutations(everybody, 2)):
            address = lab.addresses(fabric, taker)[number % 2]
            await peers.transfer(everybody[giver], everybody[taker], address, port=5000 + number, megabytes=8)
        for port in fabric.ports.values():
            drops = port.status()["drops"]
            assert not drops.keys() & {"group-egress", "group-invalid", "group-full"}, drops
        assert {entry["protocol"] for entry in fabric.connections()} >= {"tcp"}
        with pytest.raises(vnet.Unreachable):
            await fabric.guests["stack"].ping(fabric.guests["one"], timeout=1)
