"""Guests of kind `qemu`: real machines that vnet starts, watches, changes and stops."""

from __future__ import annotations

import copy
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import vnet
from tests.needs import needs_qemu, needs_tool
from tests.qemu import lab
from tests.qemu.machine import MEMORY
from tests.qemu.started import BOOT, Shell, answers, command, document, machine, qemu, shell, until
from vnet import runtime
from vnet.errors import BadInput, VnetError

pytestmark = [needs_qemu, needs_tool("qemu-ga"), pytest.mark.deadline(200)]


async def test_a_machine_from_start_to_end() -> None:
    two = document(vm=machine())
    with lab.runtime() as folder:
        async with vnet.Fabric.from_dict(two, runtime=folder) as fabric:
            vm = qemu(fabric)
            (told,) = fabric.status()["machines"]
            assert (told["guest"], told["state"], told["accel"]) == ("vm", "running", "tcg")
            pid = told["pid"]
            async with shell(vm) as console:
                await console.run("ip addr add 10.0.0.10/24 dev eth0; ip link set eth0 up")
                await answers(fabric, "10.0.0.10")
                assert "1 packets received" in await console.run("ping -c 1 -W 20 10.0.0.11")
                assert fabric.port("vm").wanted.mac in await console.run("cat /sys/class/net/eth0/address")
                assert "CapEff:\t0000000000000000" in Path(f"/proc/{pid}/status").read_text()  # noqa: ASYNC240

                # Commands, by its agent.
                assert await vm.run("sh", "-c", "echo $((6 * 7))") == "42\n"
                failed = await vm.outcome("sh", "-c", "echo no >&2; exit 7")
                assert (failed.code, failed.output, failed.errors) == (7, b"", b"no\n")
                with pytest.raises(VnetError, match=r"vm: its agent: .*no-such-program"):
                    await vm.run("no-such-program")

                # More NICs while it runs, of two kinds, the second with an MTU of its own.
                more = copy.deepcopy(two)
                more["guests"]["vm"]["nics"] += [
                    {"network": "lan", "ip": "10.0.0.12", "nic": {"kind": "stream", "socket": "st.sock"}},
                    {"network": "lan", "ip": "10.0.0.13", "mtu": 1400},
                ]
                done = await fabric.apply(vnet.Topology.from_dict(more))
                assert done == ["add port vm.1 (stream) in lan", "add port vm.2 (vhost-user) in lan"]
                await console.run("until [ -e /sys/class/net/eth2 ]; do usleep 20000; done")
                assert "1400" in await console.run("cat /sys/class/net/eth2/mtu")
                for number, host in ((1, 12), (2, 13)):
                    # One at a time: the guest would answer for each of its addresses at any NIC.
                    await console.run(
                        f"ip addr flush dev eth{number - 1}; ip link set eth{number - 1} down;"
                        f" ip addr add 10.0.0.{host}/24 dev eth{number}; ip link set eth{number} up"
                    )
                    await answers(fabric, f"10.0.0.{host}")
                assert await fabric.apply(vnet.Topology.from_dict(two)) == [
                    "remove port vm.2",
                    "remove port vm.1",
                ]
                assert "eth1" not in await console.run("ls /sys/class/net")

            # It is another machine from the next start on, which is at once.
            other = copy.deepcopy(two)
            other["guests"]["vm"]["memory"] = f"{MEMORY + 16} MiB"
            done = await fabric.apply(vnet.Topology.from_dict(other))
            assert done[0] == "stop vm, to be started anew"
            assert done[-1] == "start vm"
            assert vm.state == "running"

            # Switched off, and on.
            await vm.stop()
            assert vm.state == "stopped"
            await until(lambda: not fabric.port("vm").carrier)
            await vm.start()
            (told,) = fabric.status()["machines"]
            assert told["state"] == "running"

            # Killed by somebody: it is told, and stays down.
            os.kill(told["pid"], signal.SIGKILL)
            await until(lambda: vm.state == "killed")
            (told,) = fabric.status()["machines"]
            assert (told["exit"], told["pid"]) == (-signal.SIGKILL, None)
            with pytest.raises(VnetError, match="vm is killed"):
                await vm.reset()

            # Unless it is to be started again; that takes no restart.
            kept = copy.deepcopy(other)
            kept["guests"]["vm"]["restart"] = "on-failure"
            assert await fabric.apply(vnet.Topology.from_dict(kept)) == [
                "change guest vm: restart never -> on-failure"
            ]
            await vm.start()
            before = fabric.status()["machines"][0]["pid"]
            os.kill(before, signal.SIGKILL)
            await until(lambda: vm.state == "running" and fabric.status()["machines"][0]["pid"] != before)
            assert fabric.status()["machines"][0]["restarts"] == 1

            # A guest that shuts down by itself stays down.
            async with shell(vm) as console:
                await console.stream.send_all(b"poweroff -f\n")
                await until(lambda: vm.state == "shut down")
            last = fabric.status()["machines"][0]
            assert last["exit"] == 0
        assert not folder.exists()


BOOT_SECTOR = (
    b"\x31\xc0\x8e\xd8"  # xor ax, ax; mov ds, ax
    b"\xbe\x16\x7c\xfc"  # mov si, 7c00 + 22; cld
    b"\xac\x84\xc0\x74\x06"  # next: lodsb; test al, al; jz end
    b"\xba\xf8\x03\xee\xeb\xf5"  # mov dx, COM1; out dx, al; jmp next
    b"\xf4\xeb\xfd"  # end: hlt; jmp end
    b"hello from disk\0"
)
"""Says so on the serial console."""


