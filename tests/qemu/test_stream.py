"""QEMU's `-netdev stream`: two real guests with all other kinds on one fabric."""

from __future__ import annotations

import itertools
import json
import shlex
import socket
import sys

import pytest
import trio

import vnet
from tests import peers
from tests.needs import needs_qemu, needs_root
from tests.qemu import lab, scenario
from tests.qemu.machine import Card, GuestError, boot

pytestmark = [needs_qemu, needs_root, pytest.mark.deadline(600)]


@pytest.mark.parametrize("model", ["virtio-net-pci", "vmxnet3"])
async def test_two_guests_with_all_kinds_of_others(model: str) -> None:
    nics = {name: {"kind": "stream", "socket": f"{name}.sock"} for name in ("vm1", "vm2")}
    await scenario.two_guests(nics, model)


STREAM = {"kind": "stream", "socket": "vm1.sock"}


async def test_qemu_killed_in_mid_transfer_harms_nobody_and_its_successor_is_welcome() -> None:
    with lab.runtime() as folder:
        async with vnet.Fabric.from_dict(lab.topology({"vm1": STREAM}), runtime=folder) as fabric:
            web, shell = lab.peer(fabric, "web"), lab.peer(fabric, "shell")
            port = fabric.port("vm1")
            async with lab.plugged(fabric, "vm1") as vm1, trio.open_nursery() as nursery:
                assert await vm1.ping(lab.addresses(fabric, "web")[0])

                async def cut_short() -> None:
                    with pytest.raises(GuestError, match="is gone"):
                        await vm1.give(lab.addresses(fabric, "shell")[0], 5002, 10_000)

                taking = trio.CancelScope()

                async def take_what_comes() -> None:
                    # Its kernel never says goodbye, so the connection is never closed.
                    with taking:
                        await shell.take(5002)

                nursery.start_soon(take_what_comes)
                nursery.start_soon(cut_short)
                with trio.fail_after(60):
                    while port.counters()["rx_bytes"] < 5 * peers.MB:  # noqa: ASYNC110
                        await trio.sleep(0.01)
                # The others carry on as if nothing had happened, before, while and after it dies.
                nursery.start_soon(vm1.kill)
                await peers.transfer(web, shell, lab.addresses(fabric, "shell")[0], megabytes=50)
                with trio.fail_after(50):
                    while port.carrier:  # noqa: ASYNC110
                        await trio.sleep(0.01)
                taking.cancel()
            async with lab.plugged(fabric, "vm1") as vm1:
                assert port.carrier
                await peers.transfer(vm1, shell, lab.addresses(fabric, "shell")[1], megabytes=5)


async def test_a_guest_that_stops_reading_delays_nobody() -> None:
    with lab.runtime() as folder:
        async with vnet.Fabric.from_dict(lab.topology({"vm1": STREAM}), runtime=folder) as fabric:
            web, shell = lab.peer(fabric, "web"), lab.peer(fabric, "shell")
            async with lab.plugged(fabric, "vm1") as vm1, trio.open_nursery() as nursery:
                address = lab.addresses(fabric, "vm1")[0]
                assert await shell.ping(address)
                vm1.pause()

                async def insist() -> None:
                    await peers.transfer(shell, vm1, address, port=5003, megabytes=20)

                # More than all buffers on the way hold goes to a frozen machine, by flooding it too.
                stop = await nursery.start(flood, fabric, "shell", address)
                await peers.transfer(web, shell, lab.addresses(fabric, "shell")[0], megabytes=50)
                await peers.transfer(shell, web, lab.addresses(fabric, "web")[1], megabytes=50)
                while not fabric.port("vm1").counters()["drops"].get("tx-full"):  # noqa: ASYNC110
                    await trio.sleep(0.01)
                stop.cancel()
                vm1.resume()
                await insist()


