"""`packet` and `xdp` on an interface that goes through everything an interface can, and what they take in."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import pytest
import trio

from nics.door import Opened
from nics.errors import NicError
from nics.netns import Namespace
from nics.packet import Packet
from nics.pipe import Pipe, PipeEnd
from nics.xdp import Xdp
from tests.kernel.lab import PREFIX, Guest, Lab, lab
from tests.needs import needs_root, needs_tool
from vnet._native import PortConfig

pytestmark = [needs_root, needs_tool("ip")]

ETHERTYPE = b"\x88\xb5"
BROADCAST = b"\xff" * 6
WORLD = bytes.fromhex("02ff00000001")
STATION = bytes.fromhex("020000000042")
PACKET_IGNORE_OUTGOING = 23


@attrs.define(eq=False)
class Wire:
    """The interface `phys` with a door on it, and the other end of its cable, `world`."""

    here: Lab
    guest: Guest
    """Its port and namespace; it has no address."""
    packet: socket.socket

    async def run(self, *argv: str) -> str:
        return await self.guest.run(*argv)

    def send(self, to: bytes, source: bytes = WORLD, number: int = 0) -> None:
        self.packet.send(to + source + ETHERTYPE + number.to_bytes(4) + bytes(42))

    async def log(self, line: str) -> None:
        """Wait until its port has said this."""
        with trio.fail_after(30):
            while await self.here.event(self.guest, "log") != line:
                pass

    @property
    def carrier(self) -> bool:
        return self.here.engine.carrier(self.guest.port)

    async def until(self, what: str, done: Any) -> None:
        with trio.fail_after(30):
            while not done():  # noqa: ASYNC110
                await trio.sleep(0.005)

    def counters(self) -> dict[str, Any]:
        return self.here.engine.counters(self.guest.port)

    async def heard(self, expected: int) -> None:
        await self.until(f"{expected} frames", lambda: self.counters()["rx_frames"] >= expected)
        assert self.counters()["rx_frames"] == expected

    async def promiscuous(self) -> int:
        (shown,) = json.loads(await self.run("ip", "-json", "-details", "link", "show", "dev", "phys"))
        return int(shown["promiscuity"])


Kind = type[Packet] | type[Xdp] | partial[Packet]


@pytest.fixture(params=[Packet, partial(Packet, queues=3), Xdp], ids=["packet", "packet-queues", "xdp"])
def kind(request: pytest.FixtureRequest) -> Kind:
    chosen: Kind = request.param
    return chosen


@asynccontextmanager
async def wire(kind: Kind, shape: tuple[str, ...] = (), **keys: Any) -> AsyncIterator[Wire]:
    """`shape` is how the cable is made, in the words of `ip link add`."""
    async with lab() as here:
        namespace = await Namespace.create(f"{PREFIX}-wire", here.netlink)
        await namespace.run("sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1")
        peer = ("type", "veth", "peer", "name", "world")
        await namespace.run("ip", "link", "add", "phys", *shape, *peer, *shape)
        for end in ("phys", "world"):
            await namespace.run("ip", "link", "set", end, "up")
        place = here.place(1, netns=namespace.fd)
        opened = await kind(interface="phys", **keys).open(place)
        port = here.engine.add_port(opened.door, here.switch, PortConfig(vlan=10, uplink=True))
        guest = Guest(namespace, port, opened, "", "", "")
        here.guests.append(guest)
        with await namespace.socket(socket.AF_PACKET, socket.SOCK_RAW) as packet:
            packet.bind(("world", 3))
            packet.setsockopt(263, PACKET_IGNORE_OUTGOING, 1)
            yield Wire(here, guest, packet)


def want(opened: Opened, macs: list[bytes] | None) -> None:
    assert opened.stations is not None
    opened.stations(None if macs is None else [mac.hex(":") for mac in macs])


async def test_takes_in_what_is_for_the_fabric_and_leaves_the_rest_to_the_host(kind: Kind) -> None:
    async with wire(kind) as made:
        (shown,) = json.loads(await made.run("ip", "-json", "link", "show", "dev", "phys"))
        host = bytes.fromhex(shown["address"].replace(":", ""))
        stranger = bytes.fromhex("020000000099")

        came = 0

        async def takes(number: int, *targets: bytes) -> None:
            """So many of the frames are taken in, and no more. What is taken in behind the last of them ends
            them: a broadcast by the kernel's stack, and what may come by another way than that.
            """
            nonlocal came
            for target in targets:
                made.send(target)
            for end in (BROADCAST, STATION):
                made.send(end)
                number += 1
                await made.heard(came + number)
            came += number

        # Nobody has said who lives here: as a bridge, but the host's own is the host's.
        await takes(1, host, stranger)
        assert await made.promiscuous() == 1
        want(made.guest.opened, [STATION])
        await takes(0, host, stranger)
        many = [STATION, *(bytes([2, 1, 0, 0, *number.to_bytes(2)]) for number in range(400))]
        want(made.guest.opened, many)
        await takes(len(many), host, stranger, *many)
        want(made.guest.opened, None)
        await takes(1, stranger)
        want(made.guest.opened, [])
        assert await made.promiscuous() == 0, "nobody is there"
        with await made.guest.namespace.socket(socket.AF_PACKET, socket.SOCK_RAW) as stack:
            stack.bind(("phys", 3))
            seen = trio.socket.from_stdlib_socket(stack)
            for target in (BROADCAST, STATION):
                made.send(target)
                with trio.fail_after(30):
                    assert (await seen.recv(2000)).startswith(target), "it has passed"
        want(made.guest.opened, [STATION])
        await takes(0)


async def test_follows_its_interface_down_and_up_and_by_other_names(kind: Kind) -> None:
    async with wire(kind) as made:
        assert made.carrier
        for link in ("phys", "world"):
            await made.run("ip", "link", "set", link, "down")
            await made.here.event(made.guest, "carrier", 0)
            await made.until("no carrier", lambda: not made.carrier)
            await made.run("ip", "link", "set", link, "up")
            await made.here.event(made.guest, "carrier", 1)
            await made.until("carrier", lambda: made.carrier)
        before = made.counters()["rx_frames"]
        await made.run("ip", "link", "set", "phys", "down")
        await made.run("ip", "link", "set", "phys", "name", "lan0")
        await made.run("ip", "link", "set", "lan0", "up")
        await made.log("the interface phys is called lan0 now")
        await made.until("carrier", lambda: made.carrier)
        made.packet.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)  # that its end was down is old news
        # The kernel sends by it again a moment after it has a carrier.
        while "state UP" not in await made.run("ip", "link", "show", "dev", "world"):  # noqa: ASYNC110
            await trio.sleep(0.01)
        made.send(BROADCAST)
        await made.heard(before + 1)


async def test_an_mtu_that_changes_is_kept_to(kind: Kind) -> None:
    async with wire(kind) as made:
        engine = made.here.engine
        engine.set_port(made.guest.port, PortConfig(vlan=10, mtu=3000, uplink=True))
        opened = await Pipe().open(made.here.place(2, mtu=3000))
        assert isinstance(opened.far, PipeEnd)
        engine.add_port(opened.door, made.here.switch, PortConfig(vlan=10, mtu=3000))
        world = trio.socket.from_stdlib_socket(made.packet)
        long = (BROADCAST + STATION + ETHERTYPE).ljust(2500, b"\0")
        await opened.far.send(long)
        await made.until("a drop", lambda: "tx-too-big" in made.counters()["drops"])
        await made.run("ip", "link", "set", "world", "mtu", "3000")
        await made.run("ip", "link", "set", "phys", "mtu", "3000")
        await made.log("phys: its MTU is 3000 now")
        await opened.far.send(long)
        with trio.fail_after(30):
            assert await world.recv(3100) == long


@pytest.mark.parametrize("how", ["deleted", "moved"])
async def test_waits_for_an_interface_that_is_gone(kind: Kind, how: str) -> None:
    async with wire(kind) as made:
        elsewhere = await Namespace.create(f"{PREFIX}-else", made.here.netlink)
        if how == "deleted":
            await made.run("ip", "link", "delete", "phys")
        else:
            await made.run("ip", "link", "set", "phys", "netns", f"{PREFIX}-else")
        await made.log("phys: the interface is gone; waiting for one of that name")
        assert not made.carrier
        want(made.guest.opened, [STATION])
        if how == "deleted":
            await made.run("ip", "link", "add", "phys", "type", "veth", "peer", "name", "world")
        else:
            await elsewhere.run("ip", "link", "set", "phys", "netns", f"{PREFIX}-wire")
        for end in ("phys", "world"):
            await made.run("ip", "link", "set", end, "up")
        await made.until("carrier", lambda: made.carrier)
        # What it was told meanwhile holds.
        with await made.guest.namespace.socket(socket.AF_PACKET, socket.SOCK_RAW) as again:
            again.bind(("world", 3))
            made.packet = again
            before = made.counters()["rx_frames"]
            made.send(bytes.fromhex("020000000099"))
            made.send(STATION)
            await made.heard(before + 1)
        await elsewhere.aclose()


@pytest.mark.parametrize("lost", [False, True], ids=["late", "lost"])
@pytest.mark.parametrize("how", ["deleted", "moved"])
async def test_finds_it_again_when_it_hears_of_that_too_late_or_not_at_all(
    kind: Kind, how: str, lost: bool
) -> None:
    async with wire(kind) as made:
        want(made.guest.opened, [STATION])
        elsewhere = await Namespace.create(f"{PREFIX}-else", made.here.netlink)
        made.here.engine.stop()
        if lost:
            # More news than the socket that it hears of them by has room for.
            much = "seq 5000 7000 | sed 's/^/link set lo mtu /' | ip -batch -"
            await made.run("sh", "-c", much)
        if how == "deleted":
            await made.run("ip", "link", "delete", "phys")
            await made.run("ip", "link", "add", "phys", "type", "veth", "peer", "name", "world")
        else:
            await made.run("ip", "link", "set", "phys", "netns", f"{PREFIX}-else")
            await elsewhere.run("ip", "link", "set", "phys", "netns", f"{PREFIX}-wire")
        for end in ("phys", "world"):
            await made.run("ip", "link", "set", end, "up")
        made.here.engine.start("adaptive")
        await made.log("phys: the interface is gone; waiting for one of that name")
        await made.log("phys: the interface is there again")
        await made.until("carrier", lambda: made.carrier)
        with await made.guest.namespace.socket(socket.AF_PACKET, socket.SOCK_RAW) as again:
            again.bind(("world", 3))
            made.packet = again
            before = made.counters()["rx_frames"]
            for target in (bytes.fromhex("020000000099"), BROADCAST, STATION):
                made.send(target)
            await made.heard(before + 2)
        await elsewhere.aclose()


@pytest.mark.parametrize("target", [BROADCAST, STATION], ids=["group", "station"])
async def test_what_the_kernel_had_no_room_for_is_counted(kind: Kind, target: bytes) -> None:
    async with wire(kind) as made:
        want(made.guest.opened, [STATION])
        made.here.engine.set_link(made.guest.port, False)
        sent = 0
        with await made.guest.namespace.socket(socket.AF_PACKET, socket.SOCK_RAW) as fast:
            fast.setsockopt(263, 15, 1)  # PACKET_VNET_HDR: super-frames of 60,000 bytes, which are put aside
            fast.bind(("world", 3))
            header = struct.pack("<BBHHHHH", 1, 1, 54, 1000, 34, 16, 0)[:10]
            ip = bytes.fromhex("4500ea6000004000400600000a0000010a000002")
            tcp = bytes.fromhex("04d20050000000000000000050100200") + bytes(4)
            frame = target + WORLD + b"\x08\x00" + ip + tcp + bytes(60_000 - 20)
            for _ in range(3000):
                fast.send(header + frame)
                # Around the kernel's stack they come as they would on a wire.
                sent += 1 if kind is not Xdp else len(range(0, 60_000 - 20, 1000))

        async def seen() -> int:
            """Taken in, lost for want of room, or lost in the cable."""
            shown = json.loads(await made.run("ip", "-json", "-statistics", "link", "show"))
            cable = {link["ifname"]: link["stats64"] for link in shown}
            lost = cable["world"]["tx"]["dropped"]
            counted = made.counters()
            return int(counted["rx_frames"]) + int(counted["drops"].get("door-overrun", 0)) + int(lost)

        with trio.fail_after(30):
            while await seen() < sent:  # noqa: ASYNC110
                await trio.sleep(0.01)
        assert await seen() == sent


async def test_several_sockets_share_and_keep_each_flow_in_order() -> None:
    async with wire(Packet, queues=4) as made:
        opened = await Pipe(limit=4000).open(made.here.place(2))
        made.here.engine.add_port(opened.door, made.here.switch, PortConfig(vlan=10))
        assert isinstance(opened.far, PipeEnd)
        table = await made.run("cat", "/proc/net/packet")
        (index,) = [
            link["ifindex"] for link in json.loads(await made.run("ip", "-json", "link", "show", "phys"))
        ]
        assert sum(line.split()[4] == str(index) for line in table.splitlines()[1:]) == 4
        flows = 16
        for number in range(1600):
            ip = bytes.fromhex("4500002e00004000401100000a0000010a000002")
            ports = struct.pack("!HHHH", 1000 + number % flows, 9, 26, 0)
            made.packet.send(BROADCAST + WORLD + b"\x08\x00" + ip + ports + number.to_bytes(18))
        await made.heard(1600)
        heard: dict[bytes, list[int]] = {}
        for _ in range(1600):
            frame = opened.far.receive_nowait()
            heard.setdefault(frame[34:36], []).append(int.from_bytes(frame[42:60]))
        assert len(heard) == flows
        assert all(numbers == sorted(numbers) for numbers in heard.values())


async def test_what_is_wrong_is_told() -> None:
    async with lab() as here:
        with pytest.raises(NicError, match="there is no interface nothere0: `ip link` shows which"):
            await Packet(interface="nothere0").open(here.place(1))
        with pytest.raises(NicError, match="ip netns add nowhere"):
            await Packet(interface="lo", netns="nowhere").open(here.place(1))


async def test_two_fabrics_on_one_interface_do_not_see_each_others_guests(kind: Kind) -> None:
    async with wire(kind) as made:
        engine, switch = made.here.engine, made.here.engine.add_switch()
        other = await Packet(interface="phys").open(made.here.place(3, netns=made.guest.namespace.fd))
        second = engine.add_port(other.door, switch, PortConfig(vlan=10, uplink=True))
        ends = []
        for number, place in ((8, made.here.switch), (9, switch)):
            opened = await Pipe().open(made.here.place(number))
            engine.add_port(opened.door, place, PortConfig(vlan=10))
            ends.append(opened.far)
        mine, theirs = ends
        assert isinstance(mine, PipeEnd)
        assert isinstance(theirs, PipeEnd)
        world = trio.socket.from_stdlib_socket(made.packet)
        for end, number in ((mine, 8), (theirs, 9)):
            frame = (BROADCAST + bytes([2, 0, 0, 0, 0, number]) + ETHERTYPE).ljust(60, b"\0")
            await end.send(frame)
            with trio.fail_after(30):
                assert await world.recv(2000) == frame, "the world hears each of them"
        # What comes from the wire, both take in; had either heard the other's before, it would be first.
        made.send(BROADCAST, number=7)
        for end in (mine, theirs):
            heard: list[bytes] = []

            def first(end: PipeEnd = end, heard: list[bytes] = heard) -> bool:
                with contextlib.suppress(trio.WouldBlock):
                    heard.append(end.receive_nowait())
                return bool(heard)

            await made.until("a frame", first)
            assert heard[0][6:12] == WORLD
        assert made.counters()["rx_frames"] == engine.counters(second)["rx_frames"] == 1
        engine.remove_port(second)


async def test_datagrams_of_a_burst_leave_together(kind: Kind) -> None:
    async with wire(kind) as made:
        guest = await made.here.guest()
        await guest.run("ip", "neigh", "add", "10.9.0.200", "lladdr", WORLD.hex(":"), "dev", "eth0")
        world = trio.socket.from_stdlib_socket(made.packet)
        with await guest.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.connect(("10.9.0.200", 9))
            sent = [number.to_bytes(2) * 9 for number in range(50)]
            made.here.engine.stop()  # so that all of them wait when it looks
            for datagram in sent:
                sender.send(datagram)
            made.here.engine.start("adaptive")
        heard, frames = b"", 0
        with trio.fail_after(30):
            while len(heard) < 50 * 18:
                frame = await world.recv(70_000)
                if frame.startswith(WORLD):
                    heard += frame[42:]
                    frames += 1
        assert heard == b"".join(sent)
        assert frames < 10, "a super-frame each burst, as the interface takes them"
