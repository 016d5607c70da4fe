"""Port modes: which VLANs a port carries, and how they are told apart on it.

`Access` and `Trunk` are descriptions, checked when they are made. What they mean frame by frame is
in `switch/rust/src/classify/` and `egress.rs`, and once more, for reading, in
`tests/model/reference.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import attrs

VLANS = range(1, 4095)
"""VLAN ids that a network can have (IEEE 802.1Q clause 9.6: 0 is no VLAN, 4095 is reserved)."""


def check_vlan(vlan: int) -> int:
    """`vlan` itself. Raises ValueError unless it is in 1..4094."""
    if isinstance(vlan, bool) or not isinstance(vlan, int) or vlan not in VLANS:
        raise ValueError(f"VLAN {vlan!r} is not in 1..4094")
    return vlan


def _vlan(_instance: object, _attribute: object, vlan: int) -> None:
    check_vlan(vlan)


def _vlans(vlans: Iterable[int]) -> frozenset[int]:
    return frozenset(check_vlan(vlan) for vlan in vlans)


@attrs.frozen
class Access:
    """One VLAN, untagged: the port of a guest that need not know about VLANs.

    Frames with a VLAN tag are dropped; a priority tag (VID 0) is taken off.
    """

    name: ClassVar[str] = "access"
    vlan: int = attrs.field(validator=_vlan)

    def carries(self, vlan: int) -> bool:
        """Whether the port is a member of `vlan`."""
        return vlan == self.vlan

    def sends_tagged(self, vlan: int) -> bool:
        """Whether frames of `vlan` leave with their tag: never."""
        return False

    @property
    def pvid(self) -> int | None:
        """Where untagged frames belong."""
        return self.vlan

    def __str__(self) -> str:
        return f"access {self.vlan}"


@attrs.frozen
class Trunk:
    """Several VLANs, told apart by 802.1Q tags: an uplink, a router, another switch.

    Untagged and priority-tagged frames belong to the native VLAN, and are dropped without one. Its
    frames leave untagged, or with `native_tagged` tagged; they may come either way.
    """

    name: ClassVar[str] = "trunk"
    tagged: frozenset[int] = attrs.field(converter=_vlans)
    native: int | None = attrs.field(default=None, validator=attrs.validators.optional(_vlan))
    native_tagged: bool = attrs.field(default=False, validator=attrs.validators.instance_of(bool))

    def __attrs_post_init__(self) -> None:
        if self.native_tagged and self.native is None:
            raise ValueError("native_tagged without a native VLAN")

    def carries(self, vlan: int) -> bool:
        """Whether the port is a member of `vlan`."""
        return vlan in self.tagged or (self.native is not None and vlan == self.native)

    def sends_tagged(self, vlan: int) -> bool:
        """Whether frames of `vlan` leave with their tag."""
        return self.native_tagged or vlan != self.native

    @property
    def pvid(self) -> int | None:
        """Where untagged frames belong; None: nowhere."""
        return self.native

    def __str__(self) -> str:
        native = (
            "" if self.native is None else f" native {self.native}{' tagged' if self.native_tagged else ''}"
        )
        return f"trunk {ranges(self.tagged)}{native}"


Mode = Access | Trunk


def ranges(vlans: Iterable[int]) -> str:
    """VLANs as people write them: `1-4,10`; `-` for none."""
    runs: list[list[int]] = []
    for vlan in sorted(set(vlans)):
        if runs and vlan == runs[-1][1] + 1:
            runs[-1][1] = vlan
        else:
            runs.append([vlan, vlan])
    return ",".join(f"{low}" if low == high else f"{low}-{high}" for low, high in runs) or "-"
