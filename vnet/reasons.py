"""Every drop reason: what it means, where it is counted, and what to do about it.

python -m vnet.reasons > docs/drops.md
"""

# ruff: noqa: E501 - one sentence a line

from __future__ import annotations

import sys
from collections.abc import Iterator

import attrs

from vnet._native import drop_reasons, drop_sides

GUARD = "Is it meant to? Then allow it by `guard` at the NIC; otherwise the guest is wrong, or forges."
GROUPS = "See the rules of the groups of the NIC, and `vnet connections`; `vnet check --why` says what they let pass."
CONNECTIONS = "Raise `connections` at the NIC or `connection_limit` of the switch; see `vnet connections` for who has them."
TAG = "Give the NIC a `trunk`, or have the guest send without a tag; S-tags it may not send at all."
STORM = "Find out who floods (`vnet top`); raise `storm` at the NIC or uplink if that is right."
ADVICE = {
    "runt": "The guest's driver, or whoever made the frame, is wrong.",
    "giant": "Raise `mtu` of the network, or lower the guest's.",
    "malformed-tag": "The guest's driver, or whoever made the frame, is wrong; more than two tags are not carried.",
    "source-multicast": "The guest is wrong, or attacks.",
    "source-zero": "The guest's card has no address yet, or the guest is wrong.",
    "tag-not-allowed": TAG,
    "untagged-not-allowed": "Give the trunk a `native` network. A NIC that only hears mirrors can't send.",
    "vlan-not-member": "Add the network to `trunk` at the NIC, or to `tagged` and `vlans` at the uplink.",
    "link-local": "Bridges do not forward it. Where it shall pass, as on a cable: `transparent`.",
    "guard-mac": "The guest changed its MAC address, or bridges others. `mac` at the NIC, or `mac_changes`, or `forged_transmits`.",
    "guard-control": "Switch the protocol off in the guest, or `guard: off` if it shall take part.",
    "guard-headers": "The guest is wrong, or tries to get past the guard.",
    "guard-source-route": "Nothing: source routes are not let through.",
    "guard-fragment": "Lower the guest's MTU, so that it sends no such fragments.",
    "guard-dhcp-server": "Is it the DHCP server? `dhcp_server: allow`.",
    "guard-dhcp-client": "The guest's client is wrong, or forges requests to use up leases or to have others lose theirs. A lease that the fabric does not know, as it was started anew, can't be given back either: it ends by itself.",
    "guard-ra": "Is it the router? `router_advertisements: allow`.",
    "guard-redirect": "Nothing: redirects are for routers with `guard: off`.",
    "guard-querier": "Is it the multicast router? `querier: allow`.",
    "guard-ip4": "Compare the guest's address with `vnet status`. `ip` at the NIC, or `guard: {allow: [{ip: ...}]}`; a router needs a prefix.",
    "guard-ip6": "As guard-ip4. Privacy and random link-local addresses are refused: have the guest use EUI-64.",
    "guard-arp": GUARD,
    "guard-nd": GUARD,
    "group-egress": GROUPS,
    "group-invalid": "Late segments of connections that are over are usual. If it goes on, the answer takes another way than the question.",
    "group-fragment": "Lower the MTU; a first fragment was lost or refused before.",
    "group-full": CONNECTIONS,
    "private": "Both are isolated in a private network. `private: promiscuous` or a community at the NIC, if they shall meet.",
    "station-sticky": "Two guests use one MAC address, or one moved: `sticky` holds the first.",
    "uplink-own": "There is a loop in the physical network, or somebody out there uses a guest's MAC address.",
    "mac-limit": "Raise `mac_limit` at the NIC, if so many stations are right there.",
    "same-port": "Both stations are behind one port: their own bridge has delivered it already.",
    "storm-broadcast": STORM,
    "storm-multicast": STORM,
    "storm-unknown": STORM,
    "multicast-reports": "The guest reports more groups, or more often, than is right; raise the bound of its network's snooping if it may.",
    "no-listener": "Nobody in the network asked for the group, or for this source of it. Have listeners report it (IGMP, MLD), or switch snooping off there.",
    "no-member": "Nobody else is in the network at this switch, or nobody takes such floods (`flood`).",
    "port-down": "`vnet link PORT up`, or `up` at the NIC.",
    "stp-blocked": "That is how a tree works; `vnet status` says which port is in what role.",
    "stp-bpdus": "Find out who sends them, or give the NIC a guard, so that it takes no part; `stp: {bpdu_guard: true}` takes such a port out.",
    "loop": "Remove the loop, or give the switches `stp: rstp`.",
    "tx-port-down": "`vnet link PORT up`, or `up` at the NIC.",
    "tx-stp-blocked": "It passes when the tree has settled; see `vnet status`.",
    "tx-not-member": "It was on its way when the network of the port changed.",
    "tx-double-tag": "The guest sent two tags; the outer one is its network's. Have it send one.",
    "tx-limit": "The guest receives more than `limits: {ingress: ...}`.",
    "tx-full": "The guest is slower than who sends to it, or hangs. More queues or CPU for it.",
    "tx-no-carrier": "Its machine is not started or not plugged in: `vnet connect GUEST`.",
    "tx-not-addressed": "The guest's NIC has another MAC address than `vnet status` says; or `promiscuous: allow`.",
    "group-ingress": GROUPS,
    "tx-group-invalid": "As group-invalid, for what others send to the guest.",
    "tx-group-fragment": "As group-fragment, for what others send to the guest.",
    "tx-group-full": CONNECTIONS,
    "tx-too-big": "Give all NICs of the network one MTU.",
    "tx-error": "See the log: the NIC says what went wrong.",
    "link-queue": "The link is slower than what is sent: `rate` and `queue` of its `impair`.",
    "link-aqm": "The link is slower than what is sent, and CoDel keeps its queue short.",
    "link-memory": "Lower `delay` or `rate` of the link: too much is on its way at once.",
    "impair-loss": "The link's `impair` asks for it.",
    "mirror-full": "Who watches is slower than what it watches: `snap`, `packets` or `networks` of the mirror.",
    "mirror-limit": "The mirror's `rate` or `packets` asks for it.",
    "tx-offload": "The guest's driver says of its frame what is not true.",
    "door-malformed": "The far side speaks another protocol, or its driver is wrong: `vnet connect GUEST` has the right words.",
    "door-overrun": "The engine had no time: `engine: {driver: thread, cpu: N}`, or fewer guests on this CPU.",
    "door-stranger": "Somebody else sends to the door's address; `remote` says who may.",
    "door-unused": "The other end sends by a cable that this one keeps out: `vnet status` says why; both ends need the same `mode`. Or a guest sends by a queue that its VMM has disabled.",
}  # fmt: skip
PLACES = {
    "door": "Before the switch: counted at the port, not among what it received",
    "ingress": "Where frames come in: `received = forwarded + dropped` at each port",
    "egress": "Where copies leave: counted at the port that a copy would have left by",
}


@attrs.frozen
class Reason:
    """One of them."""

    name: str
    side: str
    """`door`, `ingress` or `egress`."""
    means: str
    advice: str


REASONS = tuple(
    Reason(name, dict(drop_sides())[name], means.strip(), ADVICE.get(name, ""))
    for name, means in drop_reasons()
)
"""In the order in which the switch has them."""


def page() -> Iterator[str]:
    """The reference page, line by line."""
    yield "# Why frames are dropped"
    yield ""
    yield "Every dropped frame, or copy of one, has one of these reasons: in `vnet drops`, `vnet status`, captures and"
    yield "metrics. `vnet explain` says which key of the topology is behind one."
    for side, title in PLACES.items():
        yield f"\n## {title}\n"
        yield "| reason | the frame was, or its case is | what to do |"
        yield "| --- | --- | --- |"
        for reason in REASONS:
            if reason.side == side:
                yield f"| `{reason.name}` | {reason.means} | {reason.advice} |"


if __name__ == "__main__":
    sys.stdout.write("\n".join(page()) + "\n")
