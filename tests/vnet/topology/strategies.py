"""Random topologies that are right, as a file's keys and values."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

NETWORKS = ("red", "blue", "green", "lab-1")
GUESTS = ("web", "db", "shell", "vm1", "vm2", "router")
SUBNETS = ("10.0.10.0/24", "10.9.0.0/16", "192.168.7.0/26", "fd00:10::/64", "fd00:11::/80", "10.0.11.0/25")

GROUPS = ("open", "shut")

ALLOWANCES = (
    {"ip": "10.0.10.200"},
    {"ip": "0.0.0.0/0"},
    {"ip": "fe80::/64", "mac": "02:00:00:00:00:77"},
    {"mac": "02:00:00:00:00:78"},
)


@st.composite
def networks(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.lists(st.sampled_from(NETWORKS), min_size=1, unique=True))
    vlans = draw(st.permutations([1, 2, 3, 10, 4094]))
    found: dict[str, Any] = {}
    for name, vlan in zip(names, vlans, strict=False):
        keys: dict[str, Any] = {"subnets": draw(st.lists(st.sampled_from(SUBNETS), max_size=3, unique=True))}
        if draw(st.booleans()):
            keys["vlan"] = vlan
        if draw(st.booleans()):
            keys["mtu"] = draw(st.sampled_from([1280, 1500, 9000]))
        if draw(st.integers(0, 3)) == 0:
            keys["gateway"] = []
        if draw(st.integers(0, 3)) == 0:
            keys["private"] = True
        if draw(st.integers(0, 3)) == 0:
            keys["multicast"] = draw(
                st.sampled_from([{"snooping": True}, {"snooping": False}, {"unknown": "routers"}])
            )
        found[name] = keys
    return found


guards = st.one_of(
    st.just("off"),
    st.fixed_dictionaries(
        {"allow": st.lists(st.sampled_from(ALLOWANCES), min_size=1, max_size=3)},
        optional={"dhcp_server": st.just("allow"), "promiscuous": st.just("allow")},
    ),
)


rules = st.fixed_dictionaries(
    {},
    optional={
        "protocol": st.sampled_from(["tcp", "udp"]),
        "ports": st.sampled_from([80, [22, "8000-8080"]]),
        "group": st.sampled_from(GROUPS),
    },
).map(lambda rule: {"protocol": "tcp", **rule} if "ports" in rule else rule)

groups = st.fixed_dictionaries(
    {
        name: st.fixed_dictionaries(
            {"ingress": st.lists(rules, max_size=3)}, optional={"egress": st.lists(rules, max_size=2)}
        )
        for name in GROUPS
    }
)


@st.composite
def port(draw: st.DrawFn, names: list[str]) -> dict[str, Any]:
    keys: dict[str, Any] = {}
    if draw(st.integers(0, 3)):
        keys["network"] = draw(st.sampled_from(names))
    else:
        keys["trunk"] = draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
        if draw(st.booleans()):
            keys["native"] = draw(st.sampled_from(keys["trunk"]))
            keys["native_tagged"] = draw(st.booleans())
    options: dict[str, Any] = {
        "sticky": st.booleans(),
        "static": st.booleans(),
        "transparent": st.booleans(),
        "mac_limit": st.integers(1, 5),
        "up": st.booleans(),
        "flood": st.fixed_dictionaries({"unknown": st.booleans()}),
        "guard": guards,
        "groups": st.lists(st.sampled_from(GROUPS), min_size=1, unique=True),
        "private": st.sampled_from(["isolated", "promiscuous", "community one", "community two"]),
    }
    for key in draw(st.lists(st.sampled_from(sorted(options)), max_size=2, unique=True)):
        keys[key] = draw(options[key])
    if draw(st.integers(0, 4)) == 0 and ("network" in keys or "native" in keys):
        keys["ip"] = []
    return keys


@st.composite
def documents(draw: st.DrawFn, seed: int | None = None) -> dict[str, Any]:
    """A whole topology, named `lab`."""
    nets = draw(networks())
    names = draw(st.lists(st.sampled_from(GUESTS), unique=True))
    guests: dict[str, Any] = {}
    for name in names:
        ports = draw(st.lists(port(sorted(nets)), min_size=1, max_size=3))
        kind = draw(st.sampled_from(["stack", "netns", "external"]))
        if kind == "external" and draw(st.booleans()):
            ports[0]["nic"] = {
                "kind": "vhost-user",
                "socket": f"{name}.vhost",
                "queues": draw(st.integers(1, 3)),
            }
        guests[name] = {"kind": kind, "nics": ports}
    macs = draw(st.permutations([f"02:00:00:00:00:0{n}" for n in range(8)]))
    for name, mac in zip(names, macs, strict=False):
        if draw(st.integers(0, 3)) == 0:
            guests[name]["nics"][0]["mac"] = mac
    # Often there is just so much room as its static addresses need.
    nics = [nic for guest in guests.values() for nic in guest["nics"]]
    static = sum(len(nic.get("trunk", [""])) for nic in nics if nic.get("static"))
    limits = {"fdb_limit": max(static, 1), "vlan_limit": 1 + static}
    settings = draw(st.sampled_from([{}, {"ageing": "15 s"}, limits]))
    return {
        "name": "lab",
        "seed": draw(st.integers(0, 3)) if seed is None else seed,
        "networks": nets,
        "groups": draw(groups),
        "guests": guests,
        "switches": {draw(st.sampled_from(["s1", "s1", "s2"])): settings},
    }
