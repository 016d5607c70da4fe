"""`vnet drops`: by port and reason, with the last frame of each; and that every reason is explained."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6MLReport2,
    IPv6,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    RouterAlert,
)
from scapy.layers.l2 import ARP, Dot1Q, Ether

import vnet
from nics.pipe import PipeEnd
from tests import books
from vnet import last, reasons
from vnet._native import drop_reasons
from vnet.cli import drops as command

MACS = {"src": "02:00:00:00:00:0a", "dst": "ff:ff:ff:ff:ff:ff"}
DOCS = Path(__file__).parents[2] / "docs"


def lab(**keys: object) -> vnet.Topology:
    topology = vnet.Topology("lab", seed=1).network("red", vlan=10, subnets="10.0.0.0/24")
    topology.guest("a", kind="external", network="red", nic=vnet.Pipe(), mac=MACS["src"], ip="10.0.0.2")
    return topology.guest("b", kind="external", network="red", nic=vnet.Pipe(), **keys)


async def send(fabric: vnet.Fabric, *frames: bytes) -> None:
    far = fabric.port("a").opened.far
    assert isinstance(far, PipeEnd)
    for frame in frames:
        await far.send(frame)
    await trio.sleep(0.01)


@pytest.mark.usefixtures("autojump_clock")
async def test_the_most_first_with_the_last_frame_of_each() -> None:
    async with vnet.Fabric(lab()) as fabric:
        forged = [
            bytes(Ether(**MACS) / IP(src=f"10.0.0.{n}") / UDP(sport=1068, dport=1067)) for n in (7, 8, 9)
        ]
        stray = bytes(Ether(**MACS) / Dot1Q(vlan=20) / ARP()).ljust(60, b"\0")
        await send(fabric, *forged, stray)
        told = fabric.drops()
        assert [(drop["port"], drop["reason"], drop["frames"]) for drop in told] == [
            ("a.0", "guard-ip4", 3),
            ("a.0", "tag-not-allowed", 1),
        ]
        assert told[0]["last"] == (
            "02:00:00:00:00:0a > ff:ff:ff:ff:ff:ff 10.0.0.9 > 127.0.0.1 udp 1068 > 1067, 42 B"
        )
        assert bytes.fromhex(told[0]["frame"]) == forged[-1]
        assert (told[0]["vlan"], told[0]["length"]) == (10, 42)
        assert told[0]["age"] == pytest.approx(0.01, abs=0.005)
        assert "vlan 20 arp who has" in told[1]["last"]
        lines = command.lines(told)
        assert max(map(len, lines)) <= 80
        assert lines[1].startswith("     3  a.0   guard-ip4: an IPv4 source that is not")
        # One that comes and goes takes what it lost along.
        await fabric.detach("a")
        assert fabric.drops() == []


@pytest.mark.usefixtures("autojump_clock")
@pytest.mark.parametrize("keys", [{}, {"limits": {"ingress": {"rate": "1 Mbit/s"}}}, {"up": False}])
async def test_what_leaves_and_what_does_not_is_kept_too(keys: dict[str, object]) -> None:
    reason = {"limits": "tx-limit", "up": None}.get(next(iter(keys), ""), "tx-full")
    async with vnet.Fabric(lab(**keys)) as fabric:
        big = [
            bytes(Ether(**MACS) / IP(src="10.0.0.2") / UDP(sport=999, dport=n) / bytes(1000))
            for n in range(1000, 2300)
        ]
        await send(fabric, *big)
        found = {drop["reason"]: drop for drop in fabric.drops()}
        if reason is None:
            assert set(found) <= {"no-member"}
            return
        assert found[reason]["port"] == "b.0"
        assert found[reason]["frame"] == big[-1][:128].hex()


@given(st.binary(max_size=128), st.integers(0, 70000))
def test_any_bytes_make_a_line(head: bytes, length: int) -> None:
    assert "\n" not in last.line(head, length)


def test_what_frames_look_like() -> None:
    plain = bytes(Ether(**MACS) / IPv6(src="fe80::1", dst="ff02::1") / ICMPv6EchoRequest())
    assert last.line(plain, 62).endswith("fe80::1 > ff02::1 icmp6 type 128, 62 B")
    assert last.line(bytes(Ether(**MACS, type=0x88B5) / b"x"), 60).endswith("type 0x88b5, 60 B")
    alert = IPv6ExtHdrHopByHop(options=[RouterAlert()])
    report = bytes(Ether(**MACS) / IPv6(src="fe80::1", dst="ff02::16") / alert / ICMPv6MLReport2())
    assert last.line(report, 90).endswith("fe80::1 > ff02::16 icmp6 type 143, 90 B")
    # What a later fragment begins with are no ports.
    later = bytes(Ether(**MACS) / IP(src="10.0.0.1", dst="10.0.0.2", frag=9) / UDP(sport=1, dport=2))
    assert last.line(later, 60).endswith("10.0.0.1 > 10.0.0.2 udp fragment, 60 B")
    later = bytes(
        Ether(**MACS) / IPv6(src="fe80::1", dst="fe80::2") / IPv6ExtHdrFragment(offset=9, nh=17) / b"12345678"
    )
    assert last.line(later, 60).endswith("fe80::1 > fe80::2 udp fragment, 60 B")
    for n in range(len(plain)):
        assert last.line(plain[:n], n)


def test_every_reason_is_explained_and_the_page_is_up_to_date() -> None:
    assert {reason.name for reason in reasons.REASONS} == {name for name, _ in drop_reasons()}
    assert set(reasons.ADVICE) == {name for name, _ in drop_reasons()}
    assert all(reason.advice.endswith(".") and reason.means for reason in reasons.REASONS)
    assert (DOCS / "drops.md").read_text() == "\n".join(reasons.page()) + "\n"


@pytest.mark.usefixtures("autojump_clock")
async def test_books_that_do_not_balance_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async with vnet.Fabric(lab()) as fabric:
        await send(fabric, bytes(Ether(**MACS) / IP(src="10.0.0.7") / UDP(sport=999, dport=999)))
        assert books.wrong(fabric) == []
        with monkeypatch.context() as patched:
            patched.setitem(books.SIDES, "guard-ip4", "egress")
            assert "a.0: received is not forwarded and dropped" in books.wrong(fabric)[0]
            with pytest.raises(AssertionError, match="received is not"):
                books.check(fabric)
