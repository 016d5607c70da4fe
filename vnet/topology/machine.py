"""The keys of a guest of kind `qemu`: the machine that vnet starts for it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path as File
from typing import TYPE_CHECKING, Any

import attrs

from nics.keys import Choice, Count, Flag, Key, Text
from nics.quantity import SIZE, TIME
from vnet.topology.model import Disk, Machine
from vnet.topology.problems import Path, Problem
from vnet.topology.shape import ListOf, Table

if TYPE_CHECKING:
    from vnet.topology.topology import Topology

FILE = Text("a path", r"[^\x00-\x1f]+")
MOST_NICS = 24
"""Places on the machine's bus, less those of what is there anyway and of eight disks."""
OURS = (
    *("-accel", "-chroot", "-cpu", "-daemonize", "-enable-kvm", "-incoming", "-kernel", "-initrd", "-append"),
    *(
        "-m",
        "-machine",
        "-M",
        "-name",
        "-netdev",
        "-nic",
        "-net",
        "-pidfile",
        "-runas",
        "-S",
        "-sandbox",
        "-smp",
    ),
    *("-no-shutdown", "-preconfig"),
)
"""Words of QEMU's that `args` may not have: keys say it, or vnet relies on its own."""

DISK = Table(
    "a disk",
    (
        Key(
            "path",
            FILE,
            "The image; a relative path starts at the topology file.",
            example="/srv/debian.qcow2",
            required=True,
        ),
        Key(
            "format",
            Choice(("qcow2", "raw", "vmdk", "vdi", "vhdx")),
            "Its format, which is never guessed from what the guest may have written. Left out: `qcow2` for a"
            " name that ends so, otherwise `raw`.",
            example="qcow2",
        ),
        Key(
            "snapshot",
            Flag(),
            "true: what the guest writes is thrown away when it ends. false: it is kept in the image.",
            example=False,
            default=True,
        ),
    ),
)

KEYS = (
    Key(
        "memory",
        attrs.evolve(SIZE, lowest=1 << 20, highest=1 << 42, examples=("512 MiB", "2 GiB")),
        "Of a guest of kind `qemu`, as all keys below: its memory.",
        example="512 MiB",
        default=256 << 20,
    ),
    Key("cpus", Count(1, 255, "a number of CPUs"), "How many it has.", example=2, default=1),
    Key(
        "disks",
        ListOf(DISK, "a list of disks", most=8),
        "Its disks; it boots from the first that it can.",
        example=[{"path": "/srv/debian.qcow2"}],
    ),
    Key(
        "kernel",
        FILE,
        "A Linux kernel to boot instead; a relative path starts at the topology file.",
        example="/boot/vmlinuz",
    ),
    Key("initrd", FILE, "With `kernel`: its initial file system.", example="/boot/initrd.img"),
    Key(
        "append",
        Text("a kernel's command line", r"[^\x00-\x1f]+"),
        "With `kernel`: its command line. The serial console is `ttyS0`.",
        example="console=ttyS0 root=/dev/vda1",
    ),
    Key(
        "accel",
        Choice(("auto", "kvm", "tcg")),
        "`kvm`: with the processor's help. `tcg`: without, slowly. `auto`: `kvm` where this user may use"
        " it, and the processor has VT-x or AMD-V.",
        example="tcg",
        default="auto",
    ),
    Key(
        "args",
        ListOf(Text("a word", r"[^\x00]+"), "a list of words", most=256),
        "Further words for `qemu-system-x86_64`, which vnet does not look into.",
        example=["-device", "virtio-rng-pci"],
    ),
    Key(
        "restart",
        Choice(("never", "on-failure")),
        "`on-failure`: it is started again when QEMU fails or is killed. A guest that shuts down stays down.",
        example="on-failure",
        default="never",
    ),
    Key(
        "stop_timeout",
        attrs.evolve(TIME, highest=3600 * 10**9, examples=("30 s", "2 min")),
        "How long it may take to shut down when it is asked to (ACPI's power button), before it is ended."
        " `0 s`: it is not asked.",
        example="30 s",
        default=10 * 10**9,
    ),
)
NAMES = tuple(key.name for key in KEYS)


def build(kind: str, values: Mapping[str, Any]) -> Machine | None:
    """What was read of a guest's keys; None: it is of another kind, and none was given."""
    given = {key: value for key, value in values.items() if key in NAMES}
    if kind != "qemu" and not given:
        return None
    if "args" in given:
        given["args"] = tuple(given["args"])
    # What is required may be missing when something else was wrong there.
    given["disks"] = tuple(Disk(**{"path": "", **disk}) for disk in given.get("disks", ()))
    return Machine(**given)


def placed(machine: Machine, folder: File) -> Machine:
    """The same with its files' paths absolute, relative ones starting at `folder`."""

    def place(path: str) -> str:
        return os.path.normpath(folder / path)

    return attrs.evolve(
        machine,
        kernel=machine.kernel and place(machine.kernel),
        initrd=machine.initrd and place(machine.initrd),
        disks=tuple(attrs.evolve(disk, path=place(disk.path)) for disk in machine.disks),
    )


def check(topology: Topology) -> Iterator[Problem]:
    """What a machine's keys have to do with one another and with the guest's kind."""
    for name, guest in topology.guests.items():
        path: Path = ("guests", name)
        machine = guest.machine
        if machine is None:
            continue
        if guest.kind != "qemu":
            because: tuple[Path, ...] = ((*path, "kind"),)
            given = [name for name in NAMES if getattr(machine, name) != getattr(Machine(), name)]
            for word in given or ["a machine's keys"]:
                place = (*path, word) if given else path
                yield Problem(
                    place, f"{word} for a guest of kind {guest.kind}", "kind: qemu", because=because
                )
            continue
        for key in ("initrd", "append"):
            if getattr(machine, key) is not None and machine.kernel is None:
                because = ((*path, "kernel"),)
                yield Problem((*path, key), f"{key} without kernel", "kernel: a path", because=because)
        for index, argument in enumerate(machine.args):
            if f"-{argument.lstrip('-')}" in OURS and argument.startswith("-"):
                expected = "words that vnet doesn't say itself"
                yield Problem((*path, "args", index), f"{argument}, which vnet says", expected)
        if len(guest.nics) > MOST_NICS:
            found = f"{len(guest.nics)} NICs of a guest of kind qemu"
            yield Problem((*path, "nics"), found, f"at most {MOST_NICS}")
