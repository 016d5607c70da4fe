"""Mirrors of a topology: what is wrong with them, and what they come to.

Nobody sees another's traffic by a slip of the pen: a mirror names who gets its copies, and whoever gets
them names the mirror.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import attrs

from nics.keys import did_you_mean, one_of, shown
from vnet.topology.address import macs
from vnet.topology.direct import is_direct
from vnet.topology.model import DEFAULT_SWITCH, Mirror, NicPort, Uplink
from vnet.topology.problems import Path, Problem, dotted
from vnet.topology.resolve import Port, ResolvedNetwork, link_names

if TYPE_CHECKING:
    from vnet.topology.topology import Topology

Problems = Iterator[Problem]


@attrs.frozen
class Session:
    """An ERSPAN session, everything known."""

    next_hop: str
    mac: str
    vid: int | None
    """The VLAN id on the uplink's wire; None: untagged."""
    source: str
    target: str
    number: int


@attrs.frozen
class ResolvedMirror:
    """A mirror, everything known."""

    name: str
    ports: tuple[str, ...]
    """Names of ports; () and no switches: every port but links."""
    switches: tuple[str, ...]
    vlans: tuple[int, ...] | None
    """None: any."""
    ingress: bool
    egress: bool
    to: str
    """The port that copies leave by."""
    session: Session | None
    snap: int | None
    tagged: bool
    rate: int
    packets: int

    @property
    def everywhere(self) -> bool:
        """Whether it looks at every port."""
        return not self.ports and not self.switches


def _places(topology: Topology) -> dict[str, list[str]]:
    """What a name in `ports` stands for."""
    places = {
        name: [f"{name}.{i}" for i in range(len(guest.nics))] for name, guest in topology.guests.items()
    }
    places |= {port: [port] for ports in list(places.values()) for port in ports}
    places |= {name: [name] for name in topology.uplinks}
    for name, link in zip(link_names(topology.links), topology.links, strict=True):
        if is_direct(link):
            continue
        places |= {f"{name}.{side}": [f"{name}.{side}"] for side in "ab"}
    return places


def _nics(topology: Topology) -> dict[str, NicPort]:
    return {
        f"{guest.name}.{index}": nic
        for guest in topology.guests.values()
        for index, nic in enumerate(guest.nics)
    }


def _path(port: str) -> Path:
    guest, _, index = port.rpartition(".")
    return ("guests", guest, "nics", int(index)) if guest else ("uplinks", port)


def receiver(topology: Topology, mirror: Mirror) -> str | None:
    """The port that gets a mirror's copies; None when that is not clear."""
    if mirror.erspan is not None:
        return mirror.erspan.uplink if mirror.erspan.uplink in topology.uplinks else None
    ports = [port for port in _places(topology).get(mirror.to or "", []) if port in _nics(topology)]
    granted = [port for port in ports if mirror.name in _nics(topology)[port].mirrors]
    chosen = ports if len(ports) == 1 else granted
    return chosen[0] if len(chosen) == 1 else None


def check(topology: Topology) -> Problems:
    """What is wrong with mirrors, and with what NICs and uplinks say of them."""
    receivers = {name: receiver(topology, mirror) for name, mirror in topology.mirrors.items()}
    for name, mirror in topology.mirrors.items():
        path: Path = ("mirrors", name)
        yield from _where(topology, mirror, path, receivers)
        yield from _whereto(topology, mirror, path, receivers[name])
    holders: dict[str, NicPort | Uplink] = {**_nics(topology), **topology.uplinks}
    for port, holder in holders.items():
        for index, wanted in enumerate(holder.mirrors):
            place: Path = (*_path(port), "mirrors", index)
            if wanted not in topology.mirrors:
                known = list(topology.mirrors)
                expected = one_of(known) if known else "the name of a mirror; there is none"
                because: tuple[Path, ...] = (("mirrors", wanted),)
                hint = did_you_mean(wanted, known)
                yield Problem(place, f"no mirror {shown(wanted)}", expected, hint, because=because)
            elif receivers[wanted] is not None and receivers[wanted] != port:
                found = f"mirror {wanted} goes to {receivers[wanted]}"
                because = (("mirrors", wanted),)
                yield Problem(place, found, f"it at {dotted(_path(str(receivers[wanted])))}", because=because)
        if isinstance(holder, NicPort) and holder.mirrors and not holder.networks and holder.ip:
            because = tuple((*_path(port), key) for key in ("network", "trunk"))
            yield Problem((*_path(port), "ip"), "an address in no network", "network", because=because)


def _where(topology: Topology, mirror: Mirror, path: Path, receivers: Mapping[str, str | None]) -> Problems:
    places = _places(topology)
    if not mirror.ports and not mirror.switches and not mirror.networks:
        because = tuple((*path, key) for key in ("ports", "switches", "networks"))
        yield Problem(path, "a mirror of nothing", "ports, switches or networks", because=because)
    taken = {port: name for name, port in receivers.items() if port is not None}
    for index, word in enumerate(mirror.ports):
        place: Path = (*path, "ports", index)
        if word not in places:
            because = (("guests", word.partition(".")[0]), ("uplinks", word), ("links",))
            hint = did_you_mean(word, places)
            found = f"no port {shown(word)}"
            yield Problem(
                place, found, "a guest, a NIC, an uplink or an end of a link", hint, because=because
            )
        for port in places.get(word, []):
            if port in taken:
                found = f"{port} receives mirror {taken[port]}, and copies are not copied"
                yield Problem(place, found, "another port", because=(("mirrors", taken[port], "to"),))
    for key, known in (
        ("switches", list(topology.switches) or [DEFAULT_SWITCH]),
        ("networks", list(topology.networks)),
    ):
        for index, word in enumerate(getattr(mirror, key)):
            if word not in known:
                what = key.removesuffix("s").removesuffix("e")
                expected = one_of(known) if known else f"the name of a {what}; there is none"
                hint = did_you_mean(word, known)
                yield Problem((*path, key, index), f"no {what} {shown(word)}", expected, hint,
                              because=((key, word),))  # fmt: skip


