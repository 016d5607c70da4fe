"""What others test their isolation with, item by item, where no other file of ours does it already.

OpenStack Neutron's functional firewall tests, the Linux kernel's selftests of bridges, VPP's MACIP access
lists, split-horizon floods and connection lists. `docs/audit.md` has the whole lists, and where each of
their items is tried.
"""

from __future__ import annotations

import itertools
from ipaddress import ip_network

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPerror
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw

from switch.policy import Allow, Policy, Remote
from tests.switch.grouped import GUEST, IP4, IP6, MACS, NOTHING, OUT, PEER, Bench, Talk, ip
from vnet._native import Guard, PortConfig, Switch

OWN, OTHER, THIRD = "02:00:00:00:00:0a", "02:00:00:00:00:0b", "02:00:00:00:00:0c"
BROADCAST = "ff:ff:ff:ff:ff:ff"


def pair(guard: Guard | None, **keys) -> Switch:
    """A guest's port, and one of somebody without a guard."""
    made = Switch()
    made.add_port(0, PortConfig(**{"vlan": 1, "guard": guard, **keys}))
    made.add_port(1, PortConfig(**{"vlan": 1, **keys}))
    return made


def fate(made: Switch, frame: Packet, port: int = 0) -> str | None:
    (verdict,) = made.forward(0, port, [bytes(frame).ljust(60, b"\0")])
    assert not verdict.lost
    return verdict.reason


def udp(mac: str, address: str) -> Packet:
    header = IPv6(src=address, dst="fd00::b") if ":" in address else IP(src=address, dst="10.0.0.11")
    return Ether(src=mac, dst=OTHER) / header / UDP(sport=5, dport=6)


# -- Neutron ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("spoofed", [udp(THIRD, "10.0.0.10"), udp(OWN, "10.0.0.99"), udp(OWN, "fd00::99")])
def test_spoofing_works_without_port_security_enabled(spoofed: Packet) -> None:
    guard = Guard(OWN, addresses=[("10.0.0.10/32", None, None), ("fd00::a/128", None, None)])
    made = pair(guard)
    assert fate(made, spoofed) in ("guard-mac", "guard-ip4", "guard-ip6")
    made.set_port(0, PortConfig(vlan=1))
    assert fate(made, spoofed) is None
    made.set_port(0, PortConfig(vlan=1, guard=guard))
    assert fate(made, spoofed) is not None


def test_port_security_enabled_set_to_false() -> None:
    bench = Bench(NOTHING)
    assert bench.send(PEER, ip(PEER) / ICMP(id=1)) == "group-ingress"
    bench.switch.set_port(GUEST, PortConfig(vlan=1))
    assert bench.send(PEER, ip(PEER) / ICMP(id=1)) is None


def dhcp(mac: str, source: str = "0.0.0.0") -> Packet:
    header = IP(src=source, dst="255.255.255.255") / UDP(sport=68, dport=67)
    return header / BOOTP(chaddr=bytes.fromhex(mac.replace(":", ""))) / DHCP(options=["end"])


def test_nobody_asks_a_guest_for_an_address() -> None:
    """test_dhcp_server_forbidden_on_vm, the other way: requests do not come in by themselves."""
    for policy, expected in ((OUT, [(GUEST, "group-ingress")]), (Policy(ingress=(Allow(17, (67, 67)),)), [])):
        bench = Bench(policy)
        bench.switch.set_port(2, PortConfig(vlan=9))
        frame = Ether(src=MACS[PEER], dst=BROADCAST) / dhcp(MACS[PEER])
        (verdict,) = bench.switch.forward(bench.now, PEER, [bytes(frame)])
        assert verdict.lost == expected


def test_ip_spoofing_by_dhcp() -> None:
    """A request is sent from no address or one's own."""
    guard = Guard(OWN, addresses=[("10.0.0.10/32", None, None)])
    for source, reason in (("0.0.0.0", None), ("10.0.0.10", None), ("10.0.0.11", "guard-ip4")):
        assert fate(pair(guard), Ether(src=OWN, dst=BROADCAST) / dhcp(OWN, source)) == reason


