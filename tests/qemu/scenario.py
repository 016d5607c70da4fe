"""What every way to plug QEMU in must be able to do: the same story for stream and dgram.

Two real Linux guests and all kinds of in-house guests share tenant `red`; they talk to each other, move
bytes, and neither see nor reach anything of tenant `blue`, which has the same subnets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import trio

import vnet
from tests import peers
from tests.qemu import lab
from tests.qemu.ears import listen

MEGABYTES = 100


async def two_guests(nics: Mapping[str, Mapping[str, Any]], model: str) -> None:
    """`nics`: the NICs of `vm1` and `vm2`."""
    with lab.runtime() as folder:
        async with (
            vnet.Fabric.from_dict(lab.topology(nics), runtime=folder) as fabric,
            listen(fabric, "crypt") as heard,
            lab.plugged(fabric, "vm1", model) as vm1,
            lab.plugged(fabric, "vm2", model) as vm2,
        ):
            everybody: dict[str, peers.Peer] = {
                "web": lab.peer(fabric, "web"),
                "shell": lab.peer(fabric, "shell"),
                "vm1": vm1,
                "vm2": vm2,
            }
            await pings(fabric, everybody)
            await _transfers(fabric, everybody)
            await _isolation(fabric, everybody, heard)
            counted(fabric)


async def pings(fabric: vnet.Fabric, everybody: Mapping[str, peers.Peer]) -> None:
    async def all_from(name: str, one: peers.Peer) -> None:
        for other in everybody.keys() - {name}:
            for address in lab.addresses(fabric, other):
                # One echo takes no time, three take two seconds; those are for what got lost.
                answered = await one.ping(address, count=1) or await one.ping(address)
                assert answered, f"{name} can't ping {other} at {address}"

    async with trio.open_nursery() as nursery:
        for name, one in everybody.items():
            nursery.start_soon(all_from, name, one)


async def _transfers(fabric: vnet.Fabric, everybody: Mapping[str, peers.Peer]) -> None:
    """Each kind of pair that a VM is in, in one direction; `tests/kernel/test_pairs.py` has all."""
    for giver, taker, ipv6 in (("vm1", "web", False), ("shell", "vm1", True), ("vm2", "vm1", False)):
        address = lab.addresses(fabric, taker)[ipv6]
        # Between two emulated CPUs on a busy machine this takes its time; a limit, not a wait.
        await peers.transfer(everybody[giver], everybody[taker], address, megabytes=MEGABYTES, deadline=150)


async def _isolation(fabric: vnet.Fabric, red: Mapping[str, peers.Peer], heard: set[bytes]) -> None:
    """Nobody of `red` reaches `blue`'s addresses, and no frame of theirs, not a broadcast, was heard."""
    unique = lab.addresses(fabric, "crypt")

    async def try_to_reach(name: str, one: peers.Peer, address: str) -> None:
        assert not await one.ping(address, count=1), f"{name} reaches the other tenant at {address}"

    async with trio.open_nursery() as nursery:
        for name, one in red.items():
            for address in unique:
                nursery.start_soon(try_to_reach, name, one, address)
    assert await lab.peer(fabric, "spy").ping(unique[0]), "the listener hears nothing at all"
    theirs = bytes.fromhex(fabric.guests["spy"].mac.replace(":", ""))
    with trio.fail_after(50):
        while theirs not in heard:  # noqa: ASYNC110
            await trio.sleep(0.01)
    ours = {bytes.fromhex(fabric.guests[name].mac.replace(":", "")) for name in red}
    assert not heard & ours


def counted(fabric: vnet.Fabric) -> None:
    """Nothing of this was dropped for another reason than these."""
    for port in fabric.ports.values():
        drops = {reason: count for reason, count in port.status()["drops"].items() if count}
        assert not drops.keys() - USUAL, f"{port.name}: {drops}"


USUAL = {
    "no-member",  # the first broadcasts, while a guest is alone in its network
    "tx-no-carrier",  # the same, to a QEMU that is not plugged in yet
    "tx-full",  # a guest slower than its sender: what TCP slows down by
}
