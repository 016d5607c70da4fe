"""`xdp`: what its program takes and what it leaves, and that it is never left behind.

What it has in common with `packet` is in test_packet.py.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

import vnet
from nics.netlink import Netlink
from nics.netns import Namespace
from nics.packet import Packet
from nics.xdp import Xdp
from tests.kernel.bpf import push_tags
from tests.kernel.lab import PREFIX
from tests.kernel.test_packet import BROADCAST, STATION, Wire, want, wire
from tests.needs import needs_root, needs_tool
from vnet._native import PortConfig

pytestmark = [needs_root, needs_tool("ip")]


async def attached(made: Wire) -> str | None:
    """The mode of the program at `phys`; None: there is none."""
    (shown,) = json.loads(await made.run("ip", "-json", "-details", "link", "show", "dev", "phys"))
    modes = {1: "native", 2: "generic"}
    return modes[shown["xdp"]["mode"]] if "xdp" in shown else None


async def test_stations_come_around_the_stack_and_groups_through_it() -> None:
    async with wire(Xdp) as made:
        await made.log("phys: AF_XDP in native mode, copies, 1 queue")
        assert await attached(made) == "native"
        want(made.guest.opened, [STATION])
        (shown,) = json.loads(await made.run("ip", "-json", "link", "show", "dev", "phys"))
        host = bytes.fromhex(shown["address"].replace(":", ""))
        # A socket at the interface sees what comes through the stack.
        with await made.guest.namespace.socket(socket.AF_PACKET, socket.SOCK_RAW) as stack:
            stack.bind(("phys", 3))
            for target in (STATION, host, STATION, BROADCAST):
                made.send(target)
            await made.heard(3)
            seen = trio.socket.from_stdlib_socket(stack)
            with trio.fail_after(30):
                assert [(await seen.recv(2000))[:6] for _ in range(2)] == [host, BROADCAST]


@pytest.mark.parametrize("queues", [None, 2, 9])
async def test_each_queue_has_its_socket(queues: int | None) -> None:
    """What comes in by a queue without one goes through the stack."""
    shape = ("numrxqueues", "4", "numtxqueues", "4")
    async with wire(Xdp, shape=shape, queues=queues) as made:
        await made.log(f"phys: AF_XDP in native mode, copies, {min(queues or 4, 4)} queues")
        want(made.guest.opened, [STATION])
        ports = 200
        # The sender's queue, and so the receiver's, goes by the flow.
        for port in range(ports):
            udp = (
                bytes.fromhex("4500002000000000401100000a0000010a000002")
                + port.to_bytes(2)
                + b"\0\x09\0\x0c\0\0"
            )
            made.packet.send(STATION + bytes.fromhex("02ff00000001") + b"\x08\x00" + udp + bytes(18))
        await made.heard(ports)


@pytest.mark.parametrize("mode", ["auto", "generic"])
async def test_a_tag_beside_a_frame_is_part_of_it(mode: str) -> None:
    """Else a frame of VLAN 20 would arrive in the native network. The kernel's generic mode does not tell."""
    async with wire(Xdp, mode=mode) as made:
        want(made.guest.opened, [STATION])
        made.here.engine.set_port(made.guest.port, PortConfig(tagged=[5], native=10, uplink=True))
        link = push_tags(made.guest.namespace.fd, "world", 20)
        try:
            made.send(STATION)
            await made.heard(1)
        finally:
            os.close(link)
        assert made.counters()["drops"].get("vlan-not-member") == 1


async def test_a_veth_is_not_used_in_generic_mode() -> None:
    """Super-frames come in as one frame there, which no guest takes: its connections stood still."""
    async with wire(Xdp, mode="generic") as made:
        why = "in generic mode a veth's super-frames arrive whole: `mode: native`"
        await made.log(f"phys: AF_PACKET instead of AF_XDP: {why}")
        assert await attached(made) is None
        want(made.guest.opened, [STATION])
        made.send(STATION)
        made.send(BROADCAST)
        await made.heard(2)


async def test_what_rules_it_out_is_told_and_it_goes_on_without() -> None:
    async with wire(Xdp, shape=("mtu", "9000")) as made:
        await made.log("phys: AF_PACKET instead of AF_XDP: its MTU of 9000 is above 3818")
        made.send(BROADCAST)
        made.send(STATION)
        await made.heard(2)
        assert await attached(made) is None
        for end in ("world", "phys"):
            await made.run("ip", "link", "set", end, "mtu", "1500")
        await made.log("phys: AF_XDP in native mode, copies, 1 queue")
        assert await attached(made) == "native"
        made.send(STATION)
        await made.heard(3)


async def test_the_second_one_at_an_interface_does_without_and_each_gets_its_own() -> None:
    async with wire(Xdp) as made:
        other = bytes.fromhex("020000000043")
        opened = await Xdp(interface="phys").open(made.here.place(2, netns=made.guest.namespace.fd))
        port = made.here.engine.add_port(opened.door, made.here.engine.add_switch(), PortConfig(vlan=10))
        want(made.guest.opened, [STATION])
        want(opened, [other])
        assert await attached(made) == "native"
        for target in (STATION, other, other, BROADCAST):
            made.send(target)
        await made.heard(2)
        await made.until("its own", lambda: made.here.engine.counters(port)["rx_frames"] >= 3)
        assert made.here.engine.counters(port)["rx_frames"] == 3
        made.here.engine.remove_port(port)


