"""The test guests themselves: without vnet, cable to cable, so that a later failure is ours."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest
import trio

from tests.needs import needs_qemu
from tests.peers import transfer
from tests.qemu.machine import Card, GuestError, Machine, boot

pytestmark = [needs_qemu, pytest.mark.deadline(240)]


@contextlib.contextmanager
def cable(kind: int) -> Iterator[tuple[int, int]]:
    """The two ends of a socket pair."""
    left, right = socket.socketpair(socket.AF_UNIX, kind)
    with left, right:
        yield left.fileno(), right.fileno()


async def address(guest: Machine, number: int) -> None:
    await guest.run(f"ip addr add 10.0.0.{number}/24 dev eth0")
    await guest.run(f"ip addr add fd00::{number}/64 dev eth0 nodad && ip link set eth0 up")


@pytest.mark.parametrize("model", ["virtio-net-pci", "vmxnet3"])
@pytest.mark.parametrize(("netdev", "kind"), [("stream", socket.SOCK_STREAM), ("dgram", socket.SOCK_DGRAM)])
async def test_two_guests_on_one_cable(model: str, netdev: str, kind: int) -> None:
    what = {"stream": "addr", "dgram": "local"}[netdev]
    with cable(kind) as (left, right):
        a_card, b_card = (
            Card(f"{netdev},{what}.type=fd,{what}.str={end}", model, mac=f"02:00:00:00:00:0{number}")
            for number, end in enumerate((left, right), 1)
        )
        async with boot("a", a_card, descriptors=[left]) as a, boot("b", b_card, descriptors=[right]) as b:
            await address(a, 1)
            await address(b, 2)
            assert await a.ping("10.0.0.2")
            assert await b.ping("fd00::1")
            assert not await a.ping("10.0.0.3", count=1)
            await transfer(a, b, "10.0.0.2", megabytes=10)
            await transfer(b, a, "fd00::1", megabytes=2)


async def test_commands_run_side_by_side_and_tell_how_they_ended() -> None:
    async with boot("a") as guest:
        async with trio.open_nursery() as nursery:
            for number in range(3):
                # Each ends when all have begun.
                wait = "until [ -e /tmp/0 -a -e /tmp/1 -a -e /tmp/2 ]; do usleep 9999; done"
                nursery.start_soon(guest.run, f"touch /tmp/{number}; {wait}")
        assert await guest.run("echo out; echo err >&2; cat") == "out\nerr\n"
        assert await guest.outcome("exit 7") == (7, "")
        with pytest.raises(GuestError, match="exited with 3:\nno"):
            await guest.run("echo no; exit 3")
        await guest.upload(bytes(range(256)) * 999, "/tmp/some file")
        async with trio.open_nursery() as nursery:

            async def outlived() -> None:
                with pytest.raises(GuestError, match="is gone"):
                    await guest.run("sleep 60")

            nursery.start_soon(outlived)
            await guest.run("true")
            await guest.kill()


async def test_a_pulled_cable_is_seen_and_a_reset_guest_comes_back() -> None:
    async with boot("a", Card("user")) as guest:
        await guest.run(
            "ip link set eth0 up && until [ $(cat /sys/class/net/eth0/carrier) = 1 ]; do usleep 9999; done"
        )
        await guest.qmp("set_link", name="nic0", up=False)
        await guest.run("until [ $(cat /sys/class/net/eth0/carrier) = 0 ]; do usleep 9999; done")
        await guest.reset()
        assert await guest.run("cat /proc/sys/kernel/hostname") == "a\n"
        await guest.qmp("device_del", id="nic0")
        await guest.qmp.event("DEVICE_DELETED", device="nic0")
        assert "eth0" not in await guest.run("ls /sys/class/net")
