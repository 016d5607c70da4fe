"""QEMU's `-netdev vde`: two real guests with all other kinds on one fabric."""

from __future__ import annotations

import json
import shlex

import pytest
import trio

import vnet
from tests import peers
from tests.needs import needs_qemu, needs_root
from tests.qemu import lab, scenario
from tests.qemu.machine import Machine, boot
from tests.qemu.test_stream import command, flood

pytestmark = [needs_qemu, needs_root, pytest.mark.deadline(600)]

VDE = {"kind": "vde", "directory": "vm1.vde"}


async def test_two_guests_with_all_kinds_of_others() -> None:
    nics = {name: {"kind": "vde", "directory": f"{name}.vde"} for name in ("vm1", "vm2")}
    await scenario.two_guests(nics, "virtio-net-pci")


async def test_qemu_killed_makes_room_and_one_that_stops_delays_nobody() -> None:
    with lab.runtime() as folder:
        async with vnet.Fabric.from_dict(lab.topology({"vm1": VDE}), runtime=folder) as fabric:
            web, shell, port = lab.peer(fabric, "web"), lab.peer(fabric, "shell"), fabric.port("vm1")
            async with lab.plugged(fabric, "vm1") as vm1:
                assert port.carrier
                await peers.transfer(vm1, web, lab.addresses(fabric, "web")[0], megabytes=5)
                await vm1.kill()
            await lab.carrier(port, False)
            async with lab.plugged(fabric, "vm1") as vm1, trio.open_nursery() as nursery:
                address = lab.addresses(fabric, "vm1")[0]
                assert await shell.ping(address)
                vm1.pause()
                stop = await nursery.start(flood, fabric, "shell", address)
                await peers.transfer(web, shell, lab.addresses(fabric, "shell")[0], megabytes=20)
                with trio.fail_after(60):
                    while not port.counters()["drops"].get("tx-full"):  # noqa: ASYNC110
                        await trio.sleep(0.01)
                stop.cancel()
                vm1.resume()
                await peers.transfer(shell, vm1, address, port=5003, megabytes=5)


async def test_qemu_plugged_in_by_the_words_of_vnet_connect_and_again_after_a_restart() -> None:
    words = lab.topology({"vm1": VDE})
    name = words["name"]
    with lab.runtime() as folder:
        file = folder / "topology.json"
        file.write_text(json.dumps(words))
        await command("up", str(file), "-d")
        try:
            told = (await command("connect", "vm1", "-n", name)).replace("\\\n", " ")
            async with boot("vm1", more=shlex.split(told, comments=True)) as machine:
                status = json.loads(await command("status", name, "--json"))
                (port,) = (port for port in status["ports"] if port["guest"] == "vm1")
                up = f"ip addr add {port['ip'][0]}/24 dev eth0 && ip link set eth0 up"
                await machine.run(up)
                assert "2 received" in await command("ping", "web", "vm1", "-c", "2", "-W", "20", "-n", name)
                assert "no answer" in await command("ping", "crypt", "vm1", "-c", "1", "-n", name, code=1)
                await command("down", name)
                await command("up", str(file), "-d")
                await put_in_again(machine, f"/run/vnet/{name}/vm1.vde", port["mac"])
                await machine.run(up)
                assert "2 received" in await command("ping", "web", "vm1", "-c", "2", "-W", "20", "-n", name)
        finally:
            await command("down", name)


async def put_in_again(vm1: Machine, folder: str, mac: str | None) -> None:
    """What an operator does after the fabric was restarted."""
    await vm1.qmp("device_del", id="nic0")
    await vm1.qmp.event("DEVICE_DELETED", device="nic0")
    await vm1.qmp("netdev_del", id="net0")
    await vm1.qmp("netdev_add", type="vde", id="net0", sock=folder)
    await vm1.qmp("device_add", driver="virtio-net-pci", id="nic0", netdev="net0", mac=mac, romfile="")
    await vm1.run("until ip link show eth0 2>/dev/null; do usleep 9999; done")
