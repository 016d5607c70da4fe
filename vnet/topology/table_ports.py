"""The topology file's keys of a guest's NIC: its networks and addresses, guard, limits."""

from __future__ import annotations

from nics.keys import Choice, Count, Flag, Key
from nics.quantity import PACKETS, RATE, SIZE
from vnet.topology.rules import Place
from vnet.topology.shape import ListOf, NicShape, OrOff, Table
from vnet.topology.table_mirrors import MIRRORS
from vnet.topology.table_switches import MTU, NETWORK, NIC_CHANGE, NIC_IMPAIR, SWITCH, TREE_PORT
from vnet.topology.values import IpAddress, IpPrefix, Mac, Reference

GUARD = Table(
    "a guard",
    (
        Key(
            "allow",
            ListOf(
                Table(
                    "an allowance",
                    (
                        Key("ip", IpPrefix(), "An address or a prefix.", example="10.0.10.200"),
                        Key(
                            "mac",
                            Mac(),
                            "With `ip`: the MAC address that goes with it; left out, its own. Without: one"
                            " more of its own.",
                            example="02:00:00:00:00:0b",
                        ),
                        Key(
                            "network",
                            NETWORK,
                            "On a trunk: where `ip` may be used. Left out: in all of its networks.",
                            example="blue",
                        ),
                    ),
                ),
                "a list of allowances",
                most=1024,
            ),
            "What the guest may use as a source besides its own addresses.",
            example=[{"ip": "10.0.10.200"}],
        ),
        Key(
            "mac_changes",
            Choice(("allow", "deny")),
            "Whether the guest may take another MAC address: it sends from any, and frames for the last one"
            " that it used come to it.",
            example="allow",
            default="deny",
        ),
        Key(
            "promiscuous",
            Choice(("allow", "deny")),
            "Whether the guest hears frames at its port that are for others.",
            example="allow",
            default="deny",
        ),
        Key(
            "forged_transmits",
            Choice(("allow", "deny")),
            "Whether the guest may send from any MAC address; frames for those do not come to it, unless it"
            " is promiscuous as well.",
            example="allow",
            default="deny",
        ),
        Key(
            "dhcp_server",
            Choice(("allow", "deny")),
            "Whether the guest may answer and relay DHCP, of IPv4 and IPv6.",
            example="allow",
            default="deny",
        ),
        Key(
            "router_advertisements",
            Choice(("allow", "deny")),
            "Whether the guest may send router advertisements.",
            example="allow",
            default="deny",
        ),
        Key(
            "querier",
            Choice(("allow", "deny")),
            "Whether the guest may query multicast groups (IGMP, MLD).",
            example="allow",
            default="deny",
        ),
    ),
)

LIMIT = Table(
    "a limit",
    (
        Key("rate", RATE, "Bits per second, of whole frames without FCS.", example="1 Gbit/s"),
        Key(
            "burst",
            SIZE,
            "What may pass at once after a pause, beyond the rate. Left out: 10 ms of the rate.",
            example="256 KiB",
        ),
        Key(
            "one_time_burst",
            SIZE,
            "What may pass at once before the rate counts, once: so that a guest boots fast.",
            example="16 MiB",
        ),
        Key("packets", PACKETS, "Frames per second.", example="200 k/s"),
    ),
)

LIMITS = Table(
    "limits",
    (
        Key("egress", LIMIT, "What the guest sends.", example={"rate": "1 Gbit/s"}),
        Key("ingress", LIMIT, "What the guest receives.", example={"rate": "1 Gbit/s"}),
    ),
)

STORM = Table(
    "a storm control",
    (
        Key("broadcast", PACKETS, "Broadcasts per second.", example="1 k/s"),
        Key("multicast", PACKETS, "Multicast frames per second.", example="10 k/s"),
        Key("unknown", PACKETS, "Unicast frames per second to stations that are not known.", example="1 k/s"),
    ),
)

FLOOD = Table(
    "a choice of floods",
    (
        Key("unknown", Flag(), "Unicast to an address that is not known.", example=False, default=True),
        Key("multicast", Flag(), "Multicast.", example=False, default=True),
        Key("broadcast", Flag(), "Broadcast.", example=False, default=True),
    ),
)

TREE_NIC = Table(
    "a NIC's part in a spanning tree",
    (
        *TREE_PORT,
        Key(
            "edge",
            Flag(),
            "true: no switch is behind it, it forwards at once.",
            example=True,
            default=False,
        ),
        Key(
            "bpdu_guard",
            Flag(),
            "true: a BPDU takes its port out of service, until `vnet link PORT down` and `up`.",
            example=True,
            default=False,
        ),
    ),
)

