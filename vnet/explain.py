"""What would happen to a frame, in words: from what the engine says to steps that a person reads.

The engine decides, by the code that forwards (`rust/src/engine/explain.rs`); here is told which checks
a frame passed on its way, which one it failed, and which key of the topology is behind each. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import attrs

Path = tuple[str | int, ...]
"""Where a key stands in the topology: `("guests", "web", "nics", 0, "guard")`."""


class PortLike(Protocol):
    """What is asked of a port."""

    name: str

    @property
    def kind(self) -> str:
        """The kind of its NIC."""


FORWARDED = ("to", "flood", "group", "report", "answer", "local")
"""What the engine says of a frame that is not dropped."""


@attrs.frozen
class Check:
    """One thing that a switch looks at, in the order in which it does."""

    name: str
    passed: str
    """What to say when the frame passed."""
    reasons: tuple[str, ...]
    """The drop reasons that it gives; a name that ends in `-` stands for all that begin so."""
    key: str | None = None
    """The key of the NIC that is behind it."""

    def gives(self, reason: str) -> bool:
        """Whether a drop for `reason` happens here."""
        return any(reason == r or (r.endswith("-") and reason.startswith(r)) for r in self.reasons)


CHECKS = (
    Check("port", "the port is up", ("port-down",)),
    Check("frame", "whole, no longer than the MTU, its tags well formed", ("runt", "giant", "malformed-tag")),
    Check("source", "its source address is a station's", ("source-multicast", "source-zero")),
    Check("link-local", "its destination is forwarded by bridges", ("link-local", "stp-bpdus")),
    Check(
        "vlan", "it belongs to VLAN {vlan} ({network})", ("tag-not-", "untagged-not-", "vlan-not-"), "network"
    ),
    Check("guard", "the guest speaks for itself", ("guard-",), "guard"),
    Check("learning", "its station may live here", ("station-sticky", "uplink-own", "mac-limit")),
    Check("destination", "", ("same-port", "no-member", "no-listener", "multicast-")),
    Check("private", "a private network lets it through", ("private",), "private"),
    Check("groups", "security groups let it through", ("group-", "tx-group-"), "groups"),
    Check("storm", "floods are within their limit", ("storm-",), "storm"),
)
"""As `classify/judge.rs` goes through them."""

EGRESS_KEYS = {
    "tx-not-member": "network",
    "tx-not-addressed": "guard",
    "group-ingress": "groups",
    "tx-group-invalid": "groups",
    "tx-group-fragment": "groups",
    "tx-group-full": "groups",
    "tx-too-big": "mtu",
    "tx-limit": "limits",
}
"""The key behind a drop where a copy leaves."""


@attrs.frozen
class Step:
    """One line of the explanation."""

    depth: int
    """0 for a switch that the frame comes to, 1 for what happens there."""
    check: str
    """What was looked at: a check's name, `in` or `out`."""
    port: str
    """The port that it happens at."""
    text: str
    reason: str | None = None
    """The drop reason, where it ends here."""
    path: Path | None = None
    """The key of the topology that is behind it."""
    switch: str | None = None
    """The switch that the frame comes to, where that is what the step is about."""


@attrs.frozen
class Names:
    """What the engine's numbers are called."""

    ports: Mapping[int, PortLike]
    switches: Mapping[int, str]
    networks: Mapping[int, str]
    """By VLAN."""
    means: Mapping[str, str]
    """What each drop reason means."""

    def port(self, number: int) -> str:
        """A port's name."""
        port = self.ports.get(number)
        return port.name if port else f"port {number}"

    def has(self, number: int, key: str | None) -> bool:
        """Whether the port has anything under the key `private` or `groups`; other keys all ports have."""
        wanted = getattr(self.ports.get(number), "wanted", None)
        return key not in ("private", "groups") or bool(getattr(wanted, key, False))

    def path(self, number: int, key: str | None = None) -> Path | None:
        """Where the port stands in the topology, or its `key`."""
        port = self.ports.get(number)
        if port is None:
            return None
        if port.kind == "link":
            return ("links",)
        if "." not in port.name:
            return ("uplinks", port.name, key) if key == "storm" else ("uplinks", port.name)
        guest, _, index = port.name.rpartition(".")
        place: Path = ("guests", guest, "nics", int(index))
        return (*place, key) if key else place


def steps(hops: Sequence[Mapping[str, Any]], names: Names) -> list[Step]:
    """The engine's hops, told."""
    found: list[Step] = []
    for hop in hops:
        found += _hop(hop, names)
    return found


