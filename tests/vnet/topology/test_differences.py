"""What `vnet apply` says of a change: values as the file has them."""

from __future__ import annotations

from typing import Any

import pytest

import vnet
from vnet.topology.plan import plan


def told(before: dict[str, Any], after: dict[str, Any], section: str = "nic") -> list[str]:
    def resolved(keys: dict[str, Any]) -> Any:
        document: dict[str, Any] = {"name": "lab", "networks": {"red": {}}, "guests": {}}
        nic = {"network": "red", **(keys if section == "nic" else {})}
        document["guests"]["a"] = {"nics": [nic]}
        if section != "nic":
            document |= {section: keys}
        return vnet.Topology.from_dict(document).resolve()

    return [str(action) for action in plan(resolved(before), resolved(after))]


RATE = {"egress": {"rate": "10 Mbit/s"}}


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ({}, {"limits": RATE}, "limits none -> {egress: {rate: 10 Mbit/s}}"),
        ({"limits": RATE}, {}, "limits {egress: {rate: 10 Mbit/s}} -> none"),
        ({}, {"impair": {"delay": "5 ms"}}, "egress delay 0 s -> 5 ms, ingress delay 0 s -> 5 ms"),
        (
            {"impair": {"loss": "1 %"}},
            {"impair": {"egress": {"delay": "3 ms"}, "ingress": {"loss": "2 %"}}},
            "egress delay 0 s -> 3 ms, egress loss 1 % -> 0 %, ingress loss 1 % -> 2 %",
        ),
        ({}, {"guard": "off"}, "guard {} -> off"),
        ({"guard": "off"}, {"guard": {"dhcp_server": "allow"}}, "guard off -> {dhcp_server: allow}"),
        ({}, {"storm": {"broadcast": "100 /s"}}, "storm none -> {broadcast: 100 /s}"),
        (
            {},
            {"schedule": [{"from": "1 s", "to": "2 s", "up": False}]},
            "schedule none -> {from: 1 s, to: 2 s, up: false}",
        ),
        ({}, {"mac_limit": 7}, "mac_limit 1024 -> 7"),
    ],
)
def test_a_ports_changes_are_in_the_files_words(
    before: dict[str, Any], after: dict[str, Any], said: str
) -> None:
    assert told(before, after) == [f"change port a.0: {said}"]


def test_a_place_in_a_private_network_is_called_as_in_the_file() -> None:
    def resolved(place: str, private: bool = True) -> Any:
        nic = {"network": "red", "private": place} if private else {"network": "red"}
        document = {"networks": {"red": {"private": private}}, "guests": {"a": {"nics": [nic]}}}
        return vnet.Topology.from_dict({"name": "lab", **document}).resolve()

    def told(before: Any, after: Any) -> list[str]:
        return [line for line in map(str, plan(before, after)) if "port" in line]

    open_, alone, ours = resolved("promiscuous"), resolved("isolated"), resolved("community ours")
    said = "change port a.0: private {} -> {}"
    assert told(open_, alone) == [said.format("promiscuous", "isolated")]
    assert told(alone, ours) == [said.format("isolated", "community ours")]
    assert told(ours, open_) == [said.format("community ours", "promiscuous")]
    assert told(resolved("", private=False), alone) == [said.format("promiscuous", "isolated")]


def test_times_of_switches_have_units() -> None:
    before, after = {"s1": {"ageing": "300 s"}}, {"s1": {"ageing": "10 s"}}
    said = told(before, after, "switches")
    assert len(said) == 1
    assert said[0].endswith("-> 10 s")
    assert "000" not in said[0]
