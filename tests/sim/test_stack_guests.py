"""Many in-process guests, and the same run twice: all of it in virtual time."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
import trio
import trio.testing

import topologies
import vnet
from nics.stack_sockets import TcpStream


def network(count: int, name: str = "many", subnet: str = "10.0.0.0/16") -> vnet.Topology:
    guests = {f"g{n}": {"nics": [{"network": "lan"}]} for n in range(1, count + 1)}
    networks = {"lan": {"subnets": [subnet, "fd00::/64"]}}
    return vnet.Topology.from_dict({"name": name, "seed": 7, "networks": networks, "guests": guests})


async def echo(stream: TcpStream) -> None:
    async with stream:
        async for data in stream:
            await stream.send_all(data)


async def test_two_hundred_guests_talk_at_once(autojump_clock: trio.testing.MockClock) -> None:
    async with vnet.Fabric(network(200)) as fabric, trio.open_nursery() as serving:
        server, *clients = fabric.guests.values()
        for host in (server.host(), clients[0].host()):
            await serving.start(
                lambda task_status, host=host: host.serve_tcp(echo, 7, task_status=task_status)
            )
        answers = []

        async def talk(guest: vnet.StackGuest, peer: vnet.StackGuest) -> None:
            async with await guest.open_tcp_stream(peer, 7) as stream:
                await stream.send_all(guest.name.encode() * 1000)
                await stream.send_eof()
                answers.append(b"".join([data async for data in stream]))

        begun = trio.current_time()
        async with trio.open_nursery() as nursery:
            for index, guest in enumerate(clients):
                nursery.start_soon(talk, guest, server if index % 2 else clients[0])
                nursery.start_soon(guest.ping, clients[(index * 7 + 1) % len(clients)])
        assert sorted(answers) == sorted(guest.name.encode() * 1000 for guest in clients)
        # Nobody had to wait for a timer: not for a lost segment, not for a neighbour's address.
        assert trio.current_time() - begun < 0.2
        serving.cancel_scope.cancel()


async def test_a_thousand_idle_guests_want_no_turn(autojump_clock: trio.testing.MockClock) -> None:
    async with vnet.Fabric(network(1000)) as fabric:
        await fabric.guests["g1"].ping(fabric.guests["g1000"])
        await trio.sleep(120)
        before = fabric.engine.turns
        await trio.sleep(3600)
        # The switch forgets what it learned, now and then.
        assert fabric.engine.turns - before < 20
        await fabric.guests["g1000"].ping(fabric.guests["g1"])


async def conversation(folder: Path, seed: int) -> bytes:
    topology = network(3)
    topology.seed = seed
    async with vnet.Fabric(topology, runtime=folder) as fabric:
        one, two, three = (guest.host() for guest in fabric.guests.values())
        path = folder / "all.pcapng"
        async with fabric.capture(path, "all"), trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: two.serve_tcp(echo, 7, task_status=task_status))
            async with await one.open_tcp_stream(fabric.guests["g2"].ip, 7) as stream:
                for number in range(50):
                    await stream.send_all(b"%d " % number * 500)
                    await stream.receive_some()
                    await trio.sleep(0.01)
            with pytest.raises(vnet.Unreachable):
                await three.ping("10.0.77.77", timeout=5)
            await three.ping(str(fabric.guests["g1"].addresses[1]), size=4000)
            nursery.cancel_scope.cancel()
        return path.read_bytes()


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    def run(name: str, seed: int) -> bytes:
        folder = tmp_path / name
        folder.mkdir()
        clock = trio.testing.MockClock(autojump_threshold=0)
        return trio.run(conversation, folder, seed, clock=clock)

    first = run("first", 7)
    assert len(first) > 100_000
    assert run("second", 7) == first
    assert run("third", 8) != first


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_a_fat_tree_of_a_thousand(autojump_clock: trio.testing.MockClock) -> None:
    """1,000 guests at 125 switches that run RSTP over 500 links."""
    topology = topologies.build("fat-tree", k=10, hosts=20)
    assert (len(topology.guests), len(topology.switches), len(topology.links)) == (1000, 125, 500)
    before = resident()
    async with vnet.Fabric(topology) as fabric:
        assert resident() - before < 200_000_000
        await trio.sleep(5)
        assert len({switch["stp"]["root"] for switch in fabric.switches()}) == 1
        guests, dice = list(fabric.guests.values()), random.Random(1)
        answers: list[float] = []

        async def echo(one: vnet.StackGuest, other: vnet.StackGuest) -> None:
            answers.append(await one.ping(other))

        async with trio.open_nursery() as nursery:
            for _ in range(1000):
                nursery.start_soon(echo, *dice.sample(guests, 2))
        assert len(answers) == 1000
        # With what is kept of all that passed: the recorder's part is bounded for all ports together.
        assert resident() - before < 200_000_000
