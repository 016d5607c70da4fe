"""The reference switch: slow, readable, and right.

One frame at a time, dictionaries, no cleverness. It is written from IEEE 802.1Q-2018 and the choices
in `switch/README.md`, and says what the native switch must do; `test_model.py` compares the two. When
they differ, this file is read first, clause in hand.

Times are integers in any unit, as long as the ageing time is in the same one.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator

import attrs

from switch import Access, Port
from switch.private import UNTOLD, place, reaches
from tests.model.storm import StormControl

C_TAG = b"\x81\x00"
S_TAG = b"\x88\xa8"
BROADCAST = b"\xff" * 6
ZERO = bytes(6)
RESERVED = b"\x01\x80\xc2\x00\x00"
"""Table 8-1: 01-80-C2-00-00-00 to -0F."""


def is_group(mac: bytes) -> bool:
    """IEEE 802-2014 8.2.2: the Individual/Group bit is the first on the wire."""
    return bool(mac[0] & 1)


def is_reserved(mac: bytes) -> bool:
    """802.1Q 8.6.3: what no C-VLAN bridge relays."""
    return mac[:5] == RESERVED and mac[5] < 16


class Drop(Exception):
    """The frame is not forwarded. `str()` is the reason's name."""


@attrs.frozen
class Tag:
    """A C-tag (9.6)."""

    pcp: int
    """Priority code point and drop eligible indicator, 0..15."""
    vid: int

    def __bytes__(self) -> bytes:
        return C_TAG + (self.pcp << 12 | self.vid).to_bytes(2, "big")


@attrs.frozen
class Frame:
    """A frame taken apart as a C-VLAN component sees it."""

    destination: bytes
    source: bytes
    tag: Tag | None
    """The outermost tag, if that is a C-tag. An S-tag is none of ours: payload (6.9)."""
    rest: bytes
    """What follows the tag: type and data."""
    depth: int
    """How many tags of either kind there are."""
    payload: int
    """Bytes that the MTU counts: all but addresses, tags, and type."""

    @classmethod
    def parse(cls, data: bytes) -> Frame:
        """Take a frame apart."""
        if len(data) < 14:
            raise Drop("runt")
        depth, at = 0, 12
        while data[at : at + 2] in (C_TAG, S_TAG):
            depth, at = depth + 1, at + 4
            if len(data) < at + 2 or depth > 2:
                raise Drop("malformed-tag")
        tag = None
        if data[12:14] == C_TAG:
            tci = int.from_bytes(data[14:16], "big")
            tag = Tag(pcp=tci >> 12, vid=tci & 0xFFF)
        return cls(data[:6], data[6:12], tag, data[16:] if tag else data[12:], depth, len(data) - at - 2)

    def leave(self, tag: Tag | None) -> bytes:
        """Put it together again, with another tag or none."""
        return self.destination + self.source + (bytes(tag) if tag else b"") + self.rest


@attrs.define
class Entry:
    """Where a station is (8.8)."""

    port: int
    kind: str
    """`learned`, `static` or `sticky`."""
    heard: int = 0
    order: int = 0
    """Among the entries heard at the same time: which was first."""


@attrs.define
class Counters:
    """What a port counted."""

    rx_frames: int = 0
    rx_bytes: int = 0
    tx_frames: int = 0
    tx_bytes: int = 0
    forwarded: int = 0
    drops: Counter[str] = attrs.Factory(Counter)


@attrs.define
class Outcome:
    """What became of a frame."""

    action: str
    reason: str | None = None
    vlan: int = 0
    copies: list[tuple[int, bytes]] = attrs.Factory(list)
    lost: list[tuple[int, str]] = attrs.Factory(list)
    place: int = UNTOLD
    """Where its sender stands in a private VLAN (RFC 5517)."""


