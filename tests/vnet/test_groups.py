"""Security groups and private networks of a running fabric: real TCP, rules that change while it flows."""

from __future__ import annotations

import hashlib
import logging
from typing import Any

import pytest
import trio
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether

import vnet
import vnet.port
from vnet.errors import VnetError
from vnet.topology import Topology

WEB = {"ingress": [{"protocol": "tcp", "ports": 80}]}


def document(groups: dict[str, Any], *, network: dict[str, Any] | None = None, **nics: Any) -> dict[str, Any]:
    return {
        "name": "groups",
        "networks": {"red": {"subnets": ["10.0.0.0/24", "fd00::/64"], **(network or {})}},
        "groups": groups,
        "guests": {name: {"nics": [{"network": "red", **nic}]} for name, nic in nics.items()},
    }


async def opens(source: Any, target: Any, port: int = 80) -> bool:
    """Whether a connection comes about, in two seconds."""
    with trio.move_on_after(2):
        async with await source.open_tcp_stream(target, port):
            return True
    return False


async def echo(fabric: vnet.Fabric, guest: str, port: int, nursery: trio.Nursery) -> None:
    async def serve(stream: Any) -> None:
        async with stream:
            async for data in stream:
                await stream.send_all(data)

    listener = await fabric.guests[guest].listen_tcp(port)
    nursery.start_soon(trio.serve_listeners, serve, [listener])


async def alive(stream: Any) -> bool:
    """Whether what is said comes back."""
    with trio.move_on_after(3):
        await stream.send_all(b"x" * 5000)
        got = b""
        while len(got) < 5000:
            got += await stream.receive_some(5000)
        return True
    return False


async def test_tcp_through_groups(autojump_clock: trio.testing.MockClock) -> None:
    wanted = document({"web": WEB}, a={}, b={"groups": ["web"]})
    async with vnet.Fabric.from_dict(wanted) as fabric, trio.open_nursery() as nursery:
        a, b = fabric.guests["a"], fabric.guests["b"]
        for guest in ("a", "b"):
            for port in (80, 81):
                await echo(fabric, guest, port, nursery)
        assert [await opens(a, b, 80), await opens(a, b, 81)] == [True, False]
        assert [await opens(b, a, 80), await opens(b, a, 81)] == [True, True]
        (status,) = (port for port in fabric.status()["ports"] if port["port"] == "b.0")
        assert status["groups"] == ["web"]
        assert status["drops"]["group-ingress"] > 0
        tracked = fabric.connections(port="b")
        assert {entry["target"]["port"] for entry in tracked if entry["protocol"] == "tcp"} == {80, 81}
        assert fabric.connections(network="red") == fabric.connections()
        with pytest.raises(vnet.BadInput, match="no network 'rde'"):
            fabric.connections(network="rde")
        nursery.cancel_scope.cancel()


async def test_rules_change_while_connections_are_open(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "vnet")
    both = {"ingress": [{"protocol": "tcp", "ports": [80, 22]}]}
    wanted = document({"web": both}, a={}, b={"groups": ["web"]})
    async with vnet.Fabric.from_dict(wanted) as fabric, trio.open_nursery() as nursery:
        a, b = fabric.guests["a"], fabric.guests["b"]
        for port in (80, 22):
            await echo(fabric, "b", port, nursery)
        web, shell = await a.open_tcp_stream(b, 80), await a.open_tcp_stream(b, 22)
        assert await alive(web)
        assert await alive(shell)
        done = await fabric.apply(Topology.from_dict(document({"web": WEB}, a={}, b={"groups": ["web"]})))
        assert done == ["change group web, change the rules of 1 port: b.0"]
        assert await alive(web), "what is still allowed goes on"
        assert not await alive(shell), "what is not is cut"
        assert "b.0: denied (group-ingress) tcp " in caplog.text
        await fabric.apply(Topology.from_dict(document({}, a={}, b={})))
        assert fabric.status()["ports"][1]["groups"] == []
        assert await alive(web)
        nursery.cancel_scope.cancel()


async def test_rules_that_change_under_load(autojump_clock: trio.testing.MockClock) -> None:
    """There is no moment in between in which a transfer loses a segment, or what is denied comes in."""
    others = ({"protocol": "udp"}, {"protocol": "tcp", "ports": 81}, {"protocol": "icmp"})
    rules = [{"ingress": [{"protocol": "tcp", "ports": 80}, other]} for other in others]
    wanted = [
        Topology.from_dict(document({"web": rule}, a={}, b={"groups": ["web"]}, c={})) for rule in rules
    ]
    heard, got, let_in = hashlib.sha256(), 0, 0
    done = trio.Event()

    async def take(stream: Any) -> None:
        nonlocal got
        async with stream:
            async for data in stream:
                heard.update(data)
                got += len(data)
        done.set()

    async def never(stream: Any) -> None:
        nonlocal let_in
        let_in += 1
        await stream.aclose()

    async with vnet.Fabric(wanted[0]) as fabric, trio.open_nursery() as nursery:
        ports = {port["port"]: port for port in fabric.status()["ports"]}
        listeners = [await fabric.guests["b"].listen_tcp(port) for port in (80, 22)]
        nursery.start_soon(trio.serve_listeners, take, listeners[:1])
        nursery.start_soon(trio.serve_listeners, never, listeners[1:])
        (source, target) = (next(ip for ip in ports[name]["ip"] if "." in ip) for name in ("c.0", "b.0"))
        ether = Ether(src=ports["c.0"]["mac"], dst=ports["b.0"]["mac"]) / IP(src=source, dst=target)
        stream = await fabric.guests["a"].open_tcp_stream(fabric.guests["b"], 80)
        sent, said, floods = hashlib.sha256(), 0, 0
        # What guests announce to all hosts when they come.
        before = fabric.status()["ports"][1]["drops"].get("group-ingress", 0)
        async with stream:
            for number in range(60):
                data = bytes([number]) * 50_000
                async with trio.open_nursery() as turn:
                    turn.start_soon(stream.send_all, data)
                    turn.start_soon(fabric.apply, wanted[(number + 1) % 3])
                    for _ in range(10):
                        syn = TCP(sport=1024 + floods, dport=22, flags="S", seq=floods)
                        fabric.send("c.0", bytes(ether / syn).ljust(60, b"\0"))
                        floods += 1
                        await trio.lowlevel.checkpoint()
                sent.update(data)
                said += len(data)
        with trio.fail_after(10):
            await done.wait()
        assert (got, heard.digest(), let_in) == (said, sent.digest(), 0)
        drops = {port["port"]: port["drops"] for port in fabric.status()["ports"]}
        assert drops == {"a.0": {}, "b.0": {"group-ingress": before + floods}, "c.0": {}}
        nursery.cancel_scope.cancel()


