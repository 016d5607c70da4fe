"""What a machine needs of this host, looked for before anything is touched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path as File
from typing import Protocol

from vnet.topology.model import Machine
from vnet.topology.problems import Path, Problem

PROGRAMS = ("qemu-system-x86_64", "/usr/libexec/qemu-kvm")
"""What QEMU is called here and there."""
KVM = File("/dev/kvm")
CPUS = File("/proc/cpuinfo")


class Guest(Protocol):
    """A guest of a topology, resolved or not."""

    @property
    def machine(self) -> Machine | None:
        """What vnet starts for it."""


def program() -> str | None:
    """Where QEMU is; None: nowhere."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


def may_use_kvm() -> bool:
    """Whether this user may have the processor's help."""
    return os.access(KVM, os.R_OK | os.W_OK)


def runs_anything() -> bool:
    """Whether KVM runs what the processor would.

    With neither VT-x nor AMD-V, as on clouds whose KVM is PVM, it runs only kernels made for it; others hang.
    """
    try:
        lines = CPUS.read_text().splitlines()
    except OSError:
        return True
    flags = next((line.split() for line in lines if line.startswith("flags")), ["vmx"])
    return "vmx" in flags or "svm" in flags


def has_kvm() -> bool:
    """What `accel: auto` goes by."""
    return may_use_kvm() and runs_anything()


def problems(guests: Mapping[str, Guest]) -> Iterator[Problem]:
    """What is missing for the machines among `guests`."""
    for name, guest in guests.items():
        if guest.machine is None:
            continue
        path: Path = ("guests", name)
        if program() is None:
            found = "a guest of kind qemu, and there is no QEMU here"
            yield Problem((*path, "kind"), found, hint="Debian has it in qemu-system-x86")
        if guest.machine.accel == "kvm" and not may_use_kvm():
            found = f"kvm, and {KVM} {'may not be used' if KVM.exists() else 'is not there'}"
            yield Problem((*path, "accel"), found, "auto or tcg", "or become a member of the group kvm")
        yield from _files(guest.machine, path)


def _files(machine: Machine, path: Path) -> Iterator[Problem]:
    files = [((*path, key), getattr(machine, key), True) for key in ("kernel", "initrd")]
    files += [
        ((*path, "disks", index, "path"), disk.path, disk.snapshot)
        for index, disk in enumerate(machine.disks)
    ]
    for place, file, reads in files:
        if file is None:
            continue
        if not os.path.isfile(file) and not File(file).is_block_device():  # noqa: PTH113
            what = "it is a folder" if os.path.isdir(file) else "there is no such file"  # noqa: PTH112
            yield Problem(place, f"{file}: {what}")
        elif not os.access(file, os.R_OK if reads else os.R_OK | os.W_OK):
            yield Problem(place, f"{file}: it may not be {'read' if reads else 'written'}")