def test_allowed_address_pairs() -> None:
    """Own MAC and another address, another MAC and that address: those two, and nothing put together."""
    addresses = [("10.0.0.10/32", None, None), ("10.0.0.11/32", None, None), ("10.0.0.11/32", OTHER, None)]
    made = pair(Guard(OWN, addresses=addresses))
    wanted = {
        (OWN, "10.0.0.10"): None, (OWN, "10.0.0.11"): None, (OWN, "10.0.0.12"): "guard-ip4",
        (OTHER, "10.0.0.11"): None, (OTHER, "10.0.0.10"): "guard-ip4", (OTHER, "10.0.0.12"): "guard-ip4",
        (THIRD, "10.0.0.11"): "guard-mac",
    }  # fmt: skip
    for (mac, address), reason in wanted.items():
        frame = Ether(src=mac, dst="02:00:00:00:00:99") / IP(src=address, dst="10.0.0.9") / ICMP()
        arp = Ether(src=mac, dst=BROADCAST) / ARP(hwsrc=mac, psrc=address, pdst="10.0.0.9")
        assert fate(made, frame) == reason, (mac, address)
        assert fate(made, arp) == ("guard-arp" if reason == "guard-ip4" else reason), (mac, address)


PROTOCOLS = {"tcp": (6, TCP(sport=7, dport=9)), "udp": (17, UDP(sport=7, dport=9)), "icmp": (1, ICMP(id=3))}


@pytest.mark.parametrize("v6", [False, True])
@pytest.mark.parametrize("incoming", [True, False])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_rule_opens_its_protocol_and_direction(protocol: str, incoming: bool, v6: bool) -> None:
    """test_ingress_tcp_rule and its like; of IPv6, to and from one address."""
    remotes = (Remote(ip_network(f"{IP6[PEER]}/128")),) if v6 else None
    number = 58 if v6 and protocol == "icmp" else PROTOCOLS[protocol][0]
    rule = (Allow(number, remotes=remotes),) if remotes else (Allow(number),)
    policy = Policy(ingress=rule, egress=()) if incoming else Policy(ingress=(), egress=rule)
    refusal = {PEER: "group-ingress", GUEST: "group-egress"}
    for other, (_, payload) in PROTOCOLS.items():
        asked = ICMPv6EchoRequest(id=3) if v6 and other == "icmp" else payload
        for sender in (PEER, GUEST):
            good = other == protocol and (sender == PEER) == incoming
            got = Bench(policy).send(sender, ip(sender, v6) / asked)
            assert got == (None if good else refusal[sender]), (other, sender)
    if v6:
        stranger = Bench(policy)
        asked = ICMPv6EchoRequest(id=3) if protocol == "icmp" else PROTOCOLS[protocol][1]
        header = (
            IPv6(src=IP6[2], dst=IP6[GUEST]) if incoming else IPv6(src=IP6[GUEST], dst=IP6[2])
        )  # nobody's rule
        assert stranger.send(2 if incoming else GUEST, header / asked) == refusal[PEER if incoming else GUEST]


def test_remote_security_groups() -> None:
    """Members of the remote group may ping, by no other protocol, and are not pinged."""
    bench = Bench(Policy(ingress=(Allow(1, remotes=(Remote(ip_network("10.0.0.11/32"), 1),)),), egress=()))
    assert bench.send(PEER, ip(PEER) / ICMP(id=1)) is None
    assert bench.send(GUEST, ip(GUEST) / ICMP(type=0, id=1)) is None
    assert Talk(bench).say(PEER, "S") == "group-ingress"
    assert bench.send(GUEST, ip(GUEST) / ICMP(id=2)) == "group-egress"
    assert bench.send(2, IP(src=IP4[2], dst=IP4[GUEST]) / ICMP(id=1)) == "group-ingress"


def test_related_connection() -> None:
    """A router's "network unreachable" about a ping comes in, about one that was never sent it does not."""
    bench = Bench(Policy(egress=(Allow(1),)))
    anybody = Guard(MACS[PEER], addresses=[("0.0.0.0/0", None, None)])
    bench.switch.set_port(PEER, PortConfig(vlan=1, guard=anybody))
    far = IP(src=IP4[GUEST], dst="1.2.3.4")
    for sent, reason in ((False, "group-ingress"), (True, None)):
        if sent:
            assert bench.send(GUEST, far / ICMP(id=5), to=MACS[PEER]) is None
        about = IPerror(bytes(far / ICMP(id=5)))
        error = IP(src=IP4[PEER], dst=IP4[GUEST]) / ICMP(type=3, code=0) / about
        assert bench.send(PEER, error) == reason


