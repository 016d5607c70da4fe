"""The topology file, key by key: the one place that says what may stand in it.

Validation, error texts, the JSON Schema and the reference page are all made from this table; the
keys of a guest's NIC are in `table_ports.py`, those of switches and links in `table_switches.py`, those of
the NIC kinds in `nics/kinds.py`. To add a key: a row here, an attribute in `model.py`,
a line where `build.py` makes that part of the model, and what it has to do with others in `check.py`.
"""

from __future__ import annotations

from typing import Any

import attrs

from nics.keys import Choice, Count, Flag, Key
from nics.quantity import TIME
from vnet.sandbox.needs import KEEP, MODES
from vnet.topology import machine
from vnet.topology.expect import EXPECT
from vnet.topology.flows import FLOWS
from vnet.topology.nodes import Fields, Node
from vnet.topology.problems import Path, Problem
from vnet.topology.recorder import RECORDER
from vnet.topology.rules import PortRange, Protocol
from vnet.topology.scenario import SCENARIO
from vnet.topology.shape import ListOf, MapOf, NicShape, OrOff, Table, Value
from vnet.topology.table_mirrors import MIRROR, MIRRORS
from vnet.topology.table_ports import PORT, STORM
from vnet.topology.table_switches import LINK, MTU, NETWORK, SWITCH, SWITCH_TABLE, UPLINK_BOND
from vnet.topology.values import IpAddress, IpPrefix, IpSubnet, Name, Reference

MOST_PORTS = 4096

ENGINE = Table(
    "an engine",
    (
        Key(
            "driver",
            Choice(("auto", "trio", "thread")),
            "What turns the engine: a task of the trio loop (deterministic, the one for virtual time),"
            " or a native thread of its own. `auto` chooses.",
            example="thread",
            default="auto",
        ),
        Key(
            "cpu",
            Count(0, 4095, "a CPU's number"),
            "The CPU that the thread is bound to. Left out: any.",
            example=1,
        ),
        Key(
            "poll",
            Choice(("adaptive", "busy", "sleep")),
            "What the thread does without work: `sleep` until there is some, `busy` never sleeps,"
            " `adaptive` sleeps after a short while.",
            example="busy",
            default="adaptive",
        ),
        Key(
            "wake",
            attrs.evolve(TIME, highest=10**9, examples=("50 us", "0 s")),
            "The longest that a CPU of this host may take to wake up, which is what the first frame after"
            " silence waits for. It is asked of the kernel while the fabric runs, and takes power. `0 s`:"
            " they never rest, in a virtual machine neither. Left out: as the kernel likes.",
            example="50 us",
        ),
        Key(
            "sandbox",
            Choice(MODES),
            "What the process of `vnet up` gives up once its doors are open. `default`: all but what"
            " guests and NICs of the file's kinds need, to come and go. `strict`: every capability too,"
            " and the kernel must be able to enforce all of it. `off`: nothing.",
            example="strict",
            default="default",
        ),
        Key(
            "keep",
            ListOf(Choice(KEEP), "a list of kinds"),
            "With `sandbox: default`: kinds of guests and NICs that may come while the fabric runs"
            " although the file has none yet. `qemu`: other machines than the file's, which otherwise"
            " can't be started any more.",
            example=["netns"],
        ),
    ),
)

