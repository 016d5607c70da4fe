"""The topology file's keys of switches, and of the links between them."""

from __future__ import annotations

import attrs

from nics.keys import Choice, Count, Flag, Key
from nics.quantity import RATE, SHARE, SIZE, TIME
from vnet.topology.shape import ListOf, Table
from vnet.topology.values import LinkEnd, Name, Reference

AGEING = attrs.evolve(TIME, lowest=1_000_000)
WAIT = attrs.evolve(TIME, lowest=1_000)
MTU = Count(68, 65521, "a number of bytes")
NETWORK = Reference("network")
SWITCH = Reference("switch")

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
            "How many addresses are learned in one VLAN at most; guests' own have room in any case.",
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
NIC_IMPAIR = Table(
    "a NIC's impairment",
    (
        *_FATES,
        Key("egress", ONE_WAY, "What differs for frames that the guest sends.", example={"delay": "5 ms"}),
        Key("ingress", ONE_WAY, "What differs for those that it receives.", example={"loss": "1 %"}),
    ),
)
IMPAIR = Table(
    "an impairment",
    (
        *_FATES,
        Key("a_to_b", ONE_WAY, "What differs from a to b.", example={"delay": "5 ms"}),
        Key("b_to_a", ONE_WAY, "What differs from b to a.", example={"loss": "1 %"}),
    ),
)


def _change(what: str, impair: Table, cut: str) -> Table:
    """An entry of a `schedule`."""
    return Table(
        what,
        (
            Key("from", TIME, "When it begins, after the fabric came up.", example="10 s", required=True),
            Key("to", TIME, "When it is over. Left out: never.", example="12 s"),
            Key("up", Flag(), f"false: {cut}", example=False),
            Key("impair", impair, "What is different meanwhile.", example={"loss": "50 %"}),
        ),
    )


NIC_CHANGE = _change(
    "a change of a NIC",
    NIC_IMPAIR,
    "its cable is cut meanwhile; it has no carrier. An external guest behind `stream`, `dgram`, `vde` or a"
    " `vhost-user` server can't see that: these have no word for it.",
)
CHANGE = _change("a change", IMPAIR, "the cable is cut meanwhile.")

CABLE = Table(
    "a cable",
    (
        Key("impair", IMPAIR, "What it does to frames otherwise than the link's `impair` says.",
            example={"delay": "2 ms"}),
        Key("schedule", ListOf(CHANGE, "a list of changes"), "What changes beside the link's `schedule`.",
            example=[{"from": "10 s", "to": "12 s", "up": False}]),
        Key("up", Flag(), "false: it is cut, and `vnet link` can't mend it.", example=False, default=True),
        Key("priority", Count(0, 65535, "a number"), "With `max_links`: the lower is preferred.", example=100,
            default=32768),
    ),
    may_be_empty=True,
)  # fmt: skip
HASH = Key(
    "hash",
    Choice(("l2", "l3", "l4")),
    "What tells flows apart, each of which goes by one cable: MAC addresses (`l2`), and IP addresses (`l3`),"
    " and ports (`l4`).",
    example="l2",
    default="l4",
)
MIN_LINKS = Key(
    "min_links",
    Count(1, 8, "a number of cables"),
    "With fewer in use there is no carrier.",
    example=2,
    default=1,
)
MAX_LINKS = Key(
    "max_links",
    Count(1, 8, "a number of cables"),
    "With `lacp`: how many are in use at once; the others stand by.",
    example=2,
    default=8,
)
TIMEOUT = Key(
    "timeout",
    Choice(("long", "short")),
    "With `lacp`: whether silence is noticed after 90 s (it is spoken every 30) or 3 s (every second).",
    example="short",
    default="long",
)
CONTROL = Key(
    "control",
    Choice(("independent", "coupled")),
    "With `lacp`: whether an end sends only where the other takes in already, or both begin at once.",
    example="coupled",
    default="independent",
)
MODE = Key(
    "mode",
    Choice(("lacp", "active-backup", "static")),
    "How they share the work: as both ends agree (802.1AX), the first one that has carrier alone, or all"
    " that have.",
    example="active-backup",
    default="lacp",
)
BOND = Table(
    "a bond",
    (
        MODE,
        HASH,
        MIN_LINKS,
        MAX_LINKS,
        TIMEOUT,
        CONTROL,
        Key(
            "passive",
            Choice(("a", "b")),
            "With `lacp`: the end that speaks only when it is spoken to. Left out: neither.",
            example="b",
        ),
    ),
)
UPLINK_BOND = Table(
    "a bond",
    (
        MODE,
        HASH,
        MIN_LINKS,
        MAX_LINKS,
        TIMEOUT,
        CONTROL,
        Key("lacp", Choice(("active", "passive")), "With `lacp`: whether it speaks without being spoken to.",
            example="passive", default="active"),
        Key("system_priority", Count(0, 65535, "a number"),
            "With `lacp`: whose is lower says which cables stand by, where there are more than `max_links`.",
            example=100, default=32768),
        Key("fallback", Flag(), "With `lacp`: true: where nobody answers one cable is used all the same.",
            example=True, default=False),
        Key("primary", Count(1, 8, "a number of the list"),
            "With `active-backup`: which one is preferred whenever it has carrier. Left out: whoever works"
            " stays.", example=1),
    ),
)  # fmt: skip

LINK = Table(
    "a link",
    (
        Key(
            "name",
            Name(),
            "Its name; its ports are `NAME.a` and `NAME.b`. Left out: `A-B` of its two ends, and `A-B-2` for"
            " a second one.",
            example="backbone",
        ),
        Key(
            "ends",
            ListOf(LinkEnd(), "a list of two switches", fewest=2, most=2),
            "The two switches, a and b. Or two guests' NICs (`web.0`), which are in one network: a cable from"
            " machine to machine, with a guard at each end as elsewhere, and no other way to it.",
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
        Key(
            "cables",
            ListOf(CABLE, "a list of cables", fewest=1, most=8),
            "Several cables that make one link, with one port at each switch; they are called `NAME.1`,"
            " `NAME.2` and so on. Left out: one.",
            example=[{}, {"impair": {"delay": "1 ms"}}],
        ),
        Key("bond", BOND, "How several `cables` share the work.", example={"mode": "lacp", "min_links": 1}),
        Key("stp", TREE_LINK, "Its part in its switches' spanning tree.", example={"cost": 20000}),
        Key(
            "up",
            Flag(),
            "false: the cable is cut, and `vnet link` can't mend it.",
            example=False,
            default=True,
        ),
        Key(
            "transparent",
            Flag(),
            "true: link-local frames (01-80-C2-00-00-0x) are carried like other multicast.",
            example=True,
            default=False,
        ),
    ),
)
