"""A fabric of in-process guests: reach, isolation, change while traffic flows, virtual time."""

from __future__ import annotations

import contextlib
import functools
import json
from types import SimpleNamespace

import pytest
import trio
import trio.testing

import vnet
from tests import turns
from vnet import BadInput, Fabric, Unreachable, apply, drive, events
from vnet.control.operations import Operations
from vnet.control.server import written

TENANTS = {
    "name": "tenants",
    "seed": 1,
    "networks": {
        "red": {"vlan": 10, "subnets": ["10.0.10.0/24", "fd00:10::/64"]},
        "blue": {"vlan": 20, "subnets": ["10.0.10.0/24"]},
    },
    "guests": {
        "web": {"nics": [{"network": "red", "ip": ["10.0.10.11"]}]},
        "db": {"nics": [{"network": "red"}]},
        "spy": {"nics": [{"network": "blue", "ip": ["10.0.10.99"]}]},
    },
}


def tenants(**changes):
    return json.loads(json.dumps(TENANTS)) | changes


async def test_guests_of_one_network_reach_each_other_and_nobody_else():
    async with Fabric.from_dict(tenants()) as fabric:
        web, db, spy = (fabric.guests[name] for name in ("web", "db", "spy"))
        assert await web.ping(db, timeout=30) > 0
        assert await db.ping(web, timeout=30, family=6) > 0
        for target in (web, db):
            with pytest.raises(Unreachable):
                await spy.ping(target, timeout=0.2)


async def test_a_neighbour_with_the_address_of_somebody_elsewhere_does_not_answer_for_it():
    topology = tenants()
    topology["guests"]["twin"] = {"nics": [{"network": "blue", "ip": ["10.0.10.11"]}]}
    async with Fabric.from_dict(topology) as fabric:
        web, db, spy, twin = (fabric.guests[name] for name in ("web", "db", "spy", "twin"))
        assert await spy.ping("10.0.10.11", timeout=30) > 0
        assert await spy.ping(twin, timeout=30) > 0
        assert await db.ping(web, timeout=30) > 0
        for ask in (spy.ping, functools.partial(spy.open_tcp_stream, port=80)):
            with pytest.raises(Unreachable, match=r"asked at 10\.0\.10\.11: .* blue, that is twin's"):
                await ask(web)


async def test_the_status_has_the_keys_that_hold():
    async with Fabric.from_dict(tenants()) as fabric:
        await fabric.guests["web"].ping(fabric.guests["db"], timeout=30)
        status = fabric.status()
        assert json.loads(json.dumps(status)) == status
        assert set(status) >= {"name", "engine", "ports"}
        assert status["engine"]["driver"] == "thread"
        keys = [
            "port",
            "guest",
            "kind",
            "switch",
            "network",
            "vlan",
            "mac",
            "ip",
            "carrier",
            "rx",
            "tx",
            "drops",
            "held",
        ]
        for port in status["ports"]:
            assert set(port) >= set(keys)
            assert set(port["rx"]) == set(port["tx"]) == {"frames", "bytes"}
        web = status["ports"][0]
        assert (web["port"], web["vlan"], web["ip"][0], web["carrier"]) == ("web.0", 10, "10.0.10.11", True)
        assert web["rx"]["frames"] > 0


async def test_macs_and_addresses_stay_when_guests_come_and_go():
    async with Fabric.from_dict(tenants()) as fabric:
        before = {port["port"]: (port["mac"], port["ip"]) for port in fabric.status()["ports"]}
        await fabric.attach("early", network="red")
        await fabric.detach("web")
        after = {port["port"]: (port["mac"], port["ip"]) for port in fabric.status()["ports"]}
    assert after["db.0"] == before["db.0"]
    async with Fabric.from_dict(tenants()) as again:
        assert {port["port"]: (port["mac"], port["ip"]) for port in again.status()["ports"]} == before


async def test_a_connection_lives_through_changes_around_it():
    wanted = tenants()
    async with Fabric.from_dict(wanted) as fabric:
        web, db = fabric.guests["web"], fabric.guests["db"]
        listener = await db.listen_tcp(80)
        received = 0
        size = 64 << 20

        async def serve():
            nonlocal received
            async with await listener.accept() as stream:
                while data := await stream.receive_some(1 << 18):
                    received += len(data)

        async def send():
            async with await web.open_tcp_stream(db, 80) as stream:
                for _ in range(size >> 18):
                    await stream.send_all(bytes(1 << 18))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            nursery.start_soon(send)
            for number in range(5):
                wanted["guests"][f"more{number}"] = {"nics": [{"network": "red"}]}
                await fabric.apply(vnet.Topology.from_dict(wanted))
                await fabric.detach("spy") if number == 2 else None
                wanted["guests"].pop("spy", None) if number == 2 else None
        assert received == size
        drops = [port["drops"] for port in fabric.status()["ports"] if port["port"] in ("web.0", "db.0")]
        assert not any("tx-full" in each for each in drops)


