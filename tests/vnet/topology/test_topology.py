"""The contract's example, files, the builder, and writing back."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest
import yaml
from hypothesis import given

from nics.door import Opened, Place
from nics.errors import BadInput
from tests.vnet.topology.strategies import documents
from vnet.topology import Topology

CONTRACT = Path(__file__).with_name("contract.yaml")
"""A file with every word that users were promised."""


def refused(call: Any, *args: Any, **keys: Any) -> str:
    with pytest.raises(BadInput) as error:
        call(*args, **keys)
    return str(error.value)


# -- the contract --------------------------------------------------------------------------------


def test_the_contract_in_full() -> None:
    resolved = Topology.from_file(CONTRACT).resolve()
    assert list(resolved.switches) == ["leaf1", "leaf2", "spine"]
    assert resolved.switches["spine"].stp == "rstp"
    assert list(resolved.links) == ["leaf1-spine", "leaf2-spine"]
    first_link, second_link = resolved.links.values()
    assert first_link.vlans == (10, 20)
    assert first_link.a_to_b == first_link.b_to_a
    assert (first_link.a_to_b.delay, first_link.a_to_b.loss) == (2_000_000, 1000)
    assert (second_link.a_to_b.delay, second_link.b_to_a.loss) == (5_000_000, 10_000)
    assert resolved.name == "tenants"
    assert {name: network.vlan for name, network in resolved.networks.items()} == {"red": 10, "blue": 20}
    assert list(resolved.ports) == ["web.0", "db.0", "shell.0", "vm1.0", "router.0"]
    ports = resolved.ports
    first, second = ports["web.0"].addresses
    assert str(first) == "10.0.10.11/24"
    assert str(second.network) == "fd00:10::/64"
    assert {port.switch for port in ports.values()} == {"leaf1"}, "the first of the file"
    assert ports["vm1.0"].mac == "02:00:00:00:00:0a"
    assert ports["vm1.0"].nic.kind == "vhost-user"
    assert ports["shell.0"].nic.kind == "tap"
    assert ports["db.0"].nic.kind == "stack"
    router = ports["router.0"]
    assert (router.is_trunk, router.vlan, router.tagged, router.vlans) == (True, 10, (20,), (10, 20))
    assert router.networks == ("red", "blue")
    assert resolved.ports_of("router") == [router]


# -- files ---------------------------------------------------------------------------------------

SMALL = "name: lab\nnetworks: {red: {}}\nguests: {a: {nics: [{network: red}]}}\n"


def test_from_file(tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text(SMALL)
    assert Topology.from_file(file) == Topology.from_file(str(file)) == Topology.from_text(SMALL)


def test_from_json(tmp_path: Path) -> None:
    file = tmp_path / "lab.json"
    file.write_text(json.dumps(yaml.safe_load(SMALL), indent="\t"))
    assert Topology.from_file(file) == Topology.from_text(SMALL)


def test_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(SMALL.encode())))
    assert Topology.from_file("-") == Topology.from_text(SMALL)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"name: 5\n")))
    assert refused(Topology.from_file, "-").startswith("<stdin>:1:7: name: 5, expected a name")


def test_files_that_can_not_be_read(tmp_path: Path) -> None:
    assert refused(Topology.from_file, tmp_path / "none") == f"{tmp_path}/none: No such file or directory"
    assert refused(Topology.from_file, tmp_path) == f"{tmp_path}: Is a directory"
    assert "null" in refused(Topology.from_file, "a\0b")


def test_a_large_file_is_not_read_whole(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(2**40)
    assert (
        refused(Topology.from_file, tmp_path / "large")
        == f"{tmp_path}/large: larger than 8 MiB, expected a topology"
    )


def test_a_fabric_of_four_thousand_guests() -> None:
    guests = "".join(f"  g{n}: {{nics: [{{network: red}}]}}\n" for n in range(4096))
    topology = Topology.from_text(
        f"name: lab\nnetworks: {{red: {{subnets: [10.0.0.0/16]}}}}\nguests:\n{guests}"
    )
    ports = topology.resolve().ports.values()
    assert len({port.mac for port in ports}) == len({port.ip for port in ports}) == 4096


def test_extension_keys_and_anchors() -> None:
    topology = Topology.from_text("""
        name: lab
        x-defaults: &port {network: red, sticky: true}
        networks: {red: {}}
        guests:
          a: {nics: [*port]}
          b: {nics: [{<<: *port, sticky: false}]}
        """)
    ports = topology.resolve().ports
    assert ports["a.0"].settings.sticky
    assert not ports["b.0"].settings.sticky


# -- writing -------------------------------------------------------------------------------------


@given(documents())
def test_round_trip(document: dict[str, Any]) -> None:
    topology = Topology.from_dict(document)
    assert Topology.from_dict(topology.to_dict()) == topology
    assert Topology.from_text(topology.to_yaml()) == topology
    assert Topology.from_text(json.dumps(topology.to_dict())) == topology
    assert Topology.from_dict(topology.to_dict()).resolve() == topology.resolve()


def test_what_is_default_is_not_written() -> None:
    assert Topology.from_text(SMALL).to_dict() == {
        "name": "lab",
        "networks": {"red": {}},
        "guests": {"a": {"nics": [{"network": "red"}]}},
    }


def test_what_this_version_can_not_do_is_written_all_the_same() -> None:
    """A topology read by a later version must survive being written."""
    from vnet.topology import build, reader, table, write

    values = {
        "ends": ["a", "b"],
        "impair": {"delay": "2 ms", "rate": "1 Gbit/s", "b_to_a": {"loss": "1 %"}},
        "transparent": True,
    }
    problems: list[Any] = []
    shape = next(key.type for key in table.TOPOLOGY.keys if key.name == "links")
    (read,) = shape.read(reader.nodes_of_object([values]), ("links",), problems)
    link = build.link(read)
    assert not problems
    (again,) = shape.read(reader.nodes_of_object([write.link_words(link)]), ("links",), problems)
    assert build.link(again) == link
    assert link.b_to_a.delay == 2_000_000
    assert link.b_to_a.loss == 10_000


def test_yaml_is_for_people() -> None:
    topology = Topology("lab", seed=7).network("red", vlan=10, subnets=["10.0.0.0/24"])
    topology.guest("vm", kind="external", network="red", mac="02:00:00:00:00:10", ip="10.0.0.9")
    topology.switch("s1", ageing="15 s")
    assert topology.to_yaml() == (
        "name: lab\n"
        "seed: 7\n"
        "networks:\n"
        "  red:\n"
        "    vlan: 10\n"
        "    subnets: [10.0.0.0/24]\n"
        "guests:\n"
        "  vm:\n"
        "    kind: external\n"
        "    nics:\n"
        "    - network: red\n"
        "      mac: 02:00:00:00:00:10\n"
        "      ip: [10.0.0.9]\n"
        "switches:\n"
        "  s1:\n"
        "    ageing: 15 s\n"
    )


@pytest.mark.parametrize("name", ["1e3", "0x1f", "0o17", "null", "true", "7", "1-2", "2026-11-22", "on"])
def test_names_that_look_like_something_else(name: str) -> None:
    topology = Topology(name if len(name) > 1 else "lab").network(name).switch(name)
    topology.guest(name, network=name)
    assert Topology.from_text(topology.to_yaml()) == topology


# -- building ------------------------------------------------------------------------------------


def test_built_as_written() -> None:
    built = Topology("tenants", seed=1)
    built.network("red", vlan=10, subnets=["10.0.10.0/24", "fd00:10::/64"])
    built.network("blue", vlan=20, subnets="10.0.10.0/24")
    built.guest("web", network="red", ip=["10.0.10.11"])
    built.guest("db", network="red")
    built.guest("shell", kind="netns", network="blue")
    built.guest(
        "vm1",
        kind="external",
        network="blue",
        mac="02:00:00:00:00:0a",
        nic={"kind": "vhost-user", "socket": "vm1.sock", "role": "server"},
        guard={"allow": [{"ip": "10.0.10.200"}], "dhcp_server": "allow"},
        limits={
            "egress": {"rate": "1 Gbit/s", "burst": "256 KiB", "packets": "200 k/s"},
            "ingress": {"rate": "1 Gbit/s"},
        },
    )
    built.guest("router", nics=[{"trunk": ["red", "blue"], "native": "red"}])
    built.uplink("wan", nic={"kind": "packet", "interface": "eth0"}, native="red", tagged=["blue"])
    built.switch("leaf1").switch("leaf2").switch("spine", stp="rstp")
    impair = {"delay": "2 ms", "jitter": "200 us", "loss": "0.1 %", "rate": "1 Gbit/s"}
    built.link("leaf1", "spine", impair=impair)
    built.link("leaf2", "spine", impair={"a_to_b": {"delay": "5 ms"}, "b_to_a": {"loss": "1 %"}})
    built.expecting("web", "db").expecting("web", "shell", reach=False)
    assert built == Topology.from_file(CONTRACT)


def test_a_nic_can_be_given_as_its_description() -> None:
    from nics.stream import Stream

    topology = Topology("lab").network("red")
    topology.guest("vm", kind="external", network="red", nic=Stream(socket="vm.sock", role="client"))
    assert topology.to_dict()["guests"]["vm"]["nics"][0]["nic"] == {
        "kind": "stream",
        "socket": "vm.sock",
        "role": "client",
    }


def test_a_nic_of_ones_own_kind() -> None:
    @attrs.frozen
    class Loop:
        kind: ClassVar[str] = "loop"

        async def open(self, place: Place) -> Opened:
            raise NotImplementedError

    topology = Topology("lab").network("red").guest("vm", kind="external", network="red", nic=Loop())
    assert topology.resolve().ports["vm.0"].nic == Loop()
    assert refused(topology.to_dict) == "a NIC of kind loop has no words in a topology file"


def test_mistakes_in_building_are_told_at_once() -> None:
    topology = Topology("lab")
    assert refused(topology.network, "red", vlam=10) == (
        "networks.red.vlam: unknown key, expected vlan, subnets, gateway, private, proxy_arp, mtu"
        " or multicast (did you mean vlan?)"
    )
    assert refused(topology.network, "Red").startswith("networks.Red: not a name")
    assert refused(topology.guest, "a", network=5).startswith("guests.a.nics[0].network: 5, expected")
    assert refused(topology.guest, "a", nics=[{"network": "red"}], mac="x") == (
        "guests.a: nics and mac, expected one or the other"
    )
    assert refused(topology.remove_guest, "a") == "guests.a: no such guest"
    assert topology == Topology("lab"), "a mistake changes nothing"


def test_mistakes_in_the_whole_are_told_when_it_is_used() -> None:
    topology = Topology("lab").guest("a", network="red").network("blue")
    topology.guest("b", network="blue", mtu=9000)
    for use in (topology.check, topology.resolve):
        assert refused(use).split("\n") == [
            'guests.a.nics[0].network: no network "red", expected blue',
            "guests.b.nics[0].mtu: 9000, expected at most 1500, the network's",
        ]


def test_full_subnets_are_told_when_it_is_resolved() -> None:
    topology = Topology("lab").network("red", subnets=["10.0.0.0/30"])
    topology.guest("a", network="red").guest("b", network="red")
    assert refused(topology.resolve) == (
        "networks.red.subnets[0]: 10.0.0.0/30 has 1 address left for 2 NICs without one,"
        " expected a larger subnet"
    )


def test_a_copy_is_its_own() -> None:
    topology = Topology("lab").network("red")
    copy = topology.copy()
    assert copy == topology
    copy.guest("a", network="red").switch("s9")
    assert topology == Topology("lab").network("red")
    assert copy.remove_guest("a").guests == {}


def test_the_name_is_checked_when_it_is_used() -> None:
    assert refused(Topology("No Name").check).startswith('name: "No Name", expected a name')
    assert refused(Topology("lab", seed=-1).resolve).startswith("seed: -1, expected a whole number")