PORT = Table(
    "a guest's NIC",
    (
        Key("network", NETWORK, "The network that it is in. Frames have no VLAN tag.", example="red"),
        Key(
            "trunk",
            ListOf(NETWORK, "a list of networks", fewest=1),
            "Instead of `network`: several networks, their frames tagged with the VLAN (802.1Q).",
            example=["red", "blue"],
        ),
        Key("native", NETWORK, "The network of a trunk's untagged frames. Left out: none.", example="red"),
        Key(
            "native_tagged",
            Flag(),
            "true: frames of the native network leave tagged all the same; untagged ones are still taken.",
            example=True,
            default=False,
        ),
        Key(
            "switch", SWITCH, "The switch that it is plugged into. Left out: the file's first.", example="s1"
        ),
        Key(
            "mac",
            Mac(),
            "Its MAC address. Left out: made from the names and the seed, and stable.",
            example="02:00:00:00:00:0a",
        ),
        Key(
            "ip",
            OrOff(ListOf(IpAddress(prefix=True), "a list of addresses", most=64, or_one=True), "dhcp"),
            "Its addresses, in the subnets of its network (of the native one on a trunk). A subnet that"
            " none is given for gives one, made from the names and the seed, and stable. `[]`: none at"
            " all. `dhcp`: what a DHCP server of its network gives it, for as long as that says.",
            example=["10.0.10.11"],
        ),
        Key(
            "nic",
            NicShape(),
            "What it is, by `kind`. Left out: `stack` or `tap` as the guest's kind is; for one of kind `qemu`"
            " a `vhost-user` server, for an external one a `stream` server, at `GUEST.INDEX.sock`.",
            example={"kind": "vhost-user", "socket": "vm1.sock"},
        ),
        Key(
            "mtu",
            MTU,
            "Its own MTU, at most the network's. Left out: the network's.",
            example=1400,
        ),
        Key(
            "mac_limit",
            Count(1, 1 << 20, "a number of addresses"),
            "How many addresses may be learned at its port.",
            example=1,
            default=1024,
        ),
        Key(
            "mac_limit_action",
            Choice(("flood", "drop")),
            "What happens to frames from addresses beyond `mac_limit`: forwarded without being learned,"
            " or dropped.",
            example="drop",
            default="flood",
        ),
        Key(
            "learning",
            Flag(),
            "false: no addresses are learned at its port.",
            example=False,
            default=True,
        ),
        Key(
            "sticky",
            Flag(),
            "true: an address learned here can't be taken over from another port until it ages out.",
            example=True,
            default=False,
        ),
        Key(
            "static",
            Flag(),
            "true: its MAC address is entered at its port for good, in each of its networks, and never"
            " learned elsewhere, so that frames for it are never flooded. With `sticky`, frames from it at"
            " other ports are dropped (`station-sticky`).",
            example=True,
            default=False,
        ),
        Key(
            "flood",
            FLOOD,
            "What of the frames that go to every port of a network goes to this one.",
            example={"unknown": False},
        ),
        Key(
            "transparent",
            Flag(),
            "true: link-local frames (01-80-C2-00-00-0x: STP, LACP, LLDP, ...) are carried like other"
            " multicast instead of dropped, as on a cable.",
            example=True,
            default=False,
        ),
        Key(
            "priority_tags",
            Flag(),
            "true: a frame with a priority leaves with a tag of VLAN 0 that keeps it (802.1Q 6.9.2).",
            example=True,
            default=False,
        ),
        Key(
            "stp",
            TREE_NIC,
            "Without guard: its part in its switch's spanning tree. A guarded one has none: it forwards at"
            " all times.",
            example={"edge": True},
        ),
        Key(
            "impair",
            NIC_IMPAIR,
            "What its cable does to frames, as on a link.",
            example={"delay": "2 ms", "ingress": {"loss": "1 %"}},
        ),
        Key(
            "schedule",
            ListOf(NIC_CHANGE, "a list of changes"),
            "What of that changes when. Of changes at the same time, later ones go over earlier ones.",
            example=[{"from": "10 s", "to": "12 s", "up": False}],
        ),
        Key(
            "up",
            Flag(),
            "false: its port is administratively down, and `vnet link` can't set it up.",
            example=False,
            default=True,
        ),
        Key(
            "guard",
            OrOff(GUARD),
            "What the guest may be besides itself. Every NIC is guarded: the guest sends from its own"
            " addresses only, plays no other role in its networks, and hears what is meant for it. `off`:"
            " none of that.",
            example={"dhcp_server": "allow"},
        ),
        Key(
            "groups",
            ListOf(Reference("group"), "a list of groups", most=64, or_one=True),
            "Its security groups. What they allow is added up; replies to it, and errors about it, need no"
            " rule. DHCP, ARP, neighbour discovery and multicast membership work in any case, as a host needs"
            " them on its link, and with `ip: dhcp` the renewal of its lease at any server: what routers,"
            " queriers and DHCP servers receive needs a rule. Left out: none, and everything passes that the"
            " guard lets pass.",
            example=["web"],
        ),
        Key(
            "private",
            Place(),
            "Whom it reaches in its networks: `promiscuous` everybody, `isolated` promiscuous NICs and"
            " uplinks alone, `community NAME` those and its community. Left out: isolated in a private"
            " network, unless its guard allows it the gateway's address, and promiscuous elsewhere.",
            example="community db",
        ),
        Key(
            "connections",
            Count(1, 1 << 20, "a number of connections"),
            "How many of its connections are tracked for security groups; beyond that, its own oldest that"
            " was never answered makes room, or new ones are refused.",
            example=1000,
            default=65536,
        ),
        Key(
            "mirrors",
            MIRRORS,
            "Mirrors whose copies it may receive: a mirror gives nothing to a NIC that does not name it here."
            " A NIC with `mirrors` may be in no network: it hears copies then and nothing else, and what it"
            " sends goes nowhere.",
            example=["watch"],
        ),
        Key(
            "limits",
            LIMITS,
            "How much the guest may send (`egress`) and receive (`ingress`), to and from other guests too.",
            example={"egress": {"rate": "1 Gbit/s"}},
        ),
        Key(
            "storm",
            STORM,
            "How much of what goes to every port the guest may send. A tenth of a second's worth passes at"
            " once, what is more is dropped. Left out: any.",
            example={"broadcast": "1 k/s"},
        ),
    ),
)
