"""What a guest's DHCP client says is judged as a whole, wherever the engine takes it from."""

from __future__ import annotations

from contextlib import suppress

from scapy.layers.dhcp import BOOTP
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet, Raw

from tests import books
from vnet._native import Engine, Guard, PipeHandle, PortConfig, pipe_door

GUEST, SERVER = "02:00:00:00:00:0a", "02:00:00:00:00:01"
OWN, VICTIM, SERVES = "10.0.0.10", "10.0.0.11", "10.0.0.1"
SECOND = 10**9


class Lab:
    """A guest with a guard and a DHCP server at one switch, in VLAN 5; the guest may send tags."""

    def __init__(self, *, learns: bool = False, tagged: bool = False) -> None:
        self.engine = Engine()
        switch = self.engine.add_switch(hash_seed=(1, 2))
        addresses = [] if learns else [(f"{OWN}/32", None, None)]
        mode = {"tagged": [5]} if tagged else {"vlan": 5}
        own = Guard(GUEST, addresses=addresses, learns=learns)
        serves = Guard(SERVER, addresses=[(f"{SERVES}/32", None, None)], dhcp_server=True)
        self.ports: list[int] = []
        self.pipes: list[PipeHandle] = []
        for config in (PortConfig(guard=own, mtu=9000, **mode), PortConfig(vlan=5, guard=serves, mtu=9000)):  # type: ignore[arg-type]
            door, pipe = pipe_door(128, 9018)
            self.ports.append(self.engine.add_port(door, switch, config))
            self.pipes.append(pipe)
        self.now = SECOND

    def send(self, pipe: int, *frames: Packet) -> list[bytes]:
        """What comes out at the other one."""
        for frame in frames:
            self.pipes[pipe].send(bytes(frame))
        while self.engine.turn(self.now) == 0:
            pass
        books.check_engine(self.engine, self.ports)
        out: list[bytes] = []
        with suppress(BlockingIOError):
            while True:
                out.append(self.pipes[1 - pipe].receive())
        return out

    def drops(self) -> dict[str, int]:
        return {name: n for name, n in self.engine.counters(self.ports[0])["drops"].items() if n}


def message(
    kind: int,
    *,
    source: str = "0.0.0.0",
    has: str = "0.0.0.0",
    asks: str = "",
    more: bytes = b"",
    tag: bool = False,
) -> Packet:
    """A client's message of such a type, about an address."""
    options = b"\x63\x82\x53\x63\x35\1" + bytes([kind]) + more
    if asks:
        options += b"\x32\4" + bytes(map(int, asks.split(".")))
    frame = Ether(src=GUEST, dst="ff:ff:ff:ff:ff:ff")
    if tag:
        frame /= Dot1Q(vlan=5, prio=3)
    hardware = bytes.fromhex(GUEST.replace(":", ""))
    frame /= IP(src=source, dst="255.255.255.255") / UDP(sport=68, dport=67)
    return frame / BOOTP(op=1, chaddr=hardware, ciaddr=has, options=options + b"\xff")


def acknowledges(address: str) -> Packet:
    """The server gives an address for a minute."""
    hardware = bytes.fromhex(GUEST.replace(":", ""))
    options = b"\x63\x82\x53\x63\x35\1\5\x33\4\0\0\0\x3c\xff"
    frame = Ether(src=SERVER, dst=GUEST) / IP(src=SERVES, dst=address) / UDP(sport=67, dport=68)
    return frame / BOOTP(op=2, chaddr=hardware, yiaddr=address, options=options)


def test_in_a_burst_those_that_may_pass_do_as_they_were() -> None:
    lab = Lab()
    good = [message(1), message(4, asks=OWN), message(7, source=OWN, has=OWN)]
    other = Ether(src=GUEST, dst=SERVER) / IP(src=OWN, dst=SERVES) / UDP(sport=9, dport=9) / Raw(bytes(1400))
    bad = [message(4, asks=VICTIM), message(7, source=OWN, has=OWN, asks=VICTIM)]
    burst = [good[0], bad[0], other, good[1], bad[1], good[2], other]
    wanted = [bytes(frame) for frame in (good[0], other, good[1], good[2], other)]
    assert lab.send(0, *burst) == wanted
    assert lab.drops() == {"guard-dhcp-client": 2}
    assert lab.send(0, *burst * 9) == wanted * 9


def test_behind_a_tag() -> None:
    lab = Lab(tagged=True)
    assert lab.send(0, message(4, asks=VICTIM, tag=True), message(4, asks=OWN, tag=True)) == [
        bytes(message(4, asks=OWN))
    ]
    assert lab.drops() == {"guard-dhcp-client": 1}


def test_one_that_is_longer_than_is_looked_at_is_dropped() -> None:
    lab = Lab()
    long = (b"\x3d\xff" + bytes(255)) * 7
    fits = (b"\x3d\xff" + bytes(255)) * 6
    assert lab.send(0, message(1, more=long), message(1, more=fits)) == [bytes(message(1, more=fits))]
    assert lab.drops() == {"guard-dhcp-client": 1}


def test_a_lease_is_given_back_once_and_by_whose_it_is() -> None:
    lab = Lab(learns=True)
    release = message(7, source=OWN, has=OWN)
    assert lab.send(0, release) == [], "nobody knows it"
    lab.send(1, acknowledges(OWN))
    assert [prefix for _, prefix, _ in lab.engine.bindings(lab.ports[0])] == [f"{OWN}/32"]
    assert lab.send(0, message(7, source=VICTIM, has=VICTIM)) == []
    assert lab.send(0, release) == [bytes(release)]
    assert lab.engine.bindings(lab.ports[0]) == []
    assert lab.drops() == {"guard-dhcp-client": 2}
    renewal = message(3, source=VICTIM, has=VICTIM)
    assert lab.send(0, renewal) == [bytes(renewal)], "more time is asked for from any address"
