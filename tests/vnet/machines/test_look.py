"""What a machine needs of this host is told before anything is touched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio
import trio.testing

import vnet
from vnet import cli
from vnet.errors import BadInput
from vnet.machines import Machines, look
from vnet.topology import Topology

FILE = """name: lab
networks: {lan: {}}
guests:
  vm:
    kind: qemu
    kernel: vmlinuz
    disks: [{path: debian.qcow2}, {path: kept.raw, snapshot: false}]
    accel: kvm
    nics: [{network: lan}]
"""


def lines(file: Path) -> list[str]:
    topology = Topology.from_file(file)
    return [problem.line("", None) for problem in look.problems(topology.guests)]


def test_files_lie_beside_the_topology(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "program", lambda: "/usr/bin/qemu")
    monkeypatch.setattr(look, "KVM", tmp_path / "kvm")
    file = tmp_path / "lab.yaml"
    file.write_text(FILE)
    assert lines(file) == [
        f"guests.vm.accel: kvm, and {tmp_path}/kvm is not there, expected auto or tcg"
        " (or become a member of the group kvm)",
        f"guests.vm.kernel: {tmp_path}/vmlinuz: there is no such file",
        f"guests.vm.disks[0].path: {tmp_path}/debian.qcow2: there is no such file",
        f"guests.vm.disks[1].path: {tmp_path}/kept.raw: there is no such file",
    ]
    for name in ("kvm", "vmlinuz", "debian.qcow2"):
        (tmp_path / name).touch()
    (tmp_path / "kept.raw").mkdir()
    assert lines(file) == [f"guests.vm.disks[1].path: {tmp_path}/kept.raw: it is a folder"]


def test_without_qemu_up_refuses_and_check_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(look, "PROGRAMS", ("no-such-qemu",))
    file = tmp_path / "lab.yaml"
    file.write_text("name: lab\nnetworks: {lan: {}}\nguests:\n  vm: {kind: qemu, nics: [{network: lan}]}\n")
    what = "a guest of kind qemu, and there is no QEMU here (Debian has it in qemu-system-x86)"
    line = f"{file}:4:14: guests.vm.kind: {what}"
    assert cli.main(["up", os.fspath(file)]) == 2
    assert capsys.readouterr().err == f"{line}\n"
    assert cli.main(["check", os.fspath(file)]) == 0
    assert capsys.readouterr().err == f"note: {line}\n"


def test_virtual_time_is_not_a_machine_s() -> None:
    topology = Topology("lab").network("lan").guest("vm", kind="qemu", network="lan")

    async def main() -> None:
        with pytest.raises(BadInput, match=r"guests\.vm\.kind: qemu guests have a clock of their own"):
            async with vnet.Fabric(topology):
                raise AssertionError

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.parametrize(
    ("flags", "there", "uses"),
    [
        ("fpu vmx de", True, True),
        ("fpu svm de", True, True),
        ("fpu de", True, False),
        ("fpu vmx", False, False),
    ],
)
def test_auto_takes_kvm_where_any_kernel_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, there: bool, uses: bool
) -> None:
    monkeypatch.setattr(look, "KVM", tmp_path / "kvm")
    monkeypatch.setattr(look, "CPUS", tmp_path / "cpuinfo")
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags : {flags}\n\nprocessor : 1\nflags : {flags}\n")
    if there:
        (tmp_path / "kvm").touch()
    assert look.has_kvm() is uses


async def test_auto_is_settled_before_the_sandbox_closes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for what in ("KVM", "CPUS"):
        monkeypatch.setattr(look, what, tmp_path / what)
        (tmp_path / what).write_text("flags : fpu de\n")
    machines = Machines("lab", lambda: tmp_path)
    await machines.prepare(open_to_others=False)
    # As in the sandbox: what can't be read says nothing.
    (tmp_path / "CPUS").unlink()
    assert look.has_kvm()
    assert not machines.has_kvm
