"""The command line's own words: help, and what `vnet exec` and `vnet attach` make of what they are given."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vnet import __main__
from vnet.cli import COMMANDS, attach, exec_, main, schema, words
from vnet.errors import BadInput


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples_and_fits_a_terminal(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    told = capsys.readouterr().out
    assert f"Examples:\n  vnet {command}" in told
    # What is to be copied from there is not folded.
    assert [line for line in told.splitlines() if len(line) > 80 and not line.startswith("  vnet ")] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("statsu", "vnet: error: there is no command 'statsu' (did you mean status?); see vnet --help"),
        ("status --jsn", "vnet status: error: unrecognized arguments: --jsn (did you mean --json?)"),
        ("--verzion", "vnet: error: unrecognized arguments: --verzion (did you mean --version?)"),
        ("schema lab.yaml", "vnet schema: error: unrecognized arguments: lab.yaml"),
    ],
)
def test_what_is_nearly_right_is_told(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(words.split())
    assert end.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == said


BEYOND = 99_999_999_999_999_999_999
"""More than 64 bits hold."""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (f"demo --size {BEYOND}", f"--size: found {BEYOND}, expected 1 to 1000000 MiB"),
        ("demo --size 0", "--size: found 0, expected 1 to 1000000 MiB"),
        (f"send web 00 -c {BEYOND}", f"--count: found {BEYOND}, expected 1 to 1000000"),
        (f"top -i {BEYOND}", "--interval: found 1e+20, expected 0.1 to 3600 seconds"),
        (
            f"capture -w x.pcapng -b packets:{BEYOND}",
            f"-b packets:{BEYOND}: expected a whole number from 1 to 1000000000000000",
        ),
        (
            f"capture -w x.pcapng --past {BEYOND}s",
            f"--past {BEYOND}s: expected all, or a time from 0 s to 365 d",
        ),
    ],
)
def test_numbers_that_are_too_large_are_told_in_a_line(
    words: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words.split()) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(said)


@pytest.mark.parametrize(
    ("words", "name", "argv"),
    [
        ("ip addr", None, "ip addr"),
        ("-- ip -n x addr", None, "ip -n x addr"),
        ("-n lab -- ls", "lab", "ls"),
        ("-n lab ls -l", "lab", "ls -l"),
        ("--name=lab ls -n 1", "lab", "ls -n 1"),
        ("git log -- file", None, "git log -- file"),
        ("-- -n", None, "-n"),
        ("-- -- x", None, "-- x"),
        ("", None, ""),
    ],
)
def test_a_fabrics_name_may_follow_the_guest_and_all_else_is_the_command(
    words: str, name: str | None, argv: str
) -> None:
    assert exec_.parted(words.split()) == (name, argv.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("-l ls", "-l is no option of vnet exec; a command comes after --"),
        ("--=x ls", "-- is no option"),
        ("-n", "-n: expected the fabric's name"),
    ],
)
def test_other_options_in_front_of_a_command_are_refused(words: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        exec_.parted(words.split())


def test_a_guests_keys_are_said_as_in_a_file() -> None:
    given = ["memory=1 GiB", "cpus=2", "disks=[{path: a.qcow2, snapshot: no}]", "append=a=b console=ttyS0"]
    assert attach.guest_keys(given) == {
        "memory": "1 GiB",
        "cpus": 2,
        "disks": [{"path": "a.qcow2", "snapshot": "no"}],
        "append": "a=b console=ttyS0",
    }


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("memory", "--set memory: expected KEY=VALUE"),
        ("=2", "--set =2: expected KEY=VALUE"),
        ("kind=netns", "--set kind=netns: --kind says that"),
        ("nics=[]", "--set nics=.*: --nic says that"),
        ("disks=[", r"--set disks=\[: not YAML: "),
    ],
)
def test_a_guests_keys_that_are_none_are_refused(given: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        attach.guest_keys([given])


def test_a_machines_files_are_where_the_command_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"memory": "1 GiB", "disks": [{"path": "a.qcow2"}, {"path": "/b"}]}
    assert attach.placed("vm", given, {"network": "red"}) == {
        "memory": "1 GiB",
        "disks": [{"path": f"{tmp_path}/a.qcow2"}, {"path": "/b"}],
    }
    with pytest.raises(BadInput, match=r'^guests.vm.memory: "lots", expected a size from 1 MiB '):
        attach.placed("vm", {"memory": "lots"}, {"network": "red"})


def test_ctrl_c_while_a_command_is_imported_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Finder:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "vnet.cli":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "vnet.cli")
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    assert __main__.main() == 130


def test_keys_of_a_nic_are_read_as_a_files_are() -> None:
    given = "kind=pcap,read=7,write=true,speed=0.5"
    assert attach.nic_keys(given) == {"kind": "pcap", "read": "7", "write": "true", "speed": 0.5}
    given = "kind=tap,name=10,offload=false,queues=2,fd=5"
    assert attach.nic_keys(given) == {"kind": "tap", "name": "10", "offload": False, "queues": 2, "fd": 5}
    assert attach.nic_keys("kind=stack,send_buffer=1 MiB") == {"kind": "stack", "send_buffer": "1 MiB"}
    with pytest.raises(BadInput, match="name twice"):
        attach.nic_keys("kind=tap,name=a,name=b")


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("", "stack"),
        ("--nic kind=stack,gso=false", "stack"),
        ("--nic kind=tap", "external"),
        ("--nic kind=tap --kind netns", "netns"),
    ],
)
def test_the_kind_of_a_guest_follows_from_its_nics(
    words: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Client:
        def __enter__(self) -> Client:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def call(self, _name: str, **given: Any) -> dict[str, Any]:
            asked.append(given["kind"])
            return {"port": "x.0", "kind": "", "carries": "", "mac": "", "ip": []}

    monkeypatch.setattr(attach.words, "client", lambda _name: Client())
    assert main(["attach", "x", "--network", "red", *words.split()]) == 0
    assert asked == [kind]


@pytest.mark.parametrize("many", [False, True])
def test_a_full_disk_behind_the_output_is_told_in_a_line(tmp_path: Path, many: bool) -> None:
    """What fits into the buffer is written at the end, and the rest at once."""
    (tmp_path / "lab.yaml").write_text(
        "{name: lab, networks: {red: {}}, guests: {a: {nics: [{network: red}]}}}"
    )
    with Path("/dev/full").open("w") as full:
        command = ["schema"] if many else ["check", str(tmp_path / "lab.yaml")]
        words = [sys.executable, "-m", "vnet", *command]
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, timeout=50, check=False)
    assert (done.returncode, done.stderr) == (1, f"vnet {command[0]}: No space left on device\n")


def test_what_fails_inside_a_nursery_is_told_in_a_line() -> None:
    with Path("/dev/full").open("w") as full:
        words = [sys.executable, "-m", "vnet", "demo", "--size", "1"]
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, timeout=50, check=False)
    assert (done.returncode, done.stderr) == (1, "vnet demo: No space left on device\n")


ASKED = """
import os, sys
from vnet import __main__, cli
cli.main = lambda: 0 if None not in (sys.stdin, sys.stdout, sys.stderr) else 1
code = __main__.main()
there = [os.readlink(f"/proc/self/fd/{number}") == "/dev/null" for number in range(3)]
os._exit(code or sum(yes << number for number, yes in enumerate(there)))
"""


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_standard_descriptors_that_are_closed_become_nobodys(closed: int) -> None:
    """Otherwise a lock or a socket that is opened first becomes one of them."""
    words = ["sh", "-c", f'exec "$0" -c "$1" {closed}<&-', sys.executable, ASKED]
    done = subprocess.run(words, stdin=subprocess.PIPE, capture_output=True, timeout=50, check=False)
    assert done.returncode == 1 << closed, done


@pytest.mark.parametrize(("wanted", "expected"), [(None, True), ("", True), ("1", False)])
def test_a_user_who_wants_no_colours_gets_none(
    wanted: str | None, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    if wanted is not None:
        monkeypatch.setenv("NO_COLOR", wanted)
    assert words.coloured() is expected


def test_what_the_system_refuses_is_told_in_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_given: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), "/var/lib/vnet")

    monkeypatch.setattr(schema, "run", refused)
    assert main(["schema"]) == 1
    assert capsys.readouterr().err == "vnet schema: /var/lib/vnet: Read-only file system\n"