async def test_the_limit_of_all_connections_changes(autojump_clock: trio.testing.MockClock) -> None:
    def wanted(limit: int) -> Topology:
        keys = {"switches": {"s1": {"connection_limit": limit}}}
        return Topology.from_dict({**document({"web": WEB}, a={"groups": ["web"]}, b={}), **keys})

    async with vnet.Fabric(wanted(5)) as fabric:
        ports = {port["port"]: port for port in fabric.status()["ports"]}
        (source, target) = (next(ip for ip in ports[name]["ip"] if "." in ip) for name in ("a.0", "b.0"))
        ether = Ether(src=ports["a.0"]["mac"], dst=ports["b.0"]["mac"]) / IP(src=source, dst=target)
        port = 1024
        for limit, there in ((5, 5), (12, 12), (5, 12), (20, 20)):
            if limit != fabric.topology.switches["s1"].connection_limit:
                await fabric.apply(wanted(limit))
            for _ in range(30):
                fabric.send("a.0", bytes(ether / UDP(sport=port, dport=53)).ljust(60, b"\0"))
                port += 1
            assert len(fabric.connections()) == there, f"{limit}: what is there stays"
            newest = {entry["source"]["port"] for entry in fabric.connections()}
            assert newest == set(range(port - there, port)), "the oldest that nobody answered make room"


async def test_a_member_comes_and_is_known(autojump_clock: trio.testing.MockClock) -> None:
    mesh = {"mesh": {"ingress": [{"group": "mesh"}]}}
    wanted = document(mesh, a={"groups": "mesh"}, b={"groups": "mesh"}, c={})
    async with vnet.Fabric.from_dict(wanted) as fabric:
        a, b, c = (fabric.guests[name] for name in "abc")
        await a.ping(b, timeout=1)
        await a.ping(b, timeout=1, family=6)
        with pytest.raises(vnet.Unreachable):
            await c.ping(a, timeout=1)
        await fabric.attach("d", network="red", groups=["mesh"])
        await fabric.guests["d"].ping(a, timeout=1)
        await fabric.detach("d")
        await a.ping(b, timeout=1)


async def test_a_step_that_fails_takes_rules_back(autojump_clock: trio.testing.MockClock) -> None:
    async with vnet.Fabric.from_dict(document({"web": WEB}, a={}, b={"groups": ["web"]})) as fabric:
        wanted = Topology.from_dict(document({"web": {"ingress": [{}]}}, a={}, b={"groups": ["web"]}))
        wanted.guest("c", kind="external", network="red", nic=vnet.Tap(name="x" * 3, device="/dev/null"))
        with pytest.raises(vnet.VnetError):
            await fabric.apply(wanted)
        with pytest.raises(vnet.Unreachable):
            await fabric.guests["a"].ping(fabric.guests["b"], timeout=1)


async def test_a_private_network(autojump_clock: trio.testing.MockClock) -> None:
    nics = {
        "a": {}, "b": {}, "c": {"private": "community db"}, "d": {"private": "community db"},
        "gateway": {"guard": {"allow": [{"ip": "10.0.0.1"}]}},
    }  # fmt: skip
    async with vnet.Fabric.from_dict(document({}, network={"private": True}, **nics)) as fabric:
        guests = fabric.guests
        for source, target, reach in (
            ("a", "gateway", True), ("gateway", "b", True), ("c", "d", True), ("d", "gateway", True),
            ("a", "b", False), ("a", "c", False), ("d", "b", False),
        ):  # fmt: skip
            for family in (4, 6):
                if reach:
                    await guests[source].ping(guests[target], timeout=1, family=family)
                else:
                    with pytest.raises(vnet.Unreachable):
                        await guests[source].ping(guests[target], timeout=1, family=family)
        places = {port["port"]: port["private"] for port in fabric.status()["ports"]}
        assert places == {
            "a.0": "isolated", "b.0": "isolated", "c.0": "community db", "d.0": "community db",
            "gateway.0": "promiscuous",
        }  # fmt: skip


def test_no_two_communities_share_a_number(monkeypatch):
    monkeypatch.setattr("vnet.port._communities", {})
    monkeypatch.setattr("vnet.port.COMMUNITIES_MAX", 3)
    assert [vnet.port.community(name) for name in ("a", "b", "a", None, "c")] == [1, 2, 1, 0, 3]
    with pytest.raises(VnetError, match="community d"):
        vnet.port.community("d")
    assert vnet.port.community("b") == 2
