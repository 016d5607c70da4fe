"""From a topology to what is to be drawn: who stands at which switch, and what is written there."""

from __future__ import annotations

from collections.abc import Iterator

from nics.bond import Bond
from nics.quantity import RATE, SHARE, TIME
from vnet.graph.picture import Branch, Cable, Label, Node, Panel, Picture, Section, shortened
from vnet.topology.model import Cord, Impair
from vnet.topology.resolve import Port, Resolved, ResolvedLink

LONG = 18
"""Characters of a switch's name in a label."""


def read(resolved: Resolved) -> Picture:
    """Everything that the picture shows, without places."""
    panels = {name: Panel(name, _switch(resolved, name), []) for name in resolved.switches}
    branches: list[Branch] = []
    for uplink in resolved.uplinks.values():
        _section(panels[uplink.switch], "uplinks", None).nodes.append(_uplink(uplink))
    for guest in resolved.guests.values():
        ports = resolved.ports_of(guest.name)
        home = next(iter(_ordered(ports[0])), None)
        section = _section(panels[ports[0].switch], home or "no network", home)
        section.nodes.append(_guest(guest.name, guest.kind, ports))
        branches += [
            Branch(port.name, guest.name, port.switch, next(iter(_ordered(port)), None))
            for port in ports[1:]
            if port.switch != ports[0].switch
        ]
    for link in resolved.links.values():
        for end in link.ends:
            panels[end].links += 1
    for panel in panels.values():
        order = [None, *resolved.networks]
        panel.sections.sort(key=lambda section: order.index(section.network))
    names = {network.vlan: network.name for network in resolved.networks.values()}
    picture = Picture(
        title=resolved.name,
        panels=panels,
        cables=[_cable(link, names) for link in resolved.links.values()],
        branches=branches,
        networks={
            network.name: ", ".join([f"VLAN {network.vlan}", *(["private"] if network.private else []),
                                     *map(str, network.subnets)])
            for network in resolved.networks.values()
        },
        kinds=(),
    )  # fmt: skip
    picture.kinds = tuple(sorted({node.kind for node in picture.nodes}))
    return picture


def _switch(resolved: Resolved, name: str) -> str:
    stp = resolved.switches[name].stp
    count = sum(name == port.switch for port in resolved.ports.values())
    return f"{count} NIC{'' if count == 1 else 's'}" + (f" · {stp}" if stp in ("stp", "rstp") else "")


def _section(panel: Panel, title: str, network: str | None) -> Section:
    """The panel's section of that title, made if it has none."""
    for section in panel.sections:
        if (section.title, section.network) == (title, network):
            return section
    panel.sections.append(Section(title, network, []))
    return panel.sections[-1]


def _ordered(port: Port) -> list[str]:
    """A port's networks, that of its untagged frames first."""
    return sorted(port.networks, key=lambda name: name != port.network)


def _guest(name: str, kind: str, ports: list[Port]) -> Node:
    networks = tuple(dict.fromkeys(network for port in ports for network in _ordered(port)))
    details = []
    if kind in ("external", "qemu"):
        details = list(dict.fromkeys(port.nic.kind for port in ports))
    else:
        details = [str(ports[0].addresses[0].ip)] if ports[0].addresses else []
        details = ["dhcp"] if ports[0].dhcp else details
    if len(networks) > 1:
        details.append(f"{len(networks)} networks")
    cords = [_cord(port.cord) for port in ports]
    # What does not fit there is in the tooltip.
    details += list(dict.fromkeys(cord for cord in cords if cord))
    told = [f"{name}: {kind}"] + [
        f"{port.name}: {', '.join(_ordered(port))} at {port.switch}, {port.nic.kind}, {port.mac}"
        + "".join(f", {address}" for address in port.addresses)
        + (f"; its cable: {cord}" if cord else "")
        for port, cord in zip(ports, cords, strict=True)
    ]
    return Node(name, kind, ", ".join(details), networks, "\n".join(told))


def _cord(cord: Cord) -> str:
    """What the cable of a NIC does; "" for nothing."""
    out, back = impairment(cord.egress), impairment(cord.ingress)
    told = [out] if out == back else [f"sent {out or 'unimpaired'}", f"received {back or 'unimpaired'}"]
    if count := len(cord.schedule):
        told.append(f"{count} change{'s' if count > 1 else ''} scheduled")
    return ", ".join(filter(None, told))


def _uplink(port: Port) -> Node:
    nics = getattr(port.nic, "nics", (port.nic,))
    interface = ", ".join(str(getattr(nic, "interface", nic.kind)) for nic in nics)
    how = f"{port.nic.mode} of " if isinstance(port.nic, Bond) else ""
    kinds = ", ".join(dict.fromkeys(nic.kind for nic in nics))
    told = f"{port.name}: uplink, {how}{kinds} {interface}: {', '.join(_ordered(port))}"
    return Node(port.name, "uplink", interface, tuple(_ordered(port)), told)


def _cable(link: ResolvedLink, names: dict[int, str]) -> Cable:
    a, b = link.ends
    lines: list[str] = []
    if link.several:
        mode = "LACP" if link.bond.mode == "lacp" else link.bond.mode
        lines.append(f"{len(link.several)} cables, {mode}")
    # What all cables have in common is said once.
    alike: dict[tuple[Impair, Impair], list[str]] = {}
    for cable in link.cables:
        number = cable.name.rpartition(".")[2]
        alike.setdefault((cable.a_to_b, cable.b_to_a), []).append(number)
    for (forth, back), numbers in alike.items():
        which = f"{', '.join(numbers)}: " if len(alike) > 1 else ""
        lines += [which + line for line in _both((a, b), impairment(forth), impairment(back))]
    if len(link.vlans) < len(names):
        lines.append("only " + (", ".join(names[vlan] for vlan in link.vlans) or "no network"))
    if not link.up:
        lines.append("down")
    if cut := [cable.name.rpartition(".")[2] for cable in link.several if not cable.up]:
        lines.append(f"{', '.join(cut)} down")
    if changes := len({id(change) for cable in link.cables for change in cable.schedule}):
        lines.append(f"{changes} change{'s' if changes > 1 else ''} scheduled")
    told = "\n".join([f"{link.name}: {a} - {b}", *lines])
    return Cable(link.name, link.ends, link.whole, Label(tuple(lines)) if lines else None, told)


def _both(ends: tuple[str, str], there: str, back: str) -> list[str]:
    """What a cable does, both ways."""
    if there == back:
        return [there] if there else []
    a, b = (shortened(end, LONG) for end in ends)
    return [f"{a} → {b}: {there or 'unimpaired'}", f"{b} → {a}: {back or 'unimpaired'}"]


def impairment(impair: Impair) -> str:
    """What a link does one way: `2 ms ±200 us, 0.1 % loss`; "" for nothing."""
    return ", ".join(_impairment(impair))


def _impairment(impair: Impair) -> Iterator[str]:
    if impair.delay or impair.jitter:
        yield TIME.write(impair.delay) + (f" ±{TIME.write(impair.jitter)}" if impair.jitter else "")
    if impair.loss:
        yield f"{SHARE.write(impair.loss)} loss"
    if impair.bursts is not None:
        yield "bursts of loss"
    for what in ("duplicate", "reorder", "corrupt"):
        if share := getattr(impair, what):
            yield f"{SHARE.write(share)} {what}"
    if impair.rate is not None:
        yield RATE.write(impair.rate)
    if impair.mtu is not None:
        yield f"MTU {impair.mtu}"