def test_rule_ordering_and_convergence() -> None:
    """Rules only allow, so that their order says nothing; the same again changes nothing."""
    rules = (Allow(6, (80, 80)), Allow(6, (22, 25)), Allow(17), Allow(1))
    bench = Bench(Policy(ingress=rules))
    web = Talk(bench)
    assert web.open() is None
    for order in itertools.permutations(rules):
        bench.rules(Policy(ingress=order))
        assert web.both() == [None, None]
        fates = [Talk(bench, port=port).say(PEER, "S") for port in (21, 22, 25, 26)]
        assert fates == ["group-ingress", None, None, "group-ingress"]


# -- the kernel's bridge_locked_port ------------------------------------------------------------------


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8:1::1"])
@pytest.mark.parametrize("vlan", [None, 100])
def test_locked_port(address: str, vlan: int | None) -> None:
    """Not locked, locked, with an entry, and back: here a guard, and an address in it."""
    ports = {"vlan": 1} if vlan is None else {"vlan": None, "tagged": [vlan]}
    tag = [Dot1Q(vlan=vlan)] if vlan else []
    frame: Packet = Ether(src=THIRD, dst=OTHER)
    for layer in (*tag, IPv6(src=address) if ":" in address else IP(src=address), UDP(sport=5, dport=6)):
        frame = frame / layer
    locked = Guard(OWN, unknown=[1, 100])
    opened = Guard(OWN, unknown=[1, 100], macs=[THIRD])
    made = pair(None, **ports)
    assert fate(made, frame) is None
    for guard, reason in ((locked, "guard-mac"), (opened, None), (locked, "guard-mac"), (None, None)):
        made.set_port(0, PortConfig(**ports, guard=guard))
        assert fate(made, frame) == reason


def test_nothing_roams_to_a_locked_port() -> None:
    """locked_port_mab_roam: an entry goes to a port that is open and does not come back to a locked one."""
    made = Switch()
    for port, guard in ((0, Guard(OWN, unknown=[1])), (1, None), (2, None)):
        made.add_port(port, PortConfig(vlan=1, guard=guard))
    roaming = Ether(src=THIRD, dst=BROADCAST) / IP() / UDP()
    for port, home in ((0, None), (2, 2), (0, 2), (1, 1), (0, 1)):
        fate(made, roaming, port)
        found = made.fdb_get(1, THIRD)
        assert (found and found[2]) == home


# -- VPP's MACIP ---------------------------------------------------------------------------------------

MAC_KINDS = {"exact": ({}, [OWN]), "wild": ({"forged_transmits": True}, [OWN, THIRD, "02:00:ca:fe:00:01"])}
IP_KINDS = {
    "exact": ("10.0.0.10/32", "fd00::a/128", ["10.0.0.10", "fd00::a"], ["10.0.0.11", "fd00::b"]),
    "subnet": ("10.0.0.0/24", "fd00::/64", ["10.0.0.200", "fd00::9:9"], ["10.0.1.1", "fd00:0:0:1::1"]),
    "wild": ("0.0.0.0/0", "::/0", ["203.0.113.9", "2001:db8::9"], []),
}


@pytest.mark.parametrize("address", IP_KINDS)
@pytest.mark.parametrize("mac", MAC_KINDS)
@pytest.mark.parametrize("tagged", [False, True])
def test_macip(mac: str, address: str, tagged: bool) -> None:
    """Exact and wild MAC by exact, subnet and wild IP, both families, untagged and dot1q: a third passes."""
    roles, good_macs = MAC_KINDS[mac]
    four, six, good, bad = IP_KINDS[address]
    guard = Guard(OWN, addresses=[(four, None, None), (six, None, None)], **roles)
    made = pair(guard, **({"vlan": None, "tagged": [10]} if tagged else {}))
    bad_macs = [] if mac == "wild" else [THIRD, "03:00:00:00:00:0a"]
    for source, ip_address in itertools.product(good_macs + bad_macs, good + bad):
        frame = udp(source, ip_address)
        if tagged:
            frame = Ether(src=source, dst=OTHER) / Dot1Q(vlan=10) / frame.payload
        got = fate(made, frame)
        if source in bad_macs:
            assert got in ("guard-mac", "source-multicast")
        else:
            wrong = "guard-ip6" if ":" in ip_address else "guard-ip4"
            assert got == (None if ip_address in good else wrong), (source, ip_address)


