"""The topology file, key by key: the one place that says what may stand in it.

Validation, error texts, the JSON Schema and the reference page are all made from this table; the
keys of the NIC kinds are in `nics/kinds.py`. To add a key: a row here, an attribute in `model.py`,
a line where `build.py` makes that part of the model, and what it has to do with others in `check.py`.
"""

from __future__ import annotations

import attrs

from nics.keys import Choice, Count, Flag, Key
from nics.quantity import PACKETS, RATE, SHARE, SIZE, TIME
from vnet.topology.expect import EXPECT
from vnet.topology.rules import Place, PortRange, Protocol
from vnet.topology.scenario import SCENARIO
from vnet.topology.shape import ListOf, MapOf, NicShape, OrOff, Table, Value
from vnet.topology.values import IpAddress, IpPrefix, IpSubnet, Mac, Name, Reference

MOST_PORTS = 4096
AGEING = attrs.evolve(TIME, lowest=1_000_000)
WAIT = attrs.evolve(TIME, lowest=1_000)
MTU = Count(68, 65521, "a number of bytes")
NETWORK = Reference("network")
SWITCH = Reference("switch")

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
    ),
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
            "true: guests of a private network that don't reach each other find the gateway at each other's"
            " addresses (local proxy ARP and ND), so that it can forward between them if it will.",
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
            "Instead of `prefix`: the addresses of all NICs that have this group.",
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

TREE_PORT = (
    Key(
        "cost",
        Count(1, 200_000_000, "a path cost"),
        "What a way to the root pays for passing here. Left out: 20 Tbit/s by the rate, 2000 without one.",
        example=20000,
    ),
    Key(
        "priority",
        Count(0, 240, "0 to 240 in steps of 16"),
        "Of ports that are as good, that with the lowest is preferred.",
        example=64,
        default=128,
    ),
)
TREE_LINK = Table("a link's part in a spanning tree", TREE_PORT)
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
            "true: a BPDU takes its port out of service.",
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
            "What it is, by `kind`. Left out: `stack` or `tap` as the guest's kind is; for an external"
            " guest a `stream` server at `GUEST.INDEX.sock`.",
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
        Key("up", Flag(), "false: its port is administratively down.", example=False, default=True),
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
            " rule. DHCP, ARP, neighbour discovery and multicast membership work in any case. Left out:"
            " none, and everything passes that the guard lets pass.",
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

