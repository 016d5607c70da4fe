"""Real Linux guests whose memory we see: QEMU with vhost-user, alone and among all other kinds."""

from __future__ import annotations

import itertools
import os
from typing import Any

import pytest
import trio

import vnet
from tests import peers
from tests.needs import needs_qemu, needs_root
from tests.qemu import lab, scenario
from tests.qemu.machine import Machine

MEGABYTES = int(os.environ.get("VNET_TEST_BYTES", "20000000")) // peers.MB
"""What goes each way in the longest transfer: `VNET_TEST_BYTES=1000000000 pytest ...` for a real soak."""
LONGEST = 60 + MEGABYTES
"""Seconds that it may take; a limit, not a wait."""

pytestmark = [needs_qemu, needs_root, pytest.mark.deadline(540 + LONGEST)]


def nic(name: str, **more: Any) -> dict[str, Any]:
    return {"kind": "vhost-user", "socket": f"{name}.sock", **more}


async def test_two_guests_with_all_kinds_of_others() -> None:
    nics = {"vm1": nic("vm1"), "vm2": nic("vm2"), "vm3": {"kind": "stream", "socket": "vm3.sock"}}
    with lab.runtime() as folder:
        async with (
            vnet.Fabric.from_dict(lab.topology(nics), runtime=folder) as fabric,
            lab.plugged(fabric, "vm1") as vm1,
            lab.plugged(fabric, "vm2") as vm2,
        ):
            async with lab.plugged(fabric, "vm3") as vm3:
                everybody: dict[str, peers.Peer] = {
                    "web": lab.peer(fabric, "web"),
                    "shell": lab.peer(fabric, "shell"),
                    "vm1": vm1,
                    "vm2": vm2,
                    "vm3": vm3,
                }
                await scenario.pings(fabric, everybody)
                for giver, taker in itertools.permutations(everybody, 2):
                    if "vm1" in (giver, taker):
                        address = lab.addresses(fabric, taker)[giver < taker]
                        await peers.transfer(everybody[giver], everybody[taker], address, megabytes=5)
            await super_frames(fabric, vm1, vm2)
            await both_ways(fabric, vm1, vm2, vm1, vm2)
            await offloads_off(fabric, vm1, vm2)
            await reboot(fabric, vm1)
            await unplugged(fabric, vm1, vm2)
            scenario.counted(fabric)


async def super_frames(fabric: vnet.Fabric, vm1: Machine, vm2: Machine) -> None:
    """Between two such guests they pass whole: far fewer frames than segments."""
    counters = fabric.port("vm1").counters
    before = counters()
    await peers.transfer(vm1, vm2, lab.addresses(fabric, "vm2")[0], megabytes=5)
    told = counters()
    frames, size = (told[key] - before[key] for key in ("rx_frames", "rx_bytes"))
    assert size / frames > 3000, f"{size} bytes in {frames} frames"


async def both_ways(fabric: vnet.Fabric, vm1: Machine, vm2: Machine, *toggled: Machine) -> None:
    """A long transfer each way at once, while offloads are switched off and on in some guests."""
    done = trio.Event()

    async def toggle() -> None:
        for number in itertools.count():
            for machine, feature in itertools.product(toggled, ("tx", "tso", "gso", "gro")):
                if done.is_set():
                    return
                await machine.run(f"ethtool -K eth0 {feature} {('off', 'on')[number % 2]}")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(toggle)
        async with trio.open_nursery() as transfers:
            for giver, taker, port in ((vm1, vm2, 5001), (vm2, vm1, 5002)):
                address = lab.addresses(fabric, taker.name)[0]
                transfers.start_soon(give, giver, taker, address, port, MEGABYTES, LONGEST)
        done.set()
    for machine in toggled:
        await machine.run("ethtool -K eth0 tx on tso on gso on gro on")


async def give(giver: Machine, taker: Machine, address: str, port: int, size: int, limit: float) -> None:
    took = await peers.transfer(giver, taker, address, port=port, megabytes=size, deadline=limit)
    print(f"{giver.name} -> {taker.name}: {size} MB in {took:.1f} s")


