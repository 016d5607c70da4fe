"""What machines that vnet starts are made of: kinds of NICs, disks that stay or don't, the power button."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import trio

import vnet
from tests.needs import needs_qemu
from tests.qemu import lab
from tests.qemu.started import answers, command, document, machine, qemu, shell

pytestmark = [needs_qemu, pytest.mark.deadline(120)]

NICS: dict[str, dict[str, Any]] = {
    "vhost-user": {"kind": "vhost-user", "socket": "vhost.sock", "queues": 2},
    "stream": {"kind": "stream", "socket": "stream.sock"},
    "dgram": {"kind": "dgram", "local": "d.sock", "remote": "q.sock"},
    "vde": {"kind": "vde", "directory": "vde"},
}


async def test_every_kind_of_nic() -> None:
    wanted = document(vm=machine(cpus=2, nics=[]))
    for number, (kind, nic) in enumerate(NICS.items()):
        # Each in a network of its own: a guest answers for all of its addresses at any NIC.
        subnet = f"10.0.{number + 1}"
        wanted["networks"][kind] = {"subnets": [f"{subnet}.0/24"]}
        keys = {"nic": nic, "ip": f"{subnet}.10"}
        wanted["guests"]["vm"]["nics"].append({"network": kind, **keys})
        wanted["guests"][f"by-{kind}"] = {"nics": [{"network": kind, "ip": f"{subnet}.11"}]}
    with lab.runtime() as folder:
        async with (
            vnet.Fabric.from_dict(wanted, runtime=folder) as fabric,
            shell(qemu(fabric)) as console,
        ):
            for number, kind in enumerate(NICS):
                address = f"10.0.{number + 1}.10"
                await console.run(f"ip addr add {address}/24 dev eth{number}; ip link set eth{number} up")
                await answers(fabric, address, by=f"by-{kind}")
                assert fabric.port(f"vm.{number}").status()["kind"] == kind
            queues = (await console.run("ls -d /sys/class/net/eth0/queues/rx-*")).split()
            assert [queue.rpartition("/")[2] for queue in queues] == ["rx-0", "rx-1"]
            assert "rx-1" not in await console.run("ls /sys/class/net/eth1/queues")


CLUSTER = 1 << 16


def qcow2(size: int) -> bytes:
    """An empty image of `size` bytes (docs/interop/qcow2.txt of QEMU, version 2): header, table of blocks of
    reference counts, one such block, and the first table of where clusters are, which are nowhere yet.
    """
    bits, tables = CLUSTER.bit_length() - 1, -(-size // (CLUSTER * CLUSTER // 8))
    header = struct.pack(
        ">4sIQIIQIIQQIIQ", b"QFI\xfb", 2, 0, 0, bits, size, 0, tables, 3 * CLUSTER, CLUSTER, 1, 0, 0
    )
    clusters = (header, struct.pack(">Q", 2 * CLUSTER), struct.pack(">4H", 1, 1, 1, 1), b"")
    return b"".join(cluster.ljust(CLUSTER, b"\0") for cluster in clusters)


async def test_what_is_written_to_disks_stays_or_does_not(tmp_path: Path) -> None:
    kept, thrown = tmp_path / "kept.qcow2", tmp_path / "thrown.qcow2"
    for disk in (kept, thrown):
        disk.write_bytes(qcow2(16 << 20))
    disks = [{"path": str(kept), "snapshot": False}, {"path": str(thrown)}]
    with lab.runtime() as folder:
        async with vnet.Fabric.from_dict(
            document(vm=machine(disks=disks, stop_timeout="10 min")), runtime=folder
        ) as fabric:
            vm = qemu(fabric)
            async with shell(vm) as console:
                for device in ("vda", "vdb"):
                    await console.run(f"echo to stay | dd of=/dev/{device} seek=9 conv=fsync")
                    assert "to stay" in await console.run(f"dd if=/dev/{device} skip=9 count=1 | tr -d '\\0'")
                await console.run(
                    "until ls -l /proc/$(pidof acpid)/fd | grep -q /dev/input; do usleep 20000; done"
                )
            # Its button is pushed, which nobody but the guest answers so soon.
            with trio.fail_after(60):
                await vm.stop()
            assert vm.state == "stopped"
    assert thrown.read_bytes() == qcow2(16 << 20)
    assert b"to stay" in kept.read_bytes()


def test_one_more_while_the_fabric_runs(tmp_path: Path) -> None:
    wanted = document() | {"engine": {"keep": ["qemu"]}}
    name = wanted["name"]
    (tmp_path / "disk.raw").write_bytes(bytes(1 << 20))
    keys = ["memory=32 MiB", "accel=tcg", "stop_timeout=0 s", "disks=[{path: disk.raw}]"]
    attach = ["attach", "vm", "--kind", "qemu", "--network", "lan", "-n", name]
    command("up", "-", "-d", given=wanted)
    try:
        said = command(*attach, "--set", "disks=[{path: nowhere}]", code=2, folder=tmp_path)
        assert f"guests.vm.disks[0].path: {tmp_path}/nowhere: there is no such file" in said
        said = command(*attach, *(word for key in keys for word in ("--set", key)), folder=tmp_path)
        assert said.startswith("vm.0 is up: vhost-user, ")
        state = f'vnet_machine_state{{fabric="{name}",guest="vm",state="running"}} 1'
        assert state in command("metrics", name)
        assert command("power", "off", "vm", "-n", name) == "vm is stopped\n"
        assert command("detach", "vm", "-n", name) == "vm is gone.\n"
        assert json.loads(command("status", name, "--json"))["machines"] == []
    finally:
        command("down", name)


def test_auto_is_in_the_sandbox_what_it_was_before() -> None:
    one = machine(accel="auto", nics=[{"network": "lan"}])
    name = document()["name"]

    def accels() -> list[str]:
        return [told["accel"] for told in json.loads(command("status", name, "--json"))["machines"]]

    command("up", "-", "-d", given=document(vm=one))
    try:
        before = accels()
        assert "remove guest vm\n" in command("apply", "-", given=document())
        # Another command line than that of before would be refused.
        command("apply", "-", given=document(vm=one))
        assert accels() == before
    finally:
        command("down", name)
    command("up", "-", "-d", given=document(vm=one) | {"engine": {"keep": ["qemu"]}})
    try:
        command("apply", "-", given=document(vm=one, more=one) | {"engine": {"keep": ["qemu"]}})
        assert accels() == before * 2
    finally:
        command("down", name)
