"""Who sees that a cable is cut: a guest whose kind of NIC can say so; a machine of ours, because its QEMU is
told; or nobody.

A card's carrier is its machine's to say. `vhost-user`, `stream`, `dgram` and `vde` have no word for it. Where
QEMU listens for vhost-user, closing the connection takes the card's carrier, and comes back with it; where we
listen, a machine that was not told to connect again would lose its card for good, and which one was can't be
asked. So nothing is closed there, and the carrier of such guests is shown only where we have QEMU's monitor.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from nics.bond import Bond
from vnet._native import cord_up

if TYPE_CHECKING:
    from nics.door import Nic
    from vnet.fabric import Fabric
    from vnet.port import Port
    from vnet.topology.resolve import Port as Wanted
    from vnet.topology.resolve import Resolved

WORDLESS = ("stream", "dgram", "vde")


def shows(nic: Nic | Bond) -> bool:
    """Whether a NIC tells its guest by itself that its cable is cut."""
    return nic.kind not in WORDLESS and not (
        nic.kind == "vhost-user" and getattr(nic, "role", "server") == "server"
    )


def blind(before: Resolved | None, wanted: Resolved) -> Iterator[str]:
    """A line for each port whose schedule cuts a cable and whose guest can't see it; not again for one that
    was so before.
    """
    known = {} if before is None else before.ports
    for name, port in wanted.ports.items():
        if not _unseen(port) or (name in known and _unseen(known[name])):
            continue
        kind = port.nic.kind
        otherwise = "" if kind != "vhost-user" else "; with `role: client` (QEMU listens) it would"
        yield (
            f"{name}: while its schedule has the cable cut nothing passes, but its guest does not see the"
            f" carrier go: {kind} has no word for that{otherwise}"
        )


def _unseen(port: Wanted) -> bool:
    cut = any(change.up is False for change in port.cord.schedule)
    return cut and port.guest_kind != "qemu" and not shows(port.nic)


def tell(fabric: Fabric, port: Port) -> None:
    """Have the QEMU of a machine of ours show what its cable is like now."""
    machine = fabric.machines.by_name.get(port.guest)
    if machine is not None and not shows(port.wanted.nic):
        machine.cable(port.name, up=not port.is_cut and cord_up(fabric.engine, port.number))