async def offloads_off(fabric: vnet.Fabric, vm1: Machine, vm2: Machine) -> None:
    """One end without what the other has, both ways round."""
    for plain, other in ((vm1, vm2), (vm2, vm1)):
        await plain.run("ethtool -K eth0 tx off tso off gso off gro off")
        told = await plain.run("ethtool -k eth0")
        assert "tcp-segmentation-offload: off" in told
        assert "tx-checksumming: off" in told
        for giver, taker, port in ((plain, other, 5001), (other, plain, 5002)):
            address = lab.addresses(fabric, taker.name)[1]
            await peers.transfer(giver, taker, address, port=port, megabytes=3)
        await plain.run("ethtool -K eth0 tx on tso on gso on gro on")


async def reboot(fabric: vnet.Fabric, vm1: Machine) -> None:
    """The guest's kernel goes without a word; the next one sets the device up anew."""
    web = lab.peer(fabric, "web")
    await vm1.reset()
    await lab.Vm(vm1, fabric.port("vm1")).configure()
    assert await web.ping(lab.addresses(fabric, "vm1")[0])
    await peers.transfer(web, vm1, lab.addresses(fabric, "vm1")[0], megabytes=3)


async def unplugged(fabric: vnet.Fabric, vm1: Machine, vm2: Machine) -> None:
    """The card is pulled out of a running machine."""
    web, port = lab.peer(fabric, "web"), fabric.port("vm2")
    assert port.carrier
    await vm2.qmp("device_del", id="nic0")
    await vm2.qmp.event("DEVICE_DELETED", device="nic0")
    await lab.carrier(port, False)
    assert not await web.ping(lab.addresses(fabric, "vm2")[0], count=1)
    assert await web.ping(lab.addresses(fabric, "vm1")[0])
    # And another one is put in.
    await vm2.qmp(
        "device_add", driver="virtio-net-pci", id="nic1", netdev="net0", mac=port.wanted.mac, vectors=0
    )
    await lab.carrier(port, True)
    await vm2.run("until ip link show eth0 2>/dev/null; do usleep 9999; done")
    await lab.Vm(vm2, port).configure()
    assert await web.ping(lab.addresses(fabric, "vm2")[0])


async def test_jumbo_frames_and_two_queues() -> None:
    """MTU 9000, offloads never negotiated at one end, and two queue pairs used by two processors."""
    nics = {"vm1": nic("vm1", queues=2), "vm2": nic("vm2", offload=False)}
    words = lab.topology(nics)
    words["networks"]["red"]["mtu"] = 9000
    with lab.runtime() as folder:
        async with vnet.Fabric.from_dict(words, runtime=folder) as fabric:
            async with (
                lab.plugged(fabric, "vm1", options=",mq=on,host_mtu=9000", more=["-smp", "2"]) as vm1,
                lab.plugged(fabric, "vm2", options=",host_mtu=9000") as vm2,
            ):
                for machine in (vm1, vm2):
                    assert "mtu 9000" in await machine.run("ip link show eth0")
                for name in ("web", "shell", "vm2"):
                    address = lab.addresses(fabric, name)[0]
                    await vm1.run(f"ping -c 1 -W 5 -s 8972 {address}")
                told = await vm1.run("ethtool -l eth0")
                assert told.count("Combined:\t2") >= 1, told
                await vm1.run("ethtool -L eth0 combined 2")
                await both_ways(fabric, vm1, vm2, vm1)
                async with trio.open_nursery() as nursery:
                    for number, name in enumerate(("web", "shell", "vm2"), 5001):
                        taker: peers.Peer = vm2 if name == "vm2" else lab.peer(fabric, name)
                        address = lab.addresses(fabric, name)[0]
                        nursery.start_soon(give_to, vm1, taker, address, number)
                # Both queues were used, each way.
                told = await vm1.run("ethtool -S eth0")
                for way, queue in itertools.product(("rx", "tx"), (0, 1)):
                    assert f" {way}_queue_{queue}_packets: 0\n" not in told, told
                    assert f" {way}_queue_{queue}_packets: " in told, told
                await vm1.run("ethtool -L eth0 combined 1")
                assert await vm1.ping(lab.addresses(fabric, "vm2")[1])
            scenario.counted(fabric)


async def give_to(giver: Machine, taker: peers.Peer, address: str, port: int) -> None:
    await peers.transfer(giver, taker, address, port=port, megabytes=5)
