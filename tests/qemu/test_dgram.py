"""QEMU's `-netdev dgram`: two real guests with all other kinds on one fabric."""

from __future__ import annotations

import pytest
import trio

import vnet
from tests import peers
from tests.needs import needs_qemu, needs_root
from tests.qemu import lab, scenario
from tests.qemu.machine import boot

pytestmark = [needs_qemu, needs_root, pytest.mark.deadline(600)]


@pytest.mark.parametrize("model", ["virtio-net-pci", "vmxnet3"])
async def test_two_guests_with_all_kinds_of_others(model: str) -> None:
    nics = {
        name: {"kind": "dgram", "local": f"{name}.fabric", "remote": f"{name}.qemu"}
        for name in ("vm1", "vm2")
    }
    await scenario.two_guests(nics, model)


async def test_either_side_may_come_and_go_first() -> None:
    with lab.runtime() as folder, lab.runtime() as meeting_place:
        ends = {"local": str(meeting_place / "fabric"), "remote": str(meeting_place / "qemu")}
        words = lab.topology({"vm1": {"kind": "dgram", **ends}})
        async with vnet.Fabric.from_dict(words, runtime=folder) as fabric:
            # The fabric first; its guest crashes, and another takes its place.
            for _ in range(2):
                async with lab.plugged(fabric, "vm1") as vm1:
                    assert await vm1.ping(lab.addresses(fabric, "web")[0])
                    await peers.transfer(
                        vm1, lab.peer(fabric, "web"), lab.addresses(fabric, "web")[0], megabytes=2
                    )
                    await vm1.kill()
                # That nobody is there any more is told only to those who send.
                assert not await lab.peer(fabric, "web").ping(lab.addresses(fabric, "vm1")[0], count=1)
                with trio.fail_after(50):
                    while fabric.port("vm1").carrier:  # noqa: ASYNC110
                        await trio.sleep(0.01)
            card = lab.card_of(fabric, "vm1", "virtio-net-pci")
        # QEMU first; fabrics come and go.
        async with boot("vm1", card) as vm1:
            for first in (True, False):
                async with vnet.Fabric.from_dict(words, runtime=folder) as fabric:
                    if first:
                        await lab.Vm(vm1, fabric.port("vm1")).configure()
                    assert await vm1.ping(lab.addresses(fabric, "shell")[1], count=10)
                    assert await lab.peer(fabric, "web").ping(lab.addresses(fabric, "vm1")[0])