MULTICAST = Table(
    "a network's multicast",
    (
        Key(
            "snooping",
            Flag(),
            "false: multicast is flooded, whoever asked for it.",
            example=False,
            default=True,
        ),
        Key(
            "querier",
            Flag(),
            "Whether switches ask who wants which group, unless somebody with a lower address does. Where"
            " nobody asks, multicast is flooded.",
            example=False,
            default=True,
        ),
        Key(
            "address",
            IpAddress(),
            "The IPv4 address that they ask from; in IPv6 each has a link-local one of its own. Left out:"
            " 0.0.0.0, and every other querier is preferred.",
            example="10.0.10.2",
        ),
        Key(
            "interval",
            attrs.evolve(TIME, lowest=10**9, highest=3600 * 10**9),
            "How often they ask. What nobody wants is forgotten after twice that and 10 s.",
            example="30 s",
            default=125 * 10**9,
        ),
        Key(
            "unknown",
            Choice(("flood", "routers")),
            "Where frames go to groups that nobody asked for: everywhere, or where multicast routers are.",
            example="routers",
            default="flood",
        ),
        Key(
            "fast_leave",
            Flag(),
            "true: a NIC that leaves a group gets no more of it at once, without the question who else there"
            " wants it.",
            example=True,
            default=False,
        ),
        Key(
            "report_suppression",
            Flag(),
            "true: of reports of one group by IGMPv1, IGMPv2 and MLDv1, one in 10 s goes on to routers.",
            example=True,
            default=False,
        ),
        Key(
            "groups",
            Count(1, 32768, "a number of groups"),
            "Groups that a switch knows at most. In a full table, a group that only the NIC with most of them"
            " wants makes room.",
            example=4096,
            default=1024,
        ),
        Key(
            "nic_groups",
            Count(1, 4096, "a number of groups"),
            "Groups that one NIC may be in.",
            example=16,
            default=128,
        ),
    ),
    may_be_empty=True,
)

NETWORK_TABLE = Table(
    "a network",
    (
        Key(
            "vlan",
            Count(1, 4094, "a VLAN id"),
            "The VLAN that carries it inside of the fabric. Left out: the lowest free one.",
            example=10,
        ),
        Key(
            "subnets",
            ListOf(IpSubnet(), "a list of subnets", most=64, or_one=True),
            "The subnets that guests get addresses from. They may overlap with another network's, never"
            " with one another.",
            example=["10.0.10.0/24", "fd00:10::/64"],
        ),
        Key(
            "gateway",
            ListOf(IpAddress(), "a list of addresses", most=64, or_one=True),
            "The gateways, at most one for each subnet; guests get them as default routes. Left out: the"
            " first address of each subnet. `[]`: none.",
            example=["10.0.10.254"],
        ),
        Key(
            "private",
            Flag(),
            "true: a guest reaches the gateway and uplinks, never another guest (a private VLAN, RFC 5517)."
            " Its NICs are isolated, unless `private` there says otherwise.",
            example=True,
            default=False,
        ),
        Key(
            "proxy_arp",
            Flag(),
            "true: the switch tells guests of a private network that don't reach each other the gateway's MAC"
            " address for each other's IP addresses (local proxy ARP and ND), so that it can forward between"
            " them if it will. Its guard must allow it their addresses, as a router's.",
            example=True,
            default=False,
        ),
        Key(
            "mtu",
            MTU,
            "The largest payload of a frame, in bytes, Ethernet header and tags not counted.",
            example=9000,
            default=1500,
        ),
        Key(
            "multicast",
            MULTICAST,
            "With it, IP multicast goes to those who asked for it (IGMP and MLD snooping, RFC 4541). What"
            " goes to 224.0.0.x, and to link-local groups of IPv6, still goes to everybody.",
            example={"unknown": "routers"},
        ),
    ),
    may_be_empty=True,
)

RULE = Table(
    "a rule",
    (
        Key(
            "protocol",
            Protocol(),
            "The protocol above IP. `icmp` is that of IPv4, `icmp6` that of IPv6. Left out: any.",
            example="tcp",
        ),
        Key(
            "ports",
            ListOf(PortRange(), "a list of ports and ranges", fewest=1, most=1024, or_one=True),
            "Destination ports, of tcp, udp, sctp, dccp or udplite. Left out: any.",
            example=[80, 443, "8000-8080"],
        ),
        Key("type", Count(0, 255, "a type"), "Of icmp or icmp6: the type. Left out: any.", example=8),
        Key("code", Count(0, 255, "a code"), "With `type`: the code. Left out: any.", example=0),
        Key(
            "prefix",
            ListOf(IpPrefix(multicast=True), "a list of prefixes", fewest=1, most=4096, or_one=True),
            "Addresses at the other end. Left out, with no `group`: any. `0.0.0.0/0` is all of IPv4,"
            " `::/0` all of IPv6.",
            example=["192.0.2.0/24"],
        ),
        Key(
            "group",
            Reference("group"),
            "Instead of `prefix`: the addresses of all NICs that have this group, but for those by DHCP,"
            " which the file does not say.",
            example="web",
        ),
    ),
    may_be_empty=True,
)

