"""containerlab's: `containerlab:lab.clab.yml`. Its `linux` nodes are guests, its bridges switches.

Addresses are those that `exec` gives (`ip addr add 10.0.0.1/24 dev eth1`). Nodes of other kinds are whole
routers and switches of other vendors, which there is nothing for here: they are refused. Images, binds,
environments and other commands are the containers' business, and are left out with a note.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from nics.errors import BadInput
from nics.keys import shown
from vnet.topology.foreign import Converted
from vnet.topology.foreign.sketch import Cable, Interface, Sketch

GUESTS, SWITCHES = ("linux",), ("bridge", "ovs-bridge")
QUIET = frozenset({"kind", "exec", "group", "labels", "mgmt-ipv4", "mgmt-ipv6"})
"""Words of a node that mean nothing for its network, or are read."""
ADD = re.compile(
    r"\bip\s+(?:-\S+\s+)*a(?:ddr(?:ess)?)?\s+(?:a(?:dd)?|r(?:eplace)?)\s+"
    r"(?:(?P<net>[^\s'\"]+)\s+dev\s+(?P<dev>[^\s'\"]+)|dev\s+(?P<dev2>\S+)\s+(?P<net2>[^\s'\"]+))"
)
MOST_BYTES = 1 << 22


def convert(file: str, values: Mapping[str, str]) -> Converted:
    """Read a file. Raises BadInput with all that has no counterpart here."""
    values = dict(values)
    kind = values.pop("kind", "stack")
    if kind not in ("stack", "netns") or values:
        raise BadInput(f"containerlab:{file}: expected kind=stack or kind=netns behind ?")
    try:
        with Path(file).open("rb") as stream:
            document = yaml.safe_load(stream.read(MOST_BYTES))
    except RecursionError:
        raise BadInput(f"{file}: nested too deep") from None
    except (OSError, yaml.YAMLError, ValueError) as error:
        raise BadInput(
            f"{file}: {getattr(error, 'strerror', None) or ' '.join(str(error).split())}"
        ) from None
    topology = _mapping(document, file).get("topology")
    body = _mapping(topology, f"{file}: topology")
    problems: list[str] = []
    notes: list[str] = []
    sketch = Sketch(str(document.get("name") or Path(file).name.split(".")[0]), file)
    commands = _nodes(body, sketch, problems, notes)
    _links(body, sketch, commands, problems)
    if problems:
        raise BadInput(*problems)
    return Converted(sketch.topology(kind), notes)


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise BadInput(f"{where}: {shown(value)}, expected a mapping")
    return value


def _nodes(
    body: Mapping[str, Any], sketch: Sketch, problems: list[str], notes: list[str]
) -> dict[tuple[str, str], list[Interface]]:
    """Hosts and switches; the addresses by node and interface."""
    defaults = _mapping(body.get("defaults") or {}, f"{sketch.where}: topology.defaults")
    kinds = _mapping(body.get("kinds") or {}, f"{sketch.where}: topology.kinds")
    found: dict[tuple[str, str], list[Interface]] = {}
    for name, said in _mapping(body.get("nodes"), f"{sketch.where}: topology.nodes").items():
        own = _mapping(said or {}, f"{sketch.where}: topology.nodes.{name}")
        kind = own.get("kind", defaults.get("kind"))
        node = {**defaults, **(kinds.get(kind) or {}), **own}
        if kind in SWITCHES:
            sketch.switches.append(str(name))
            continue
        if kind not in GUESTS:
            problems.append(
                f"{sketch.where}: topology.nodes.{name}.kind: {shown(kind)} has no counterpart here, expected"
                f" {', '.join((*GUESTS, *SWITCHES))}"
            )
            continue
        sketch.hosts.append(str(name))
        left = sorted(set(node) - QUIET)
        commands = node.get("exec") or []
        if not isinstance(commands, list):
            problems.append(
                f"{sketch.where}: topology.nodes.{name}.exec: {shown(commands)}, expected a list of commands"
            )
            commands = []
        for command in commands:
            added = ADD.search(str(command))
            if added is None:
                left.append(f"exec {shown(str(command))}")
                continue
            address, device = added["net"] or added["net2"], added["dev"] or added["dev2"]
            try:
                interface = ipaddress.ip_interface(address)
            except ValueError:
                problems.append(
                    f"{sketch.where}: topology.nodes.{name}.exec: {shown(address)} is not an address"
                )
                continue
            found.setdefault((str(name), device), []).append(interface)
        if left:
            notes.append(f"{name}: {', '.join(left)} is left out")
    return found


def _links(
    body: Mapping[str, Any],
    sketch: Sketch,
    addresses: Mapping[tuple[str, str], list[Interface]],
    problems: list[str],
) -> None:
    known = {*sketch.hosts, *sketch.switches}
    for index, said in enumerate(body.get("links") or ()):
        where = f"{sketch.where}: topology.links[{index}]"
        link = _mapping(said, where)
        if (kind := link.get("type", "veth")) != "veth":
            problems.append(f"{where}.type: {shown(kind)} has no counterpart here, expected veth")
            continue
        mtu = link.get("mtu")
        if mtu is not None and (not isinstance(mtu, int) or isinstance(mtu, bool)):
            problems.append(f"{where}.mtu: {shown(mtu)}, expected a number of bytes")
            continue
        ends = [_end(end) for end in link.get("endpoints") or ()]
        if len(ends) != 2 or None in ends:
            problems.append(f"{where}.endpoints: expected two, each NODE:INTERFACE")
            continue
        sound = [end for end in ends if end is not None]
        # A node that was refused has been told of.
        nodes = body.get("nodes") or {}
        for node, _ in sound:
            if node not in known and node not in nodes:
                problems.append(f"{where}.endpoints: {shown(node)} is no node")
        if all(node in known for node, _ in sound):
            (one, near), (other, far) = sound
            given = (list(addresses.get((one, near), ())), list(addresses.get((other, far), ())))
            sketch.cables.append(Cable((one, other), addresses=given, mtu=mtu))


def _end(said: Any) -> tuple[str, str] | None:
    """`node:eth1`, or the same in the longer way to write it."""
    if isinstance(said, Mapping):
        node, interface = said.get("node"), said.get("interface")
        return (str(node), str(interface)) if node and interface else None
    node, colon, interface = str(said).partition(":")
    return (node, interface) if colon and node and interface else None
