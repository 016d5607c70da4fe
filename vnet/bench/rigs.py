"""Two ports of each kind on one engine, with far sides that native code drives."""

from __future__ import annotations

import os
import socket
import struct
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import attrs
import trio

from nics.door import Place
from nics.netlink import Netlink
from nics.netns import Namespace
from nics.stream import Stream
from nics.tap import Tap
from nics.vde import Vde
from vnet._native import (
    Door,
    Engine,
    LoadFar,
    LoadTcp,
    PortConfig,
    StackHandle,
    load_echo,
    pipe_door,
    stack_door,
)
from vnet.errors import VnetError

T = TypeVar("T")

VLAN = 10
MACS = ("02:00:00:00:00:01", "02:00:00:00:00:02")
IPS = ("10.0.0.1", "10.0.0.2")
PORT = 7
EXPERIMENTAL = 0x88B5
"""EtherType for local experiments (IEEE 802)."""
PIPE_LIMIT = 1024
PACKET_QDISC_BYPASS = 20
SOL_PACKET = 263
UDP_HEADERS = 14 + 20 + 8
CONNECT_TIME = 10.0


@attrs.define(eq=False)
class Rig:
    """Two ports of one kind, in one VLAN of one switch."""

    engine: Engine
    ports: tuple[int, int]
    fars: Callable[[int, bool], tuple[LoadFar, LoadFar]]
    """Far sides that send frames of so many bytes to each other; True: and see what they receive."""
    window: int = 256
    """Frames on their way that no queue on the way drops."""
    tcp: Callable[[], tuple[LoadTcp, LoadTcp]] | None = None

    def start(self, poll: str) -> None:
        """Have a thread turn the engine: on a core of its own, if there are two."""
        self.engine.stop()
        self.engine.start(poll, cores()[0])

    async def load(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call one of the functions that make load in a thread, on another core."""

        def call() -> T:
            before = os.sched_getaffinity(0)
            _, core = cores()
            if core is not None:
                os.sched_setaffinity(0, {core})
            try:
                return function(*arguments)
            finally:
                os.sched_setaffinity(0, before)

        return await trio.to_thread.run_sync(call)


def cores() -> tuple[int | None, int | None]:
    """One for the engine and one for the load. Left to itself the scheduler may well put two threads
    that both poll on one core, where each waits for the other's time slice to end.
    """
    found = sorted(os.sched_getaffinity(0))
    return (found[-1], found[-2]) if len(found) > 1 else (None, None)


def frame(source: int, size: int) -> bytes:
    """A frame from one side to the other."""
    macs = [bytes.fromhex(mac.replace(":", "")) for mac in MACS]
    head = macs[1 - source] + macs[source] + EXPERIMENTAL.to_bytes(2, "big")
    return head + bytes(size - len(head))


@asynccontextmanager
async def rig(kind: str) -> AsyncIterator[Rig]:
    """A rig for a kind of NIC, its engine turned by its thread, learned. Raises NicError, OSError."""
    async with AsyncExitStack() as stack:
        engine = Engine()
        made = await _MAKERS[kind](engine, stack)
        made.start("sleep")
        stack.callback(engine.stop)
        with trio.fail_after(CONNECT_TIME):
            while not all(engine.carrier(port) for port in made.ports):  # noqa: ASYNC110 - a moment
                await trio.sleep(0.001)
        # Now the switch learns where both are, and neighbours learn of each other.
        if not await made.load(load_echo, *made.fars(60, True), 20, 5.0):
            raise VnetError("no frame comes through")
        yield made


def _add(engine: Engine, stack: AsyncExitStack, doors: list[Door]) -> tuple[int, int]:
    switch = engine.add_switch()
    ports = [engine.add_port(door, switch, PortConfig(vlan=VLAN)) for door in doors]
    for port in ports:
        stack.callback(engine.remove_port, port)
    return ports[0], ports[1]


async def _pipe(engine: Engine, stack: AsyncExitStack) -> Rig:
    ends = [pipe_door(PIPE_LIMIT, 1518) for _ in MACS]
    ports = _add(engine, stack, [door for door, _ in ends])

    def fars(size: int, _see: bool) -> tuple[LoadFar, LoadFar]:
        near, far = (LoadFar.pipe(handle, frame(i, size)) for i, (_, handle) in enumerate(ends))
        return near, far

    await trio.lowlevel.checkpoint()
    return Rig(engine, ports, fars)


async def _stack(engine: Engine, stack: AsyncExitStack) -> Rig:
    guests = [stack_door(mac, [f"{ip}/24"], [], 1500, 1) for mac, ip in zip(MACS, IPS, strict=True)]
    ports = _add(engine, stack, [door for door, _ in guests])
    handles = [handle for _, handle in guests]
    sockets = [handle.udp_bind(None, PORT) for handle in handles]

    def fars(size: int, _see: bool) -> tuple[LoadFar, LoadFar]:
        payload = bytes(size - UDP_HEADERS)
        near, far = (
            LoadFar.udp(handle, number, f"{IPS[1 - i]}:{PORT}", payload)
            for i, (handle, number) in enumerate(zip(handles, sockets, strict=True))
        )
        return near, far

    await trio.lowlevel.checkpoint()
    return Rig(engine, ports, fars, window=128, tcp=lambda: _stack_tcp(handles[0], handles[1]))


def _stack_tcp(client: StackHandle, server: StackHandle) -> tuple[LoadTcp, LoadTcp]:
    listener = server.tcp_listen(None, PORT, 1)
    try:
        connecting = client.tcp_connect(IPS[1], PORT)
        while (accepted := server.tcp_accept(listener)) is None or not client.tcp_connected(connecting):
            pass  # microseconds, and this thread has nothing else to do
    finally:
        server.close(listener)
    return LoadTcp.stack(client, connecting), LoadTcp.stack(server, accepted)


async def _stream(engine: Engine, stack: AsyncExitStack) -> Rig:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vnet-bench-")))
    netlink = await stack.enter_async_context(Netlink())
    doors, clients = [], []
    for i, mac in enumerate(MACS):
        place = Place(port=f"{i}", runtime=folder, netlink=netlink, mac=mac)
        opened = await Stream(socket=f"{i}.sock").open(place)
        doors.append(opened.door)
    ports = _add(engine, stack, doors)
    for i in range(len(MACS)):
        client = stack.enter_context(socket.socket(socket.AF_UNIX))
        client.connect(str(folder / f"{i}.sock"))
        clients.append(client)

    def fars(size: int, _see: bool) -> tuple[LoadFar, LoadFar]:
        near, far = (LoadFar.stream(client.fileno(), frame(i, size)) for i, client in enumerate(clients))
        return near, far

    return Rig(engine, ports, fars)


async def _vde(engine: Engine, stack: AsyncExitStack) -> Rig:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vnet-bench-")))
    netlink = await stack.enter_async_context(Netlink())
    places = [Place(port=f"{i}", runtime=folder, netlink=netlink, mac=mac) for i, mac in enumerate(MACS)]
    ports = _add(engine, stack, [(await Vde(directory=place.port).open(place)).door for place in places])
    engine.start("sleep", None)
    plugs = [await _plug(folder / place.port, stack) for place in places]

    def fars(size: int, _see: bool) -> tuple[LoadFar, LoadFar]:
        near, far = (LoadFar.packet(plug.fileno(), frame(i, size)) for i, plug in enumerate(plugs))
        return near, far

    return Rig(engine, ports, fars)


async def _plug(folder: Path, stack: AsyncExitStack) -> socket.socket:
    """Plug in as libvdeplug does; the socket for frames."""
    control = stack.enter_context(socket.socket(socket.AF_UNIX))
    data = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK))
    data.bind(str(folder / "plug"))
    address = struct.pack("=H108s", socket.AF_UNIX, str(folder / "plug").encode())
    control.connect(str(folder / "ctl"))
    control.sendall(struct.pack("=III", 0xFEEDFACE, 3, 0) + address)
    control.settimeout(CONNECT_TIME)
    answer = await trio.to_thread.run_sync(control.recv, 256)
    data.connect(answer[2:].rstrip(b"\0").decode())
    return data


async def _tap(engine: Engine, stack: AsyncExitStack) -> Rig:
    netlink = await stack.enter_async_context(Netlink())
    guests, doors = [], []
    for i, (mac, ip) in enumerate(zip(MACS, IPS, strict=True)):
        guest = await Namespace.create(f"vnet-bench-{i}", netlink)
        stack.push_async_callback(guest.aclose)
        place = Place(
            port=f"{i}.0",
            runtime=Path("/"),
            netlink=netlink,
            mac=mac,
            addresses=(f"{ip}/24",),
            netns=guest.fd,
        )
        opened = await Tap().open(place)
        if opened.close is not None:
            stack.push_async_callback(opened.close)
        doors.append(opened.door)
        guests.append(guest)
    ports = _add(engine, stack, doors)
    # Those that see, and those that only send: what is not looked at shall cost nobody anything.
    sockets = {see: [await _packet(guest, stack, see=see) for guest in guests] for see in (True, False)}
    streams = [await guest.socket(socket.AF_INET, socket.SOCK_STREAM) for guest in guests]
    for one in streams:
        stack.enter_context(one)

    def fars(size: int, see: bool) -> tuple[LoadFar, LoadFar]:
        near, far = (LoadFar.packet(one.fileno(), frame(i, size)) for i, one in enumerate(sockets[see]))
        return near, far

    def tcp() -> tuple[LoadTcp, LoadTcp]:
        client, server = streams
        server.bind((IPS[1], PORT))
        server.listen(1)
        client.connect((IPS[1], PORT))
        accepted, _ = server.accept()
        with accepted:
            return LoadTcp.kernel(client.fileno()), LoadTcp.kernel(accepted.fileno())

    return Rig(engine, ports, fars, window=512, tcp=tcp)


async def _packet(guest: Namespace, stack: AsyncExitStack, *, see: bool) -> socket.socket:
    made = stack.enter_context(await guest.socket(socket.AF_PACKET, socket.SOCK_RAW))
    made.setblocking(False)
    made.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, 1)
    made.bind(("eth0", EXPERIMENTAL if see else 0))
    return made


_MAKERS = {"pipe": _pipe, "stack": _stack, "stream": _stream, "tap": _tap, "vde": _vde}
