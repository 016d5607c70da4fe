"""The runtime folder: one holder, private, and what a crash left is seen."""

import fcntl
import os
import shutil
import stat

import pytest

from vnet import runtime, state
from vnet.cli import main, words
from vnet.control import server
from vnet.control.client import Client
from vnet.errors import BadInput, VnetError

BASE = runtime.base


@pytest.fixture(autouse=True)
def base(tmp_path, monkeypatch):
    folder = tmp_path / "vnet"
    monkeypatch.setattr(runtime, "base", lambda: folder)
    return folder


def test_one_fabric_of_a_name_at_a_time():
    with runtime.Runtime("lab"):
        assert runtime.running() == ["lab"]
        with pytest.raises(runtime.Busy, match="vnet down lab"), runtime.Runtime("lab"):
            pass
    assert runtime.running() == []
    with runtime.Runtime("lab"):
        pass


def test_the_folder_is_private_and_gone_afterwards(base):
    with runtime.Runtime("lab") as held:
        for folder in (base, held.path):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not base.exists()


def test_a_folder_that_others_could_write_to_is_closed_to_them(base):
    base.mkdir(mode=0o777)
    base.chmod(0o777)
    with runtime.Runtime("lab"):
        assert stat.S_IMODE(base.stat().st_mode) == 0o700


def test_what_is_above_a_folder_of_ones_choice_stays_as_it_is(tmp_path):
    above = tmp_path / "above"
    above.mkdir()
    above.chmod(0o755)
    with runtime.Runtime("lab", above / "lab") as held:
        assert stat.S_IMODE(above.stat().st_mode) == 0o755
        assert stat.S_IMODE(held.path.stat().st_mode) == 0o700
    assert [*above.iterdir()] == []


def test_a_link_in_the_folders_place_is_refused(base, tmp_path):
    base.mkdir(mode=0o700)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (base / "lab").symlink_to(elsewhere)
    with pytest.raises(VnetError, match="not a folder of yours"), runtime.Runtime("lab"):
        pass


def test_the_folder_of_a_user_is_the_same_in_every_shell(monkeypatch, tmp_path):
    monkeypatch.setattr(runtime.os, "geteuid", lambda: 4711)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/4711")
    assert str(BASE()) == "/run/user/4711/vnet"
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    for said in ("", "relative"):
        monkeypatch.setenv("XDG_RUNTIME_DIR", said)
        assert str(BASE()) == "/tmp/vnet-4711"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert str(BASE()) == "/tmp/vnet-4711"


def test_a_folder_that_is_somebody_else_s_has_no_fabric_of_ours(base, monkeypatch):
    with runtime.Runtime("lab"):
        monkeypatch.setattr(runtime.os, "geteuid", lambda: base.stat().st_uid + 1)
        assert runtime.running() == []
        with pytest.raises(
            VnetError, match=f"{base} is not a folder of yours: remove it, or set XDG_RUNTIME"
        ):
            runtime.private(base)


def test_what_root_is_told_to_do_has_an_effect(base, monkeypatch):
    base.touch()
    for user, remedy in ((0, ""), (4711, ": set XDG_RUNTIME_DIR to a folder of yours")):
        monkeypatch.setattr(runtime.os, "geteuid", lambda user=user: user)
        with pytest.raises(VnetError) as told:
            runtime.private(base / "lab")
        assert str(told.value) == f"{base / 'lab'} can't be made: Not a directory{remedy}"


def test_a_crash_is_seen_and_swept(base):
    held = runtime.Runtime("lab").__enter__()
    (held.path / "vm.sock").touch()
    held.note(["vnet-lab-nobody"])
    os.close(held._lock)  # what the kernel does when the process dies
    assert runtime.running() == []
    assert runtime.crashed() == ["lab"]
    with runtime.Runtime("lab") as again:
        assert again.clean() == []
        assert sorted(entry.name for entry in again.path.iterdir()) == [runtime.LOCK]
    assert runtime.crashed() == []


