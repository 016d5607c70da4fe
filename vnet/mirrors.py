"""The mirrors of a running fabric: from names of ports to their numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vnet._native import Mirror, mirror_counts, set_mirrors
from vnet.links import LinkEnd
from vnet.topology.mirrors import ResolvedMirror

if TYPE_CHECKING:
    from vnet.fabric import Fabric
    from vnet.port import Port


def tell(fabric: Fabric) -> None:
    """Have the engine copy as the fabric's mirrors say, at the ports that there are now."""
    ports = {port.name: port for port in fabric.wiring.numbers.values()}
    # A mirror whose port is not there (yet) copies nothing.
    mirrors = [mirror for mirror in fabric.mirrors.values() if mirror.to in ports]
    set_mirrors(fabric.engine, [_mirror(mirror, ports) for mirror in mirrors])


def _mirror(mirror: ResolvedMirror, ports: dict[str, Port | LinkEnd]) -> Mirror:
    sources = [
        port.number
        for port in ports.values()
        if (port.name in mirror.ports if mirror.ports else False)
        or (port.switch in mirror.switches and not isinstance(port, LinkEnd))
        or (mirror.everywhere and not isinstance(port, LinkEnd))
    ]
    session = mirror.session
    return Mirror(
        mirror.name,
        ports[mirror.to].number,
        ingress=sources if mirror.ingress else [],
        egress=sources if mirror.egress else [],
        vlans=mirror.vlans,
        # Where every port is looked at, what comes over a link was seen when it came in.
        transit=not (mirror.everywhere and mirror.ingress),
        erspan=(
            session.next_hop,
            session.mac,
            session.vid,
            session.source,
            session.target,
            session.number,
        )
        if session
        else None,
        snap=mirror.snap,
        tagged=mirror.tagged,
        rate=mirror.rate,
        packets=mirror.packets,
    )


def status(fabric: Fabric) -> list[dict[str, Any]]:
    """Each mirror: where its copies go, how many there were, their bytes, and how many were lost."""
    return [
        {
            "mirror": name,
            "to": fabric.mirrors[name].to,
            "erspan": session.target if (session := fabric.mirrors[name].session) else None,
            "frames": frames,
            "bytes": size,
            "lost": lost,
        }
        for name, frames, size, lost in mirror_counts(fabric.engine)
        if name in fabric.mirrors
    ]
