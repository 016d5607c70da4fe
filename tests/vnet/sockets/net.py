"""Two networks with guests whose sockets are used, and what tests of sockets ask for again and again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio.socket as tsocket

import vnet

LAN = {"lan": {"subnets": ["10.0.0.0/24", "fd00::/64"], "gateway": []}}


@asynccontextmanager
async def network(**more: Any) -> AsyncIterator[vnet.Fabric]:
    document: dict[str, Any] = {
        "name": "net",
        "networks": {**LAN, "dmz": {"subnets": ["10.1.0.0/24", "fd01::/64"]}},
        "guests": {
            "a": {"nics": [{"network": "lan", "ip": ["10.0.0.11", "fd00::11"]}]},
            "b": {"nics": [{"network": "lan", "ip": ["10.0.0.12", "fd00::12"]}]},
            "both": {
                "nics": [
                    {"network": "lan", "ip": ["10.0.0.13", "fd00::13"]},
                    {"network": "dmz", "ip": ["10.1.0.13", "fd01::13"]},
                ]
            },
            "c": {"nics": [{"network": "dmz", "ip": ["10.1.0.14", "fd01::14"]}]},
        },
        **more,
    }
    async with vnet.Fabric.from_dict(document) as fabric:
        yield fabric


@asynccontextmanager
async def inside(name: str) -> AsyncIterator[vnet.Fabric]:
    async with network() as fabric, fabric.guests[name].as_network():
        yield fabric


async def sock(fabric: vnet.Fabric, guest: str, kind: int, address: str = "", port: int = 0) -> Any:
    """A socket of a guest, bound."""
    async with fabric.guests[guest].as_network():
        family = tsocket.AF_INET6 if ":" in address else tsocket.AF_INET
        made = tsocket.socket(family, kind)
        await made.bind((address, port))
        return made


def number(caught: pytest.ExceptionInfo[OSError]) -> int | None:
    return caught.value.errno


async def connected() -> tuple[Any, Any]:
    """Two ends of a connection over the guest's loopback."""
    with tsocket.socket() as listener:
        await listener.bind(("127.0.0.1", 0))
        listener.listen()
        left = tsocket.socket()
        await left.connect(listener.getsockname())
        right, name = await listener.accept()
        assert name == left.getsockname() == right.getpeername()
        return left, right
