"""Whose a fabric's name is: one process's, whatever runtime folder the shell that asks knows of."""

import os
import re

import pytest

from vnet import runtime, state
from vnet.cli import main
from vnet.errors import BadInput


@pytest.fixture(autouse=True)
def shell(tmp_path, monkeypatch):
    """Call it with a name to be in a shell with another runtime folder; its folder of all fabrics."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    here = []
    monkeypatch.setattr(runtime, "base", lambda: here[-1])

    def enter(name):
        here.append(tmp_path / name)
        return here[-1]

    enter("one")
    return enter


def test_a_name_has_one_owner_whatever_the_runtime_folder_is(shell, tmp_path):
    first = shell("one")
    with state.owning("lab"):
        assert state.owner("lab") == state.Owner(os.getpid(), first / "lab")
        assert state.elsewhere() == {}
        shell("other")
        told = f"running in {first}/lab (process {os.getpid()}): bring it down (kill {os.getpid()}) or"
        with pytest.raises(runtime.Busy, match=re.escape(told)):
            state.claim("lab")
        assert [*state.elsewhere()] == ["lab"]
    assert state.owner("lab") is None
    assert not (tmp_path / "state" / "vnet").exists()
    with state.owning("lab"):
        pass


def test_a_fabric_is_not_looked_for_in_vain(shell):
    first = shell("one")
    with state.owning("lab"):
        second = shell("other")
        where = (
            f"lab does not run in {second} but in {first}/lab (process {os.getpid()}): set XDG_RUNTIME_DIR"
        )
        for name in ("lab", None):
            with pytest.raises(BadInput, match=re.escape(where)):
                runtime.the_one(name)
        with pytest.raises(BadInput, match="no fabric named x is running: start it"):
            runtime.the_one("x")
        with runtime.Runtime("here"):
            assert runtime.the_one(None) == "here"


def test_what_a_crash_left_belongs_to_nobody():
    lock = state.claim("lab")
    os.write(lock, b"1 /run/vnet/lab\n")
    assert state.owner("lab") == state.Owner(1, runtime.Path("/run/vnet/lab"))
    os.close(lock)  # what the kernel does when the process dies
    assert state.owner("lab") is None
    lock = state.claim("lab")
    assert state.owner("lab") is None, "it may be anybody by now"
    with pytest.raises(runtime.Busy, match="just coming up"):
        state.claim("lab")
    os.close(lock)


def test_a_second_fabric_of_the_same_name_touches_nothing_of_the_first(shell, tmp_path, capsys):
    file = tmp_path / "lab.yaml"
    file.write_text("{name: lab, networks: {red: {}}, guests: {a: {nics: [{network: red}]}}}")
    with state.owning("lab"):
        log = state.log_path("lab")
        log.write_text("what the first one says")
        shell("other")
        for more in ([], ["-d"]):
            assert main(["up", str(file), *more]) == 1
            assert f"(process {os.getpid()})" in capsys.readouterr().err
        assert log.read_text() == "what the first one says"
        assert sorted(entry.name for entry in log.parent.iterdir()) == ["lock", "log"]


def test_one_that_crashed_is_not_just_one_that_does_not_run(shell):
    held = runtime.Runtime("lab").__enter__()
    os.close(held._lock)  # what the kernel does when the process dies
    for name in ("lab", None):
        with pytest.raises(BadInput, match=r"^lab has crashed: `vnet down lab` cleans up$"):
            runtime.the_one(name)
    log = state.folder("lab") / state.LOG
    log.touch()
    with pytest.raises(BadInput, match=f"^lab has crashed: its log is {log}; `vnet down lab` cleans up$"):
        runtime.the_one("lab")
    with runtime.Runtime("other"):
        assert runtime.the_one(None) == "other"
        with pytest.raises(BadInput, match="no fabric named x is running; running: other"):
            runtime.the_one("x")
