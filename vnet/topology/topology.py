"""`Topology`: what a network is to be, from a file, from a dict or built in Python.

    topology = Topology("lab", seed=1)
    topology.network("red", subnets=["10.0.10.0/24"])
    topology.guest("web", network="red", ip="10.0.10.11")
    topology.guest("db", network="red")
    resolved = topology.resolve()           # every MAC, address and VLAN; raises BadInput

The keys are those of the topology file and are checked when they are given; what the parts have to
do with one another, when the whole is checked or resolved. All errors are BadInput, one line each.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import attrs
import yaml

from nics.door import Nic
from nics.errors import BadInput
from vnet.topology import build, expect, machine, model, reader, scenario, table, write
from vnet.topology.check import check
from vnet.topology.nodes import resolved
from vnet.topology.problems import Problem, bad_input, told
from vnet.topology.resolve import Resolved, Unresolvable, resolve
from vnet.topology.scenario import Step
from vnet.topology.shape import shape_of


@attrs.define
class Topology:
    """What is wanted. The parts are frozen; the whole can be added to until it is resolved."""

    name: str
    seed: int = 0
    engine: model.Engine = attrs.field(factory=model.Engine)
    networks: dict[str, model.Network] = attrs.field(factory=dict)
    guests: dict[str, model.Guest] = attrs.field(factory=dict)
    uplinks: dict[str, model.Uplink] = attrs.field(factory=dict)
    switches: dict[str, model.Switch] = attrs.field(factory=dict)
    """Empty: one, `s1`."""
    links: list[model.Link] = attrs.field(factory=list)
    expect: list[model.Expect] = attrs.field(factory=list)
    groups: dict[str, model.Group] = attrs.field(factory=dict)
    """Security groups."""
    scenario: list[Step] = attrs.field(factory=list)
    """What `vnet test` plays."""
    mirrors: dict[str, model.Mirror] = attrs.field(factory=dict)
    recorder: model.Recorder | None = attrs.field(factory=model.Recorder)
    """What is kept of frames that passed; None: nothing."""
    flows: model.Flows | None = None
    """What is counted of them for a collector; None: nothing."""

    # -- from a file or a dict -------------------------------------------------------------------

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Topology:
        """Read a YAML or JSON file, `-` for standard input, `topology:NAME` for a ready one.

        Raises BadInput.
        """
        return reader.from_file(path)

    @classmethod
    def from_text(cls, text: str | bytes, file: str = "<text>") -> Topology:
        """Read YAML or JSON; `file` is what errors call it. Raises BadInput."""
        return reader.from_text(text, file)

    @classmethod
    def from_dict(cls, topology: Mapping[str, Any]) -> Topology:
        """Read the keys and values of a topology file. Raises BadInput, with key paths."""
        return reader.from_dict(topology)

    # -- building --------------------------------------------------------------------------------

    def network(self, name: str, **keys: Any) -> Self:
        """Add or replace a network; keys as in a file: `vlan`, `subnets`, `gateway`, `mtu`, ..."""
        values = reader.read_part(table.TOPOLOGY, "networks", name, keys)
        self.networks[name] = build.network(name, values)
        return self

    def guest(
        self, name: str, *, kind: str = "stack", nics: Sequence[Mapping[str, Any]] = (), **nic: Any
    ) -> Self:
        """Add or replace a guest.

        `nics` is a list as in a file. A guest with one NIC needs none: what else is given are the
        keys of that NIC (`network="red"`, `ip=...`, `nic=vnet.Pipe()`). Those of a machine
        (`memory="1 GiB"`) are the guest's.
        """
        own = {key: nic.pop(key) for key in machine.NAMES if key in nic}
        if nics and nic:
            raise BadInput(f"guests.{name}: nics and {', '.join(nic)}, expected one or the other")
        self.guests[name] = reader.read_guest(name, {"kind": kind, **own, "nics": list(nics) or [nic]})
        return self

    def group(self, name: str, **keys: Any) -> Self:
        """Add or replace a security group; keys as in a file: `ingress`, `egress`, `log`."""
        self.groups[name] = build.group(name, reader.read_part(table.TOPOLOGY, "groups", name, keys))
        return self

    def uplink(self, name: str, **keys: Any) -> Self:
        """Add or replace an uplink; keys as in a file: `nic`, `native`, `tagged`, ..."""
        values = reader.read_part(table.TOPOLOGY, "uplinks", name, keys)
        self.uplinks[name] = build.uplink(name, values)
        return self

    def switch(self, name: str, **keys: Any) -> Self:
        """Add or replace a switch; keys as in a file."""
        values = reader.read_part(table.TOPOLOGY, "switches", name, keys)
        self.switches[name] = build.switch(name, values)
        return self

    def expecting(
        self, source: str | Sequence[str], target: str | Sequence[str], reach: bool = True, **keys: Any
    ) -> Self:
        """Add an expectation, of `source` to `target`; other keys as in a file."""
        words = {"from": source, "to": target, "reach": reach, **keys}
        self.expect += reader.read_expectations([words])
        return self

    def link(self, a: str, b: str, **keys: Any) -> Self:
        """Add a link between two switches, or two NICs (`GUEST.INDEX`); keys as in a file: `name`, `impair`,
        `networks`, ...
        """
        self.links.append(build.link(reader.read_item(table.TOPOLOGY, "links", {"ends": [a, b], **keys})))
        return self

    def mirror(self, name: str, **keys: Any) -> Self:
        """Add or replace a mirror; keys as in a file: `ports`, `networks`, `to`, ..."""
        self.mirrors[name] = build.mirror(name, reader.read_part(table.TOPOLOGY, "mirrors", name, keys))
        return self

    def remove_guest(self, name: str) -> Self:
        """Take a guest out. Raises BadInput if there is none."""
        if self.guests.pop(name, None) is None:
            raise BadInput(f"guests.{name}: no such guest")
        return self

    def copy(self) -> Topology:
        """One that can be changed without changing this."""
        return Topology(
            self.name,
            self.seed,
            self.engine,
            dict(self.networks),
            dict(self.guests),
            dict(self.uplinks),
            dict(self.switches),
            list(self.links),
            list(self.expect),
            dict(self.groups),
            list(self.scenario),
            dict(self.mirrors),
            self.recorder,
            self.flows,
        )

    # -- using -----------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise BadInput with all that is wrong."""
        problems = self.problems()
        if problems:
            raise bad_input(problems)

    def problems(self) -> list[Problem]:
        """All that is wrong between the parts."""
        return told(self._own(), check(self))

    def _own(self) -> list[Problem]:
        """What is wrong with the name and the seed, which are attributes and may be anything."""
        problems: list[Problem] = []
        for key in table.TOPOLOGY.keys:
            if key.name in ("name", "seed"):
                value = reader.nodes_of_object(getattr(self, key.name))
                shape_of(key.type).read(value, (key.name,), problems)
        return problems

    def resolve(self, keep: Resolved | None = None) -> Resolved:
        """Work out every MAC, address and VLAN. Raises BadInput with all that is wrong.

        `keep`: what runs now; what it gave to those still there stays.
        """
        self.check()
        try:
            return resolve(self, keep)
        except Unresolvable as error:
            raise bad_input(error.problems) from None

    def to_dict(self) -> dict[str, Any]:
        """The keys and values of a topology file, without what is default anyway.

        Raises BadInput for a NIC of a kind that has no words there.
        """
        return self._words(write.nic_words)

    def _words(self, nic: Callable[[Nic], dict[str, object]]) -> dict[str, Any]:
        said: dict[str, Any] = {"name": self.name}
        if self.seed:
            said["seed"] = self.seed
        parts: dict[str, Any] = {
            "engine": write.engine_words(self.engine),
            "recorder": write.recorder_words(self.recorder),
            "flows": write.flows_words(self.flows),
            "networks": {name: write.network_words(network) for name, network in self.networks.items()},
            "groups": {name: write.group_words(group) for name, group in self.groups.items()},
            "guests": {name: write.guest_words(guest, nic) for name, guest in self.guests.items()},
            "uplinks": {name: write.uplink_words(uplink, nic) for name, uplink in self.uplinks.items()},
            "switches": {name: write.switch_words(switch) for name, switch in self.switches.items()},
            "links": [write.link_words(link) for link in self.links],
            "mirrors": {name: write.mirror_words(mirror) for name, mirror in self.mirrors.items()},
            "expect": [expect.words(item) for item in self.expect],
            "scenario": [scenario.words(step) for step in self.scenario],
        }
        return said | {key: value for key, value in parts.items() if value}

    def to_yaml(self) -> str:
        """A topology file that reads as this."""
        return yaml.dump(self.to_dict(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


class _Dumper(yaml.SafeDumper):
    """Writes no aliases, and lists of single values in one line."""

    def ignore_aliases(self, data: Any) -> bool:
        """Never make one."""
        return True


def _list(dumper: _Dumper, data: list[Any]) -> yaml.Node:
    single = not any(isinstance(item, dict | list) for item in data)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=single)


def _text(dumper: _Dumper, data: str) -> yaml.Node:
    # PyYAML quotes what YAML 1.1 takes for a number, and 1.2 has others (1e3, 0o17).
    plain = isinstance(resolved(data), str)
    return dumper.represent_scalar("tag:yaml.org,2002:str", data, style=None if plain else "'")


_Dumper.add_representer(list, _list)
_Dumper.add_representer(str, _text)
