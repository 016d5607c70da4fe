"""What a fabric's process listens to."""

import errno
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from vnet import daemon, state
from vnet.errors import VnetError
from vnet.topology import Topology


def test_a_closed_terminal_brings_it_down_unless_nohup_was_there_first():
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        assert signal.SIGHUP in daemon.stopping()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        assert daemon.stopping() == [signal.SIGINT, signal.SIGTERM]
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_error_after_it_was_up_goes_to_the_log_and_nowhere_else(tmp_path, monkeypatch, caplog):
    """The number of the descriptor that was told may be another's by then."""
    reading, writing = os.pipe()
    victims = []

    async def serve(_topology, ready, _sandbox):
        ready(None)
        victims.append((tmp_path / "victim").open("wb", buffering=0))
        raise RuntimeError("it failed later")

    monkeypatch.setattr(daemon, "serve", serve)
    monkeypatch.setattr(daemon.Topology, "from_file", lambda _: SimpleNamespace(name="lab"))
    monkeypatch.setattr(sys, "argv", ["daemon", str(writing), str(state.claim("lab"))])
    assert daemon.main() == 1
    with os.fdopen(reading, "rb") as told, victims[0] as victim:
        assert victim.fileno() == writing, "the test tests nothing"
        assert told.read() == daemon.READY
        victim.write(b"its own")
    assert (tmp_path / "victim").read_bytes() == b"its own"
    assert "it failed later" in caplog.text


def test_a_log_that_can_not_be_written_is_told_with_its_place(monkeypatch):
    def refused(*_arguments, **_options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(daemon.Path, "open", refused)
    with pytest.raises(VnetError, match=r"/lab/log can't be written: Read-only file system$"):
        daemon.spawn(Topology("lab"))


def test_the_log_of_one_that_ended_badly_makes_room_for_the_next(tmp_path):
    log = tmp_path / "log"
    for said in (b"first", b"second", b"third"):
        with daemon._opened(log) as output:
            output.write(said)
    assert log.read_bytes() == b"third"
    assert (tmp_path / "log.old").read_bytes() == b"second"


def test_nothing_is_imported_once_a_fabric_is_whole():
    """What an upgrade puts there is another version's."""
    code = """
import sys, trio, vnet
from nics.kinds import KINDS
from vnet import daemon

class Upgraded:
    def find_spec(self, name, path=None, target=None):
        assert name.partition(".")[0] not in ("vnet", "nics", "switch"), name

async def main():
    red = {"red": {"subnets": ["10.0.0.0/24"]}}
    lab = {"name": "lab", "networks": red, "guests": {"a": {"nics": [{"network": "red"}]}}}
    async with vnet.Fabric.from_dict(lab) as fabric:
        daemon.whole()
        sys.meta_path.insert(0, Upgraded())
        for kind in KINDS.values():
            kind.load()
        fabric.guests["a"].as_network()
        await fabric.attach("b", network="red")
        lab["uplinks"] = {"wan": {"nic": {"kind": "pipe"}, "native": "red"}}
        await fabric.apply(vnet.Topology.from_dict(lab))
        assert fabric.status()

trio.run(main)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=50)
