"""The `vde` door from Python: how it opens, what it refuses, and the programs of VDE on either side."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import stat
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

import vnet
from nics.door import Place
from nics.errors import BadInput, NicError
from nics.vde import Vde
from tests.needs import needs_tool

pytestmark = pytest.mark.deadline(120)


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"directory": "d", "role": "switch"}, "role: found 'switch', expected server or client"),
        ({"directory": "d", "port": 5}, "port: 5: only a client (role: client) asks for one"),
        ({"directory": "d" * 91}, "expected a path of at most 90 bytes"),
    ],
)
def test_a_bad_description_is_refused_before_anything_is_touched(keys: dict[str, Any], line: str) -> None:
    with pytest.raises(BadInput) as caught:
        Vde(**keys)
    assert line in str(caught.value)


async def test_a_folder_is_private_and_goes_with_its_door(place: Place) -> None:
    opened = await Vde("vm.vde").open(place)
    folder = place.runtime / "vm.vde"
    assert opened.carries == str(folder)
    assert opened.door.kind == "vde"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "ctl").stat().st_mode) == 0o600
    with pytest.raises(NicError) as caught:
        await Vde("vm.vde").open(place)
    assert str(caught.value) == (
        f"vm.0: another VDE switch lives in {folder}: stop it or choose another folder;"
        " `role: client` plugs into it"
    )
    del opened
    assert not folder.exists()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path, as sockets need it."""
    with tempfile.TemporaryDirectory(prefix="vnet-") as path:
        yield Path(path)


def topology(name: str, host: int, vde: dict[str, Any]) -> dict[str, Any]:
    """A fabric of one in-process host, and an uplink that is a plug."""
    return {
        "name": name,
        "networks": {"red": {"subnets": ["10.0.0.0/24"]}},
        "guests": {"host": {"nics": [{"network": "red", "ip": f"10.0.0.{10 + host}"}]}},
        "uplinks": {"wan": {"nic": {"kind": "vde", **vde}, "native": "red"}},
    }


@contextlib.asynccontextmanager
async def running(*argv: str | Path) -> AsyncIterator[trio.Process]:
    """A program with its input held open; killed at the end, with all that it started."""
    process = await trio.lowlevel.open_process(
        list(map(str, argv)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        if process.poll() is None and os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, signal.SIGKILL)  # dpipe makes a group for itself and its two
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            await pipe.aclose()


def names(folder: Path, pattern: str) -> list[str]:
    """Of what is there."""
    return sorted(path.name for path in folder.glob(pattern))


async def until(what: str, done: Callable[[], bool]) -> None:
    with trio.move_on_after(30):
        while not done():  # noqa: ASYNC110
            await trio.sleep(0.01)
    assert done(), what


async def reaches(fabric: vnet.Fabric, host: int) -> bool:
    guest = fabric.guests["host"]
    assert isinstance(guest, vnet.StackGuest)
    try:
        await guest.ping(f"10.0.0.{10 + host}", timeout=20)
    except vnet.Unreachable:
        return False
    return True


@needs_tool("dpipe")
@needs_tool("vde_plug")
async def test_a_cable_of_two_plugs_joins_two_fabrics(folder: Path) -> None:
    ends = [{"directory": str(folder / name)} for name in ("a", "b")]
    async with (
        vnet.Fabric.from_dict(topology("one", 1, ends[0]), runtime=folder / "1") as one,
        vnet.Fabric.from_dict(topology("two", 2, ends[1]), runtime=folder / "2") as two,
    ):
        cable = shlex.split(f"dpipe vde_plug {folder / 'a'} = vde_plug {folder / 'b'}")
        for _ in range(2):
            # It is pulled by its end, and put in again.
            async with running(*cable):
                await until(
                    "both are plugged in", lambda: one.port("wan").carrier and two.port("wan").carrier
                )
                assert await reaches(one, 2)
                assert await reaches(two, 1)
            await until(
                "both are unplugged", lambda: not (one.port("wan").carrier or two.port("wan").carrier)
            )
            assert names(folder, "[ab]/*") == ["ctl", "ctl"]
    assert not names(folder, "[ab]")


@needs_tool("vde_switch")
async def test_two_fabrics_meet_in_somebody_elses_switch(folder: Path) -> None:
    switch = ("vde_switch", "-s", folder / "vde")
    wanted = {"directory": str(folder / "vde"), "role": "client"}
    async with (
        vnet.Fabric.from_dict(topology("one", 1, wanted), runtime=folder / "1") as one,
        vnet.Fabric.from_dict(topology("two", 2, {**wanted, "port": 7}), runtime=folder / "2") as two,
    ):
        for _ in range(2):
            # It comes when the fabrics are there, goes, and comes again.
            async with running(*switch) as process:
                await until(
                    "both are plugged in", lambda: one.port("wan").carrier and two.port("wan").carrier
                )
                assert await reaches(one, 2)
                assert await reaches(two, 1)
                shown = await console(process, "port/print")
                assert "Port 0007" in shown, shown
                assert "vnet wan" in shown, shown
            await until(
                "both are unplugged", lambda: not (one.port("wan").carrier or two.port("wan").carrier)
            )
    assert not names(folder, "vde/.[0-9]*")


async def console(process: trio.Process, command: str) -> str:
    """What a switch says to a command on its terminal."""
    assert process.stdin is not None
    assert process.stdout is not None
    await process.stdin.send_all(f"{command}\n".encode())
    said = b""
    with trio.fail_after(30):
        while b"1000 Success" not in said:
            said += await process.stdout.receive_some()
    return said.decode()


@needs_tool("vde_plug")
async def test_a_second_vde_plug_is_refused_and_the_first_does_not_notice(folder: Path) -> None:
    words = topology("one", 1, {"directory": str(folder / "a")})
    async with (
        vnet.Fabric.from_dict(words, runtime=folder / "1") as one,
        running("vde_plug", folder / "a") as first,
    ):
        await until("it is plugged in", lambda: one.port("wan").carrier)
        with trio.fail_after(40):
            async with running("vde_plug", folder / "a") as second:
                assert await second.wait() != 0
        assert first.poll() is None
        assert one.port("wan").carrier


@needs_tool("slirpvde")
async def test_slirpvde_plugged_into_an_uplink_is_a_way_out_without_root(folder: Path) -> None:
    """Its NAT: what a guest sends to the gateway comes to this host's loopback."""
    words = {
        "name": "one",
        "networks": {"red": {"subnets": ["10.0.2.0/24"], "gateway": "10.0.2.2"}},
        "guests": {"host": {"nics": [{"network": "red", "ip": "10.0.2.11"}]}},
        "uplinks": {"wan": {"nic": {"kind": "vde", "directory": str(folder / "nat")}, "native": "red"}},
    }
    async with vnet.Fabric.from_dict(words, runtime=folder / "1") as one, trio.open_nursery() as nursery:
        greeting = b"hello from this host"

        async def greet(stream: trio.SocketStream) -> None:
            async with stream:
                await stream.send_all(greeting)

        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, greet, listeners)
        async with running("slirpvde", "-s", folder / "nat"):
            await until("it is plugged in", lambda: one.port("wan").carrier)
            guest = one.guests["host"]
            assert isinstance(guest, vnet.StackGuest)
            port = listeners[0].socket.getsockname()[1]
            with trio.fail_after(30):
                async with await guest.open_tcp_stream("10.0.2.2", port) as stream:
                    assert await stream.receive_some() == greeting
        nursery.cancel_scope.cancel()