def _hop(hop: Mapping[str, Any], names: Names) -> list[Step]:
    ingress, vlan, action = hop["ingress"], hop["vlan"], hop["action"]
    at = names.port(ingress)
    switch = names.switches.get(hop["switch"], f"switch {hop['switch']}")
    came = "over the link" if hop["from"] is not None else "in"
    found = [Step(0, "in", at, f"{switch}: {came} at {at}", path=names.path(ingress), switch=switch)]
    dropped = action if action not in FORWARDED else None
    for check in CHECKS:
        path = names.path(ingress, check.key) if check.key else None
        if dropped and check.gives(dropped):
            if check.name == "destination":
                found.append(_station(hop, names, at))
            found.append(Step(1, check.name, at, names.means.get(dropped, ""), dropped, path))
            return found + _mirrored(hop, at)
        if check.name == "link-local" and action == "local":
            text = "it is for the switch itself: its spanning tree hears it"
            found.append(Step(1, "switch", at, text, path=("switches", switch, "stp")))
            return found + _mirrored(hop, at)
        if check.name == "destination" and action == "answer":
            network = names.networks.get(vlan, "")
            text = "asked for somebody whom it does not reach, the switch says that the gateway is there"
            why: Path = ("networks", network, "proxy_arp")
            if (uplink := names.path(ingress)) is not None and uplink[0] == "uplinks":
                text = (
                    "asked for what is behind a guest, the switch says that it is at the guest's MAC address"
                )
                why = (*uplink, "proxy_arp")
            found.append(Step(1, "answer", at, text, path=why))
            return found + _mirrored(hop, at)
        if check.name == "destination":
            found.append(_station(hop, names, at))
        elif names.has(ingress, check.key) and (check.name != "storm" or action != "to"):
            network = names.networks.get(vlan, "no network")
            found.append(Step(1, check.name, at, check.passed.format(vlan=vlan, network=network), path=path))
    if dropped:
        # A reason that no check here knows: say so rather than nothing.
        found.append(Step(1, "switch", at, names.means.get(dropped, ""), dropped))
    found += [_copy(copy, names) for copy in hop["copies"]]
    return found + _mirrored(hop, at)


def _mirrored(hop: Mapping[str, Any], at: str) -> list[Step]:
    """The mirrors that copy it, dropped or not."""
    return [
        Step(1, "mirror", at, f"mirror {name} copies it", path=("mirrors", name)) for name in hop["mirrors"]
    ]


def _station(hop: Mapping[str, Any], names: Names, at: str) -> Step:
    if hop["station"] is not None:
        port, kind = hop["station"]
        return Step(1, "destination", at, f"the destination lives at {names.port(port)} ({kind})")
    group = bool(hop["frame"][:1]) and hop["frame"][0] & 1
    what = "a group address: to every member that takes it" if group else "unknown: flooded in its VLAN"
    if hop["action"] in ("group", "no-listener"):
        what = "a multicast group: to those who asked for it and for its source, and to routers"
    elif hop["action"] in ("report", "multicast-reports"):
        what = "for multicast routers and other switches: it says which groups are wanted"
    return Step(1, "destination", at, f"the destination is {what}")


def _copy(copy: tuple[int, str | None, int, int, int | None, bool, bool, str | None], names: Names) -> Step:
    number, refused, strip, insert, peer, late, unsure, way = copy
    port = names.port(number)
    if refused is not None:
        path = names.path(number, EGRESS_KEYS.get(refused))
        return Step(1, "out", port, f"not out of {port}: {names.means.get(refused, '')}", refused, path)
    tag = f", tagged {insert & 0xFFF}" if insert else ", its tag taken off" if strip else ""
    over = f", over the link to {names.port(peer)}" if peer is not None else ""
    fate = " and ".join(["may be late"] * late + ["may be lost"] * unsure)
    fate = f"; it {fate}" if fate else ""
    by = f" by {way}" if way is not None else ""
    return Step(1, "out", port, f"out of {port}{by}{tag}{over}{fate}", path=names.path(number))


def reached(hops: Sequence[Mapping[str, Any]], names: Names) -> list[str]:
    """The ports that a copy leaves the fabric by, sorted."""
    return sorted(
        names.port(number)
        for hop in hops
        for number, refused, _, _, peer, *_ in hop["copies"]
        if refused is None and peer is None
    )


def dotted(path: Path) -> str:
    """`guests.web.nics[0].guard`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text
