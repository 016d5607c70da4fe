"""A topology with every key in it, in whose place `test_every_key.py` puts wrong ones."""

from __future__ import annotations

import copy
from typing import Any

Path = tuple[str | int, ...]

BASE: dict[str, Any] = {
    "name": "tenants",
    "seed": 1,
    "engine": {
        "driver": "thread", "cpu": 1, "poll": "busy", "wake": "50 us", "sandbox": "strict", "keep": ["tap"],
    },
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
