"""A cable that is cut by its schedule, as a Linux guest's card shows it."""

from __future__ import annotations

from typing import Any

import pytest
import trio

import vnet
from tests.needs import needs_qemu, needs_root, needs_tool
from tests.qemu import lab
from tests.qemu.machine import Machine
from tests.qemu.started import document, machine, qemu, shell

pytestmark = [needs_qemu, needs_root, pytest.mark.deadline(240)]

SEEN = "until [ $(cat /sys/class/net/eth0/carrier) = {} ]; do usleep 9999; done"


async def test_a_guest_with_vhost_user_sees_its_cable_cut_and_mended() -> None:
    """Whose QEMU listens (`role: client` of ours): closing the connection is how the transport says it."""
    words = lab.topology({"vm1": {"kind": "vhost-user", "socket": "vm1.sock", "role": "client"}})
    with lab.runtime() as folder:
        async with (
            vnet.Fabric.from_dict(words, runtime=folder) as fabric,
            lab.plugged(fabric, "vm1") as machine,
        ):
            web, (address, _) = lab.peer(fabric, "web"), lab.addresses(fabric, "vm1")
            assert await web.ping(address)
            (nic,) = words["guests"]["vm1"]["nics"]
            begin = soon(fabric)
            nic["schedule"] = [{"from": begin, "up": False}]
            await fabric.apply(vnet.Topology.from_dict(words))
            await sees(machine, fabric, up=False)
            assert not await web.ping(address, count=1)
            nic["schedule"] = [{"from": begin, "to": soon(fabric), "up": False}]
            await fabric.apply(vnet.Topology.from_dict(words))
            await sees(machine, fabric, up=True)
            assert await web.ping(address)
            # The operator's hand on it is seen as well.
            await fabric.set_link("vm1", False)
            await sees(machine, fabric, up=False)
            await fabric.set_link("vm1", True)
            await sees(machine, fabric, up=True)
            assert await web.ping(address)


def soon(fabric: vnet.Fabric) -> float:
    """The fabric's time in a second, as a schedule has it."""
    return round((fabric.time() - fabric.wiring.began) / 1e9, 1) + 1


async def sees(machine: Machine, fabric: vnet.Fabric, *, up: bool) -> None:
    """Both the guest and the fabric."""
    await machine.run(SEEN.format(int(up)), deadline=60)
    with trio.fail_after(60):
        while fabric.port("vm1").carrier != up:  # noqa: ASYNC110
            await trio.sleep(0.01)


NICS: list[dict[str, Any]] = [
    {"network": "lan", "ip": "10.0.0.10"},
    {"network": "lan", "ip": "10.0.0.12", "nic": {"kind": "stream", "socket": "st.sock"}},
    {
        "network": "lan",
        "ip": "10.0.0.13",
        "nic": {"kind": "dgram", "local": "dg.sock", "remote": "dg-vm.sock"},
    },
]


async def shown(vm: vnet.QemuGuest, *carriers: bool) -> None:
    """Wait until the guest's cards have carrier, or none."""
    up = "; ".join(f"ip link set eth{number} up" for number in range(len(carriers)))
    seen = "; ".join(
        f"until [ $(cat /sys/class/net/eth{number}/carrier) = {int(carrier)} ]; do usleep 9999; done"
        for number, carrier in enumerate(carriers)
    )
    with trio.fail_after(60):
        await vm.run("sh", "-c", f"{up}; {seen}")


@needs_tool("qemu-ga")
async def test_a_machine_of_ours_sees_it_whatever_its_nics_are() -> None:
    """None of these kinds has a word for it; the machine's monitor has."""
    words = document(vm=machine(nics=NICS))
    with lab.runtime() as folder:
        async with vnet.Fabric.from_dict(words, runtime=folder) as fabric:
            vm = qemu(fabric)

            async def schedule(*changes: dict[str, Any]) -> None:
                nics = [{**nic, "schedule": list(changes)} for nic in NICS]
                await fabric.apply(vnet.Topology.from_dict(document(vm=machine(nics=nics))))

            async with shell(vm):
                await shown(vm, True, True, True)
                begin = soon(fabric)
                await schedule({"from": begin, "up": False})
                await shown(vm, False, False, False)
                await schedule({"from": begin, "to": soon(fabric), "up": False})
                await shown(vm, True, True, True)
                await fabric.set_link("vm.1", False)
                await shown(vm, True, False, True)
            # It starts with its cable cut, and the card that is vhost-user's works as before.
            await vm.stop()
            await vm.start()
            async with shell(vm) as console:
                await shown(vm, True, False, True)
                await fabric.set_link("vm.1", True)
                await shown(vm, True, True, True)
                await console.run("ip addr add 10.0.0.10/24 dev eth0")
                with trio.fail_after(60):
                    assert "0% packet loss" in await console.run("ping -c 1 -W 30 10.0.0.11")