async def test_a_network_change_moves_a_guest():
    async with Fabric.from_dict(tenants()) as fabric:
        web, spy = fabric.guests["web"], fabric.guests["spy"]
        moved = tenants()
        moved["guests"]["spy"]["nics"][0]["network"] = "red"
        await fabric.apply(vnet.Topology.from_dict(moved))
        assert await fabric.guests["spy"].ping(web, timeout=30) > 0
        assert fabric.port("spy").wanted.vlan == 10
        del spy


async def test_a_change_that_can_not_be_leaves_what_ran():
    async with Fabric.from_dict(tenants()) as fabric:
        broken = tenants()
        broken["guests"]["new"] = {"nics": [{"network": "red"}]}
        broken["guests"]["bad"] = {
            "kind": "external",
            "nics": [
                {"network": "red", "nic": {"kind": "stream", "socket": "/proc/no/such", "role": "server"}}
            ],
        }
        with pytest.raises(vnet.VnetError, match=r"/proc/no/such"):
            await fabric.apply(vnet.Topology.from_dict(broken))
        assert sorted(fabric.guests) == ["db", "spy", "web"]
        assert sorted(fabric.ports) == ["db.0", "spy.0", "web.0"]
        await fabric.guests["web"].ping(fabric.guests["db"], timeout=30)


async def test_changes_at_once_leave_each_other_as_they_are():
    async with Fabric.from_dict(tenants()) as fabric:
        attach = Operations(fabric).table()["attach"]

        async def asked(name):
            given = {"name": name, "kind": "stack", "nic": {"network": "red"}}
            await attach(SimpleNamespace(arguments=given))

        async def fails():
            nic = {"kind": "stream", "socket": "/proc/no/such", "role": "server"}
            broken = tenants()
            broken["guests"]["bad"] = {"kind": "external", "nics": [{"network": "red", "nic": nic}]}
            with pytest.raises(vnet.VnetError, match="/proc/no/such"):
                await fabric.apply(vnet.Topology.from_dict(broken))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails)
            for name in ("x", "y"):
                nursery.start_soon(functools.partial(fabric.attach, name, network="red"))
                nursery.start_soon(asked, name * 2)
            nursery.start_soon(fabric.detach, "spy")
        assert sorted(fabric.guests) == ["db", "web", "x", "xx", "y", "yy"]
        assert sorted(fabric.topology.guests) == ["db", "web", "x", "xx", "y", "yy"]


async def test_of_two_who_attach_the_same_guest_one_is_told():
    async with Fabric.from_dict(tenants()) as fabric:
        outcomes = []

        async def attach():
            try:
                await fabric.attach("x", network="red")
                outcomes.append("attached")
            except BadInput as error:
                outcomes.append(str(error))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(attach)
            nursery.start_soon(attach)
        assert outcomes == ["attached", "there is a guest x already"]


async def test_wrong_names_are_told_with_the_right_ones():
    async with Fabric.from_dict(tenants()) as fabric:
        with pytest.raises(BadInput, match="did you mean web"):
            await fabric.detach("wbe")
        # Who means a NIC is not led to take its guest away.
        for nic in ("web.0", "web.7"):
            with pytest.raises(BadInput, match=rf"^{nic} is a NIC of web, .* remove it from the file"):
                await fabric.detach(nic)
        with pytest.raises(BadInput, match=r"did you mean web\.0"):
            fabric.port("web.1")
        with pytest.raises(BadInput, match="there is a guest web already"):
            await fabric.attach("web", network="red")
        with pytest.raises(BadInput, match=r"neither an IP address nor a guest's name$"):
            await fabric.guests["web"].ping("nonsense")
        with pytest.raises(BadInput, match=r"did you mean db"):
            await fabric.guests["web"].ping("dbb")


async def test_a_guest_is_asked_by_its_name_too():
    async with Fabric.from_dict(tenants()) as fabric, trio.open_nursery() as nursery:
        web, db = fabric.guests["web"], fabric.guests["db"]
        assert await web.ping("db", timeout=30) > 0
        listener = await db.listen_tcp(80)
        nursery.start_soon(trio.serve_listeners, lambda stream: stream.send_all(b"db"), [listener])
        async with await web.open_tcp_stream("db", 80) as stream:
            assert await stream.receive_some() == b"db"
        nursery.cancel_scope.cancel()


async def test_a_link_that_is_down_is_down_for_its_guest():
    async with Fabric.from_dict(tenants()) as fabric:
        web, db = fabric.guests["web"], fabric.guests["db"]
        await fabric.set_link("db", up=False)
        with pytest.raises(Unreachable):
            await web.ping(db, timeout=0.2)
        await fabric.set_link("db", up=True)
        assert await web.ping(db, timeout=30) > 0


