"""What is asked of a running fabric over its control socket, also where it makes no sense."""

import math
import os
import select
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.vnet.test_control import in_thread, serving
from vnet.cli import main, words
from vnet.control.client import Client
from vnet.control.operations import Operations
from vnet.errors import BadInput, VnetError
from vnet.fabric import Fabric
from vnet.guests import Guest, QemuGuest
from vnet.machines.agent import Outcome
from vnet.topology import Topology

LAB = """
name: lab
engine: {{driver: {driver}}}
networks: {{red: {{}}}}
guests: {{a: {{nics: [{{network: red}}]}}}}
"""


@pytest.mark.parametrize(
    ("call", "given"),
    [
        ("capture", {"targets": ["nope"]}),
        ("capture", {"count": 0}),
        ("capture", {"snaplen": "many"}),
        ("past", {"targets": ["nope"]}),
        ("console", {"name": "a"}),
        ("console", {"name": "vm"}),
    ],
)
async def test_what_is_refused_has_its_descriptor_closed(tmp_path, call, given):
    fabric = Fabric(Topology.from_text(LAB.format(driver="trio")), runtime=tmp_path)
    fabric.guests["vm"] = Guest("vm", "qemu")
    # What it was given is no socket.
    fabric.machines.by_name["vm"] = SimpleNamespace(state="running")

    def talk(path):
        reading, writing = os.pipe()
        with Client(path) as client:
            with pytest.raises(VnetError):
                client.call(call, descriptors=[writing], **given)
            os.close(writing)
            assert select.select([reading], [], [], 30)[0]
            assert os.read(reading, 1) == b""
        os.close(reading)

    async with serving(tmp_path, **Operations(fabric).table()) as path:
        await in_thread(talk, path)


async def test_a_console_is_a_stream(tmp_path):
    fabric = Fabric(Topology.from_text(LAB.format(driver="trio")), runtime=tmp_path)
    fabric.guests["vm"] = Guest("vm", "qemu")
    fabric.machines.by_name["vm"] = SimpleNamespace(state="running")

    def talk(path):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(30)
        with ours, Client(path) as client:
            with theirs, pytest.raises(BadInput, match="console"):
                client.call("console", descriptors=[theirs.fileno()], name="vm")
            assert ours.recv(1) == b""

    async with serving(tmp_path, **Operations(fabric).table()) as path:
        await in_thread(talk, path)


@pytest.mark.parametrize(
    ("call", "given", "told"),
    [
        ("send", {"port": "a", "frame": "00" * 60, "count": 0}, "count: found 0, expected 1 to 1000000"),
        ("send", {"port": "a", "frame": "00" * 60, "count": 10**7}, "count: found 10000000, expected"),
        ("ping", {"from": "a", "to": "10.0.0.1", "count": math.inf}, "ping: cannot convert float infinity"),
        ("ping", {"from": "a", "to": "10.0.0.1", "timeout": math.nan}, "timeout more than 0 s"),
        ("usage", {"only": "a"}, "only: expected a list of words"),
        ("usage", {"only": None}, "only: expected a list of words"),
        ("capture", {"targets": "all"}, "targets: expected a list of words"),
        ("capture", {"count": 1 << 80}, "count: found 1208925819614629174706176, expected 1 to 10+ frames"),
        ("past", {"targets": [1]}, "targets: expected a list of words"),
        ("past", {"seconds": math.nan}, "past: found nan s"),
        ("past", {"count": 1 << 80}, "count: found 1208925819614629174706176, expected 1 to 10+ frames"),
        ("past", {"snaplen": 1 << 80}, "snaplen: found 1208925819614629174706176, expected 1 to 262144"),
        ("run", {"name": "vm", "argv": []}, "argv: found nothing, expected a command"),
        ("run", {"name": "vm", "argv": "ls"}, "argv: expected a list of words"),
        ("attach", {"name": "b", "nic": 5}, "attach: "),
        ("apply", {"document": []}, "expected a mapping"),
        ("connect", {"name": []}, "there is no guest"),
        ("fdb", {"port": {}}, "fdb: "),
        ("explain", {"port": "a", "frame": "0"}, "explain: "),
    ],
)
async def test_a_call_that_makes_no_sense_is_told_why(tmp_path, call, given, told):
    async with Fabric(Topology.from_text(LAB.format(driver="trio")), runtime=tmp_path / "f") as fabric:
        fabric.guests["vm"] = QemuGuest("vm", "qemu")

        def talk(path):
            with (
                Client(path) as client,
                Path(os.devnull).open("w") as null,
                pytest.raises(BadInput, match=told),
            ):
                client.call(call, descriptors=[null.fileno()], **given)

        async with serving(tmp_path, **Operations(fabric).table()) as path:
            await in_thread(talk, path)
        del fabric.guests["vm"]


async def test_what_a_command_said_comes_in_pieces(tmp_path, monkeypatch, capfdbinary):
    fabric = Fabric(Topology.from_text(LAB.format(driver="trio")), runtime=tmp_path)
    # More than a line of the control socket has room for, in base64.
    output, errors = b"0123456789abcdef" * (1 << 20), b"no\n"

    async def run(argv):
        assert argv == ("ls", "-l")
        return Outcome(7, output, errors)

    machine = SimpleNamespace(agent=SimpleNamespace(run=run))
    fabric.guests["vm"] = QemuGuest("vm", "qemu", machine=machine)

    async with serving(tmp_path, **Operations(fabric).table()) as path:
        monkeypatch.setattr(words, "client", lambda name: Client(path))
        assert await in_thread(main, ["exec", "vm", "--", "ls", "-l"]) == 7
    assert capfdbinary.readouterr() == (output, errors)


async def test_all_of_the_past_is_further_back_than_any_time(tmp_path):
    async with Fabric(Topology.from_text(LAB.format(driver="trio")), runtime=tmp_path) as fabric:
        told = await fabric.past(tmp_path / "past.pcapng")
        for seconds in (1e300, math.inf):
            again = await fabric.past(tmp_path / "past.pcapng", seconds=seconds)
            assert again["written"] >= told["written"]


async def test_what_apply_finds_in_a_running_fabric_has_its_place_in_the_file(tmp_path, monkeypatch, capsys):
    (tmp_path / "lab.yaml").write_text(LAB.format(driver="thread"))
    async with (
        Fabric(Topology.from_text(LAB.format(driver="trio")), runtime=tmp_path) as fabric,
        serving(tmp_path, **Operations(fabric).table()) as path,
    ):
        monkeypatch.setattr(words, "client", lambda _name: Client(path))
        assert await in_thread(main, ["apply", str(tmp_path / "lab.yaml")]) == 2
    assert capsys.readouterr().err.startswith(f"{tmp_path}/lab.yaml:3:18: engine.driver: ")
