"""A TCP connection between any two kinds of guests survives: every pair, both ways, byte for byte.

Kinds differ in what they leave to others: some hand over super-segments and frames without checksum
(`netns`, `vhost-user`), some take none of that (`plain`, `stream`, `dgram`), and the in-process stack
vouches instead of summing. Each mixed pair must be put right on the way, or its connections hang.
"""

from __future__ import annotations

import contextlib
import itertools

import attrs
import pytest

import vnet
from tests import peers
from tests.needs import needs_qemu, needs_root, needs_tool, needs_tun
from tests.qemu import lab

MEGABYTES = 4

pytestmark = [needs_root, needs_tun]


def document(*names: str) -> dict[str, object]:
    """One network with guests called after what they are."""
    nics: dict[str, dict[str, object]] = {
        "stream": {"kind": "stream", "socket": "stream.sock"},
        "dgram": {"kind": "dgram", "local": "dgram.fabric", "remote": "dgram.qemu"},
        "vhost": {"kind": "vhost-user", "socket": "vhost.sock"},
        "plain": {"kind": "tap", "offload": False},
        "netns": {"kind": "tap"},
        "stack": {"kind": "stack"},
    }
    kinds = {"netns": "netns", "plain": "netns", "stack": "stack"}
    guests = {
        name: {
            "kind": kinds.get(name.rstrip("2"), "external"),
            "nics": [{"network": "n", "nic": nics[name.rstrip("2")]}],
        }
        for name in names
    }
    return {"name": "pairs", "networks": {"n": {"subnets": lab.SUBNETS}}, "guests": guests}


async def every_pair(fabric: vnet.Fabric, everybody: dict[str, peers.Peer], *, quick: bool = False) -> None:
    """Both ways, over IPv4 and IPv6; `quick`: over either, in turn."""
    for number, (giver, taker) in enumerate(itertools.permutations(everybody, 2)):
        both = lab.addresses(fabric, taker)
        for address in [both[number % 2]] if quick else both:
            try:
                await peers.transfer(
                    everybody[giver], everybody[taker], address, port=5000 + number, megabytes=MEGABYTES
                )
            except Exception as error:
                told = {port.name: port.status()["drops"] for port in fabric.ports.values()}
                raise AssertionError(f"{giver} -> {taker} at {address}: {error!r}; drops: {told}") from error


@pytest.mark.deadline(200)
async def test_in_house_kinds() -> None:
    names = ("stack", "stack2", "netns", "netns2", "plain", "plain2")
    with lab.runtime() as folder:
        async with vnet.Fabric.from_dict(document(*names), runtime=folder) as fabric:
            await every_pair(fabric, {name: lab.peer(fabric, name) for name in names})


@needs_tool("ethtool")
@pytest.mark.deadline(200)
@pytest.mark.parametrize("what", ["tx", "tso", "gso", "gro", "sg"])
async def test_a_guest_that_switches_an_offload_off_and_on_again(what: str) -> None:
    names = ("stack", "netns", "plain", "netns2")
    with lab.runtime() as folder:
        async with vnet.Fabric.from_dict(document(*names), runtime=folder) as fabric:
            everybody = {name: lab.peer(fabric, name) for name in names}
            guest = fabric.guests["netns"]
            assert isinstance(guest, vnet.NetnsGuest)
            for state in ("off", "on"):
                await guest.run("ethtool", "-K", "eth0", what, state)
                for other in ("stack", "plain", "netns2"):
                    address = lab.addresses(fabric, other)[0]
                    await peers.transfer(everybody["netns"], everybody[other], address, megabytes=MEGABYTES)
                    address = lab.addresses(fabric, "netns")[1]
                    await peers.transfer(everybody[other], everybody["netns"], address, megabytes=MEGABYTES)


@needs_qemu
@pytest.mark.deadline(600)
async def test_kinds_of_virtual_machines_with_each_other_and_all_others() -> None:
    virtual = ("stream", "dgram", "vhost")
    names = ("stack", "netns", "plain", *virtual)
    with lab.runtime() as folder:
        async with contextlib.AsyncExitStack() as stack:
            fabric = await stack.enter_async_context(vnet.Fabric.from_dict(document(*names), runtime=folder))
            everybody: dict[str, peers.Peer] = {}
            for name in names:
                if name in virtual:
                    everybody[name] = await stack.enter_async_context(lab.plugged(fabric, name))
                else:
                    everybody[name] = lab.peer(fabric, name)
            await every_pair(fabric, everybody, quick=True)


@needs_qemu
@pytest.mark.deadline(300)
async def test_a_virtual_machine_without_offloads() -> None:
    """The virtio-net options that a user switches off when something else is broken."""
    names = ("stack", "netns", "vhost")
    off = ",".join(
        f"{word}=off" for word in ("csum", "gso", "guest_csum", "guest_tso4", "guest_tso6", "mrg_rxbuf")
    )
    with lab.runtime() as folder:
        async with vnet.Fabric.from_dict(document(*names), runtime=folder) as fabric:
            card = lab.card_of(fabric, "vhost", "virtio-net-pci")
            card = attrs.evolve(card, options=f"{card.options},{off}")
            async with lab.plugged(fabric, "vhost", card=card) as vm:
                everybody = {
                    "stack": lab.peer(fabric, "stack"),
                    "netns": lab.peer(fabric, "netns"),
                    "vhost": vm,
                }
                await every_pair(fabric, everybody, quick=True)