def test_the_only_fabric_needs_no_name():
    with pytest.raises(BadInput, match="vnet up"):
        runtime.the_one(None)
    with runtime.Runtime("a"):
        assert runtime.the_one(None) == "a"
        with runtime.Runtime("b"), pytest.raises(BadInput, match="a, b"):
            runtime.the_one(None)
        with pytest.raises(BadInput, match="running: a"):
            runtime.the_one("c")


@pytest.mark.parametrize("at", ["open", "flock"])
def test_a_folder_that_goes_while_it_is_taken_is_made_anew(base, monkeypatch, at):
    module = os if at == "open" else fcntl
    call, gone = getattr(module, at), []

    def removed_first(*arguments, **options):
        if not gone and str(arguments[0]).endswith("lock" if at == "open" else ""):
            gone.append(True)
            shutil.rmtree(base)
        return call(*arguments, **options)

    monkeypatch.setattr(module, at, removed_first)
    with runtime.Runtime("lab"):
        assert gone
        assert runtime.running() == ["lab"]
        assert stat.S_IMODE(base.stat().st_mode) == 0o700
        with pytest.raises(runtime.Busy), runtime.Runtime("lab"):
            pass


@pytest.mark.parametrize("error", [FileExistsError, FileNotFoundError])
def test_folders_are_private_above_too_and_made_again_when_they_go(base, monkeypatch, error):
    make, failed = runtime.Path.mkdir, []

    def fails_first(*arguments, **options):
        if not failed:
            failed.append(True)
            raise error
        make(*arguments, **options)

    monkeypatch.setattr(runtime.Path, "mkdir", fails_first)
    runtime.private(base / "a" / "b")
    for folder in (base, base / "a", base / "a" / "b"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_who_looks_is_no_fabric_and_is_waited_for(base, monkeypatch):
    (base / "lab").mkdir(parents=True)
    (base / "lab" / runtime.LOCK).touch()
    look, looked = os.close, []

    def while_looking(descriptor):
        # Others look at this moment: neither is in the other's way.
        if not looked:
            looked.append(True)
            assert not runtime.is_running(base / "lab")
            monkeypatch.setattr(runtime.time, "sleep", lambda _: look(descriptor) or looked.append(True))
            with runtime.Runtime("lab"):
                assert runtime.is_running(base / "lab")
            return
        look(descriptor)

    monkeypatch.setattr(runtime.os, "close", while_looking)
    assert not runtime.is_running(base / "lab")
    assert len(looked) == 2


def test_down_does_not_wait_for_a_stuck_fabric(capsys, monkeypatch):
    monkeypatch.setattr(
        words, "client", lambda name: Client(runtime.base() / name / runtime.CONTROL, patience=0.01)
    )
    with runtime.Runtime("lab") as held, server.listen(held.path / runtime.CONTROL):
        assert main(["down", "lab"]) == 1
    silent = f"the fabric (process {os.getpid()}) does not answer"
    assert capsys.readouterr().err == f"vnet down: {silent}: kill it (-KILL), then vnet down lab\n"


def test_what_can_not_be_noted_is_told_with_its_place_and_what_is_noted_needs_no_room():
    with runtime.Runtime("lab") as held:
        held.note([])
        assert [entry.name for entry in held.path.iterdir()] == [runtime.LOCK]
        held.note(["vnet-lab.b", "vnet-lab.a"])
        noted = held.path / runtime.NAMESPACES
        assert noted.read_text() == "vnet-lab.a\nvnet-lab.b\n"
        fresh = held.path / f"{runtime.NAMESPACES}.new"
        fresh.mkdir()
        held.note(["vnet-lab.a", "vnet-lab.b"])
        with pytest.raises(VnetError, match=f"{noted} can't be written: Is a directory"):
            held.note(["vnet-lab.a"])
        fresh.rmdir()
        held.note(["vnet-lab.a"])
        assert noted.read_text() == "vnet-lab.a\n"


def test_down_keeps_the_log_of_a_crash_and_says_where_it_is(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    log = state.folder("lab") / state.LOG
    log.write_text("why it crashed")
    held = runtime.Runtime("lab").__enter__()
    os.close(held._lock)
    assert main(["down", "lab"]) == 0
    assert capsys.readouterr().out.endswith(f" Its log stays: {log}\n")
    assert log.read_text() == "why it crashed"
