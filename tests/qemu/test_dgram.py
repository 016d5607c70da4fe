"""QEMU's `-netdev dgram`: two real guests with all other kinds on one fabric."""

from __future__ import annotations

import pytest

from tests.needs import needs_qemu, needs_root
from tests.qemu import scenario

pytestmark = [needs_qemu, needs_root, pytest.mark.deadline(600)]


@pytest.mark.parametrize("model", ["virtio-net-pci", "vmxnet3"])
async def test_two_guests_with_all_kinds_of_others(model: str) -> None:
    nics = {
        name: {"kind": "dgram", "local": f"{name}.fabric", "remote": f"{name}.qemu"}
        for name in ("vm1", "vm2")
    }
    await scenario.two_guests(nics, model)