@attrs.define
class ReferenceSwitch:
    """A learning VLAN bridge."""

    ageing: int
    fdb_limit: int
    vlan_limit: int
    ports: dict[int, Port] = attrs.Factory(dict)
    counters: dict[int, Counters] = attrs.Factory(dict)
    storms: dict[int, StormControl] = attrs.Factory(dict)
    fdb: dict[tuple[int, bytes], Entry] = attrs.Factory(dict)
    time: int = 0
    turns: Iterator[int] = attrs.Factory(itertools.count)

    # -- what an operator does ---------------------------------------------------------------------

    def configure(self, now: int, *, ageing: int, fdb_limit: int, vlan_limit: int) -> bool:
        """Other limits, another ageing time. Entries keep their age; what has no room any more goes, the
        longest heard first. False, and nothing has changed, when there are too many static ones.
        """
        if len(self.fdb) - self.learned() > fdb_limit:
            return False
        self.tick(now)
        self.ageing, self.fdb_limit, self.vlan_limit = ageing, fdb_limit, vlan_limit
        self._expire(now)
        oldest = sorted((e.heard, e.order, key) for key, e in self.fdb.items() if e.kind == "learned")
        for _, _, (vlan, mac) in oldest:
            if len(self.fdb) > fdb_limit or self.learned(vlan=vlan) > vlan_limit:
                del self.fdb[vlan, mac]
        return True

    def add_port(self, number: int, port: Port) -> None:
        """Add a port."""
        self.ports[number] = port
        self.counters[number] = Counters()
        self.storms[number] = StormControl()
        self.storms[number].set(port.storm)

    def set_port(self, number: int, port: Port) -> None:
        """Set a port up anew. What it learned beyond a lower limit goes, the longest heard first."""
        before = self.ports[number]
        self.ports[number] = port
        self.storms[number].set(port.storm)
        self._forget(lambda vlan, entry: entry.port == number and not port.mode.carries(vlan))
        if not port.up:
            self.flush(port=number)
        elif port.mac_limit < before.mac_limit:
            own = [
                (e.heard, e.order, key)
                for key, e in self.fdb.items()
                if (e.port, e.kind) == (number, "learned")
            ]
            for _, _, key in sorted(own)[: max(0, len(own) - port.mac_limit)]:
                del self.fdb[key]

    def remove_port(self, number: int) -> None:
        """Remove a port with its entries."""
        del self.ports[number], self.counters[number], self.storms[number]
        self.flush(port=number, fixed=True)

    def fdb_set(self, vlan: int, mac: bytes, port: int, kind: str) -> bool:
        """Set an entry that does not age. False when it may not be, or there is no room."""
        if is_group(mac) or mac == ZERO or not self.ports[port].mode.carries(vlan):
            return False
        self.fdb.pop((vlan, mac), None)
        if len(self.fdb) >= self.fdb_limit:
            learned = [(e.heard, e.order, key) for key, e in self.fdb.items() if e.kind == "learned"]
            if not learned:
                return False
            del self.fdb[min(learned)[2]]
        self.fdb[vlan, mac] = Entry(port, kind)
        return True

    def flush(self, port: int | None = None, vlan: int | None = None, fixed: bool = False) -> int:
        """Forget entries; with `fixed` not only learned ones. Returns how many."""
        return self._forget(
            lambda v, entry: (
                (fixed or entry.kind == "learned") and port in (None, entry.port) and vlan in (None, v)
            )
        )

    def _forget(self, which) -> int:
        gone = [key for key, entry in self.fdb.items() if which(key[0], entry)]
        for key in gone:
            del self.fdb[key]
        return len(gone)

    def tick(self, now: int) -> None:
        """Ageing (8.8.3)."""
        if now != self.time:
            self.time = now
            self._expire(now)

    def _expire(self, now: int) -> None:
        if self.ageing:
            self._forget(lambda _, entry: entry.kind == "learned" and now - entry.heard >= self.ageing)

    def learned(self, port: int | None = None, vlan: int | None = None) -> int:
        """How many learned entries a port or VLAN has."""
        return sum(
            entry.kind == "learned" and port in (None, entry.port) and vlan in (None, v)
            for (v, _), entry in self.fdb.items()
        )

    # -- what a frame does -------------------------------------------------------------------------

    def receive(
        self, now: int, ingress: int, data: bytes, gso: bool = False, beside: int = UNTOLD
    ) -> Outcome:
        """Forward one frame; `beside` it stands, at the end of a link, the place of its sender."""
        self.tick(now)
        counters = self.counters[ingress]
        counters.rx_frames += 1
        counters.rx_bytes += len(data)
        outcome = Outcome("drop")
        try:
            self._relay(now, ingress, data, gso, beside, outcome)
        except Drop as drop:
            outcome.action, outcome.reason = "drop", str(drop)
            counters.drops[str(drop)] += 1
        else:
            counters.forwarded += 1
        return outcome

    def _relay(self, now: int, ingress: int, data: bytes, gso: bool, beside: int, outcome: Outcome) -> None:
        port = self.ports[ingress]
        if not port.up:
            raise Drop("port-down")
        frame = Frame.parse(data)
        if frame.payload > port.mtu and not gso:
            raise Drop("giant")
        if is_group(frame.source):
            raise Drop("source-multicast")
        if frame.source == ZERO:
            raise Drop("source-zero")
        if is_reserved(frame.destination) and not port.transparent:
            raise Drop("link-local")

        outcome.vlan = vlan = self._classify(port, frame)
        outcome.place = beside if port.places else place(port.private, vlan)
        self._learn(now, ingress, vlan, frame.source)
        outcome.action, egresses = self._destinations(ingress, outcome.place, vlan, frame.destination)
        if reason := self.storms[ingress].refuses(now, outcome.action):
            raise Drop(reason)
        for egress in egresses:
            try:
                outcome.copies.append((egress, self._transmit(self.ports[egress], vlan, frame, gso)))
            except Drop as drop:
                outcome.lost.append((egress, str(drop)))
                self.counters[egress].drops[str(drop)] += 1
            else:
                self.counters[egress].tx_frames += 1
                self.counters[egress].tx_bytes += len(outcome.copies[-1][1])

    def _classify(self, port: Port, frame: Frame) -> int:
        """Ingress rules: acceptable frames (6.9), VLAN (6.9.1), ingress filtering (8.6.2)."""
        tag = frame.tag
        if tag is None or tag.vid == 0:
            if port.mode.pvid is None:
                raise Drop("untagged-not-allowed")
            # What stands behind a priority tag must not pass for the frame's own tag later.
            if isinstance(port.mode, Access) and tag is not None and frame.rest.startswith(C_TAG):
                raise Drop("tag-not-allowed")
            return port.mode.pvid
        if isinstance(port.mode, Access):
            raise Drop("tag-not-allowed")
        if not port.mode.carries(tag.vid):
            raise Drop("vlan-not-member")
        return tag.vid

    def _learn(self, now: int, ingress: int, vlan: int, source: bytes) -> None:
        """The Learning Process (8.7)."""
        port = self.ports[ingress]
        entry = self.fdb.get((vlan, source))
        if entry is not None and entry.port != ingress:
            at_home = self.ports[entry.port]
            if entry.kind == "sticky" or (entry.kind == "learned" and at_home.sticky):
                raise Drop("station-sticky")
        if not port.learning or (entry is not None and entry.kind != "learned"):
            return
        here = entry is not None and entry.port == ingress
        if not here and self.learned(port=ingress) >= port.mac_limit:
            if port.mac_limit_drops:
                raise Drop("mac-limit")
            return
        if entry is None and (self.learned(vlan=vlan) >= self.vlan_limit or len(self.fdb) >= self.fdb_limit):
            return
        if not here or entry.heard != now:
            self.fdb[vlan, source] = Entry(ingress, "learned", now, next(self.turns))

    def _destinations(
        self, ingress: int, sender: int, vlan: int, destination: bytes
    ) -> tuple[str, list[int]]:
        """Frame filtering (8.6.3) and querying the FDB (8.8.9)."""
        entry = self.fdb.get((vlan, destination))
        if entry is not None:
            if entry.port == ingress:
                raise Drop("same-port")
            if not self._reaches(sender, entry.port, vlan):
                raise Drop("private")
            return "unicast", [entry.port]
        if destination == BROADCAST:
            action, takes = "flood-broadcast", lambda port: port.flood_broadcast
        elif is_reserved(destination):
            action, takes = "flood-link-local", lambda port: port.transparent and port.flood_multicast
        elif is_group(destination):
            action, takes = "flood-multicast", lambda port: port.flood_multicast
        else:
            action, takes = "flood-unknown", lambda port: port.flood_unknown
        egresses = [
            number
            for number, port in sorted(self.ports.items())
            if number != ingress and port.up and port.mode.carries(vlan) and takes(port)
        ]
        if not egresses:
            raise Drop("no-member")
        egresses = [number for number in egresses if self._reaches(sender, number, vlan)]
        if not egresses:
            raise Drop("private")
        return action, egresses

    def _reaches(self, sender: int, port: int, vlan: int) -> bool:
        """Private VLANs (RFC 5517)."""
        return reaches(sender, place(self.ports[port].private, vlan))

    def _transmit(self, port: Port, vlan: int, frame: Frame, gso: bool) -> bytes:
        """Egress rules: how the frame leaves by a member port (6.9, 8.6.4)."""
        if not port.up:
            raise Drop("tx-port-down")
        if frame.payload > port.mtu and not gso:
            raise Drop("tx-too-big")
        pcp = frame.tag.pcp if frame.tag else 0
        if port.mode.sends_tagged(vlan):
            return frame.leave(Tag(pcp, vlan))
        if frame.tag and frame.rest.startswith(C_TAG):
            raise Drop("tx-double-tag")
        return frame.leave(Tag(pcp, 0) if port.priority_tags and pcp else None)