def _whereto(topology: Topology, mirror: Mirror, path: Path, port: str | None) -> Problems:
    if (mirror.to is None) == (mirror.erspan is None):
        both = mirror.to is not None
        found = "to and erspan" if both else "a mirror that goes nowhere"
        because = tuple((*path, key) for key in ("to", "erspan"))
        yield Problem(path, found, "one of them" if both else "to or erspan", because=because)
        return
    key: Path = (*path, "to") if mirror.to is not None else (*path, "erspan", "uplink")
    word = mirror.receiver or ""
    if not word:
        return
    nics = _nics(topology)
    if port is None:
        known = [*topology.guests, *nics] if mirror.erspan is None else list(topology.uplinks)
        ports = [port for port in _places(topology).get(word, []) if port in nics]
        if mirror.erspan is None and len(ports) > 1:
            found = f"{word} has {len(ports)} NICs"
            yield Problem(
                key, found, f"one that has mirrors: [{mirror.name}], or its name such as {ports[0]}"
            )
            return
        what = "guest or NIC" if mirror.erspan is None else "uplink"
        expected = f"the name of a{'n' if what[0] == 'u' else ''} {what}"
        because = (("guests", word.partition(".")[0]), ("uplinks", word))
        yield Problem(key, f"no {what} {shown(word)}", expected, did_you_mean(word, known), because=because)
        return
    holder = topology.uplinks[port] if mirror.erspan is not None else nics[port]
    misnamed = any(name not in topology.mirrors for name in holder.mirrors)
    if mirror.name not in holder.mirrors and not misnamed:
        place = dotted((*_path(port), "mirrors"))
        because = ((*_path(port), "mirrors"),)
        found = f"{port}, which does not grant it"
        yield Problem(key, found, f"{place}: [{mirror.name}]", because=because)
    if isinstance(holder, Uplink):
        yield from _session(topology, mirror, holder, path)


def _session(topology: Topology, mirror: Mirror, uplink: Uplink, path: Path) -> Problems:
    session = mirror.erspan
    assert session is not None
    place: Path = (*path, "erspan")
    if session.network is None and uplink.native is None:
        because: tuple[Path, ...] = (("uplinks", uplink.name, "native"),)
        found = f"no network, and {uplink.name} has no native one"
        yield Problem((*place, "uplink"), found, "network: one of its own", because=because)
    elif (
        session.network is not None
        and session.network not in uplink.networks
        and all(network in topology.networks for network in uplink.networks)
    ):
        because = (("uplinks", uplink.name),)
        found = f"{shown(session.network)} is not at {uplink.name}"
        yield Problem((*place, "network"), found, one_of(uplink.networks), because=because)
    families = {address.version for address in (session.source, session.target) if address is not None}
    if len(families) > 1:
        because = ((*place, "source"),)
        found = f"{session.target} for a source of the other family"
        yield Problem((*place, "target"), found, "both of IPv4 or of IPv6", because=because)


def resolve(
    topology: Topology, networks: Mapping[str, ResolvedNetwork], uplinks: Mapping[str, Port]
) -> dict[str, ResolvedMirror]:
    """All mirrors, which `check` found nothing wrong with."""
    places = _places(topology)
    own = {nic.mac for nic in _nics(topology).values() if nic.mac is not None}
    addresses = macs([f"mirror {name}" for name in topology.mirrors], own, topology.name, topology.seed)
    found = {}
    for name, mirror in topology.mirrors.items():
        to = receiver(topology, mirror)
        assert to is not None
        found[name] = ResolvedMirror(
            name=name,
            ports=tuple(dict.fromkeys(port for word in mirror.ports for port in places[word])),
            switches=mirror.switches,
            vlans=tuple(sorted(networks[network].vlan for network in mirror.networks)) or None,
            ingress=mirror.direction != "out",
            egress=mirror.direction != "in",
            to=to,
            session=_resolved(mirror, networks, uplinks[to], addresses[f"mirror {name}"])
            if mirror.erspan
            else None,
            snap=mirror.snap,
            tagged=mirror.tagged,
            rate=mirror.rate or 0,
            packets=mirror.packets or 0,
        )
    return found


def _resolved(mirror: Mirror, networks: Mapping[str, ResolvedNetwork], uplink: Port, address: str) -> Session:
    session = mirror.erspan
    assert session is not None
    vlan = networks[session.network].vlan if session.network else uplink.vlan
    tagged = vlan != uplink.vlan
    return Session(
        next_hop=session.next_hop,
        mac=session.mac or address,
        vid=dict(uplink.translate).get(vlan or 0, vlan) if tagged else None,
        source=str(session.source),
        target=str(session.target),
        number=session.session,
    )