GUEST = Table(
    "a guest",
    (
        Key(
            "kind",
            Choice(("stack", "netns", "external", "qemu")),
            "`stack`: an in-process TCP/IP guest: no root, no VM. `netns`: a network namespace, where"
            " `vnet exec` runs commands. `external`: somebody else starts it and plugs it in;"
            " `vnet connect` prints the words. `qemu`: a VM that vnet starts (*not yet*).",
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
    ),
)

UPLINK = Table(
    "an uplink",
    (
        Key(
            "nic",
            NicShape(),
            "The NIC on the physical interface.",
            example={"kind": "packet", "interface": "eth0"},
            required=True,
        ),
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
    ),
)

SWITCH_TABLE = Table(
    "a switch",
    (
        Key(
            "ageing",
            AGEING,
            "How long a learned address is kept that is not heard from (802.1Q 8.8.3).",
            example="300 s",
            default=300_000_000_000,
        ),
        Key(
            "fdb_limit",
            Count(1, 1 << 24, "a number of addresses"),
            "How many addresses its forwarding database holds at most.",
            example=65536,
            default=1 << 20,
        ),
        Key(
            "vlan_limit",
            Count(1, 1 << 24, "a number of addresses"),
            "How many addresses are learned in one VLAN at most.",
            example=4096,
            default=1 << 18,
        ),
        Key(
            "connection_limit",
            Count(1, 1 << 20, "a number of connections"),
            "How many connections are tracked at most, of all guests; beyond that, whoever has most makes"
            " room.",
            example=65536,
            default=1 << 18,
        ),
        Key(
            "stp",
            Choice(("none", "off", "stp", "rstp")),
            "The spanning tree protocol it runs, at its links and at NICs without guard: `rstp`"
            " (802.1D-2004), the older `stp`, or `none` (`off`).",
            example="rstp",
            default="none",
        ),
        Key(
            "priority",
            Count(0, 61440, "0 to 61440 in steps of 4096"),
            "With `stp`: the switch with the lowest becomes the root.",
            example=4096,
            default=32768,
        ),
        Key(
            "hello",
            attrs.evolve(TIME, lowest=10**9, highest=10 * 10**9),
            "With `stp`: how often it says that it is there.",
            example="1 s",
            default=2 * 10**9,
        ),
        Key(
            "max_age",
            attrs.evolve(TIME, lowest=6 * 10**9, highest=40 * 10**9),
            "With `stp`: how long what it heard holds.",
            example="6 s",
            default=20 * 10**9,
        ),
        Key(
            "forward_delay",
            attrs.evolve(TIME, lowest=4 * 10**9, highest=30 * 10**9),
            "With `stp`: how long a port listens, and then learns, where nobody can be asked.",
            example="4 s",
            default=15 * 10**9,
        ),
    ),
    may_be_empty=True,
)

BURSTS = Table(
    "bursts of losses",
    (
        Key("begin", SHARE, "How likely one begins with the next frame.", example="0.1 %", required=True),
        Key(
            "end",
            SHARE,
            "How likely one is over with the next frame: 25 % makes them four frames long on average.",
            example="25 %",
            required=True,
        ),
        Key("loss", SHARE, "Frames that get lost in a burst.", example="80 %", default=1_000_000),
    ),
)
QUEUE = Table(
    "a queue",
    (
        Key("packets", Count(1, 1 << 20, "a number of frames"), "Frames that wait at most.", example=100,
            default=1000),
        Key("bytes", SIZE, "Bytes that wait at most. Left out: any.", example="64 KiB"),
        Key(
            "aqm",
            Choice(("tail", "codel")),
            "Which frames are given up: `tail` those that do not fit, `codel` also some of those that"
            " waited too long (RFC 8289).",
            example="codel",
            default="tail",
        ),
        Key("target", WAIT, "With `codel`: how long frames may wait for.", example="5 ms",
            default=5_000_000),
        Key("interval", WAIT, "With `codel`: for how long they may wait longer than that.",
            example="100 ms", default=100_000_000),
    ),
)  # fmt: skip
_FATES = (
    Key("delay", TIME, "How much later frames arrive.", example="2 ms", default=0),
    Key("jitter", TIME, "How much the delay varies. Frames keep their order.", example="200 us", default=0),
    Key(
        "distribution",
        Choice(("uniform", "normal", "pareto")),
        "How it varies: `uniform` from delay - jitter to delay + jitter; `normal` and `pareto` (mostly a"
        " little less, sometimes much more) with the jitter as standard deviation.",
        example="normal",
        default="uniform",
    ),
    Key("loss", SHARE, "Frames that get lost, each for itself.", example="0.1 %", default=0),
    Key("bursts", BURSTS, "Frames that get lost one after the other (Gilbert and Elliott); between bursts"
        " `loss` holds.", example={"begin": "0.1 %", "end": "25 %"}),
    Key("duplicate", SHARE, "Frames that arrive twice.", example="0.1 %", default=0),
    Key("reorder", SHARE, "Frames that are not delayed, and so overtake others.", example="1 %", default=0),
    Key("corrupt", SHARE, "Frames with a wrong bit in their payload.", example="0.01 %", default=0),
    Key("rate", RATE, "Its speed. Left out: as fast as it goes.", example="1 Gbit/s"),
    Key("queue", QUEUE, "Where frames wait that come faster than `rate`.", example={"packets": 100}),
    Key("mtu", MTU, "Longer payloads get lost. Left out: none.", example=1400),
)  # fmt: skip
ONE_WAY = Table("an impairment of one direction", _FATES)
IMPAIR = Table(
    "an impairment",
    (
        *_FATES,
        Key("a_to_b", ONE_WAY, "What differs from a to b.", example={"delay": "5 ms"}),
        Key("b_to_a", ONE_WAY, "What differs from b to a.", example={"loss": "1 %"}),
    ),
)
CHANGE = Table(
    "a change",
    (
        Key("from", TIME, "When it begins, after the fabric came up.", example="10 s", required=True),
        Key("to", TIME, "When it is over. Left out: never.", example="12 s"),
        Key("up", Flag(), "false: the cable is cut meanwhile.", example=False),
        Key("impair", IMPAIR, "What is different meanwhile.", example={"loss": "50 %"}),
    ),
)

LINK = Table(
    "a link",
    (
        Key(
            "name",
            Name(),
            "Its name; its ports are `NAME.a` and `NAME.b`. Left out: `A-B` of its two switches, and"
            " `A-B-2` for a second one.",
            example="backbone",
        ),
        Key(
            "ends",
            ListOf(SWITCH, "a list of two switches", fewest=2, most=2),
            "The two switches, a and b.",
            example=["leaf1", "spine"],
            required=True,
        ),
        Key("impair", IMPAIR, "What it does to frames.", example={"delay": "2 ms"}),
        Key(
            "schedule",
            ListOf(CHANGE, "a list of changes"),
            "What changes when. Of changes at the same time, later ones in the list go over earlier ones.",
            example=[{"from": "10 s", "to": "12 s", "up": False}],
        ),
        Key(
            "networks",
            ListOf(NETWORK, "a list of networks"),
            "The networks that it carries, each tagged with its VLAN. Left out: all.",
            example=["red"],
        ),
        Key("stp", TREE_LINK, "Its part in its switches' spanning tree.", example={"cost": 20000}),
        Key("up", Flag(), "false: the cable is cut.", example=False, default=True),
        Key(
            "transparent",
            Flag(),
            "true: link-local frames (01-80-C2-00-00-0x) are carried like other multicast.",
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