GROUP = Table(
    "a security group",
    (
        Key(
            "ingress",
            ListOf(RULE, "a list of rules", most=4096),
            "Who may begin to talk to its guests, as in clouds: to the guest. What none of a NIC's groups"
            " allows is denied.",
            example=[{"protocol": "tcp", "ports": 80}],
        ),
        Key(
            "egress",
            ListOf(RULE, "a list of rules", most=4096),
            "Whom its guests may begin to talk to. Left out: everybody. `[]`: nobody.",
            example=[{"prefix": "10.0.10.0/24"}],
        ),
        Key(
            "log",
            Flag(),
            "false: what is denied is counted and not told. A NIC tells if one of its groups does, a line a"
            " second at most.",
            example=False,
            default=True,
        ),
    ),
    may_be_empty=True,
)

GUEST = Table(
    "a guest",
    (
        Key(
            "kind",
            Choice(("stack", "netns", "external", "qemu")),
            "`stack`: an in-process TCP/IP guest: no root, no VM. `netns`: a network namespace, where"
            " `vnet exec` runs commands. `external`: somebody else starts it and plugs it in;"
            " `vnet connect` prints the words. `qemu`: a virtual machine (x86-64) that vnet starts and stops,"
            " with QEMU.",
            example="netns",
            default="stack",
        ),
        Key(
            "nics",
            ListOf(PORT, "a list of NICs", fewest=1, most=64),
            "Its NICs. Their ports are named `GUEST.INDEX`, from 0.",
            example=[{"network": "red"}],
            required=True,
        ),
        *machine.KEYS,
    ),
)


@attrs.frozen
class UplinkTable(Table):
    """An uplink's keys: it has one NIC, or several and how they share the work."""

    def read(self, node: Node, path: Path, problems: list[Problem]) -> dict[str, Any]:
        """As a table, and whether the keys go together."""
        before = len(problems)
        values = super().read(node, path, problems)
        meant = {(problem.meant or ("",))[-1] for problem in problems[before:]}
        if not isinstance(node, Fields) or meant & {"nic", "nics", "bond"}:
            return values
        if "nic" in node.fields and "nics" in node.fields:
            problems.append(Problem((*path, "nics"), "nic and nics", "one of the two"))
        elif "nic" not in node.fields and "nics" not in node.fields:
            problems.append(Problem(path, "an uplink without nic", f"nic: {NicShape().expected}"))
        elif "bond" in node.fields and "nics" not in node.fields:
            problems.append(Problem((*path, "bond"), "a bond of one NIC", "nics: a list of NICs"))
        return values

    def schema(self) -> dict[str, Any]:
        """JSON Schema."""
        either = [{"required": ["nic"]}, {"required": ["nics"]}]
        return {**super().schema(), "oneOf": either, "dependentRequired": {"bond": ["nics"]}}


UPLINK = UplinkTable(
    "an uplink",
    (
        Key(
            "nic",
            NicShape(),
            "The NIC on the physical interface.",
            example={"kind": "packet", "interface": "eth0"},
        ),
        Key(
            "nics",
            ListOf(NicShape(), "a list of NICs", fewest=1, most=8),
            "Instead of `nic`: several that are one uplink; what they are called is `NAME.INTERFACE`.",
            example=[{"kind": "packet", "interface": "eth1"}, {"kind": "packet", "interface": "eth2"}],
        ),
        Key("bond", UPLINK_BOND, "How several `nics` share the work.", example={"mode": "active-backup"}),
        Key("native", NETWORK, "The network of its untagged frames.", example="red"),
        Key(
            "tagged",
            ListOf(NETWORK, "a list of networks", fewest=1),
            "Networks that it carries with their VLAN's tag.",
            example=["blue"],
        ),
        Key(
            "vlans",
            MapOf(NETWORK, Value(Count(1, 4094, "a VLAN id")), "a mapping of networks to VLAN ids", fewest=1),
            "What VLANs of `tagged` networks are called on the wire, where that is another number.",
            example={"blue": 120},
        ),
        Key(
            "switch", SWITCH, "The switch that it is plugged into. Left out: the file's first.", example="s1"
        ),
        Key(
            "mirrors",
            MIRRORS,
            "Mirrors whose copies it may send out by `erspan`.",
            example=["far"],
        ),
        Key(
            "storm",
            STORM,
            "How much of what goes to every port may come in from the physical network, every sender there"
            " together. A tenth of a second's worth passes at once, what is more is dropped. Left out: any.",
            example={"broadcast": "1 k/s"},
        ),
        Key(
            "proxy_arp",
            Flag(),
            "true: who asks at the uplink for an address in a prefix that a guest's guard allows it, by ARP"
            " or neighbour discovery, is told that guest's MAC address: to the physical network the whole"
            " prefix is local, and needs no route (RFC 4389's intent). A NIC's own addresses it answers for"
            " itself, also those that it has by DHCP, if it is at the uplink's switch.",
            example=True,
            default=False,
        ),
    ),
)