async def flood(
    fabric: vnet.Fabric, name: str, address: str, *, task_status: trio.TaskStatus[trio.CancelScope]
) -> None:
    """Datagrams from a namespace guest, until cancelled; started once a thousand are out."""
    guest = fabric.guests[name]
    assert isinstance(guest, vnet.NetnsGuest)
    assert guest.namespace is not None
    made = await guest.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with trio.socket.from_stdlib_socket(made) as sender, trio.CancelScope() as scope:
        for number in itertools.count():
            await sender.sendto(bytes(1400), (address, 9))
            if number == 1000:
                task_status.started(scope)


async def test_qemu_that_listens_is_found_whenever_it_comes_and_again_after_the_fabric_restarts() -> None:
    with lab.runtime() as folder, lab.runtime() as meeting_place:
        path = meeting_place / "vm1.sock"
        words = lab.topology({"vm1": {"kind": "stream", "socket": str(path), "role": "client"}})
        resolved = vnet.Topology.from_dict(words).resolve().ports["vm1.0"]
        card = Card(f"stream,server=on,addr.type=unix,addr.path={path}", mac=resolved.mac)
        async with boot("vm1", card) as vm1:
            for first in (True, False):
                # QEMU was there first; the fabric comes, goes, and comes again.
                async with vnet.Fabric.from_dict(words, runtime=folder) as fabric:
                    if first:
                        await lab.Vm(vm1, fabric.port("vm1")).configure()
                    await vm1.qmp.event("NETDEV_STREAM_CONNECTED")
                    assert await vm1.ping(lab.addresses(fabric, "web")[0])
                    await peers.transfer(
                        vm1, lab.peer(fabric, "web"), lab.addresses(fabric, "web")[1], megabytes=2
                    )
                await vm1.qmp.event("NETDEV_STREAM_DISCONNECTED")
        # And the other way round: the fabric waits for QEMU.
        async with vnet.Fabric.from_dict(words, runtime=folder) as fabric:
            assert not fabric.port("vm1").carrier
            async with boot("vm1", card) as vm1:
                await vm1.qmp.event("NETDEV_STREAM_CONNECTED")
                await lab.Vm(vm1, fabric.port("vm1")).configure()
                assert await lab.peer(fabric, "shell").ping(lab.addresses(fabric, "vm1")[0])


async def test_qemu_plugged_in_by_the_words_of_vnet_connect() -> None:
    """As a person does it: a file, `vnet up -d`, the words of `vnet connect`, `vnet ping`."""
    words = lab.topology({"vm1": STREAM, "vm2": {"kind": "dgram", "local": "vm2.a", "remote": "vm2.b"}})
    name = words["name"]
    with lab.runtime() as folder:
        file = folder / "topology.json"
        file.write_text(json.dumps(words))
        await command("up", str(file), "-d")
        try:
            for guest in ("vm1", "vm2"):
                told = (await command("connect", guest, "-n", name)).replace("\\\n", " ")
                async with boot(guest, more=shlex.split(told, comments=True)) as machine:
                    status = json.loads(await command("status", name, "--json"))
                    (port,) = (port for port in status["ports"] if port["guest"] == guest)
                    assert port["mac"] in await machine.run("ip link show eth0")
                    await machine.run(f"ip addr add {port['ip'][0]}/24 dev eth0 && ip link set eth0 up")
                    assert "2 received" in await command(
                        "ping", "web", guest, "-c", "2", "-W", "20", "-n", name
                    )
                    assert "2 received" in await command(
                        "ping", "shell", guest, "-c", "2", "-W", "20", "-n", name
                    )
                    assert "no answer" in await command("ping", "crypt", guest, "-c", "1", "-n", name, code=1)
        finally:
            await command("down", name)


async def command(*words: str, code: int = 0) -> str:
    """The command line; what it printed."""
    done = await trio.run_process(
        [sys.executable, "-m", "vnet", *words], check=False, capture_stdout=True, capture_stderr=True
    )
    text = done.stdout.decode() + done.stderr.decode()
    assert done.returncode == code, f"vnet {shlex.join(words)}: {done.returncode}\n{text}"
    return text
