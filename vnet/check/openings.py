"""What guests are allowed beside being themselves: the first thing that an auditor asks."""

from __future__ import annotations

from collections.abc import Iterator

from vnet.check import voice
from vnet.check.pair import Reason, short
from vnet.check.prove import Proof
from vnet.check.wire import Ear
from vnet.topology.direct import is_direct

ROLES = {
    "mac_changes": "may take another MAC address",
    "forged_transmits": "may send from any MAC address",
    "promiscuous": "hears what is for others",
    "dhcp_server": "may serve DHCP",
    "router_advertisements": "may advertise itself as a router",
    "querier": "may query multicast groups",
}

LINK_LOCAL = "link-local frames (STP, LACP, LLDP)"


def openings(proof: Proof) -> list[Reason]:
    """Every one, with its key."""
    found: list[Reason] = []
    for name, network in proof.resolved.networks.items():
        if not network.subnets and any(
            network.vlan in ear.networks and ear.port and ear.port.guard
            for ears in proof.ground.ears.values()
            for ear in ears
        ):
            text = f"network {name} has no subnets: which IP addresses its guests take is not checked"
            found.append(Reason(text, ("networks", name)))
    for ears in proof.ground.ears.values():
        for ear in ears:
            found += _of(ear, proof)
    found += _unmeant(proof)
    for index, link in enumerate(proof.topology.links):
        if link.transparent and not is_direct(link):
            text = f"link {'-'.join(link.ends)} carries {LINK_LOCAL}"
            found.append(Reason(text, ("links", index, "transparent")))
    return found


def _of(ear: Ear, proof: Proof) -> Iterator[Reason]:
    port = ear.port
    if port is None:
        return
    if (
        port.dhcp
        and port.groups
        and not any(proof.topology.groups[name].egress is None for name in port.groups)
    ):
        text = f"{ear.name} may ask any DHCP server, whatever its groups say"
        yield Reason(text, (*ear.path, "ip"))
    if port.settings.transparent:
        text = f"{ear.name} exchanges {LINK_LOCAL}, which make it a part of others' links"
        yield Reason(text, (*ear.path, "transparent"))
    if port.guard is None:
        text = f"{ear.name} has no guard: it may pass for anybody in {', '.join(port.networks)}"
        yield Reason(text, (*ear.path, "guard"))
        return
    for role, text in ROLES.items():
        if getattr(port.guard, role) == "allow":
            yield Reason(f"{ear.name} {text}", (*ear.path, "guard", role))
    for index, allowance in enumerate(port.guard.allow):
        path = (*ear.path, "guard", "allow", index)
        if allowance.ip is None:
            yield Reason(f"{ear.name} may send from {allowance.mac} too", path)
            continue
        whose = sorted(
            {
                other.owner
                for vlan in ear.networks
                if any(number == index for number, _ in voice.allowed(port, vlan))
                for ears in proof.ground.ears.values()
                for other in ears
                if other.owner != ear.owner and other.port and vlan in other.networks
                if any(voice.touch(voice.host(own), allowance.ip) for own in voice.own(other.port, vlan))
            }
        )
        of = f", among them addresses of {_few(whose)}" if whose else ""
        yield Reason(f"{ear.name} may send as {short(allowance.ip)}{of}", path)


def _unmeant(proof: Proof) -> Iterator[Reason]:
    """Rules that are about members of a group, some of whom are somewhere that only a lease says."""
    for name, group in proof.topology.groups.items():
        for direction in ("ingress", "egress"):
            for index, rule in enumerate(getattr(group, direction) or ()):
                ports = proof.resolved.ports.values()
                leased = [port.name for port in ports if port.dhcp and rule.group in port.groups]
                if leased:
                    text = f"members of {rule.group} by DHCP are not meant by their leases: {_few(leased)}"
                    yield Reason(text, ("groups", name, direction, index))


def _few(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
