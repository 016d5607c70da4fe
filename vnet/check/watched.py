"""Who sees whose frames by a mirror, whatever else keeps them apart."""

from __future__ import annotations

from vnet.check.ground import Ground
from vnet.check.pair import Reason
from vnet.check.wire import Ear
from vnet.topology.mirrors import ResolvedMirror

WAYS = {(True, True): ("send", "receive"), (True, False): ("send",), (False, True): ("receive",)}


def seen(ground: Ground, mirror: ResolvedMirror) -> list[Ear]:
    """The ports whose frames a mirror copies. Of the ends of links are those that the link joins."""
    ears = [ear for ears in ground.ears.values() for ear in ears if ear.name != mirror.to]
    linked = {port for port in mirror.ports if port[-2:] in (".a", ".b")} & {
        port for link in ground.resolved.links.values() for port in link.ports
    }
    return [
        ear
        for ear in ears
        if (mirror.vlans is None or not ear.networks.keys().isdisjoint(mirror.vlans))
        # What passes a link may be anybody's.
        and (mirror.everywhere or ear.name in mirror.ports or ear.switch in mirror.switches or linked)
    ]


def may_see(ground: Ground, source: Ear) -> frozenset[str]:
    """Ports that may get a copy of what is sent from `source`, wherever it passes."""
    return frozenset(
        mirror.to
        for mirror in ground.resolved.mirrors.values()
        if mirror.vlans is None or not source.networks.keys().isdisjoint(mirror.vlans)
    )


def watchers(ground: Ground) -> list[Reason]:
    """One line a mirror: who sees what of whom."""
    found = []
    for mirror in ground.resolved.mirrors.values():
        whose = [ear.name for ear in seen(ground, mirror)]
        names = ", ".join(whose[:6]) + (f" and {len(whose) - 6} more" if len(whose) > 6 else "")
        by = f"{mirror.session.target} beyond {mirror.to}" if mirror.session else mirror.to
        verbs = WAYS[mirror.ingress, mirror.egress]
        what = " and ".join(verb if len(whose) > 1 else f"{verb}s" for verb in verbs)
        networks = [
            network for network in ground.resolved.networks.values() if network.vlan in (mirror.vlans or ())
        ]
        of = f" in {', '.join(network.name for network in networks)}" if networks else ""
        text = f"{by} sees what {names or 'nobody'} {what}{of} (mirror {mirror.name})"
        found.append(Reason(text, ("mirrors", mirror.name)))
    return found
