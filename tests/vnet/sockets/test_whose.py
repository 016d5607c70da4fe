"""Whose network a task has, all in virtual time."""

from __future__ import annotations

import errno
import socket as stdlib
from typing import Any

import pytest
import trio
import trio.socket as tsocket
import trio.testing

import vnet
from tests.vnet.sockets.net import LAN, inside, network, number

pytestmark = pytest.mark.usefixtures("autojump_clock")


async def test_each_task_has_the_network_of_who_started_it(autojump_clock: trio.testing.MockClock) -> None:
    async with network() as fabric:
        names: dict[str, list[str]] = {"a": [], "b": [], "outside": []}

        async def look(where: str) -> None:
            for _ in range(3):
                with tsocket.socket(tsocket.AF_INET, tsocket.SOCK_DGRAM) as made:
                    names[where].append(repr(made))
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look, "outside")
            for guest in ("a", "b"):
                async with fabric.guests[guest].as_network() as entered:
                    assert entered is fabric.guests[guest]
                    nursery.start_soon(look, guest)
            with tsocket.socket() as real:
                # Outside it is the machine's own again.
                assert type(real).__module__ == "trio._socket"
        assert all("of a," in name for name in names["a"])
        assert all("of b," in name for name in names["b"])
        assert all("vnet" not in name for name in names["outside"])


async def test_blocks_nest_and_one_is_entered_once(autojump_clock: trio.testing.MockClock) -> None:
    async with network() as fabric:
        block = fabric.guests["a"].as_network()
        async with block:
            async with fabric.guests["b"].as_network():
                with tsocket.socket() as made:
                    assert "of b," in repr(made)
            with tsocket.socket() as made:
                assert "of a," in repr(made)
            with pytest.raises(RuntimeError, match="entered already"):
                await block.__aenter__()
        with tsocket.socket() as made:
            assert "vnet" not in repr(made)


async def test_another_factory_and_resolver_stay_outside(autojump_clock: trio.testing.MockClock) -> None:
    class Factory(trio.abc.SocketFactory):
        def socket(self, family: Any = None, type: Any = None, proto: Any = None) -> Any:  # noqa: A002
            return "theirs"

    class Resolver(trio.abc.HostnameResolver):
        async def getaddrinfo(self, *_: Any) -> Any:
            return ["theirs"]

        async def getnameinfo(self, *_: Any) -> Any:
            return ("theirs", "too")

    tsocket.set_custom_socket_factory(Factory())
    tsocket.set_custom_hostname_resolver(Resolver())
    async with inside("a"):
        with tsocket.socket() as made:
            assert "of a," in repr(made)
        assert (await tsocket.getaddrinfo("b", 80))[0][4][0] == "fd00::12"
    assert tsocket.socket() == "theirs"  # type: ignore[comparison-overlap]
    assert await tsocket.getaddrinfo("b", 80) == ["theirs"]
    assert await tsocket.getnameinfo(("10.0.0.12", 80), 0) == ("theirs", "too")


async def test_other_kinds_of_guests_say_that_they_have_none() -> None:
    fabric = vnet.Fabric.from_dict({"name": "x", "networks": LAN})
    async with fabric:
        await fabric.attach("probe", network="lan", nic=vnet.Pipe())
        with pytest.raises(vnet.BadInput, match="probe is external: only a stack guest's network"):
            fabric.guests["probe"].as_network()


async def test_unix_sockets_are_the_machines(autojump_clock: trio.testing.MockClock) -> None:
    async with inside("a"):
        with tsocket.socket(tsocket.AF_UNIX) as made:
            assert made.family == tsocket.AF_UNIX


@pytest.mark.parametrize(
    ("family", "kind", "proto", "code"),
    [
        (stdlib.AF_NETLINK, stdlib.SOCK_DGRAM, 0, errno.EAFNOSUPPORT),
        (stdlib.AF_INET, stdlib.SOCK_RAW, 1, errno.ESOCKTNOSUPPORT),
        (stdlib.AF_INET, stdlib.SOCK_STREAM, stdlib.IPPROTO_UDP, errno.EPROTONOSUPPORT),
    ],
)
async def test_what_a_guest_does_not_speak(family: int, kind: int, proto: int, code: int) -> None:
    async with inside("a"):
        with pytest.raises(OSError) as caught:
            tsocket.socket(family, kind, proto)
        assert number(caught) == code
