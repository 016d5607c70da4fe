"""The native switch and the reference, always treated alike, and compared."""

from __future__ import annotations

import attrs

from switch import Trunk
from switch.private import UNTOLD, place, reaches
from tests.model.reference import C_TAG, Counters, ReferenceSwitch
from tests.switch.native import Native, text
from vnet._native import drop_reasons

KNOWN = {name for name, _ in drop_reasons()}


def outer_tag(data: bytes) -> tuple[int | None, bytes, bytes]:
    """(VID of the C-tag in front or None, addresses, what follows it)."""
    if data[12:14] == C_TAG:
        return int.from_bytes(data[14:16], "big") & 0xFFF, data[:12], data[16:]
    return None, data[:12], data[12:]


class Both:
    """The two switches, always treated alike, and compared."""

    def __init__(self, *, ageing: int, fdb_limit: int, vlan_limit: int, seed: int) -> None:
        self.now = 0
        self.sent = 0
        self.fdb_limit, self.vlan_limit = fdb_limit, vlan_limit
        limits = {"ageing": ageing, "fdb_limit": fdb_limit, "vlan_limit": vlan_limit}
        self.native = Native(seed=(seed, ~seed & (1 << 64) - 1), **limits)
        self.reference = ReferenceSwitch(**limits)
        self.ports = self.reference.ports

    def send(self, ingress: int, burst: list[bytes], gso: bool = False, beside: int = UNTOLD) -> None:
        """Forward a burst by both."""
        fixed = self.native.entries(fixed=True)
        verdicts = self.native.forward(self.now, ingress, burst, gso=gso, place=beside)
        assert len(verdicts) == len(burst)
        for data, verdict in zip(burst, verdicts, strict=True):
            outcome = self.reference.receive(self.now, ingress, data, gso, beside)
            got = (verdict.action, verdict.reason, verdict.vlan, verdict.copies, verdict.lost, verdict.place)
            wanted = (
                outcome.action,
                outcome.reason,
                outcome.vlan,
                outcome.copies,
                outcome.lost,
                outcome.place,
            )
            assert got == wanted, f"by port {ingress} ({self.ports[ingress].mode}): {data.hex(' ')}"
            self.check_verdict(ingress, data, verdict, beside)
        assert self.native.entries(fixed=True) == fixed, "a static entry has moved"

    def check_verdict(self, ingress: int, data: bytes, verdict, beside: int) -> None:
        """What holds for any frame on any switch."""
        assert (verdict.reason is None) == (verdict.action != "drop")
        assert verdict.reason is None or verdict.reason in KNOWN
        egresses = [port for port, _ in verdict.copies] + [port for port, _ in verdict.lost]
        assert ingress not in egresses, "a frame came back"
        assert len(set(egresses)) == len(egresses), "a frame left twice"
        assert bool(egresses) == (verdict.action != "drop")
        if verdict.action == "drop":
            return
        _, addresses, payload = outer_tag(data)
        for egress, copy in verdict.copies:
            port = self.ports[egress]
            assert port.up
            at = self.ports[ingress]
            sender = beside if at.places else place(at.private, verdict.vlan)
            assert reaches(sender, place(port.private, verdict.vlan)), "a private frame"
            assert port.mode.carries(verdict.vlan), "a frame crossed VLANs"
            vid, *leaving = outer_tag(copy)
            if vid:
                # Whoever reads the tag on the other side puts the frame into that VLAN.
                assert vid == verdict.vlan
                assert isinstance(port.mode, Trunk)
            else:
                assert verdict.vlan == port.mode.pvid
            assert leaving == [addresses, payload], "more than the tag has changed"

    def compare(self) -> None:
        """Databases and counters."""
        reference, native = self.reference, self.native
        entries = set()
        for (vlan, mac), entry in reference.fdb.items():
            age = self.now - entry.heard if entry.kind == "learned" else 0
            entries.add((vlan, text(mac), entry.port, entry.kind, age))
        assert native.entries() == entries
        fixed = sum(entry[3] != "learned" for entry in entries)
        assert native.fdb_count() == (reference.learned(), fixed)
        for number, counted in reference.counters.items():
            got = native.counters(number)
            drops = got.pop("drops")
            assert Counters(**got, drops=+counted.drops) == attrs.evolve(counted, drops=drops), (
                f"port {number}"
            )

    def check_invariants(self) -> None:
        """What holds for any switch between two frames."""
        native = self.native
        learned, fixed = native.fdb_count()
        assert learned + fixed <= self.fdb_limit
        entries = native.entries()
        assert len({entry[:2] for entry in entries}) == len(entries)
        for vlan in {entry[0] for entry in entries}:
            assert native.fdb_count(vlan=vlan)[0] <= self.vlan_limit
        for vlan, mac, port, kind, age in entries:
            assert self.ports[port].mode.carries(vlan)
            assert kind != "learned" or self.ports[port].up
            assert not int(mac[:2], 16) & 1
            assert age < (self.reference.ageing or age + 1)
        for number in self.ports:
            counted = native.counters(number)
            ingress = sum(
                n
                for name, n in counted["drops"].items()
                if not name.startswith("tx-") and name != "group-ingress"
            )
            assert counted["rx_frames"] == counted["forwarded"] + ingress
            assert native.fdb_count(port=number) == (
                sum(port == number and kind == "learned" for _, _, port, kind, _ in entries),
                sum(port == number and kind != "learned" for _, _, port, kind, _ in entries),
            )
