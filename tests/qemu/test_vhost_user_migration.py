"""A running machine moves from one QEMU, and from one fabric, to another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio

import vnet
from tests import peers
from tests.needs import needs_qemu, needs_root
from tests.qemu import lab
from tests.qemu.machine import Machine, boot

pytestmark = [needs_qemu, needs_root, pytest.mark.deadline(300)]

BLOCKS = 40
"""What goes each way, in megabytes: more than moves while the machine does."""
MAC = "02:00:00:00:0a:01"
NETWORK = {"vlan": 10, "subnets": ["10.0.10.0/24"], "gateway": []}


def half(name: str, cable: dict[str, Any], **more: Any) -> dict[str, Any]:
    """One of two fabrics on the same network, joined by a cable that everything may pass."""
    guests = {
        "vm1": {"kind": "external", "nics": [nic({"kind": "vhost-user", "socket": "vm1.sock"}, mac=MAC)]},
        "cable": {
            "kind": "external",
            "nics": [nic(cable, ip=[], guard="off")],
        },
        **more,
    }
    guests["vm1"]["nics"][0]["ip"] = ["10.0.10.1"]
    return {"name": name, "networks": {"red": NETWORK}, "guests": guests}


def nic(door: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"network": "red", "nic": door, **more}


async def test_a_machine_moves_to_another_fabric_in_mid_transfer() -> None:
    with lab.runtime() as here, lab.runtime() as there:
        meet = str(here / "cable.sock")
        web = {"web": {"nics": [{"network": "red", "ip": ["10.0.10.9"]}]}}
        first = half("from", {"kind": "stream", "socket": meet}, **web)
        second = half("to", {"kind": "stream", "socket": meet, "role": "client"})
        async with (
            vnet.Fabric.from_dict(first, runtime=here) as source,
            vnet.Fabric.from_dict(second, runtime=there) as target,
        ):
            await lab.carrier(target.port("cable"), True)
            peer = lab.peer(source, "web")
            incoming = ["-incoming", f"unix:{here / 'migration'}"]
            card = lab.card_of(target, "vm1", "virtio-net-pci")
            async with (
                lab.plugged(source, "vm1") as old,
                boot("vm1", card, more=[*lab.words_of(target, "vm1"), *incoming], wait=False) as new,
            ):
                assert await old.ping("10.0.10.9")
                async with trio.open_nursery() as nursery:
                    # In the background: who asked will be gone when it is done. What it receives waits in
                    # its kernel's buffers until it may be read.
                    await old.upload(peers.block(), "/tmp/block")
                    read = "(until [ -e /tmp/go ]; do usleep 9999; done; cat)"
                    listen = f"(socat -u TCP4-LISTEN:5002 STDOUT | {read} | sha256sum > /tmp/sum) 2>&1 &"
                    await old.run(
                        f"{listen} until grep -q ':138A 0*:0000 0A' /proc/net/tcp; do usleep 9999; done"
                    )
                    await nursery.start(take, peer)
                    # The last of it not before it has moved, however long that takes.
                    send = "for i in $(seq {}); do cat /tmp/block; done"
                    wait = "until [ -e /tmp/go ]; do usleep 9999; done"
                    all_of_it = f"{send.format(BLOCKS - 5)}; {wait}; {send.format(5)}"
                    await old.run(f"(({all_of_it}) | socat -u STDIN TCP4:10.0.10.9:5001) > /dev/null 2>&1 &")
                    counters = source.port("vm1").counters
                    await until(lambda: counters()["rx_bytes"] > 3 * peers.MB)
                    await old.qmp("migrate-set-parameters", max_bandwidth=15 * peers.MB, downtime_limit=300)
                    await old.qmp("migrate", uri=f"unix:{here / 'migration'}")
                    await sent(old, 15 * peers.MB)
                    # Into pages that were copied already: only the log of what we write brings them over.
                    nursery.start_soon(peer.give, "10.0.10.1", 5002, BLOCKS)
                    queued = "set -- $(ss -Htn 'sport = :5002'); [ ${2:-0} -gt 40000 ]"
                    await old.run(f"until {queued}; do usleep 9999; done")
                    await old.qmp("migrate-set-parameters", max_bandwidth=1000 * peers.MB)
                    await moved(old)
                    # The old one holds still, and the new one has the link.
                    await lab.carrier(source.port("vm1"), False)
                    await lab.carrier(target.port("vm1"), True)
                    await old.kill()
                    await new.run("touch /tmp/go")
                # What was written to its memory while that was copied has come along.
                digest = await new.run("until [ -s /tmp/sum ]; do usleep 9999; done; cat /tmp/sum")
                assert digest.split()[0] == peers.digest(BLOCKS), "the bytes arrived changed"
                assert await peer.ping("10.0.10.1")
                assert await new.sha256("/tmp/block") == peers.digest(1)


async def take(peer: peers.Peer, *, task_status: trio.TaskStatus[None]) -> None:
    found = await peer.take(5001, task_status=task_status)
    assert found == peers.digest(BLOCKS), "the bytes arrived changed"


async def until(true: Callable[[], bool]) -> None:
    with trio.fail_after(60):
        while not true():  # noqa: ASYNC110
            await trio.sleep(0.01)


async def sent(machine: Machine, size: int) -> None:
    """Wait until so much of its memory was copied."""
    with trio.fail_after(60):
        while (await machine.qmp("query-migrate")).get("ram", {}).get("transferred", 0) < size:  # noqa: ASYNC110
            await trio.sleep(0.02)


async def moved(machine: Machine) -> None:
    with trio.fail_after(120):
        while (status := (await machine.qmp("query-migrate"))["status"]) != "completed":
            assert status not in ("failed", "cancelled"), await machine.qmp("query-migrate")
            await trio.sleep(0.05)
    assert (await machine.qmp("query-status"))["status"] == "postmigrate"