TOPOLOGY = Table(
    "a topology",
    (
        Key(
            "name",
            Name(32),
            "The fabric's name, also its runtime folder's.",
            example="tenants",
            required=True,
        ),
        Key(
            "seed",
            Count(0, 2**64 - 1),
            "Every random choice follows from it: generated MACs and addresses, impairments.",
            example=1,
            default=0,
        ),
        Key("engine", ENGINE, "What turns the fabric.", example={"driver": "auto"}),
        Key(
            "recorder",
            OrOff(RECORDER),
            "What is kept of the frames that passed lately, for `vnet capture --past`. `off`: nothing.",
            example={"size": "1 MiB"},
        ),
        Key(
            "flows",
            FLOWS,
            "With it, a sample of the frames is counted by flows, and a collector is told of them (IPFIX).",
            example={"collector": "127.0.0.1:4739", "sample": 1000},
        ),
        Key(
            "networks",
            MapOf(Name(), NETWORK_TABLE, "a mapping of networks", most=4094),
            "Tenants' broadcast domains, by name.",
            example={"red": {"vlan": 10, "subnets": ["10.0.10.0/24"]}},
        ),
        Key(
            "groups",
            MapOf(Name(), GROUP, "a mapping of security groups", most=MOST_PORTS),
            "Security groups, by name: stateful rules for the NICs that have them.",
            example={"web": {"ingress": [{"protocol": "tcp", "ports": [80, 443]}]}},
        ),
        Key(
            "guests",
            MapOf(Name(), GUEST, "a mapping of guests", most=MOST_PORTS),
            "Who owns NICs, by name.",
            example={"web": {"nics": [{"network": "red"}]}},
        ),
        Key(
            "uplinks",
            MapOf(Name(), UPLINK, "a mapping of uplinks", most=64),
            "NICs on physical interfaces that guests share, by name.",
            example={"wan": {"nic": {"kind": "packet", "interface": "eth0"}, "native": "red"}},
        ),
        Key(
            "switches",
            MapOf(Name(), SWITCH_TABLE, "a mapping of switches", fewest=1, most=1024),
            "The switches, by name. Left out: one, `s1`.",
            example={"s1": {"ageing": "300 s"}},
        ),
        Key(
            "links",
            ListOf(LINK, "a list of links"),
            "Cables between switches.",
            example=[{"ends": ["leaf1", "spine"]}],
        ),
        Key(
            "mirrors",
            MapOf(Name(), MIRROR, "a mapping of mirrors", most=64),
            "Copies of traffic for somebody who watches, by name.",
            example={"watch": {"networks": ["red"], "to": "ids"}},
        ),
        Key(
            "expect",
            ListOf(EXPECT, "a list of expectations", most=100_000),
            "What `vnet check` proves and `vnet test` probes.",
            example=[{"from": "web", "to": "db", "reach": True}],
        ),
        Key(
            "scenario",
            SCENARIO,
            "What `vnet test` plays, one step after the other.",
            example=[{"link": {"name": "web.0", "state": "down"}}],
        ),
    ),
    extensions=True,
)
