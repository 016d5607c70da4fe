"""Frames for the model test: mostly sound, often nasty, and small enough to read."""

from __future__ import annotations

import attrs
from hypothesis import strategies as st

STATIONS = [bytes([2, 0, 0, 0, 0, n]) for n in range(1, 7)]
GROUPS = [
    b"\xff" * 6,
    bytes.fromhex("01005e0000fb"),
    bytes.fromhex("333300000001"),
    bytes.fromhex("0180c2000000"),
    bytes.fromhex("0180c2000002"),
    bytes.fromhex("0180c200000e"),
    bytes.fromhex("0180c2000010"),
]
VLANS = [1, 2, 3, 4094]
VIDS = [0, 1, 1, 2, 2, 3, 4094, 4095]

MTUS = [68, 100, 1500]


def c_tag(vid: int, pcp: int = 0) -> bytes:
    """An 802.1Q tag; `pcp` has the drop eligible indicator as its lowest bit."""
    return b"\x81\x00" + (pcp << 12 | vid).to_bytes(2, "big")


def s_tag(vid: int, pcp: int = 0) -> bytes:
    """An 802.1ad tag."""
    return b"\x88\xa8" + (pcp << 12 | vid).to_bytes(2, "big")


@attrs.frozen
class Shape:
    """A frame to be."""

    destination: bytes
    source: bytes
    tags: bytes
    payload: int
    """Bytes behind the type; negative: so many bytes are cut off at the end of the headers."""

    def build(self, number: int) -> bytes:
        """The frame, told apart from others by `number` where there is room."""
        head = self.destination + self.source + self.tags + b"\x08\x00"
        if self.payload < 0:
            return head[: self.payload]
        return head + (number.to_bytes(8, "big") + b"\xa5" * self.payload)[: self.payload]


pcps = st.sampled_from([0, 0, 1, 14])
tag = st.builds(c_tag, st.sampled_from(VIDS), pcps)
service = st.builds(s_tag, st.sampled_from(VIDS), pcps)

tags = st.one_of(
    st.just(b""),
    tag,
    st.one_of(
        service,
        st.builds(bytes.__add__, tag, tag),
        st.builds(bytes.__add__, service, tag),
        st.builds(bytes.__add__, tag, service),
        st.builds(lambda a, b, c: a + b + c, st.one_of(tag, service), tag, st.one_of(tag, service)),
    ),
)

payloads = st.one_of(
    st.sampled_from([46, 46, 50]),
    st.sampled_from([0, 1, 2, 10, *(mtu + more for mtu in MTUS for more in (-4, 0, 1, 4, 5, 8))]),
    st.integers(-14, -1),
)

shapes = st.builds(
    Shape,
    destination=st.one_of(st.sampled_from(STATIONS), st.sampled_from(GROUPS)),
    source=st.one_of(
        st.sampled_from(STATIONS),
        st.sampled_from(STATIONS),
        st.sampled_from([bytes(6), b"\xff" * 6, bytes.fromhex("01005e000001")]),
    ),
    tags=tags,
    payload=payloads,
)


def unroll(shape: Shape, times: int, variations: list[tuple[str, bytes | int]]) -> list[Shape]:
    """A shape some times in a row, each time followed by one that is like it but for one thing."""
    shapes = [shape] * times
    for what, value in variations:
        changed = {
            "tags": {"tags": value},
            "deeper": {"tags": shape.tags + value if isinstance(value, bytes) else b""},
            "payload": {"payload": value},
        }[what]
        shapes += [attrs.evolve(shape, **changed), shape]
    return shapes


variations = st.one_of(
    st.tuples(st.just("tags"), tags),
    st.tuples(st.just("deeper"), tag),
    st.tuples(st.just("payload"), payloads),
)
runs = st.builds(unroll, shapes, st.integers(1, 3), st.lists(variations, max_size=2))
bursts = st.lists(runs, min_size=4, max_size=30).map(lambda runs: [shape for run in runs for shape in run])
"""Bursts of shapes in which one is often like the one before, or nearly."""
