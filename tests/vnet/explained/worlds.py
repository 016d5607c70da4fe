"""Random fabrics: a little of everything that decides about frames, the same for the same chance."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

SUBNET4 = "10.0.0.0/24"
SUBNET6 = "fd00::/64"


def world(chance: random.Random, folder: Path) -> dict[str, Any]:
    """A topology as a document. Guests are `g0`, ... on pipes; an uplink, if any, is `wan`."""
    switches = [f"s{n}" for n in range(chance.choice([1, 1, 2, 3, 4]))]
    tree = chance.choice(["rstp", "stp", "none"])
    links = _links(chance, switches, tree)
    networks = _networks(chance)
    mirrored = chance.random() < 0.3
    document: dict[str, Any] = {
        "name": "x",
        "seed": chance.randrange(1 << 32),
        "networks": networks,
        "groups": _groups(chance),
        "switches": {
            name: {"stp": tree, "forward_delay": "4 s", "max_age": "6 s"} if tree != "none" else {}
            for name in switches
        },
        "guests": {f"g{n}": _guest(chance, n, switches, networks) for n in range(chance.randint(3, 8))},
    }
    if networks["red"].get("proxy_arp") and chance.random() < 0.7:
        # Where the gateway is nobody knows it, the switch answers nothing.
        gate = {"nic": {"kind": "pipe"}, "network": "red", "ip": ["10.0.0.1"], "private": "promiscuous"}
        gate |= {"guard": {"allow": [{"ip": "10.0.0.254"}, {"ip": "10.0.0.0/24"}]}}
        document["guests"]["g0"]["nics"] = [gate | {"mac": "02:00:00:00:00:01", "switch": switches[0]}]
    if links:
        document["links"] = links
    if chance.random() < 0.4:
        nic = {"kind": "pcap", "write": str(folder / "wan.pcapng")}
        document["uplinks"] = {"wan": {"nic": nic, "native": "red", "switch": chance.choice(switches)}}
    if mirrored:
        source = chance.choice([{"networks": ["red"]}, {"ports": ["g0.0"]}, {"switches": ["s0"]}])
        document["mirrors"] = {"watch": source | {"to": "ids"}}
        nic = {"nic": {"kind": "pipe"}, "mirrors": ["watch"], "switch": chance.choice(switches)}
        document["guests"]["ids"] = {"kind": "external", "nics": [nic]}
    return document


def _maybe(chance: random.Random, share: float, **keys: Any) -> dict[str, Any]:
    return keys if chance.random() < share else {}


def _impair(chance: random.Random) -> dict[str, Any]:
    return {
        **_maybe(chance, 0.6, delay=chance.choice(["1 ms", "50 ms"])),
        **_maybe(chance, 0.4, loss=chance.choice(["1 %", "50 %"])),
        **_maybe(chance, 0.2, mtu=1000),
        **_maybe(chance, 0.2, rate="10 Mbit/s"),
    }


def _links(chance: random.Random, switches: list[str], tree: str) -> list[dict[str, Any]]:
    """In a line; with spanning trees perhaps in a ring, and twice."""
    pairs = list(itertools.pairwise(switches))
    if tree != "none" and len(switches) > 2 and chance.random() < 0.7:
        pairs.append((switches[-1], switches[0]))
    if tree != "none" and pairs and chance.random() < 0.3:
        pairs.append(pairs[0])
    return [
        {"name": f"l{n}", "ends": list(pair), **_maybe(chance, 0.2, impair=_impair(chance))}
        for n, pair in enumerate(pairs)
    ]


def _networks(chance: random.Random) -> dict[str, Any]:
    snooped = {"multicast": {"unknown": chance.choice(["flood", "routers"])}}
    private = chance.random() < 0.4
    return {
        "red": {
            "vlan": 10,
            "subnets": [SUBNET4, SUBNET6],
            "gateway": ["10.0.0.254"],
            **_maybe(chance, 0.3, mtu=chance.choice([1280, 9000])),
            **(snooped if chance.random() < 0.4 else {}),
            **({"private": True, **_maybe(chance, 0.5, proxy_arp=True)} if private else {}),
        },
        "blue": {
            "vlan": 20,
            "subnets": [SUBNET4],
            "gateway": [],
            **(snooped if chance.random() < 0.3 else {}),
        },
    }


def _groups(chance: random.Random) -> dict[str, Any]:
    rules = [
        {"protocol": "tcp", "ports": [80]},
        {"protocol": "udp"},
        {"protocol": "icmp", "type": 8},
        {"group": "web"},
        {"prefix": ["10.0.0.2/32"]},
    ]
    return {
        "web": {"ingress": [{"protocol": "tcp", "ports": [80]}]},
        "some": {
            "ingress": chance.sample(rules, chance.randint(0, 3)),
            **_maybe(chance, 0.5, egress=chance.sample(rules, chance.randint(0, 3))),
        },
    }


def _guest(
    chance: random.Random, number: int, switches: list[str], networks: dict[str, Any]
) -> dict[str, Any]:
    nic: dict[str, Any] = {
        "nic": {"kind": "pipe"},
        "switch": chance.choice(switches),
        "mac": f"02:00:00:00:00:{number + 1:02x}",
    }
    network = chance.choice(["red", "red", "red", "blue"])
    if chance.random() < 0.2:
        nic |= {"trunk": ["red", "blue"], **_maybe(chance, 0.7, native=network)}
        nic |= _maybe(chance, 0.2, native_tagged=True) if "native" in nic else {}
    else:
        nic["network"] = network
    nic |= _maybe(chance, 0.25, guard="off") or _maybe(chance, 0.3, guard=_guard(chance))
    if "trunk" not in nic or "native" in nic:
        dhcp = nic.get("guard") != "off" and chance.random() < 0.3
        nic["ip"] = "dhcp" if dhcp else [f"10.0.0.{number + 1}"]
    nic |= _maybe(chance, 0.4, groups=[chance.choice(["web", "some"])])
    nic |= _maybe(chance, 0.2, connections=2) if "groups" in nic else {}
    if networks["red"].get("private"):
        nic |= _maybe(chance, 0.5, private=chance.choice(["promiscuous", "isolated", "community x"]))
    if nic.get("guard") == "off":
        nic |= _maybe(chance, 0.3, transparent=True) or _maybe(chance, 0.3, stp={"edge": True})
    nic |= _maybe(chance, 0.15, mac_limit=1, mac_limit_action=chance.choice(["flood", "drop"]))
    nic |= _maybe(chance, 0.1, learning=False) | _maybe(chance, 0.1, sticky=True)
    nic |= _maybe(chance, 0.1, static=True) | _maybe(chance, 0.1, priority_tags=True)
    nic |= _maybe(chance, 0.1, flood={"unknown": False}) | _maybe(chance, 0.05, up=False)
    nic |= _maybe(chance, 0.15, storm={"broadcast": "5 /s", "unknown": "5 /s", "multicast": "5 /s"})
    nic |= _maybe(chance, 0.1, limits={"ingress": {"packets": "20 /s"}})
    nic |= _maybe(chance, 0.1, impair={"ingress": _impair(chance)})
    return {"kind": "external", "nics": [nic]}


def _guard(chance: random.Random) -> dict[str, Any]:
    return {
        **_maybe(chance, 0.3, dhcp_server="allow"),
        **_maybe(chance, 0.3, mac_changes="allow"),
        **_maybe(chance, 0.3, promiscuous="allow"),
        **_maybe(chance, 0.3, allow=[{"ip": "10.0.0.200"}]),
    }
