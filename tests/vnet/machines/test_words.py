"""What QEMU is told: its command line, and its monitor for each NIC."""

from __future__ import annotations

from typing import Any

import pytest

from vnet.connect.qemu import PLUGGABLE, plug
from vnet.errors import BadInput
from vnet.machines.words import command
from vnet.topology.model import Disk, Machine


def words(machine: Machine, *, kvm: bool = True) -> str:
    return " ".join(command("qemu", "lab/vm", machine, kvm=kvm))


def test_a_machine_is_stopped_closed_and_shares_its_memory() -> None:
    said = words(Machine(memory=512 << 20, cpus=2))
    assert said.startswith("qemu -name lab/vm -machine pc,usb=off,memory-backend=memory ")
    assert "memory-backend-memfd,id=memory,size=524288k,share=on -m size=524288k " in said
    assert "-accel kvm -cpu max -smp 2 -nodefaults -no-user-config -display none -S -sandbox on,obs" in said
    assert "spawn=deny" in said
    assert "-accel tcg" in words(Machine(), kvm=False)


def test_a_disk_has_the_format_of_its_name_and_a_comma_no_meaning() -> None:
    said = words(Machine(disks=(Disk("/a,b.qcow2"), Disk("/c", snapshot=False), Disk("/d", "vdi"))))
    assert (
        "file=/a,,b.qcow2,if=none,id=disk0,format=qcow2,snapshot=on -device virtio-blk-pci,drive=disk0"
        in said
    )
    assert "file=/c,if=none,id=disk1,format=raw,snapshot=off" in said
    assert "format=vdi" in said
    assert words(Machine(), kvm=True).count("-drive") == 0


def test_a_kernel_and_further_words() -> None:
    argv = command(
        "qemu", "x", Machine(kernel="/k", initrd="/i", append="a b", args=("-vga", "std")), kvm=True
    )
    disk = words(Machine(kernel="/k", disks=(Disk("/d"),)))
    assert "virtio-blk-pci,drive=disk0 -kernel /k" in disk  # no bootindex: QEMU's own entry has the first
    assert argv[-8:] == ["-kernel", "/k", "-initrd", "/i", "-append", "a b", "-vga", "std"]


def facts(kind: str, **keys: Any) -> dict[str, Any]:
    port = {"port": "vm.0", "kind": kind, "mac": "02:00:00:00:00:0a", "mtu": 1500, "carries": ""}
    return {**port, "nic": keys, "runtime": "/run"}


GIVEN = {
    "vhost-user": facts("vhost-user", socket="a,b.sock", role="server", queues=2),
    "stream": facts("stream", socket="a,b.sock", role="server"),
    "dgram": facts("dgram", local="ours", remote="theirs"),
    "vde": facts("vde", directory="vm.vde", role="server"),
}


@pytest.mark.parametrize("kind", PLUGGABLE)
def test_the_monitor_is_told_what_the_command_line_says(kind: str) -> None:
    made = plug(GIVEN[kind], "7")
    assert made.netdev["id"] == made.device["netdev"] == "net7"
    line = " ".join(made.words())
    assert f"-netdev {kind},id=net7" in line
    assert "-device virtio-net-pci,netdev=net7,mac=02:00:00:00:00:0a" in line


def test_vhost_user_has_a_socket_of_its_own() -> None:
    made = plug(GIVEN["vhost-user"], "7")
    assert made.chardev is not None
    assert made.chardev.command() == {
        "id": "chr7",
        "backend": {
            "type": "socket",
            "data": {"addr": {"type": "unix", "data": {"path": "/run/a,b.sock"}}, "server": False},
        },
    }
    assert made.chardev.word() == "socket,id=chr7,path=/run/a,,b.sock,reconnect=1"
    assert (made.netdev["queues"], made.device["mq"], made.device["vectors"]) == (2, True, 6)


def test_others_are_refused() -> None:
    with pytest.raises(BadInput, match=r"vm\.0 is of kind tap, which QEMU can't be plugged into"):
        plug(facts("tap", name="tap0"))
