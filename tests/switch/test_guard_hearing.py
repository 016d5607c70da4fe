"""What a guest hears, and what becomes of that and of its addresses when it or its guard changes."""

from __future__ import annotations

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from tests.switch.guarded import ALL_NODES, IP4, OTHER, OWN, PAIRED, VICTIM4, ether, guard, ip, switch
from vnet._native import Guard, PortConfig


def heard(of: Guard, dst: str) -> list[str]:
    """What becomes of a frame for `dst` at the guarded port; the stranger is at port 1."""
    made = switch(of)
    frame = Ether(src=OTHER, dst=dst, type=0x88B5) / Raw(bytes(46))
    made.add_port(2, PortConfig(vlan=1))
    (verdict,) = made.forward(0, 1, [bytes(frame)])
    assert 2 in [port for port, _ in verdict.copies], "a port without a guard hears it"
    return ["heard" for port, _ in verdict.copies if port == 0] + [
        why for port, why in verdict.lost if port == 0
    ]


def test_a_guest_hears_what_is_for_it() -> None:
    for dst in (OWN, PAIRED, "ff:ff:ff:ff:ff:ff", ALL_NODES, "01:00:5e:00:00:01"):
        assert heard(guard(), dst) == ["heard"], dst
    assert heard(guard(), "02:00:00:00:00:99") == ["tx-not-addressed"]
    assert heard(guard(forged_transmits=True), "02:00:00:00:00:99") == ["tx-not-addressed"]
    assert heard(guard(promiscuous=True), "02:00:00:00:00:99") == ["heard"]


def test_a_changed_mac_is_heard_until_the_next_change() -> None:
    made = switch(guard(mac_changes=True))
    first, second = "02:00:00:00:00:91", "02:00:00:00:00:92"
    to = {mac: bytes(Ether(src=OTHER, dst=mac, type=0x88B5) / Raw(bytes(46))) for mac in (first, second)}
    made.forward(0, 0, [bytes(Ether(src=first, dst=OTHER) / IP(src=IP4) / UDP()).ljust(60, b"\0")])
    assert [port for port, _ in made.forward(0, 1, [to[first]])[0].copies] == [0]
    made.forward(0, 0, [bytes(Ether(src=second, dst=OTHER) / IP(src=IP4) / UDP()).ljust(60, b"\0")])
    assert made.forward(0, 1, [to[first]])[0].lost == [(0, "tx-not-addressed")]
    assert [port for port, _ in made.forward(0, 1, [to[second]])[0].copies] == [0]


def test_another_guard_holds_at_once_and_forgets_what_was_learned() -> None:
    made = switch(None)
    spoofed = bytes(ether(src=OTHER) / IP(src=VICTIM4) / UDP()).ljust(60, b"\0")
    assert made.forward(0, 0, [spoofed])[0].reason is None
    made.set_port(0, PortConfig(vlan=1, guard=guard()))
    assert made.fdb_count() == (0, 0)
    assert made.forward(0, 0, [spoofed])[0].reason == "guard-mac"
    assert made.forward(0, 0, [bytes(ip() / TCP()).ljust(60, b"\0")])[0].reason is None
    made.set_port(0, PortConfig(vlan=1, guard=guard(addresses=[])))
    assert made.forward(0, 0, [bytes(ip() / TCP()).ljust(60, b"\0")])[0].reason == "guard-ip4"
