"""Security groups and private networks of a running fabric: real TCP, rules that change while it flows."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio

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
