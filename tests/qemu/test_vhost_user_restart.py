"""A fabric that is killed, stopped and started again under running machines whose memory it sees."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from tests import peers
from tests.needs import needs_qemu, needs_root
from tests.qemu import lab
from tests.qemu.machine import MEMORY, Card, Machine, boot

pytestmark = [needs_qemu, needs_root, pytest.mark.deadline(600)]

MEGABYTES = 40
ADDRESSES = {"vm1": "10.0.10.1", "vm2": "10.0.10.2"}
MACS = {"vm1": "02:00:00:00:0a:01", "vm2": "02:00:00:00:0a:02"}


@attrs.define
class Process:
    """`vnet up` in a process of its own, which can be killed."""

    file: Path
    running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.running = subprocess.Popen([sys.executable, "-m", "vnet", "up", self.file])

    async def end(self, how: signal.Signals) -> None:
        assert self.running is not None
        self.running.send_signal(how)
        code = await trio.to_thread.run_sync(self.running.wait)
        assert code == (-how if how == signal.SIGKILL else 0)
        self.running = None


def topology(folder: Path) -> dict[str, Any]:
    """`vm1` listens and the fabric connects; `vm2` connects, and does so again."""
    roles = {"vm1": "client", "vm2": "server"}
    guests = {
        name: {
            "kind": "external",
            "nics": [
                {
                    "network": "red",
                    "mac": MACS[name],
                    "ip": [ADDRESSES[name]],
                    "nic": {"kind": "vhost-user", "socket": str(folder / f"{name}.sock"), "role": role},
                }
            ],
        }
        for name, role in roles.items()
    }
    return {
        "name": f"restart-{os.getpid()}",
        "networks": {"red": {"subnets": ["10.0.10.0/24"], "gateway": []}},
        "guests": guests,
    }


@contextlib.asynccontextmanager
async def machine(folder: Path, name: str, chardev: str, options: str = "") -> AsyncIterator[Machine]:
    memory = f"memory-backend-memfd,id=shared,size={MEMORY}M,share=on"
    socket = f"socket,id=vhost,path={folder / f'{name}.sock'},{chardev}"
    words = ["-object", memory, "-machine", "memory-backend=shared", "-chardev", socket]
    # Without vectors: QEMU 7.2 crashes with vhost-user and MSI-X where there is no KVM.
    card = Card("vhost-user,chardev=vhost", mac=MACS[name], options=f"vectors=0{options}")
    async with boot(name, card, more=words) as guest:
        await guest.run(f"ip addr add {ADDRESSES[name]}/24 dev eth0 && ip link set eth0 up")
        yield guest


async def test_machines_go_on_whatever_becomes_of_the_fabric() -> None:
    """`vm1` has split rings and listens, `vm2` has packed ones and connects."""
    with lab.runtime() as folder:
        file = folder / "topology.json"
        file.write_text(json.dumps(topology(folder)))
        fabric = Process(file)
        fabric.start()
        try:
            async with (
                machine(folder, "vm1", "server=on,wait=off") as vm1,
                machine(folder, "vm2", "reconnect=1", ",packed=on") as vm2,
            ):
                assert await vm1.ping(ADDRESSES["vm2"])
                async with trio.open_nursery() as nursery:
                    for giver, taker, port in ((vm1, vm2, 5001), (vm2, vm1, 5002)):
                        nursery.start_soon(give, giver, taker, port)
                    for number, how in enumerate((signal.SIGKILL, signal.SIGTERM, signal.SIGKILL), 1):
                        await passed(vm1, number * (MEGABYTES // 5))
                        await fabric.end(how)
                        for guest in (vm1, vm2):
                            await link(guest, up=False)
                        fabric.start()
                        for guest in (vm1, vm2):
                            await link(guest, up=True)
                await nothing_held(vm1)
                # And once more while nothing moves, by both families of events.
                await fabric.end(signal.SIGKILL)
                fabric.start()
                await link(vm1, up=True)
                await link(vm2, up=True)
                assert await vm2.ping(ADDRESSES["vm1"], count=10)
        finally:
            if fabric.running is not None:
                fabric.running.terminate()
                await trio.to_thread.run_sync(fabric.running.wait)


async def give(giver: Machine, taker: Machine, port: int) -> None:
    """With its checksum: nothing lost for good, nothing twice, nothing from another place."""
    address = ADDRESSES[taker.name]
    await peers.transfer(giver, taker, address, port=port, megabytes=MEGABYTES, deadline=300)


async def passed(guest: Machine, megabytes: int) -> None:
    """Wait until so much has come in since it booted: the transfers are in their midst."""
    counter = "/sys/class/net/eth0/statistics/rx_bytes"
    until = f"until [ $(cat {counter}) -gt {megabytes * peers.MB} ]; do usleep 20000; done"
    await guest.run(until, deadline=120)


async def link(guest: Machine, *, up: bool) -> None:
    """Wait until the guest sees its link so."""
    await guest.run(
        f"until [ $(cat /sys/class/net/eth0/carrier) = {int(up)} ]; do usleep 9999; done", deadline=100
    )


async def nothing_held(guest: Machine) -> None:
    """Every buffer that the guest sent from came back, and most of those to receive in wait for frames."""
    name = "/machine/peripheral/nic0/virtio-backend"
    held = []
    with trio.fail_after(60):
        while True:
            held = [await in_flight(guest, name, queue) for queue in (0, 1)]
            # The driver fills up its ring when more than half of it is empty.
            if held[0] >= 128 and held[1] == 0:
                return
            await trio.sleep(0.1)


async def in_flight(guest: Machine, device: str, queue: int) -> int:
    """How many buffers are available and not used, by the indexes in the guest's memory."""
    # Not x-query-virtio-queue-status: it asks the back-end for the ring's base, which stops the ring.
    told = await guest.qmp("x-query-virtio-vhost-queue-status", path=device, queue=queue)
    words = []
    for area in ("avail-phys", "used-phys"):
        text = await guest.qmp("human-monitor-command", command_line=f"xp /1hx {told[area] + 2:#x}")
        words.append(int(text.split()[-1], 16))
    return (words[0] - words[1]) & 0xFFFF
