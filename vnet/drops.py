"""What a running fabric dropped: reasons, counts, and the last frame of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vnet import drive, last
from vnet._native import drop_reasons

if TYPE_CHECKING:
    from vnet.fabric import Fabric


def means() -> dict[str, str]:
    """What each reason means."""
    return {reason: text.strip() for reason, text in drop_reasons()}


def ranked(fabric: Fabric) -> list[dict[str, Any]]:
    """See `Fabric.drops`."""
    meant, found = means(), []
    for number, port in fabric.wiring.numbers.items():
        kept = {lost[0]: lost for lost in fabric.engine.lost(number)}
        for reason, frames in port.counters()["drops"].items():
            drop: dict[str, Any] = {
                "port": port.name,
                "reason": reason,
                "means": meant[reason],
                "frames": frames,
                **dict.fromkeys(("last", "frame", "length", "vlan", "age")),
            }
            if reason in kept:
                _, at, vlan, length, head = kept[reason]
                drop |= {"last": last.line(head, length), "frame": head.hex(), "length": length}
                drop |= {"vlan": vlan, "age": max(fabric.time() - at, 0) / drive.NANO}
            found.append(drop)
    return sorted(found, key=lambda drop: (-drop["frames"], drop["port"], drop["reason"]))
