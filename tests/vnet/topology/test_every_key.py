"""Every key of the topology file wrong in turn: one line, at the right place, with the right words.

The cases are made from the table itself, so a new key is tested when it is added; the texts are in
`golden/every_key.txt`, to be read by a person when they change.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from nics import kinds
from nics.errors import BadInput
from nics.keys import Choice, Count, Flag, Key, Number, Type
from nics.kinds import Handed
from nics.quantity import Quantity
from tests.vnet.topology import golden
from vnet.topology import Topology, machine
from vnet.topology.flows import Collector
from vnet.topology.rules import Place, PortRange, Protocol
from vnet.topology.shape import ListOf, MapOf, NicShape, OrOff, Table, Value
from vnet.topology.table import TOPOLOGY
from vnet.topology.table_switches import IMPAIR, NIC_IMPAIR, ONE_WAY
from vnet.topology.values import (
    Family,
    IpAddress,
    IpPrefix,
    IpSubnet,
    Mac,
    MirrorPort,
    Name,
    Pattern,
    Reference,
)

Path = tuple[str | int, ...]

BASE: dict[str, Any] = {
    "name": "tenants",
    "seed": 1,
    "engine": {"driver": "thread", "cpu": 1, "poll": "busy", "sandbox": "strict", "keep": ["tap"]},
    "networks": {
        "red": {
            "vlan": 10,
            "subnets": ["10.0.10.0/24", "fd00:10::/64"],
            "gateway": ["10.0.10.254"],
            "private": True,
            "proxy_arp": True,
            "mtu": 9000,
            "multicast": {
                "snooping": True, "querier": True, "address": "10.0.10.2", "interval": "30 s",
                "unknown": "routers", "fast_leave": True, "report_suppression": True, "groups": 100,
                "nic_groups": 10,
            },
        },
        "blue": {"vlan": 20, "subnets": ["10.0.10.0/24"]},
    },
    "groups": {
        "web": {
            "ingress": [
                {
                    "protocol": "tcp",
                    "ports": [80, "8000-8080"],
                    "prefix": ["192.0.2.0/24"],
                },
                {"protocol": "icmp", "type": 8, "code": 0},
                {"group": "web"},
            ],
            "log": False,
        },
    },
    "guests": {
        "web": {
            "kind": "external",
            "nics": [
                {
                    "network": "red",
                    "switch": "s1",
                    "mac": "02:00:00:00:00:0a",
                    "ip": ["10.0.10.11"],
                    "nic": {"kind": "stream", "socket": "web.sock", "role": "server"},
                    "mtu": 1500,
                    "mac_limit": 5,
                    "mac_limit_action": "drop",
                    "learning": True,
                    "sticky": True,
                    "static": True,
                    "flood": {"unknown": True, "multicast": True, "broadcast": True},
                    "transparent": True,
                    "priority_tags": True,
                    "stp": {"cost": 20000, "priority": 64, "edge": True, "bpdu_guard": True},
                    "up": True,
                    "impair": {
                        "delay": "1 ms",
                        "egress": {"loss": "1 %"},
                        "ingress": {"loss": "1 %"},
                    },
                    "schedule": [
                        {"from": "1 s", "to": "2 s", "up": False, "impair": {"loss": "1 %"}},
                    ],
                    "groups": ["web"],
                    "private": "community db",
                    "connections": 1000,
                    "guard": {
                        "allow": [{"ip": "10.0.10.200", "mac": "02:00:00:00:00:0b", "network": "red"}],
                        "mac_changes": "allow",
                        "promiscuous": "allow",
                        "forged_transmits": "allow",
                        "dhcp_server": "allow",
                        "router_advertisements": "allow",
                        "querier": "allow",
                    },
                    "limits": {
                        way: {
                            "rate": "1 Gbit/s",
                            "burst": "256 KiB",
                            "one_time_burst": "1 MiB",
                            "packets": "200 k/s",
                        }
                        for way in ("egress", "ingress")
                    },
                    "storm": {"broadcast": "1 k/s", "multicast": "1 k/s", "unknown": "1 k/s"},
                }
            ],
        },
        "router": {"nics": [{"trunk": ["red", "blue"], "native": "red", "native_tagged": True}]},
        "db": {"nics": [{"network": "red"}]},
        "ids": {"kind": "external", "nics": [{"network": "red", "mirrors": ["watch"]}]},
        "box": {
            "kind": "qemu",
            "memory": "512 MiB",
            "cpus": 2,
            "disks": [{"path": "/srv/debian.qcow2", "format": "qcow2", "snapshot": False}],
            "kernel": "/boot/vmlinuz",
            "initrd": "/boot/initrd.img",
            "append": "console=ttyS0",
            "accel": "tcg",
            "args": ["-device", "virtio-rng-pci"],
            "restart": "on-failure",
            "stop_timeout": "30 s",
            "nics": [{"network": "blue", "ip": []}],
        },
        "shell": {"kind": "netns", "nics": [{"network": "red", "switch": "s1"}]},
    },
    "switches": {
        "s1": {
            "ageing": "300 s", "fdb_limit": 1000, "vlan_limit": 100, "connection_limit": 50, "stp": "none",
            "priority": 4096, "hello": "1 s", "max_age": "20 s", "forward_delay": "15 s",
        },
        "s2": {},
    },
    "uplinks": {
        "wan": {
            "nic": {"kind": "packet", "interface": "eth0"},
            "native": "red",
            "tagged": ["blue"],
            "vlans": {"blue": 120},
            "switch": "s1",
            "mirrors": ["far"],
            "proxy_arp": True,
            "storm": {"broadcast": "1 k/s", "multicast": "1 k/s", "unknown": "1 k/s"},
        },
        "pair": {
            "nics": [{"kind": "packet", "interface": "eth1"}, {"kind": "packet", "interface": "eth2"}],
            "bond": {
                "mode": "lacp", "hash": "l3", "min_links": 1, "max_links": 2, "timeout": "short",
                "control": "coupled", "lacp": "passive", "system_priority": 1, "fallback": True,
            },
            "native": "red",
        },
        "spare": {
            "nics": [{"kind": "packet", "interface": "eth3"}, {"kind": "packet", "interface": "eth4"}],
            "bond": {"mode": "active-backup", "primary": 1},
            "native": "red",
        },
    },
    "mirrors": {
        "watch": {
            "ports": ["db"], "switches": ["s2"], "networks": ["red"], "direction": "in", "to": "ids",
            "snap": 128, "tagged": True, "rate": "100 Mbit/s", "packets": "10 k/s",
        },
        "far": {
            "ports": ["db"],
            "erspan": {
                "uplink": "wan", "session": 7, "source": "192.0.2.1", "target": "192.0.2.9",
                "next_hop": "02:00:00:00:00:09", "mac": "02:00:00:00:00:08", "network": "blue",
            },
        },
    },
    "expect": [
        {
            "from": ["web"],
            "to": ["db*"],
            "reach": True,
            "protocol": "tcp",
            "port": [443],
            "family": 4,
            "network": "red",
            "via": "router",
        }
    ],
    "links": [
        {
            "stp": {"cost": 20000, "priority": 64},
            "name": "backbone", "ends": ["s1", "s2"], "networks": ["red"], "up": True, "transparent": True,
            "impair": {
                    "delay": "1 ms", "jitter": "1 us", "distribution": "normal", "loss": "0.1 %",
                    "bursts": {"begin": "1 %", "end": "25 %", "loss": "80 %"}, "duplicate": "1 %",
                    "reorder": "1 %", "corrupt": "1 %", "rate": "1 Gbit/s",
                    "queue": {
                        "packets": 10, "bytes": "64 KiB", "aqm": "codel", "target": "5 ms",
                        "interval": "100 ms",
                    },
                    "mtu": 1400,
                "a_to_b": {
                    "delay": "1 ms", "jitter": "1 us", "distribution": "normal", "loss": "0.1 %",
                    "bursts": {"begin": "1 %", "end": "25 %", "loss": "80 %"}, "duplicate": "1 %",
                    "reorder": "1 %", "corrupt": "1 %", "rate": "1 Gbit/s",
                    "queue": {
                        "packets": 10, "bytes": "64 KiB", "aqm": "codel", "target": "5 ms",
                        "interval": "100 ms",
                    },
                    "mtu": 1400,
                },
                "b_to_a": {"delay": "1 ms"},
            },
            "schedule": [
                {
                    "from": "1 s", "to": "2 s", "up": False,
                    "impair": {"loss": "1 %"},
                }
            ],
            "cables": [
                {
                    "impair": {"loss": "1 %"}, "up": False, "priority": 1,
                    "schedule": [{"from": "1 s", "to": "2 s", "up": False, "impair": {"loss": "1 %"}}],
                },
                {},
            ],
            "bond": {
                "mode": "lacp", "hash": "l3", "min_links": 1, "max_links": 2, "timeout": "short",
                "control": "coupled", "passive": "b",
            },
        }
    ],
    "scenario": [
        {
            "name": "the first",
            "at": "1 s",
            "ping": {
                "from": "web", "to": "db", "count": 2, "interval": "1 s", "timeout": "1 s", "family": 4,
                "loss": "1 %", "rtt": "1 ms",
            },
        },
        {
            "transfer": {
                "from": "web", "to": "db", "size": "1 MiB", "port": 80, "within": "1 s",
                "least": "1 Mbit/s", "most": "1 Gbit/s",
            }
        },
        {"link": {"name": "backbone", "state": "down"}},
        {"run": {"guest": "shell", "command": ["ip", "link"], "within": "1 s", "background": True}},
        {
            "assert": {
                "from": ["web"], "to": ["db"], "reach": True, "protocol": "tcp", "port": [80],
                "family": 4, "within": "1 s",
            }
        },
        {"wait": "1 s"},
        {"converge": "1 s"},
        {"apply": "other.yaml"},
    ],
    "recorder": {
        "size": "1 MiB", "total": "128 MiB", "snap": 128,
        "files": 5, "file_size": "4 MiB", "pause": "1 min",
        "dump": [{"on": "drop", "reason": ["guard-mac"], "over": "10 /s"}],
    },
    "flows": {
        "collector": "127.0.0.1:4739", "sample": 10, "active": "5 min", "idle": "30 s", "flows": 100,
        "templates": "10 min",
    },
}  # fmt: skip
"""Every key that this version supports, but for the kinds of NIC."""
RULES = {"type": 1, "code": 1, "group": 2}
"""The rule among three that has a key which does not go with the others."""
STEPS = {"transfer": 1, "link": 2, "run": 3, "assert": 4, "wait": 5, "converge": 6, "apply": 7}
"""The step that does it: each does one thing."""
BASE["groups"]["web"]["egress"] = copy.deepcopy(BASE["groups"]["web"]["ingress"])

IMPAIRED: Path = ("links", 0, "impair")
"""Where the keys of an impairment are gone through."""

ROOM = ("guests", "groups", "mirrors", "networks", "switches", "uplinks")
"""Sections that refer to one another."""
PARTS: dict[str, tuple[str, ...]] = {
    "engine": (),
    "flows": (),
    "recorder": (),
    "networks": (),
    "groups": (),
    "switches": (),
    "links": ("networks", "switches"),
    "guests": ROOM,
    "mirrors": ROOM,
    "uplinks": ROOM,
    "expect": ROOM,
}
"""What a section refers to. A mistake in it is found beside these alone, in a fraction of the time; what is
not here refers to everything."""

NICS: dict[str, dict[str, Any]] = {
    "stack": {"kind": "stack", "receive_buffer": "1 MiB", "send_buffer": "1 MiB", "gso": False},
    "pipe": {"kind": "pipe", "limit": 10},
    "tap": {
        "kind": "tap",
        "name": "tap0",
        "netns": "lab",
        "queues": 2,
        "offload": False,
        "device": "/dev/tun",
    },
    "stream": {"kind": "stream", "socket": "127.0.0.1:5000", "role": "client"},
    "dgram": {"kind": "dgram", "local": "127.0.0.1:5001", "remote": "127.0.0.1:5002"},
    "vhost-user": {
        "kind": "vhost-user",
        "socket": "vm.sock",
        "role": "server",
        "queues": 2,
        "config": True,
        "offload": False,
    },
    "vde": {"kind": "vde", "directory": "vm.vde", "role": "client", "port": 5},
    "packet": {"kind": "packet", "interface": "eth0", "netns": "lab", "queues": 4, "offload": False},
    "xdp": {
        "kind": "xdp",
        "interface": "eth0",
        "queues": 2,
        "mode": "native",
        "netns": "lab",
        "offload": False,
    },
    "pcap": {"kind": "pcap", "read": "in.pcapng", "write": "out.pcapng", "speed": 10},
}

INSTEAD: dict[tuple[str, str], dict[str, Any]] = {
    ("tap", "fd"): {"kind": "tap", "fd": 7, "queues": 2, "offload": False},
}
"""A NIC with a key that does not go together with the others of its kind."""


def put(document: dict[str, Any], path: Path, value: Any) -> dict[str, Any]:
    changed: Any = copy.deepcopy(document)
    place = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return changed  # type: ignore[no-any-return]


def take(document: dict[str, Any], path: Path) -> dict[str, Any]:
    changed: Any = copy.deepcopy(document)
    place = changed
    for step in path[:-1]:
        place = place[step]
    del place[path[-1]]
    return changed  # type: ignore[no-any-return]


def look(document: Any, path: Path) -> Any:
    for step in path:
        document = document[step]
    return document


def wrong_scalars(kind: Type) -> Iterator[Any]:
    match kind:
        case Choice():
            yield from (kind.words[0] + "s", 5)
        case Flag():
            yield from ("yes", 2, "perhaps")
        case Count():
            yield from (kind.lowest - 1, kind.highest + 1, "ten", 1.5, True)
        case Number():
            yield from (kind.lowest - 1, "fast", True)
        case Quantity():
            yield from ("10", "10 parsecs", -1, "fast")
        case Name():
            yield from ("Web Server", "-a", 7, "x" * 64)
        case Reference():
            yield from ("reed", 7)
        case Mac():
            yield from ("02:00:00:00:00", "03:00:00:00:00:01", "00:00:00:00:00:00", 7)
        case Collector():
            yield from ("127.0.0.1", "somewhere:4739", 4739)
        case MirrorPort():
            yield from ("Web", "wbe", "web.x", 7)
        case Family():
            yield from (5, "4", True)
        case Pattern():
            yield from ("Web", "wbe", "v*", 7)
        case IpAddress():
            yield from ("10.0.10.256", "10.0.10", "fe80::1%eth0", "224.0.0.1", 7)
        case IpPrefix():
            yield from ("10.0.10.256", "10.0.10.1/24", "fe80::1%eth0", "::/129", 7)
            if not kind.multicast:
                yield "224.0.0.0/4"
        case IpSubnet():
            yield from ("10.0.10.1/24", "10.0.10.0", "10.0.10.0/33", "fe80::/64", "224.0.0.0/4", 7)
        case Protocol():
            yield from ("tpc", "ICMPv6", "any", 256, -1, True)
        case PortRange():
            yield from ("ssh", "90-80", "80-65536", 65536, -1, True)
        case Handed():
            yield from (2, 1 << 20, "7", "", "a:b", True)
        case Place():
            yield from ("isolate", "community", "community Two", 7)
        case _:
            yield from (7, "")


def cases(shape: Any, path: Path, key: Key | None) -> Iterator[tuple[Path, Any]]:
    """(place, a wrong value for it): "(gone)" and "(misspelt)" are told apart by `make`."""
    if isinstance(shape, Type):
        shape = Value(shape)
    if key is not None:
        if key.required:
            yield path, "(gone)"
        yield path, "(misspelt)"
    match shape:
        case Value():
            for value in wrong_scalars(shape.type):
                yield path, value
            yield from ((path, {}), (path, []), (path, None))
        case ListOf():
            yield from ((path, {}), (path, None)) if shape.or_one else ((path, {}), (path, "x"))
            if shape.fewest:
                yield path, []
            yield from cases(shape.item, (*path, 0), None)
        case Table():
            yield from ((path, "x"), (path, []))
            if (shape in (IMPAIR, NIC_IMPAIR) and path != IMPAIRED) or (
                shape is ONE_WAY and path != (*IMPAIRED, "a_to_b")
            ):
                return  # the same table once more: one place of it is enough
            for inner in shape.keys:
                place: Path = (*path, inner.name)
                if inner.name in ("trunk", "native", "native_tagged") and path[0] == "guests":
                    place = ("guests", "router", *place[2:])
                if path and path[0] == "groups" and inner.name in RULES:
                    place = (*path[:-1], RULES[inner.name], inner.name)
                if path == ("mirrors", "watch") and inner.name == "erspan":
                    place = ("mirrors", "far", "erspan")
                if path == ("uplinks", "wan") and inner.name in ("nics", "bond"):
                    place = ("uplinks", "pair", inner.name)
                if path == ("uplinks", "pair", "bond") and inner.name == "primary":
                    place = ("uplinks", "spare", "bond", "primary")
                if path == ("guests", "web", "nics", 0) and inner.name == "mirrors":
                    place = ("guests", "ids", "nics", 0, "mirrors")
                if path == ("guests", "web") and inner.name in machine.NAMES:
                    place = ("guests", "box", inner.name)
                if path == ("scenario", 0):
                    place = ("scenario", STEPS.get(inner.name, 0), inner.name)
                yield from cases(inner.type, place, inner)
        case MapOf():
            yield from ((path, "x"), (path, []))
            name = next(iter(look(BASE, path)))
            yield (*path, "Not A Name"), {}
            yield from cases(shape.item, (*path, name), None)
        case NicShape():
            yield from ((path, "tap"), (path, {}), (path, {"kind": "tun"}), (path, {"kind": 5}))
            if path[0] == "uplinks":
                return
            for kind in kinds.KINDS.values():
                if kind.any_of:
                    yield path, {"kind": kind.name}
                yield path, {**NICS[kind.name], "colour": 5}
                for inner in kind.keys:
                    usual = INSTEAD.get((kind.name, inner.name), NICS[kind.name])
                    assert inner.name in usual, "add the new key to NICS"
                    if inner.required:
                        yield path, {k: v for k, v in usual.items() if k != inner.name}
                    for value in (*wrong_scalars(inner.type), {}, None):
                        yield path, {**usual, inner.name: value}
        case OrOff():
            yield from ((path, "on"), (path, False))
            yield from cases(shape.on, path, None)
        case _:
            raise AssertionError(shape)


def base(path: Path) -> dict[str, Any]:
    """As much of the base as a section needs."""
    if not path or path[0] not in PARTS:
        return BASE
    return {key: BASE[key] for key in BASE if key in ("name", path[0], *PARTS[str(path[0])])}


def make(path: Path, value: Any) -> dict[str, Any]:
    document = base(path)
    if value == "(gone)":
        return take(document, path)
    if value == "(misspelt)":
        name = str(path[-1])
        misspelt = name[:-2] + name[-1] + name[-2] if name[-1] != name[-2] else name[:-1]
        return put(take(document, path), (*path[:-1], misspelt), look(document, path))
    return put(document, path, value)


def lines(text: str) -> list[str]:
    with pytest.raises(BadInput) as error:
        Topology.from_text(text, "t.yaml")
    return str(error.value).split("\n")


ALL = list(cases(TOPOLOGY, (), None))[2:]


def test_the_base_is_right_and_complete() -> None:
    for section in ("", *PARTS):
        assert Topology.from_text(yaml.safe_dump(base((section,)))).name == "tenants"
    for path, _ in ALL:
        if path[-1] != "Not A Name":
            look(BASE, path)


def test_every_key_wrong_in_turn() -> None:
    told = []
    for path, value in ALL:
        # By libyaml: there are thousands.
        text = yaml.dump(make(path, value), Dumper=yaml.CSafeDumper, sort_keys=False, width=200)
        found = lines(text)
        assert len(found) == 1, (path, value, found)
        (line,) = found
        assert_place(line, text)
        shown = yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("\n...\n").strip()
        told.append(f"{'.'.join(map(str, path))} = {shown}\n    {line}\n")
    golden.check("every_key.txt", "".join(told))


def assert_place(line: str, text: str) -> None:
    """Where the line points is the key that it names, or its value."""
    file, row, column, path, _ = line.split(":", 4)
    assert file == "t.yaml"
    at = text.split("\n")[int(row) - 1][int(column) - 1 :]
    assert at, line
    last = path.strip().split(".")[-1].partition("[")[0].strip('"')
    before = text.split("\n")[int(row) - 1][: int(column) - 1]
    assert at.startswith((last, f'"{last}')) or before.rstrip(" -").endswith((last + ":", "")), line