@pytest.mark.parametrize("fails", [False, True])
async def test_a_link_that_is_down_stays_so_when_its_nic_is_replaced(fails, monkeypatch):
    async with Fabric.from_dict(tenants()) as fabric:
        await fabric.set_link("db", up=False)
        another = tenants()
        another["guests"]["db"]["nics"][0]["nic"] = {"kind": "stack", "gso": False}
        if fails:
            nic = {"kind": "stream", "socket": "/proc/no/such"}
            another["guests"]["new"] = {"kind": "external", "nics": [{"network": "red", "nic": nic}]}
            # It would be seen before anything is done.
            monkeypatch.setattr(apply.beforehand, "look", lambda *_: None)
        before, another = fabric.port("db"), vnet.Topology.from_dict(another)
        with pytest.raises(vnet.NicError, match="/proc/no/such") if fails else contextlib.nullcontext():
            await fabric.apply(another)
        assert fabric.port("db") is not before, "another NIC was there, at least for a while"
        web, db = fabric.guests["web"], fabric.guests["db"]
        assert fabric.port("db").status()["link"] == "down"
        with pytest.raises(Unreachable):
            await web.ping(db, timeout=0.2)
        await fabric.set_link("db", up=True)
        assert await web.ping(db, timeout=30) > 0
        # Who comes under the name of one that went before is somebody else.
        await fabric.set_link("db", up=False)
        await fabric.detach("db")
        await fabric.attach("db", network="red")
        assert fabric.port("db").status()["link"] == "up"


async def test_a_machine_that_does_not_run_is_told_of_a_link_that_stays_down(tmp_path):
    wanted = tenants()
    nic = {"network": "red", "nic": {"kind": "stream", "socket": "vm.sock"}}
    wanted["guests"]["vm"] = {"kind": "external", "nics": [nic]}
    async with Fabric.from_dict(wanted, runtime=tmp_path / "f") as fabric:
        shown = []
        fabric.machines.by_name["vm"] = SimpleNamespace(cable=lambda port, *, up: shown.append((port, up)))
        try:
            await fabric.set_link("vm", up=False)
            nic["mac"] = "02:00:00:00:77:77"
            done = await fabric.apply(vnet.Topology.from_dict(wanted))
            assert [line.split()[0] for line in done] == ["remove", "add"]
            assert shown == [("vm.0", False)] * 2
        finally:
            del fabric.machines.by_name["vm"]


def test_the_same_run_in_virtual_time_gives_the_same_bytes(tmp_path):
    async def run(path):
        async with Fabric.from_dict(tenants()) as fabric:
            assert fabric.driver == "trio"
            web, db, spy = (fabric.guests[name] for name in ("web", "db", "spy"))
            async with fabric.capture(path, "all"):
                listener = await db.listen_tcp(80)
                async with trio.open_nursery() as nursery:

                    async def serve():
                        async with await listener.accept() as stream:
                            while data := await stream.receive_some(10_000):
                                await stream.send_all(data)

                    nursery.start_soon(serve)
                    async with await web.open_tcp_stream(db, 80) as stream:
                        await stream.send_all(bytes(range(256)) * 100)
                        await stream.send_eof()
                        while await stream.receive_some(10_000):
                            pass
                with contextlib.suppress(Unreachable):
                    await spy.ping(web, timeout=3600)
                await trio.sleep(3600)

    paths = [tmp_path / "1.pcapng", tmp_path / "2.pcapng"]
    for path in paths:
        # Each in a trio run of its own, from the same moment of virtual time.
        clock = trio.testing.MockClock(autojump_threshold=0)
        trio.run(run, path, clock=clock)
    first, second = (path.read_bytes() for path in paths)
    assert len(first) > 50_000
    assert first == second


async def test_in_virtual_time_the_thread_is_refused(mock_clock):
    with pytest.raises(BadInput, match="virtual time"):
        async with Fabric.from_dict(tenants(engine={"driver": "thread"})):
            pass


@pytest.mark.parametrize("kind", ["packet", "xdp"])
async def test_in_virtual_time_an_interface_is_refused(mock_clock, kind):
    uplink = {"wan": {"nic": {"kind": kind, "interface": "eth0"}, "native": "red"}}
    with pytest.raises(BadInput, match=f"uplinks.wan.nic: what is behind a {kind} NIC has a clock"):
        async with Fabric.from_dict(tenants(uplinks=uplink)):
            pass


