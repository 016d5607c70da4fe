"""A namespace full of attackers' tools beside two victims that are busy: nothing of it reaches them.

arping, a rogue dnsmasq and radvd, mausezahn (netsniff-ng) and scapy's fragments, as they are found in the
wild. Meanwhile the victims move data; each attack shows under its own drop reason. What it costs the
victims is measured in `tools/bench/hostile.py`.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from scapy.layers.inet import IP, TCP, fragment
from scapy.layers.inet6 import ICMPv6ND_RA, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

import vnet
from tests.kernel.test_guard import (
    ALICE,
    BOB,
    MALLORY,
    drops,
    ears,
    listening,
    packet_socket,
    run,
    topology,
)
from tests.needs import needs_tool, needs_tun

pytestmark = [needs_tun, pytest.mark.deadline(120)]

RADVD = """
interface {interface} {{
    AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4;
    prefix fd66::/64 {{ AdvOnLink on; AdvAutonomous on; }};
}};
"""


async def until(fabric: vnet.Fabric, reason: str, least: int) -> None:
    """Wait until so many frames of mallory were dropped for `reason`."""
    counters = fabric.port("mallory").counters
    with trio.move_on_after(40):
        while counters()["drops"].get(reason, 0) < least:  # noqa: ASYNC110
            await trio.sleep(0.01)
    assert counters()["drops"].get(reason, 0) >= least, (reason, counters()["drops"])


@contextlib.asynccontextmanager
async def server(fabric: vnet.Fabric, *argv: str) -> AsyncIterator[None]:
    """A server of mallory's, ended afterwards."""
    guest = fabric.guests["mallory"]
    assert isinstance(guest, vnet.NetnsGuest)
    assert guest.namespace is not None
    process = await guest.namespace.open_process(*argv)
    try:
        yield
        assert process.poll() is None, f"{argv[0]} ended by itself"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


@contextlib.asynccontextmanager
async def busy(fabric: vnet.Fabric) -> AsyncIterator[None]:
    """While the block runs the victims move data, in rounds that all have to work."""
    begun, ending = trio.Event(), trio.Event()

    async def rounds() -> None:
        while not ending.is_set():
            # A server each round: one that has yet to put the last round away refuses the next.
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run, fabric, "bob", "iperf3", "-s", "-1")
                await listening(fabric, "bob")
                begun.set()
                await run(fabric, "alice", "iperf3", "-c", BOB, "-n", "20M")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(rounds)
        await begun.wait()
        yield
        ending.set()


