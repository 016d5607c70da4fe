"""What attackers cost their neighbours: throughput between two namespaces, alone and beside floods.

    python -m tools.bench.hostile [--attacker machine] [--seconds 5] [--delay 50] [--bars]

Needs root and iperf3, and mausezahn (netsniff-ng) or QEMU. A third guest floods with spoofed MAC and IP
addresses and with foreign tags: a namespace, by mausezahn, a frame every `--delay` microseconds, 0 for as
fast as it can; or a virtual machine, by socat, as fast as it can. Rounds take turns, and ratios are of their
medians, those of the bars round by round.

All of it shares this machine's CPUs, and what the flood program itself takes is lost to the others whatever
the fabric does. So there are three rounds: alone; beside the same program that floods to where nobody takes
it (a TAP of its own namespace that nobody has open, a card of the machine that has no cable); beside the
flood. The second ratio is what the fabric's part costs, and has a bar.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import logging
import statistics
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

import trio
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet

import vnet
from tools.bench.cases import Bar, Case, Course
from tools.bench.results import Results, machine
from tools.guest import image

ATTACKS = {
    "spoofed MAC addresses": ("-a", "rand", "-b", "bc", "-t", "arp", "request"),
    "spoofed IP addresses": ("-A", "10.9.7.12", "-B", "10.9.7.11", "-b", "bc", "-t", "udp", "dp=9"),
    "foreign tags": ("-Q", "20", "-b", "bc", "-B", "10.9.7.11", "-t", "udp", "dp=9"),
}
"""By name, as mausezahn is told of them."""
SIZE = 400
"""Bytes of a frame that socat sends."""
FEWEST = 300
"""Dropped frames a second that make a flood."""
TIMES = 3200
"""Frames that it sends before it is started again."""
WAYS = ("nobody", "its CPU", "flood")
COURSE = Course(
    {f"{attack}, {way}": Case("", "gbps", "Gbit/s") for attack in ATTACKS for way in WAYS},
    tuple(Bar(f"{attack}, flood", 0.9, other=f"{attack}, its CPU") for attack in ATTACKS),
    {},
)
Flood = Callable[[str, bool], AbstractAsyncContextManager[None]]
"""An attack by name for as long as the block runs: into the fabric, or (True) to nowhere."""


def topology(mallory: dict[str, Any]) -> dict[str, Any]:
    """Two namespaces and an attacker in one network."""
    hosts = {"alice": 11, "bob": 12, "mallory": 66}
    guests = {
        name: {"kind": "netns", "nics": [{"network": "lan", "ip": f"10.9.7.{host}"}]}
        for name, host in hosts.items()
    }
    guests["mallory"] |= mallory
    return {"name": "hostile", "networks": {"lan": {"subnets": "10.9.7.0/24"}}, "guests": guests}


def virtual_machine() -> dict[str, Any]:
    """The attacker as a virtual machine. Its second card has no cable."""
    built = image.build()
    return {
        "kind": "qemu",
        "memory": "160 MiB",
        "kernel": str(built.kernel),
        "initrd": str(built.initramfs),
        "append": "console=ttyS0 quiet panic=-1 net.ifnames=0",
        "stop_timeout": "0 s",
        "args": ["-device", "virtio-net-pci,addr=1e"],
    }


async def throughput(fabric: vnet.Fabric, seconds: int) -> float:
    """From alice to bob, in Gbit/s."""
    alice, bob = fabric.guests["alice"], fabric.guests["bob"]
    assert isinstance(alice, vnet.NetnsGuest)
    assert isinstance(bob, vnet.NetnsGuest)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bob.run, "iperf3", "-s", "-1")
        while "5201" not in await bob.run("ss", "-ltn"):  # noqa: ASYNC110
            await trio.sleep(0.05)
        told = await alice.run("iperf3", "-c", "10.9.7.12", "-t", str(seconds), "-J")
    return float(json.loads(told)["end"]["sum_received"]["bits_per_second"]) / 1e9


@contextlib.asynccontextmanager
async def namespace(fabric: vnet.Fabric, delay: int) -> AsyncIterator[Flood]:
    """The floods of mallory, a namespace."""
    mallory = fabric.guests["mallory"]
    assert isinstance(mallory, vnet.NetnsGuest)
    await mallory.run("ip", "tuntap", "add", "nowhere", "mode", "tap")
    await mallory.run("ip", "link", "set", "nowhere", "up")
    await mallory.run("ip", "address", "add", "10.9.8.1/24", "dev", "nowhere")

    @contextlib.asynccontextmanager
    async def flood(attack: str, nowhere: bool) -> AsyncIterator[None]:
        device = "nowhere" if nowhere else str(fabric.port("mallory").opened.carries)
        pause = ("-d", f"{delay}usec") if delay else ()
        argv = ("mausezahn", device, "-q", "-c", "0", *pause, *ATTACKS[attack])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mallory.run, *argv)
            yield
            nursery.cancel_scope.cancel()

    yield flood


@contextlib.asynccontextmanager
async def virtual(fabric: vnet.Fabric) -> AsyncIterator[Flood]:
    """The floods of mallory, a virtual machine. socat sends a file of frames, again and again."""
    mallory = fabric.guests["mallory"]
    assert isinstance(mallory, vnet.QemuGuest)
    # Its agent runs when there is a shell on the console.
    async with mallory.console() as stream:
        seen = b""
        with trio.fail_after(90):
            while b"/ # " not in seen:
                seen += await stream.receive_some(4096)
    await mallory.run("sh", "-c", "ip link set eth0 up; ip link set eth1 up")
    for number, attack in enumerate(ATTACKS):
        frames = b"".join(bytes(frame).ljust(SIZE, b"\0") for frame in forged(attack, mallory.mac))
        text = base64.b64encode(frames).decode()
        many = f"for n in $(seq {TIMES * SIZE // len(frames)}); do cat /tmp/few; done >/tmp/{number}"
        await mallory.run("sh", "-c", f"echo {text} | base64 -d >/tmp/few; {many}")

    @contextlib.asynccontextmanager
    async def flood(attack: str, nowhere: bool) -> AsyncIterator[None]:
        card = "eth1" if nowhere else "eth0"
        once = f"socat -b {SIZE} -u OPEN:/tmp/{list(ATTACKS).index(attack)} INTERFACE:{card}"
        await mallory.run("sh", "-c", f"(while :; do {once}; done) >/dev/null 2>&1 & echo $! >/tmp/pid")
        try:
            yield
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(60):
                await mallory.run("sh", "-c", "kill $(cat /tmp/pid); killall socat; :")

    yield flood


def forged(attack: str, mac: str) -> list[Packet]:
    """Some frames of an attack, which `mac` sends unless it says that it is another."""
    everybody = "ff:ff:ff:ff:ff:ff"
    match attack:
        case "spoofed MAC addresses":
            return [Ether(src=f"02:00:00:00:66:{number:02x}", dst=everybody) / ARP() for number in range(16)]
        case "spoofed IP addresses":
            return [Ether(src=mac, dst=everybody) / IP(src="10.9.7.12", dst="10.9.7.11") / UDP(dport=9)]
        case _:
            return [Ether(src=mac, dst=everybody) / Dot1Q(vlan=20) / IP(dst="10.9.7.11") / UDP(dport=9)]


async def measure(fabric: vnet.Fabric, flood: Flood, seconds: int, rounds: int) -> Results:
    """All rounds, told as they come."""
    results = Results(COURSE)
    port = fabric.port("mallory")
    await throughput(fabric, 1)
    print(f"{'Gbit/s beside ...':22} {'nobody':>7} {'its CPU':>8} {'flood':>7}   of its CPU  dropped/s")
    for attack in ATTACKS:
        dropped = 0
        for _ in range(rounds):
            found = {"nobody": await throughput(fabric, seconds)}
            async with flood(attack, True):
                found["its CPU"] = await throughput(fabric, seconds)
            before = sum(port.counters()["drops"].values())
            async with flood(attack, False):
                found["flood"] = await throughput(fabric, seconds)
            dropped += sum(port.counters()["drops"].values()) - before
            for way, gbps in found.items():
                results.add("vnet", f"{attack}, {way}", {"gbps": gbps})
        if dropped < FEWEST * rounds * seconds:
            raise SystemExit(f"{attack}: {dropped} frames were dropped in all: that was no flood")
        one, cpu, other = (statistics.median(results.values("vnet", f"{attack}, {way}")) for way in WAYS)
        print(f"{attack:22} {one:7.2f} {cpu:8.2f} {other:7.2f} {other / cpu:12.3f} "
              f"{dropped / (rounds * seconds):10,.0f}", flush=True)  # fmt: skip
    return results


async def main(options: argparse.Namespace) -> int:
    """Measure and tell. The exit code."""
    logging.getLogger("vnet").setLevel(logging.CRITICAL)
    print(machine())
    words, attacker = {}, partial(namespace, delay=options.delay)
    if options.attacker == "machine":
        words, attacker = virtual_machine(), partial(virtual)
    async with vnet.Fabric.from_dict(topology(words)) as fabric, attacker(fabric) as flood:
        results = await measure(fabric, flood, options.seconds, options.rounds)
    lines, well = results.bars()
    print("\n".join(lines))
    return 1 if options.bars and not well else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument(
        "--attacker", choices=["namespace", "machine"], default="namespace", help="who floods"
    )
    parser.add_argument(
        "--delay", type=int, default=50, help="microseconds between frames of a namespace's flood"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bars", action="store_true", help="exit with 1 if a bar is missed")
    sys.exit(trio.run(main, parser.parse_args()))
