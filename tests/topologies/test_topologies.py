"""The ready topologies are right, and the reference page is the one of the table."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

import topologies
from nics import kinds
from nics.errors import BadInput
from nics.stream import Stream
from nics.vde import Vde
from tests.vnet.topology import golden
from vnet.topology import Topology
from vnet.topology.document import page
from vnet.topology.schema import schema

ROOM = Path(topologies.__file__).parent
README = (ROOM / "README.md").read_text()


def test_names() -> None:
    assert {"single", "tenants", "namespaces", "vm"} <= set(topologies.names())


@pytest.mark.parametrize("name", topologies.names())
def test_ready_topology(name: str) -> None:
    text = topologies.path(name).read_text()
    assert text.startswith("# "), "a comment says what it is"
    assert f"topology:{name}" in text, "and what to try"
    assert f"| [`{name}`]({name}.yaml) |" in README
    jsonschema.Draft202012Validator(schema()).validate(yaml.safe_load(text))
    topology = topologies.load(name)
    assert topology.name == name
    assert topology == Topology.from_file(f"topology:{name}")
    assert topology.resolve().ports


def test_tenants_share_a_subnet_and_no_vlan() -> None:
    resolved = topologies.load("tenants").resolve()
    red, blue = resolved.networks.values()
    assert red.subnets == blue.subnets
    assert red.vlan != blue.vlan
    assert [port.network for port in resolved.ports.values()] == ["red"] * 3 + ["blue"] * 3
    assert len({port.ip for port in resolved.ports.values()}) == 6


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(BadInput) as error:
        Topology.from_file("topology:tenant")
    assert str(error.value).startswith("topology:tenant: no such topology, expected ")
    assert str(error.value).endswith("(did you mean tenants?)")
    with pytest.raises(BadInput):
        topologies.path("../README")


def test_the_reference_page_is_the_table() -> None:
    golden.check_file(ROOM / "FORMAT.md", page())


def test_the_reference_page_has_every_kind() -> None:
    text = page()
    for kind in kinds.KINDS.values():
        assert f"### `kind: {kind.name}`" in text


def test_files_read_without_the_yaml_of_1_1() -> None:
    """PyYAML's own loader and ours agree on the ready topologies: nothing in them is ambiguous."""
    for name in topologies.names():
        document = yaml.safe_load(topologies.path(name).read_text())
        assert Topology.from_dict(json.loads(json.dumps(document))) == topologies.load(name)


def test_nat_has_an_uplink_to_plug_into() -> None:
    assert topologies.load("nat").resolve().uplinks["out"].nic == Vde(directory="out.vde")


def test_vm_plugs_in_by_stream() -> None:
    assert topologies.load("vm").resolve().ports["vm.0"].nic == Stream(socket="vm.sock")
