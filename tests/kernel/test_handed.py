"""TAPs that whoever starts vnet opened and hands over: by number, and by name as systemd does it."""

from __future__ import annotations

import fcntl
import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nics.errors import BadInput, NicError
from nics.tap import Tap
from tests.kernel.command import vnet
from tests.kernel.lab import lab
from tests.needs import needs_root, needs_tool, needs_tun

pytestmark = [needs_tun, needs_tool("ip")]


def attach(descriptor: int, flags: int) -> None:
    """TUNSETIFF, as whoever hands descriptors over does it."""
    fcntl.ioctl(descriptor, 0x400454CA, struct.pack("16sH22x", b"handed", flags))


async def test_descriptors_can_be_handed_over(caplog: pytest.LogCaptureFixture) -> None:
    tap, no_pi, vnet_header = 0x2, 0x1000, 0x4000
    async with lab() as here:
        guest = await here.guest()
        for flags in (tap | no_pi | vnet_header, tap | no_pi):
            (descriptor,) = await here.netlink.open_device("/dev/net/tun", 1, guest.namespace.fd)
            attach(descriptor, flags)
            os.set_inheritable(descriptor, False)
            with pytest.raises(NicError, match=f"{descriptor} was not handed over: it is this process's own"):
                await Tap(fd=descriptor).open(here.place(2))
            os.set_inheritable(descriptor, True)
            if flags & vnet_header:
                opened = await Tap(fd=descriptor).open(here.place(2))
                assert (opened.door.kind, opened.carries) == ("tap", "handed")
                assert "the TAP handed was handed over with the MAC address" in caplog.text
                os.close(descriptor)
                assert "handed" in await guest.run("ip", "link")
                opened.door.close()
                assert "handed" not in await guest.run("ip", "link")
            else:
                with pytest.raises(
                    NicError, match=r"is no TAP: .*without IFF_VNET_HDR: attach it by TUNSETIFF"
                ):
                    await Tap(fd=descriptor).open(here.place(2))
                os.close(descriptor)
        (unused,) = await here.netlink.open_device("/dev/net/tun")
        os.set_inheritable(unused, True)
        with pytest.raises(NicError, match=f"descriptor {unused} is no TAP"):
            await Tap(fd=unused).open(here.place(2))
        with pytest.raises(NicError, match=r"there is no descriptor 9999: whoever starts vnet opens /dev"):
            await Tap(fd=9999).open(here.place(2))
        os.close(unused)


async def test_a_queue_each_by_descriptors_with_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    async with lab() as here:
        guest = await here.guest()
        opened = await here.netlink.open_device("/dev/net/tun", 2, guest.namespace.fd)
        pair = [fcntl.fcntl(one, fcntl.F_DUPFD, 600) for one in opened]  # as they came through execve(2)
        for one in opened:
            os.close(one)
        for descriptor in pair:
            attach(descriptor, 0x2 | 0x1000 | 0x4000 | 0x100)
        monkeypatch.setattr("nics.handed.FIRST", pair[0])
        monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
        monkeypatch.setenv("LISTEN_FDS", "3")
        monkeypatch.setenv("LISTEN_FDNAMES", "wan:wan:other")
        with pytest.raises(NicError, match="no descriptor is called lan: LISTEN_FDNAMES has other, wan"):
            await Tap(fd="lan").open(here.place(2))
        for tap in (Tap(fd="wan"), Tap(fd=pair[0], queues=2)):
            door = (await tap.open(here.place(2))).door
            assert "numqueues 2" in await guest.run("ip", "-details", "link", "show", "dev", "handed")
            door.close()
        monkeypatch.setenv("LISTEN_PID", "1")
        with pytest.raises(NicError, match="no descriptor is called wan: LISTEN_FDNAMES has none for this"):
            await Tap(fd="wan").open(here.place(2))
        for descriptor in pair:
            os.close(descriptor)


def test_a_tap_that_was_handed_over_has_a_name_and_a_place_already() -> None:
    for key, value in (("name", "tap0"), ("netns", "lab"), ("device", "/dev/tun")):
        with pytest.raises(BadInput, match=f"with fd 7 the TAP is there already, and with it its {key}"):
            Tap(fd=7, **{key: value})  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="with it its queues: leave it out"):
        Tap(fd="wan", queues=2)


AS_SYSTEMD = """
import os, sys
os.dup2(int(sys.argv[1]), 3)  # numbered from 3 on, and for this process alone
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="lan")
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.fixture
def file(tmp_path: Path) -> Iterator[str]:
    """Of a fabric with a stack guest and a TAP that is handed over."""
    name = f"handed{os.getpid()}"
    path = tmp_path / "handed.yaml"
    path.write_text(f"""
name: {name}
networks: {{red: {{subnets: [10.7.5.0/24]}}}}
guests:
  a: {{nics: [{{network: red, ip: [10.7.5.2]}}]}}
  host: {{kind: external, nics: [{{network: red, ip: [10.7.5.3], mac: "02:00:00:00:05:03", nic:
          {{kind: tap, fd: lan}}}}]}}
""")
    yield str(path)
    subprocess.run([sys.executable, "-m", "vnet", "down", name], capture_output=True, timeout=50)


@needs_root
def test_a_fabric_in_the_background_has_what_was_handed_to_who_started_it(file: str) -> None:
    name = Path(file).read_text().split()[1]
    assert "no descriptor is called lan: LISTEN_FDNAMES has none" in vnet("up", file, "-d", code=1)
    tun = os.open("/dev/net/tun", os.O_RDWR)
    attach(tun, 0x2 | 0x1000 | 0x4000)
    for change in (["address", "02:00:00:00:05:03"], ["up"]):
        subprocess.run(["ip", "link", "set", "handed", *change], check=True)
    subprocess.run(["ip", "address", "add", "10.7.5.3/24", "dev", "handed"], check=True)
    words = [sys.executable, "-c", AS_SYSTEMD, str(tun), sys.executable, "-m", "vnet", "up", file, "-d"]
    done = subprocess.run(words, pass_fds=[tun], capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    ports = {port["port"]: port for port in json.loads(vnet("status", name, "--json"))["ports"]}
    assert ports["host.0"]["kind"] == "tap"
    assert "2 received, 0 % lost" in vnet(
        "ping", "a", "10.7.5.3", "-c", "2", "-W", "20", "-i", "0.01", "-n", name
    )
    vnet("down", name)
    # It is not ours: it stays while somebody holds it.
    assert "handed" in subprocess.run(["ip", "link"], capture_output=True, text=True, check=True).stdout
    os.close(tun)
    assert "handed" not in subprocess.run(["ip", "link"], capture_output=True, text=True, check=True).stdout