async def test_two_hundred_guests_in_one_process():
    many = tenants()
    many["guests"] = {f"g{n}": {"nics": [{"network": "red"}]} for n in range(200)}
    async with Fabric.from_dict(many) as fabric:
        guests = list(fabric.guests.values())
        async with trio.open_nursery() as nursery:
            for one, other in zip(guests, guests[1:] + guests[:1], strict=True):
                nursery.start_soon(functools.partial(one.ping, other, timeout=30))


async def test_nothing_is_left_when_it_can_not_come_up(tmp_path):
    bad = tenants()
    bad["guests"]["bad"] = {
        "kind": "external",
        "nics": [{"network": "red", "nic": {"kind": "stream", "socket": "/proc/no/such", "role": "server"}}],
    }
    with pytest.raises(vnet.VnetError):
        async with Fabric.from_dict(bad, runtime=tmp_path / "run"):
            pass
    assert not (tmp_path / "run").exists()


async def test_a_fabric_that_is_not_running_takes_no_changes(tmp_path):
    fabric = Fabric.from_dict(tenants(), runtime=str(tmp_path / "run"))
    changes = (
        lambda: fabric.attach("late", network="red", nic=vnet.Stream("late.sock")),
        lambda: fabric.detach("web"),
        lambda: fabric.apply(fabric.topology),
    )
    for _ in range(2):
        for change in changes:
            with pytest.raises(vnet.VnetError, match="the fabric is not running"):
                await change()
        assert not (tmp_path / "run").exists()
        async with fabric:
            assert await fabric.guests["web"].ping("db", timeout=30) > 0
            await fabric.attach("late", network="red", nic=vnet.Stream("late.sock"))
            await fabric.detach("late")
        assert not fabric.guests
        assert fabric.resolved is None


async def test_a_fabric_is_entered_once_at_a_time():
    async with Fabric.from_dict(tenants()) as fabric:
        with pytest.raises(vnet.VnetError, match="the fabric is running already"):
            await fabric.__aenter__()
        assert await fabric.guests["web"].ping("db", timeout=30) > 0


async def test_events_that_were_lost_leave_nobody_waiting(autojump_clock):
    async with Fabric.from_dict(tenants()) as fabric:
        web, db = fabric.guests["web"], fabric.guests["db"]
        probe = await fabric.attach("probe", network="red", nic=vnet.Pipe(), guard="off")
        other = await fabric.attach("other", network="red", nic=vnet.Pipe(), guard="off")
        listener = await db.listen_tcp(80)
        got = []

        def steal():
            """Have a turn, and take its events away from the task that hands them out."""
            while fabric.engine.turn(drive.now()) == 0:
                pass
            assert fabric.engine.events()[0]

        async with trio.open_nursery() as nursery:
            nursery.start_soon(web.open_tcp_stream, db, 80)
            stream = await listener.accept()
            await trio.sleep(60)  # until all is quiet

            async def receive(source):
                got.append(await source())

            while True:
                try:
                    probe.receive_nowait()
                except trio.WouldBlock:
                    break
            nursery.start_soon(receive, probe.receive)
            nursery.start_soon(receive, listener.accept)
            await trio.testing.wait_all_tasks_blocked()
            frame = b"\xff" * 6 + bytes.fromhex("020000000001") + b"\x88\xb5" + bytes(46)
            other.handle.send(frame)
            web.host().handle.tcp_connect(str(db.ip), 80)
            steal()
            other.handle.close()
            steal()
            await trio.sleep(60)
            assert got == []
            assert fabric.port("other").carrier
            events.lost(fabric, 3)
            await trio.sleep(60)
            assert not fabric.port("other").carrier
            assert frame in got
            assert len(got) == 2
        await stream.aclose()


async def test_a_status_of_many_ports_lets_others_have_their_turn() -> None:
    topology = vnet.Topology("crowd", seed=1)
    topology.network("lan", subnets="10.0.0.0/16")
    for number in range(200):
        topology.guest(f"g{number}", network="lan")
    async with vnet.Fabric(topology) as fabric:
        async with turns.counted() as so_far:
            told = json.loads(await written(fabric.status_in_turns()))
            seen = so_far()
        assert [port["port"] for port in told["ports"]] == list(fabric.ports)
        assert told.keys() == fabric.status().keys()
        assert seen >= 10


async def test_a_status_in_turns_is_made_as_it_is_read_and_tells_of_ports_that_are_there() -> None:
    topology = vnet.Topology("crowd", seed=1)
    topology.network("lan", subnets="10.0.0.0/16")
    for number in range(50):
        topology.guest(f"g{number}", network="lan")
    async with vnet.Fabric(topology) as fabric:
        told = fabric.status_in_turns()
        assert list(told) == list(fabric.status())
        first = next(told["ports"])
        assert first == fabric.port("g0").status() | {"usage": first["usage"]}
        await fabric.detach("g40")
        assert [port["port"] for port in told["ports"]] == list(fabric.ports)[1:]
