"""The keys of a topology file that are about mirrors."""

from __future__ import annotations

from nics.keys import Choice, Count, Flag, Key
from nics.quantity import PACKETS, RATE
from vnet.topology.shape import ListOf, Table
from vnet.topology.table_switches import NETWORK, SWITCH
from vnet.topology.values import MIRROR_PORT, IpAddress, Mac, Reference

MIRRORS = ListOf(Reference("mirror"), "a list of mirrors", most=64, or_one=True)

ERSPAN = Table(
    "an ERSPAN session",
    (
        Key("uplink", Reference("uplink"), "The uplink that copies leave by.", example="wan", required=True),
        Key("session", Count(0, 1023, "a session's number"), "Its number there.", example=7, required=True),
        Key(
            "source",
            IpAddress(),
            "The address that copies come from. Nobody answers there.",
            example="192.0.2.1",
            required=True,
        ),
        Key("target", IpAddress(), "The collector's address.", example="192.0.2.9", required=True),
        Key(
            "next_hop",
            Mac(),
            "The MAC address of the collector, or of the router on the way to it.",
            example="02:00:00:00:00:09",
            required=True,
        ),
        Key(
            "mac",
            Mac(),
            "The MAC address that copies come from. Left out: made from the names and the seed, and stable.",
            example="02:00:00:00:00:08",
        ),
        Key(
            "network",
            NETWORK,
            "The network of the uplink that copies leave in. Left out: its native one.",
            example="red",
        ),
    ),
)

MIRROR = Table(
    "a mirror",
    (
        Key(
            "ports",
            ListOf(MIRROR_PORT, "a list of ports", fewest=1, or_one=True),
            "Where to look: guests, their NICs (`web.0`), uplinks, ends of links (`LINK.a`). Left out, with"
            " no `switches`: at every port but links.",
            example=["web", "db.0"],
        ),
        Key(
            "switches",
            ListOf(SWITCH, "a list of switches", fewest=1, or_one=True),
            "Where to look: every port of these but links.",
            example=["s1"],
        ),
        Key(
            "networks",
            ListOf(NETWORK, "a list of networks", fewest=1, or_one=True),
            "What to look at: frames of these networks alone. Left out: all that pass there.",
            example=["red"],
        ),
        Key(
            "direction",
            Choice(("both", "in", "out")),
            "`in`: what comes in at those ports (what guests send), dropped or not; `out`: what goes out of"
            " them; `both`: one copy of each frame that does either.",
            example="in",
            default="both",
        ),
        Key(
            "to",
            MIRROR_PORT,
            "The guest, or its NIC, that gets the copies and grants it by `mirrors`. Instead of `erspan`.",
            example="ids",
        ),
        Key(
            "erspan",
            ERSPAN,
            "Instead of `to`: the collector elsewhere that gets them, in ERSPAN type II packets.",
            example={
                "uplink": "wan",
                "session": 7,
                "source": "192.0.2.1",
                "target": "192.0.2.9",
                "next_hop": "02:00:00:00:00:09",
            },
        ),
        Key(
            "snap",
            Count(14, 65535, "a number of bytes"),
            "How many bytes of a frame are copied at most. Left out: all.",
            example=128,
        ),
        Key(
            "tagged",
            Flag(),
            "true: copies have the VLAN tag of their network, whatever the frame had where it was seen.",
            example=True,
            default=False,
        ),
        Key("rate", RATE, "Bits per second that are copied at most.", example="100 Mbit/s"),
        Key("packets", PACKETS, "Frames per second that are copied at most.", example="10 k/s"),
    ),
)
