"""A switch whose guests have security groups, and what they say to each other: for cases of the groups."""

from __future__ import annotations

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from switch.policy import Allow, Policy
from vnet._native import Guard, PortConfig, Switch
from vnet.port import groups

SECOND = 1_000_000_000
GUEST, PEER = 0, 1
MACS = {GUEST: "02:00:00:00:00:0a", PEER: "02:00:00:00:00:0b", 2: "02:00:00:00:00:0c"}
IP4 = {GUEST: "10.0.0.10", PEER: "10.0.0.11", 2: "10.0.0.12"}
IP6 = {GUEST: "fd00::a", PEER: "fd00::b", 2: "fd00::c"}

OUTSIDE, STRANGER = 3, "02:aa:00:00:00:66"
"""A port of an uplink, and somebody behind it."""

NOTHING = Policy(egress=())
OUT = Policy()
OPEN = Policy(ingress=(Allow(),))
TCP_80 = Policy(ingress=(Allow(6, (80, 80)),))


class Bench:
    """A guest with groups at port 0, a peer without at 1, another at 2; all are guarded."""

    def __init__(self, policy: Policy | None, peer: Policy | None = None, **keys: int) -> None:
        self.now = SECOND
        self.switch = Switch(**({"connection_limit": keys.pop("limit")} if "limit" in keys else {}))
        self.keys = keys
        for port, its in ((GUEST, policy), (PEER, peer), (2, None)):
            self.switch.add_port(port, self.config(port, its))
            # Everybody is known.
            self.send(port, ARP(hwsrc=MACS[port], psrc=IP4[port], pdst="10.0.0.99"), to="ff:ff:ff:ff:ff:ff")

    def config(self, port: int, policy: Policy | None) -> PortConfig:
        addresses = [(f"{IP4[port]}/32", None, None), (f"{IP6[port]}/128", None, None)]
        guard = Guard(MACS[port], addresses=addresses)
        return PortConfig(vlan=1, guard=guard, groups=groups(policy), **self.keys)

    def rules(self, policy: Policy | None, port: int = GUEST) -> None:
        self.switch.set_groups(port, groups(policy))

    def send(self, port: int, packet: Packet, to: str | None = None) -> str | None:
        """Why a packet does not arrive; None: it does."""
        target = {**{ip: MACS[p] for p, ip in IP4.items()}, **{ip: MACS[p] for p, ip in IP6.items()}}
        frame = Ether(src=MACS[port], dst=to or target.get(getattr(packet, "dst", ""), MACS[1 - port % 2]))
        return self.raw(port, bytes(frame / packet))

    def raw(self, port: int, data: bytes, *, gso: bool = False) -> str | None:
        (verdict,) = self.switch.forward(self.now, port, [data.ljust(60, b"\0")], gso=gso)
        return verdict.reason or (verdict.lost[0][1] if verdict.lost and not verdict.copies else None)

    def wait(self, seconds: float) -> None:
        self.now += round(seconds * SECOND)
        self.switch.tick(self.now)

    def states(self) -> list[str]:
        return sorted(connection[4] for connection in self.switch.connections(self.now))


def with_an_uplink(policy: Policy, peer: Policy | None = None) -> Bench:
    bench = Bench(policy, peer)
    bench.switch.add_port(OUTSIDE, PortConfig(vlan=1, uplink=True))
    return bench


def comes(bench: Bench, packet: Packet, to: int = GUEST) -> str | None:
    """From outside, to the address of a guest's NIC, whatever the packet says."""
    return bench.raw(OUTSIDE, bytes(Ether(src=STRANGER, dst=MACS[to]) / packet))


def ip(sender: int, v6: bool = False) -> Packet:
    receiver = PEER - sender
    return IPv6(src=IP6[sender], dst=IP6[receiver]) if v6 else IP(src=IP4[sender], dst=IP4[receiver])


class Talk:
    """A TCP connection between guest and peer, segment by segment."""

    def __init__(self, bench: Bench, client: int = PEER, port: int = 80, v6: bool = False) -> None:
        self.bench, self.client, self.port, self.v6 = bench, client, port, v6
        self.seq = {client: 1000, PEER - client: 9000}

    def say(self, sender: int, flags: str, data: bytes = b"", skip: int = 0) -> str | None:
        ports = {"sport": 5555, "dport": self.port}
        if sender != self.client:
            ports = {"sport": self.port, "dport": 5555}
        ack = self.seq[PEER - sender] if "A" in flags else 0
        segment = TCP(flags=flags, seq=(self.seq[sender] + skip) % 2**32, ack=ack, window=8192, **ports)
        fate = self.bench.send(sender, ip(sender, self.v6) / segment / Raw(data))
        if fate is None and not skip:
            self.seq[sender] += len(data) + ("S" in flags) + ("F" in flags)
        return fate

    def open(self) -> str | None:
        server = PEER - self.client
        return self.say(self.client, "S") or self.say(server, "SA") or self.say(self.client, "A")

    def both(self) -> list[str | None]:
        """Data each way."""
        return [self.say(self.client, "PA", b"hello"), self.say(PEER - self.client, "PA", b"world")]
