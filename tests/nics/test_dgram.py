"""Who may send to a `dgram` door whose name is abstract, where no file keeps others out."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

import pytest
import trio

import vnet
from tests.needs import needs_root

FRAME = b"\xff" * 6 + bytes.fromhex("02000000000a") + b"\x88\xb5" + bytes(46)
SCM_CREDENTIALS = 2
NOBODY = 65_534


def lab(**keys: str) -> vnet.Fabric:
    nic = {"network": "red", "mac": "02:00:00:00:00:0a", "nic": {"kind": "dgram", **keys}}
    guests = {"vm": {"kind": "external", "nics": [nic]}}
    return vnet.Fabric.from_dict({"name": "dgram-names", "networks": {"red": {}}, "guests": guests})


@pytest.fixture
def guest() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(f"\0vnet-guest-{os.getpid()}")
        yield made


def as_user(uid: int) -> list[tuple[int, int, bytes]]:
    """What root may have the kernel say of a datagram's sender (unix(7))."""
    return [(socket.SOL_SOCKET, SCM_CREDENTIALS, struct.pack("3i", os.getpid(), uid, uid))]


async def received(fabric: vnet.Fabric, frames: int) -> None:
    """Wait for them; the deadline of the test ends it."""
    while fabric.port("vm").counters()["rx_frames"] < frames:  # noqa: ASYNC110
        await trio.sleep(0.005)


async def test_our_own_user_is_a_guest(guest: socket.socket) -> None:
    name = f"vnet-door-{os.getpid()}"
    async with lab(local=f"@{name}") as fabric:
        guest.sendto(FRAME, f"\0{name}")
        await received(fabric, 1)


@needs_root
async def test_other_users_are_not(guest: socket.socket, caplog: pytest.LogCaptureFixture) -> None:
    name = f"vnet-door-{os.getpid()}"
    async with lab(local=f"@{name}") as fabric:
        for _ in range(3):
            guest.sendmsg([FRAME], as_user(NOBODY), 0, f"\0{name}")
        guest.sendmsg([FRAME], as_user(0), 0, f"\0{name}")
        await received(fabric, 1)
        counted = fabric.port("vm").counters()
        assert counted["rx_frames"] == 1
        assert counted["drops"]["door-stranger"] == 3
        told = f"vm.0: dropped a datagram from user {NOBODY}: an abstract name is for our own user and root"
        while told not in caplog.messages:  # noqa: ASYNC110
            await trio.sleep(0.005)
        assert caplog.messages.count(told) == 1


@needs_root
async def test_descriptors_that_come_along_are_not_kept(guest: socket.socket) -> None:
    name = f"vnet-door-{os.getpid()}"
    async with lab(local=f"@{name}") as fabric:
        ours, theirs = os.pipe()
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", theirs))]
        try:
            guest.sendmsg([FRAME], rights, 0, f"\0{name}")
        except PermissionError:
            # From Linux 6.16 on none can be sent at all.
            guest.sendto(FRAME, f"\0{name}")
        os.close(theirs)
        await received(fabric, 1)
        # Nobody holds the other end any more: the pipe is at its end.
        assert os.read(ours, 1) == b""
        os.close(ours)
