"""A fabric with two tenants, and QEMU guests plugged into it.

Tenant `red` has a stack guest `web`, a namespace `shell` and the external guests that a test asks
for; tenant `blue` has the same subnets, a stack guest `spy` and a namespace `crypt`. All addresses are
written down: one that is drawn from the fabric's name may be that of a guest of the other tenant too.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import trio

import vnet
from nics.vhost_user import VhostUser
from tests.peers import NetnsPeer, Peer, StackPeer
from tests.qemu.machine import MEMORY, Card, Machine, boot

SUBNETS = ["10.0.10.0/24", "fd00:10::/64"]


def topology(vms: Mapping[str, Mapping[str, Any]], **more: Any) -> dict[str, Any]:
    """The topology; `vms` gives the keys of each external guest's NIC."""
    guests: dict[str, Any] = {
        "web": {"nics": [_nic("red", 11)]},
        "shell": {"kind": "netns", "nics": [_nic("red", 12)]},
        "spy": {"nics": [_nic("blue", 249)]},
        "crypt": {"kind": "netns", "nics": [_nic("blue", 250)]},
    }
    for number, (name, nic) in enumerate(vms.items(), start=101):
        guests[name] = {"kind": "external", "nics": [_nic("red", number) | {"nic": dict(nic)}]}
    networks = {name: {"vlan": vlan, "subnets": SUBNETS} for name, vlan in (("red", 10), ("blue", 20))}
    return {"name": f"qemu-{os.getpid()}", "networks": networks, "guests": guests, **more}


def _nic(network: str, number: int) -> dict[str, Any]:
    return {"network": network, "ip": [f"10.0.10.{number}", f"fd00:10::{number}"]}


@contextlib.contextmanager
def runtime() -> Iterator[Path]:
    """A runtime folder with a path short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="vnet-") as folder:
        yield Path(folder)


@attrs.frozen
class Vm:
    """A QEMU guest on a port of the fabric."""

    machine: Machine
    port: vnet.Port

    async def configure(self, interface: str = "eth0") -> None:
        """Give it the addresses that the fabric has for it."""
        for address in self.port.wanted.addresses:
            dad = " nodad" if address.version == 6 else ""
            await self.machine.run(f"ip addr add {address} dev {interface}{dad}")
        if "vmxnet3" in await self.machine.run(f"ethtool -i {interface}"):
            # A guest hands vmxnet3 TCP super-segments. Over a netdev without virtio header, which stream
            # and dgram are, QEMU cuts them up by IPv4's fragmentation, IPv6 ones too, which nobody can
            # put together again (net/net_tx_pkt.c, 7.2): without vnet, cable to cable, the same.
            await self.machine.run(f"ethtool -K {interface} tx-tcp6-segmentation off")
        await self.machine.run(f"ip link set {interface} up")


def card_of(fabric: vnet.Fabric, name: str, model: str) -> Card:
    """The NIC that plugs QEMU into the port of guest `name`."""
    port = fabric.port(name)
    nic = port.wanted.nic
    options = ""
    if isinstance(nic, vnet.Stream):
        server = "off" if nic.role == "server" else "on"
        netdev = f"stream,server={server},addr.type=unix,addr.path={fabric.runtime / nic.socket}"
    elif isinstance(nic, vnet.Dgram):
        assert nic.local is not None
        assert nic.remote is not None
        local, remote = fabric.runtime / nic.remote, fabric.runtime / nic.local
        netdev = f"dgram,local.type=unix,local.path={local},remote.type=unix,remote.path={remote}"
    elif isinstance(nic, vnet.Vde):
        netdev = f"vde,sock={fabric.runtime / nic.directory}"
    else:
        assert isinstance(nic, VhostUser)
        # Without vectors: QEMU 7.2 crashes with vhost-user and MSI-X where there is no KVM.
        many = f",queues={nic.queues}" if nic.queues > 1 else ""
        netdev, options = f"vhost-user,chardev=vhost{many}", "vectors=0"
    return Card(netdev, model, mac=port.wanted.mac, options=options)


def words_of(fabric: vnet.Fabric, name: str) -> list[str]:
    """What QEMU needs beside the NIC: for vhost-user, memory that can be shared, and the socket."""
    nic = fabric.port(name).wanted.nic
    if not isinstance(nic, VhostUser):
        return []
    memory = f"memory-backend-memfd,id=shared,size={MEMORY}M,share=on"
    server = "" if nic.role == "server" else ",server=on,wait=off"
    socket = f"socket,id=vhost,path={fabric.runtime / nic.socket}{server}"
    return ["-object", memory, "-machine", "memory-backend=shared", "-chardev", socket]


@contextlib.asynccontextmanager
async def plugged(
    fabric: vnet.Fabric,
    name: str,
    model: str = "virtio-net-pci",
    *,
    card: Card | None = None,
    options: str = "",
    more: Sequence[str] = (),
) -> AsyncIterator[Machine]:
    """Boot a QEMU guest on the port of guest `name`, with its addresses.

    `options` are more of the device, with a comma in front; `more` further words for QEMU.
    """
    card = card or card_of(fabric, name, model)
    card = attrs.evolve(card, options=f"{card.options}{options}")
    async with boot(name, card, more=[*words_of(fabric, name), *more]) as machine:
        await Vm(machine, fabric.port(name)).configure()
        yield machine


async def carrier(port: vnet.Port, up: bool, *, deadline: float = 60) -> None:
    """Wait until the guest behind a port can be reached, or can't."""
    with trio.fail_after(deadline):
        while port.carrier != up:  # noqa: ASYNC110
            await trio.sleep(0.01)


def peer(fabric: vnet.Fabric, name: str) -> Peer:
    """A stack or netns guest as the end of a transfer."""
    guest = fabric.guests[name]
    if isinstance(guest, vnet.NetnsGuest):
        return NetnsPeer(guest)
    assert isinstance(guest, vnet.StackGuest)
    return StackPeer(guest)


def addresses(fabric: vnet.Fabric, name: str) -> tuple[str, str]:
    """A guest's IPv4 and IPv6 address."""
    first, second = fabric.guests[name].addresses
    return str(first), str(second)
