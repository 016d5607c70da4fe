"""The command line of a machine: everything but its NICs, which are plugged in before it runs. Pure."""

from __future__ import annotations

from pathlib import PurePath

from vnet.connect.qemu import word
from vnet.topology.model import Disk, Machine

SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"


def command(program: str, name: str, machine: Machine, *, kvm: bool) -> list[str]:
    """The words that start `machine`, stopped before its first instruction.

    Its memory is a file that can be shared: NICs of kind vhost-user reach into it, and one may come later.
    """
    size = machine.memory >> 10
    argv = [program, *("-name", word({"": name})), *("-machine", "pc,usb=off,memory-backend=memory")]
    argv += ["-object", f"memory-backend-memfd,id=memory,size={size}k,share=on", "-m", f"size={size}k"]
    argv += ["-accel", "kvm" if kvm else "tcg", "-cpu", "max", "-smp", str(machine.cpus)]
    argv += ["-nodefaults", "-no-user-config", "-display", "none", "-S", "-sandbox", SANDBOX]
    argv += ["-device", "virtio-serial-pci"]
    for number, disk in enumerate(machine.disks):
        # With `-kernel`, QEMU has an entry of its own to boot from, the first.
        argv += _disk(number, disk, boots=machine.kernel is None)
    for option in ("kernel", "initrd", "append"):
        if (value := getattr(machine, option)) is not None:
            argv += [f"-{option}", value]
    return argv + list(machine.args)


def _disk(number: int, disk: Disk, *, boots: bool) -> list[str]:
    kind = disk.format or ("qcow2" if PurePath(disk.path).suffix == ".qcow2" else "raw")
    drive = {
        "file": disk.path,
        "if": "none",
        "id": f"disk{number}",
        "format": kind,
        "snapshot": disk.snapshot,
    }
    device = {"": "virtio-blk-pci", "drive": f"disk{number}"} | ({"bootindex": number} if boots else {})
    return ["-drive", ",".join(f"{key}={word({'': value})}" for key, value in drive.items()), "-device",
            word(device)]  # fmt: skip