async def test_no_program_stays_when_the_port_goes() -> None:
    async with wire(Xdp) as made:
        assert await attached(made) == "native"
        again = await Packet(interface="phys").open(made.here.place(2, netns=made.guest.namespace.fd))
        made.here.engine.remove_port(made.guest.port)
        assert await attached(made) is None
        made.guest.port = made.here.engine.add_port(again.door, made.here.switch, PortConfig(vlan=10))


FABRIC = """
name: {name}
networks: {{red: {{subnets: [10.0.0.0/24, "fd00::/64"]}}}}
guests: {{web: {{nics: [{{network: red, ip: [10.0.0.11, "fd00::11"]}}]}}}}
uplinks: {{wan: {{nic: {{kind: xdp, interface: phys, netns: {netns}}}, native: red}}}}
"""


async def plugged(netlink: Netlink) -> Namespace:
    """A namespace with both ends of a cable; `world` has addresses of the network."""
    namespace = await Namespace.create(f"{PREFIX}-wire", netlink)
    await plug(namespace)
    return namespace


async def plug(namespace: Namespace) -> None:
    await namespace.run("ip", "link", "add", "phys", "type", "veth", "peer", "name", "world")
    for address in ("10.0.0.1/24", "fd00::1/64"):
        words = ("nodad",) if ":" in address else ()
        await namespace.run("ip", "address", "add", address, "dev", "world", *words)
    for end in ("phys", "world"):
        await namespace.run("ip", "link", "set", end, "up")


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
async def test_a_kernel_at_the_other_end_reaches_a_guest(family: int) -> None:
    """Its checksums, which it leaves to a card, are finished here."""
    async with Netlink() as netlink:
        namespace = await plugged(netlink)
        text = FABRIC.format(name=f"xdp{os.getpid()}", netns=f"{PREFIX}-wire")
        async with vnet.Fabric(vnet.Topology.from_text(text)) as fabric, trio.open_nursery() as nursery:
            web = fabric.guests["web"]
            assert isinstance(web, vnet.StackGuest)
            address = "10.0.0.11" if family == socket.AF_INET else "fd00::11"
            sent = os.urandom(1 << 20)

            async def serve(listener: Any) -> None:
                stream = await listener.accept()
                received = b""
                while len(received) < len(sent):
                    received += await stream.receive_some()
                await stream.send_all(received)
                await stream.aclose()

            listener = await web.listen_tcp(80)
            nursery.start_soon(serve, listener)
            with await namespace.socket(family, socket.SOCK_STREAM) as plain, trio.fail_after(50):
                stream = trio.SocketStream(trio.socket.from_stdlib_socket(plain))
                await stream.socket.connect((address, 80))
                await stream.send_all(sent)
                received = b""
                while len(received) < len(sent):
                    received += await stream.receive_some()
            assert received == sent
            counters = fabric.ports["wan"].counters()
            assert counters["drops"] == {}
            assert counters["rx_frames"] > 100
        await namespace.aclose()


async def test_an_interface_that_comes_again_is_taken_again_in_the_sandbox(tmp_path: Path) -> None:
    """To join its namespace once more is a right that was given up."""
    async with Netlink() as netlink:
        namespace = await plugged(netlink)
        name = f"xdpagain{os.getpid()}"
        file = tmp_path / "lab.yaml"
        file.write_text(FABRIC.format(name=name, netns=f"{PREFIX}-wire"))
        vnet = [sys.executable, "-m", "vnet"]
        try:
            await trio.run_process([*vnet, "up", str(file), "-d"], capture_stdout=True)
            for _ in range(2):
                with trio.fail_after(50):
                    while not await shown(namespace):  # noqa: ASYNC110
                        await trio.sleep(0.02)
                await namespace.run("ping", "-c", "1", "-W", "20", "10.0.0.11")
                await namespace.run("ip", "link", "delete", "phys")
                await plug(namespace)
        finally:
            await trio.run_process([*vnet, "down", name], capture_stdout=True, check=False)
        await namespace.aclose()


async def shown(namespace: Namespace) -> bool:
    """Whether a program is attached."""
    return "xdp" in json.loads(await namespace.run("ip", "-json", "link", "show", "phys"))[0]


async def test_nothing_stays_of_a_process_that_was_killed(tmp_path: Path) -> None:
    async with Netlink() as netlink:
        namespace = await plugged(netlink)
        name = f"xdp{os.getpid()}"
        file = tmp_path / "lab.yaml"
        file.write_text(FABRIC.format(name=name, netns=f"{PREFIX}-wire"))

        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "vnet", "up", str(file)], stdout=subprocess.DEVNULL
        )
        with trio.fail_after(30):
            while not await shown(namespace):  # noqa: ASYNC110
                await trio.sleep(0.02)
            process.send_signal(signal.SIGKILL)
            await process.wait()
            # The kernel takes a link down when its last descriptor is closed, a moment later.
            while await shown(namespace):  # noqa: ASYNC110
                await trio.sleep(0.02)
        await trio.run_process([sys.executable, "-m", "vnet", "down", name], capture_stdout=True)
        await namespace.aclose()
