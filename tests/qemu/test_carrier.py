"""A cable that is cut by its schedule, as a Linux guest's card shows it."""

from __future__ import annotations

import pytest
import trio

import vnet
from tests.needs import needs_qemu, needs_root
from tests.qemu import lab
from tests.qemu.machine import Machine

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
            since = round((fabric.time() - fabric.wiring.began) / 1e9, 1)
            (nic,) = words["guests"]["vm1"]["nics"]
            nic["schedule"] = [{"from": since + 1, "to": since + 4, "up": False}]
            await fabric.apply(vnet.Topology.from_dict(words))
            await sees(machine, fabric, up=False)
            assert not await web.ping(address, count=1)
            await sees(machine, fabric, up=True)
            assert await web.ping(address)
            # The operator's hand on it is seen as well.
            await fabric.set_link("vm1", False)
            await sees(machine, fabric, up=False)
            await fabric.set_link("vm1", True)
            await sees(machine, fabric, up=True)
            assert await web.ping(address)


async def sees(machine: Machine, fabric: vnet.Fabric, *, up: bool) -> None:
    """Both the guest and the fabric."""
    await machine.run(SEEN.format(int(up)), deadline=30)
    with trio.fail_after(30):
        while fabric.port("vm1").carrier != up:  # noqa: ASYNC110
            await trio.sleep(0.01)