@pytest.mark.parametrize("entries", [2, 5, 10, 20, 50, 100, 240])
def test_macip_with_many_entries(entries: int) -> None:
    """test_acl_1_2 to 10_X: each entry opens its pair, and none of its neighbours'."""
    macs = [f"02:00:00:00:01:{number:02x}" for number in range(entries)]
    addresses = [(f"10.1.{number}.0/24", mac, None) for number, mac in enumerate(macs)]
    made = pair(Guard(OWN, addresses=addresses))
    for number, mac in enumerate(macs):
        own, next_one = f"10.1.{number}.7", f"10.1.{(number + 1) % entries}.7"
        assert fate(made, Ether(src=mac, dst=OTHER) / IP(src=own) / UDP()) is None
        assert fate(made, Ether(src=mac, dst=OTHER) / IP(src=next_one) / UDP()) == "guard-ip4"


def test_macip_replaced() -> None:
    """test_acl_replace: another list holds from the next frame on, and a port's end ends it."""
    first, second = (Guard(OWN, addresses=[(f"10.0.0.{n}/32", None, None)]) for n in (10, 20))
    made = pair(first)
    for guard, good, bad in ((first, 10, 20), (second, 20, 10), (first, 10, 20)):
        made.set_port(0, PortConfig(vlan=1, guard=guard))
        assert fate(made, udp(OWN, f"10.0.0.{good}")) is None
        assert fate(made, udp(OWN, f"10.0.0.{bad}")) == "guard-ip4"
    made.remove_port(0)
    made.add_port(0, PortConfig(vlan=1))
    assert fate(made, udp(THIRD, "10.0.0.99")) is None


# -- VPP's floods and connections ----------------------------------------------------------------------


def test_unknown_unicast_goes_to_the_uplink_alone() -> None:
    """test_uu_fwd: what nobody is known for leaves by one port; broadcast goes to all, as before."""
    made = Switch()
    for port in range(4):
        made.add_port(port, PortConfig(vlan=1, flood_unknown=port == 3))
    heard = {}
    for destination in ("00:00:00:c1:5c:00", BROADCAST):
        frame = Ether(src=OWN, dst=destination) / IP() / UDP()
        (verdict,) = made.forward(0, 0, [bytes(frame)])
        heard[destination] = [port for port, _ in verdict.copies]
    assert heard == {"00:00:00:c1:5c:00": [3], BROADCAST: [1, 2, 3]}
    made.set_port(3, PortConfig(vlan=1, flood_unknown=False))
    assert fate(made, Ether(src=OWN, dst="00:00:00:c1:5c:00") / Raw(bytes(46))) == "no-member"


@pytest.mark.parametrize("v6", [False, True])
def test_an_idle_connection_behind_a_busy_one(v6: bool) -> None:
    """test_0011_active_conn_test: one that is used stays, the one beside it is forgotten in time."""
    bench = Bench(OUT)
    for port in (1, 2):
        assert bench.send(GUEST, ip(GUEST, v6) / UDP(sport=port, dport=53)) is None
        assert bench.send(PEER, ip(PEER, v6) / UDP(sport=53, dport=port)) is None
    for _ in range(10):
        bench.wait(60)
        assert bench.send(PEER, ip(PEER, v6) / UDP(sport=53, dport=1)) is None
    assert bench.send(PEER, ip(PEER, v6) / UDP(sport=53, dport=2)) == "group-ingress"


@pytest.mark.parametrize("v6", [False, True])
def test_transient_states_of_tcp_end_soon(v6: bool) -> None:
    """test_2001 to 3006: a handshake that stops half-way, and one FIN, live shorter than a connection."""
    half, whole, closing = Bench(OUT), Bench(OUT), Bench(OUT)
    talks = [Talk(bench, client=GUEST, v6=v6) for bench in (half, whole, closing)]
    assert talks[0].say(GUEST, "S") is None
    assert talks[0].say(PEER, "SA") is None
    for talk in talks[1:]:
        assert talk.open() is None
    assert talks[2].say(PEER, "FA") is None
    for bench in (half, whole, closing):
        bench.wait(130)
    assert talks[0].say(PEER, "SA") == "group-ingress"
    assert talks[1].say(PEER, "A") is None
    assert talks[2].say(PEER, "FA") == "group-ingress"
