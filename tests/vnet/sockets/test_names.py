"""Names as guests resolve them."""

from __future__ import annotations

import socket as stdlib
from typing import Any

import pytest
import trio
import trio.socket as tsocket
import trio.testing

import vnet

DOCUMENT: dict[str, Any] = {
    "name": "names",
    "networks": {
        "red": {"vlan": 10, "subnets": ["10.0.0.0/24", "fd00::/64"], "gateway": "10.0.0.254"},
        "blue": {"vlan": 20, "subnets": ["10.0.0.0/24"]},
        "green": {"vlan": 30, "subnets": ["10.3.0.0/24"]},
    },
    "guests": {
        "web": {"nics": [{"network": "red", "ip": ["10.0.0.11", "fd00::11"]}]},
        "db": {
            "nics": [
                {"network": "red", "ip": ["10.0.0.12", "fd00::12"]},
                {"network": "green", "ip": ["10.3.0.12"]},
            ]
        },
        "shop": {"nics": [{"network": "blue", "ip": ["10.0.0.11"]}]},
        "far": {"nics": [{"network": "green", "ip": ["10.3.0.19"]}]},
    },
}


async def addresses(name: str | None, port: Any = 80, **how: Any) -> list[str]:
    found = await tsocket.getaddrinfo(name, port, type=tsocket.SOCK_STREAM, **how)
    return [str(entry[4][0]) for entry in found]


async def failing(name: str, **how: Any) -> int | None:
    with pytest.raises(stdlib.gaierror) as caught:
        await tsocket.getaddrinfo(name, how.pop("port", 80), **how)
    return caught.value.errno


async def test_names_of_guests(autojump_clock: trio.testing.MockClock) -> None:
    async with vnet.Fabric.from_dict(DOCUMENT) as fabric, fabric.guests["web"].as_network():
        assert await addresses("web") == ["fd00::11", "10.0.0.11"]
        assert await addresses("WEB.") == ["fd00::11", "10.0.0.11"]
        # In the same network: its address there, and no other.
        assert await addresses("db") == ["fd00::12", "10.0.0.12"]
        assert await addresses("db.green") == ["10.3.0.12"]
        # In another, by the gateway.
        assert await addresses("far") == ["10.3.0.19"]
        # That address is ours here, and not shop's.
        assert await failing("shop") == stdlib.EAI_NODATA
        assert await failing("nobody") == stdlib.EAI_NONAME
        assert await failing("db.blue") == stdlib.EAI_NONAME
        assert await failing("bücher") == stdlib.EAI_NONAME


async def test_numbers_services_and_flags(autojump_clock: trio.testing.MockClock) -> None:
    async with vnet.Fabric.from_dict(DOCUMENT) as fabric, fabric.guests["web"].as_network():
        assert (await tsocket.getaddrinfo("far", "http", type=tsocket.SOCK_STREAM))[0][4] == ("10.3.0.19", 80)
        assert await addresses("192.0.2.7", "https") == ["192.0.2.7"]
        assert await failing("db", port="no-such-service") == stdlib.EAI_SERVICE
        assert await addresses("web", family=tsocket.AF_INET) == ["10.0.0.11"]
        assert await failing("far", family=tsocket.AF_INET6) == stdlib.EAI_NODATA
        mapped = tsocket.AI_V4MAPPED
        assert await addresses("far", family=tsocket.AF_INET6, flags=mapped) == ["::ffff:10.3.0.19"]
        assert await addresses("web", family=tsocket.AF_INET6, flags=mapped) == ["fd00::11"]
        both = mapped | tsocket.AI_ALL
        assert await addresses("web", family=tsocket.AF_INET6, flags=both) == ["fd00::11", "::ffff:10.0.0.11"]
        assert await failing("db", flags=tsocket.AI_NUMERICHOST) == stdlib.EAI_NONAME
        assert await failing("db", family=tsocket.AF_UNIX) == stdlib.EAI_FAMILY
        found = await tsocket.getaddrinfo("DB", 80, flags=tsocket.AI_CANONNAME)
        assert found[0][3] == "db"
        assert await addresses("localhost") == ["::1", "127.0.0.1"]
        assert sorted(await addresses(None, "http")) == ["127.0.0.1", "::1"]
        assert sorted(await addresses(None, "http", flags=tsocket.AI_PASSIVE)) == ["0.0.0.0", "::"]
    async with vnet.Fabric.from_dict(DOCUMENT) as fabric, fabric.guests["far"].as_network():
        # It has no IPv6, so that comes last, or not at all.
        assert await addresses("web") == ["10.0.0.11", "fd00::11"]
        assert await addresses("web", flags=tsocket.AI_ADDRCONFIG) == ["10.0.0.11"]


async def test_names_of_addresses(autojump_clock: trio.testing.MockClock) -> None:
    async with vnet.Fabric.from_dict(DOCUMENT) as fabric, fabric.guests["db"].as_network():
        ask = tsocket.getnameinfo
        assert await ask(("10.0.0.11", 80), 0) == ("web", "http")
        assert await ask(("fd00::11", 80, 0, 0), tsocket.NI_NUMERICSERV) == ("web", "80")
        assert await ask(("::ffff:10.0.0.11", 80, 0, 0), 0) == ("web", "http")
        assert await ask(("10.3.0.19", 53), tsocket.NI_DGRAM) == ("far", "domain")
        assert await ask(("10.0.0.11", 80), tsocket.NI_NUMERICHOST) == ("10.0.0.11", "http")
        assert await ask(("127.0.0.1", 80), 0) == ("localhost", "http")
        assert await ask(("10.3.0.12", 80), 0) == ("db", "http")
        assert await ask(("192.0.2.1", 80), 0) == ("192.0.2.1", "http")
        with pytest.raises(stdlib.gaierror) as caught:
            await ask(("192.0.2.1", 80), tsocket.NI_NAMEREQD)
        assert caught.value.errno == stdlib.EAI_NONAME
    async with vnet.Fabric.from_dict(DOCUMENT) as fabric, fabric.guests["shop"].as_network():
        assert (await tsocket.getnameinfo(("10.0.0.11", 80), 0))[0] == "shop"
