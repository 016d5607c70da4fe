"""The native guard and the reference must say the same about any frame, however it is made.

Frames are those of `tests/switch/test_guard_cases.py` and mutations of them: bytes changed, cut off,
tags and extension headers put in, addresses exchanged. They come in bursts, so that one is often
like the one before, and what the guard remembers is tried too. What was accepted is then looked at
by scapy, which shares no code with either.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether

from tests.model.guard import ReferenceGuard
from tests.switch import guarded
from tests.switch import test_guard_cases as cases
from vnet._native import Guard, PortConfig, Switch

pytestmark = pytest.mark.deadline(240)

MACS = [bytes.fromhex(mac.replace(":", "")) for mac in (guarded.OWN, guarded.OTHER, guarded.PAIRED)]
PREFIXES = tuple(
    (prefix, bytes.fromhex(mac.replace(":", "")) if mac else None) for prefix, mac, _ in guarded.ADDRESSES
)
ROLES = tuple(cases.ROLES)

GOOD = [bytes(frame) for frame in cases.ACCEPTED.values()]
BAD = [bytes(frame) for _, frame in cases.REFUSED.values()]
PIECES = [
    bytes(4),
    b"\x06\0\x01\x04\0\0\0\0",
    b"\x3a\0\x01\x04\0\0\0\0",
    b"\x3a\0\0\x01\0\0\0\x07",
    b"\x11\0\0\0\0\0\0\x07",
    b"\x2c\0\x01\x04\0\0\0\0",
    b"\x3c\0\x01\x04\0\0\0\0",
    b"\x81\0\0\0",
    b"\x88\xa8\0\5",
    b"\x88\x70\0\5",
    b"\xf1\xc1\0\0\0\5",
    *MACS,
]


VALUES = [0, 1, 2, 3, 4, 5, 6, 7, 8, 17, 43, 44, 50, 52, 53, 58, 60, 67, 68, 82, 103, 134, 255]


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """A frame that was good or bad once."""
    data = bytearray(draw(st.sampled_from(GOOD + BAD)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, min(len(data) - 1, draw(st.sampled_from([90, 90, 340])))))
        match draw(st.sampled_from(["set", "set", "flip", "cut", "insert", "mac", "next"])):
            case "set":
                data[at] = draw(st.sampled_from(VALUES))
            case "flip":
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del data[max(at, 14) :]
            case "insert":
                data[at:at] = draw(st.sampled_from(PIECES))
            case "mac":
                data[6:12] = draw(st.sampled_from(MACS))
            case _ if len(data) > 54:
                # An extension header between IPv6 and what follows.
                piece = bytearray(draw(st.sampled_from([p for p in PIECES if len(p) == 8])))
                piece[0], data[20] = data[20], draw(st.sampled_from([0, 43, 44, 51, 60, 135]))
                data[54:54] = piece
                length = int.from_bytes(data[18:20], "big") + 8 & 0xFFFF
                data[18:20] = length.to_bytes(2, "big")
    return bytes(data[: 1500 if draw(st.booleans()) else max(14, len(data))])


bursts = st.lists(st.one_of(frames(), st.sampled_from(GOOD)), min_size=1, max_size=12).flatmap(
    lambda burst: st.permutations(burst + burst[:2])
)

BEFORE = {
    "runt", "malformed-tag", "giant", "source-multicast", "source-zero", "link-local", "tag-not-allowed",
}  # fmt: skip
AFTER = {None, "same-port", "no-member"}


@given(bursts, st.frozensets(st.sampled_from(ROLES), max_size=2), st.sampled_from([False, False, True]))
@settings(max_examples=400)
def test_says_what_the_reference_says(burst: list[bytes], roles: frozenset[str], unknown: bool) -> None:
    reference = ReferenceGuard(MACS[0], PREFIXES, unknown, roles)
    switch = Switch()
    guard = Guard(
        guarded.OWN,
        addresses=guarded.ADDRESSES,
        unknown=[1] if unknown else [],
        **dict.fromkeys(roles, True),  # type: ignore[arg-type]
    )
    switch.add_port(0, PortConfig(vlan=1, guard=guard))
    switch.add_port(1, PortConfig(vlan=1))
    for data, verdict in zip(burst, switch.forward(0, 0, burst), strict=True):
        if verdict.reason in BEFORE:
            continue
        wanted = reference.judge(data)
        got = None if verdict.reason in AFTER else verdict.reason
        assert got == wanted, data.hex(" ")
        if got is None and not roles and not unknown:
            nothing_of_others(data)


def nothing_of_others(data: bytes) -> None:
    """What a guest got through speaks for itself alone, as scapy reads it."""
    frame = Ether(data)
    assert frame.src in (guarded.OWN, guarded.PAIRED)
    while frame.payload and not isinstance(frame, IP | IPv6 | ARP):
        if type(frame).__name__ not in ("Ether", "Dot1Q", "Dot1AD"):
            return
        frame = frame.payload
    own = {
        guarded.OWN: {guarded.IP4, guarded.IP6, guarded.LOCAL, "0.0.0.0", "::"},
        guarded.PAIRED: {guarded.PAIR4, "fe80::ff:fe00:c", "0.0.0.0", "::"},
    }[Ether(data).src]
    if isinstance(frame, ARP):
        assert frame.hwsrc == Ether(data).src
        assert frame.psrc in own
    elif isinstance(frame, IP | IPv6):
        assert frame.src in own