async def test_a_machine_boots_from_its_disk(tmp_path: Path) -> None:
    image = BOOT_SECTOR.ljust(510, b"\0") + b"\x55\xaa"
    disks = [tmp_path / "a, b.raw", tmp_path / "kept.raw"]
    for disk in disks:
        disk.write_bytes(image.ljust(1 << 20, b"\0"))
    wanted = {"kind": "qemu", "memory": "32 MiB", "cpus": 2, "stop_timeout": "0 s"}
    wanted["disks"] = [{"path": str(disks[0])}, {"path": str(disks[1]), "snapshot": False}]
    wanted["nics"] = [{"network": "lan"}]
    with lab.runtime() as folder:
        async with (
            vnet.Fabric.from_dict(document(vm=wanted), runtime=folder) as fabric,
            qemu(fabric).console() as stream,
        ):
            await Shell(stream).until(b"hello from disk")


async def test_a_machine_that_can_not_start_leaves_nothing() -> None:
    wrong = document(good=machine(nics=[{"network": "lan"}]), bad=machine(args=["-device", "no-such-thing"]))
    with lab.runtime() as folder:
        fabric = vnet.Fabric.from_dict(wrong, runtime=folder)
        with pytest.raises(VnetError) as error:
            async with fabric:
                raise AssertionError
        assert str(error.value).startswith("guests.bad: QEMU: ")
        assert "'no-such-thing' is not a valid device model name" in str(error.value)
        assert not fabric.machines.by_name
        # What is not there is told before anything is touched.
        async with vnet.Fabric.from_dict(document(), runtime=folder) as fabric:
            missing = document(vm=machine(kernel="/no/kernel", disks=[{"path": "/no/disk"}]))
            with pytest.raises(BadInput) as refused:
                await fabric.apply(vnet.Topology.from_dict(missing))
            assert refused.value.args == (
                "guests.vm.kernel: /no/kernel: there is no such file",
                "guests.vm.disks[0].path: /no/disk: there is no such file",
            )
            assert list(fabric.guests) == ["web"]


def ended(pid: int) -> bool:
    """Whether a process is gone, somewhat later at most."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], 50)[0])
    finally:
        os.close(handle)


def test_in_the_sandbox_and_when_the_fabric_is_killed() -> None:
    wanted = document(vm=machine())
    name = wanted["name"]

    def status() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(command("status", name, "--json"))
        return found

    command("up", "-", "-d", given=wanted)
    try:
        first = status()
        assert first["sandbox"]["mode"] == "default"
        assert "machine vm: running for " in command("status", name)
        # Typed into its console, by a pipe; a boot is what it waits for.
        deadline = time.monotonic() + BOOT
        while "/ # " not in command("console", "vm", "--log", "-n", name):
            assert time.monotonic() < deadline
        typed = subprocess.Popen(
            [sys.executable, "-m", "vnet", "console", "vm", "-n", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert typed.stdin is not None
        assert typed.stdout is not None
        typed.stdin.write(b"ip addr add 10.0.0.10/24 dev eth0; ip link set eth0 up; echo do''ne\n")
        typed.stdin.flush()
        while b"done" not in typed.stdout.readline():
            pass
        typed.stdin.write(b"\x1d")
        typed.stdin.close()
        assert typed.wait(50) == 0
        typed.stdout.close()
        assert "1 received" in command("ping", "web", "10.0.0.10", "-c", "1", "-W", "20", "-n", name)

        assert "inet 10.0.0.10/24" in command("exec", "vm", "-n", name, "--", "ip", "addr")
        assert command("exec", "-n", name, "vm", "--", "sh", "-c", "exit 3", code=3) == ""

        assert "vm is qemu: vnet plugs it in itself" in command("connect", "vm", "-n", name, code=2)
        assert "vnet exec vm -- ping 10.0.0.11" in command("ping", "vm", "web", "-n", name, code=2)

        # A NIC comes and goes; the machine restarts; another machine is not started.
        more = copy.deepcopy(wanted)
        more["guests"]["vm"]["nics"].append({"network": "lan"})
        assert command("apply", "-", given=more) == "add port vm.1 (vhost-user) in lan\n"
        assert command("apply", "-", given=wanted) == "remove port vm.1\n"
        assert command("power", "off", "vm", "--now", "-n", name) == "vm is stopped\n"
        assert command("power", "on", "vm", "-n", name) == "vm is running\n"
        more["guests"]["other"] = machine(nics=[{"network": "lan"}])
        refused = command("apply", "-", given=more, code=2)
        assert re.match(r"<stdin>:1:\d+: guests\.other: this fabric starts only the machines that ", refused)
        assert "`engine: {keep: [qemu]}`" in refused
        assert status()["sandbox"]["refused"] == {}
        assert "commands run in guests of kind netns and qemu" in command(
            "exec", "-n", name, "web", "--", "ls", code=2
        )

        # Killed, the fabric takes its machines along, and the next one begins anew.
        second = status()
        os.kill(second["pid"], signal.SIGKILL)
        assert ended(second["machines"][0]["pid"])
        command("up", "-", "-d", given=wanted)
        third = status()
        assert third["machines"][0]["state"] == "running"
    finally:
        command("down", name)
    assert ended(third["machines"][0]["pid"])
    assert not (runtime.base() / name).exists()