@needs_tool("mausezahn")
@needs_tool("iperf3")
async def test_floods() -> None:
    async with vnet.Fabric.from_dict(topology()) as fabric, ears(fabric, "alice") as heard:
        at = str(fabric.port("mallory").opened.carries)
        mac = fabric.guests["alice"].mac
        attacks = {
            "guard-mac": ("-c", "3000", "-a", "rand", "-b", "bc", "-t", "arp", "request"),
            "guard-ip4": ("-c", "3000", "-b", mac, "-A", BOB, "-B", ALICE, "-t", "udp", "sp=1,dp=9"),
            "tag-not-allowed": ("-c", "300", "-Q", "20", "-b", mac, "-B", ALICE, "-t", "udp", "dp=9"),
            "guard-control": ("-c", "30", "-t", "cdp"),
            "link-local": ("-c", "30", "-t", "bpdu"),
        }
        async with busy(fabric):
            for reason, words in attacks.items():
                await run(fabric, "mallory", "mausezahn", at, "-q", *words)
                # A TAP's queue may overflow before we see all of a flood.
                await until(fabric, reason, int(words[1]) // 10)
        nobody_was_bothered(fabric, heard)


@needs_tool("dnsmasq")
@needs_tool("iperf3")
@needs_tool("busybox")
async def test_a_rogue_dhcp_server_and_router(tmp_path: Path) -> None:
    async with vnet.Fabric.from_dict(topology()) as fabric, ears(fabric, "alice") as heard:
        at, victim = (str(fabric.port(name).opened.carries) for name in ("mallory", "alice"))
        rogue = (
            "dnsmasq", "--keep-in-foreground", "--port=0", f"--interface={at}", "--no-ping", "--user=root",
            "--dhcp-range=10.9.7.100,10.9.7.120,1h", "--dhcp-authoritative", "--conf-file=/dev/null",
            "--enable-ra", "--dhcp-range=fd00:97::,ra-stateless", f"--pid-file={tmp_path / 'pid'}",
            f"--dhcp-leasefile={tmp_path / 'leases'}",
        )  # fmt: skip
        async with busy(fabric), server(fabric, *rogue):
            await until(fabric, "guard-ra", 1)
            asks = ("busybox", "udhcpc", "-i", victim, "-n", "-q", "-t", "2", "-T", "1", "-s", "/bin/true")
            told = await run(fabric, "alice", *asks, check=False)
            assert "lease of" not in told
            await until(fabric, "guard-dhcp-server", 1)
        nobody_was_bothered(fabric, heard)


@needs_tool("radvd")
@needs_tool("iperf3")
async def test_a_rogue_router(tmp_path: Path) -> None:
    async with vnet.Fabric.from_dict(topology()) as fabric, ears(fabric, "alice") as heard:
        at = str(fabric.port("mallory").opened.carries)
        (tmp_path / "radvd.conf").write_text(RADVD.format(interface=at))
        await run(fabric, "mallory", "sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
        words = (
            "radvd",
            "-n",
            "-m",
            "stderr",
            "-p",
            str(tmp_path / "pid"),
            "-C",
            str(tmp_path / "radvd.conf"),
        )
        async with busy(fabric), server(fabric, *words):
            await until(fabric, "guard-ra", 1)
        assert "fd66" not in await run(fabric, "alice", "ip", "-6", "address")
        nobody_was_bothered(fabric, heard)


@needs_tool("arping")
@needs_tool("iperf3")
async def test_poison_and_fragments() -> None:
    async with vnet.Fabric.from_dict(topology()) as fabric, ears(fabric, "alice") as heard:
        at = str(fabric.port("mallory").opened.carries)
        mallory, alice = fabric.guests["mallory"].mac, fabric.guests["alice"].mac
        async with busy(fabric):
            await run(fabric, "mallory", "ip", "address", "add", f"{BOB}/32", "dev", at)
            for claim in ("-U", "-A"):
                await run(fabric, "mallory", "arping", claim, "-c", "2", "-I", at, BOB, check=False)
            await until(fabric, "guard-arp", 2)
            # A connection request whose flags are in the second of two tiny fragments, and overlapping ones.
            packet = IP(src=MALLORY, dst=ALICE, id=7) / TCP(dport=22, flags="S") / Raw(b"x" * 16)
            tiny = fragment(packet, fragsize=8)
            six = IPv6(src="fd00:97::66", dst="fd00:97::11", nh=44)
            hidden = bytes.fromhex("3a00000100000007") + bytes(ICMPv6ND_RA())
            with await packet_socket(fabric, "mallory") as sender:
                for part in tiny[:2]:
                    sender.send(bytes(Ether(src=mallory, dst=alice) / part))
                sender.send(bytes(Ether(src=mallory, dst=alice) / six / Raw(hidden)))
            await until(fabric, "guard-fragment", 3)
        nobody_was_bothered(fabric, heard)


def nobody_was_bothered(fabric: vnet.Fabric, heard: list[bytes]) -> None:
    """Alice heard of mallory only what mallory is; she and bob did nothing that a guard minds."""
    macs = {fabric.guests[name].mac for name in ("alice", "bob", "mallory")}
    for data in heard:
        frame = Ether(data)
        assert frame.src in macs
        if frame.src != fabric.guests["mallory"].mac:
            continue
        if ARP in frame:
            assert frame.psrc in (MALLORY, "0.0.0.0"), frame.summary()
        elif IP in frame:
            assert frame[IP].src in (MALLORY, "0.0.0.0"), frame.summary()
            assert frame[IP].frag == 0
            assert frame[IP].flags != "MF"
            assert not (frame.haslayer("UDP") and frame["UDP"].sport == 67), frame.summary()
        elif IPv6 in frame:
            assert frame[IPv6].nh != 44, frame.summary()
            assert ICMPv6ND_RA not in frame, frame.summary()
        else:
            raise AssertionError(frame.summary())
    assert not drops(fabric, "alice")
    assert not drops(fabric, "bob")
