"""Copies where real programs look at them: tcpdump in a namespace, tshark beyond an uplink."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import trio

import vnet
from nics.netlink import Netlink
from nics.netns import Namespace
from tests.kernel.lab import PREFIX
from tests.needs import needs_root, needs_tool

pytestmark = [needs_root, needs_tool("tcpdump"), needs_tool("tshark")]


def topology(name: str, wire: str) -> vnet.Topology:
    """Two guests in one network, and a monitor in none."""
    made = vnet.Topology(name)
    made.network("red", vlan=10, subnets=["10.0.10.0/24"])
    for guest, address in (("web", "10.0.10.11"), ("db", "10.0.10.12")):
        made.guest(guest, kind="netns", network="red", ip=[address])
    made.guest("ids", kind="netns", nics=[{"mirrors": ["watch"]}])
    made.mirror("watch", ports=["web"], to="ids")
    made.uplink(
        "wan", nic={"kind": "packet", "interface": "phys", "netns": wire}, native="red", mirrors=["far"]
    )
    session = {
        "uplink": "wan",
        "session": 7,
        "source": "192.0.2.1",
        "target": "192.0.2.9",
        "next_hop": "02:00:00:00:00:99",
    }
    return made.mirror("far", networks=["red"], erspan=session)


async def ping_until(fabric: vnet.Fabric, done: trio.Event) -> None:
    """Something to look at, for as long as somebody looks."""
    while not done.is_set():
        await fabric.guests["web"].ping(fabric.guests["db"], timeout=20)
        await trio.sleep(0.02)


def fields(file: Path, *names: str, of: str = "icmp") -> list[tuple[str, ...]]:
    """What tshark reads in a file, of one protocol's packets."""
    command = ["tshark", "-r", str(file), "-Y", of, "-T", "fields"]
    shown = [word for name in names for word in ("-e", name)]
    lines = subprocess.run([*command, *shown], capture_output=True, text=True, check=True).stdout.splitlines()
    return [tuple(line.split("\t")) for line in lines]


async def test_tcpdump_in_a_namespace_and_tshark_behind_an_uplink(tmp_path: Path) -> None:
    async with Netlink() as netlink:
        wire = await Namespace.create(f"{PREFIX}-span", netlink)
        try:
            await wire.run("ip", "link", "add", "phys", "type", "veth", "peer", "name", "world")
            for end in ("phys", "world"):
                await wire.run("ip", "link", "set", end, "up")
            async with vnet.Fabric(topology(f"span{PREFIX[-4:]}".replace("-", "x"), wire.name)) as fabric:
                await look(fabric, wire, tmp_path)
        finally:
            await wire.aclose()


async def look(fabric: vnet.Fabric, wire: Namespace, folder: Path) -> None:
    ids = fabric.guests["ids"]
    assert isinstance(ids, vnet.NetnsGuest)
    local, remote, done = folder / "ids.pcap", folder / "far.pcap", trio.Event()

    async def dump(place: object, file: Path, interface: str, *words: str) -> None:
        # The file is opened before tcpdump gives up being root.
        argv = ("tcpdump", "-Z", "root", "-U", "-c", "8", "-i", interface, "-w", str(file), *words)
        await place.run(*argv)  # type: ignore[attr-defined]

    with trio.fail_after(50):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ping_until, fabric, done)
            async with trio.open_nursery() as dumps:
                dumps.start_soon(dump, ids, local, "eth0", "icmp")
                dumps.start_soon(dump, wire, remote, "world", "proto", "gre")
            done.set()
    web, db = fabric.guests["web"].ip, fabric.guests["db"].ip
    seen = fields(local, "ip.src", "ip.dst", "icmp.type", "icmp.checksum.status")
    assert {(web, db, "8", "1"), (db, web, "0", "1")} == set(seen)
    packed = fields(remote, "ip.src", "erspan.spanid", "erspan.vlan")
    assert {source for source, *_ in packed} == {f"192.0.2.1,{web}", f"192.0.2.1,{db}"}
    assert {(session, vlan) for _, session, vlan in packed} == {("7", "10")}
    # Hosts say more than that.
    numbers = [int(number) for (number,) in fields(remote, "gre.sequence_number", of="erspan")]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "none is missing or twice"
    # The monitor has no address, and what it says nobody hears.
    assert "inet " not in await ids.run("ip", "address", "show", "eth0")
    await ids.run("ip", "address", "add", "10.0.10.99/24", "dev", "eth0")
    with pytest.raises(vnet.VnetError):
        await ids.run("ping", "-c", "1", "-W", "0.2", db)
    while not (counters := fabric.port("ids").counters())["rx_frames"]:  # noqa: ASYNC110
        await trio.sleep(0.01)
    assert counters["rx_frames"] == counters["drops"]["untagged-not-allowed"]
