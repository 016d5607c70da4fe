"""trio's own tests of its sockets, as they are installed, run inside a guest."""

from __future__ import annotations

import socket as stdlib
from pathlib import Path

import pytest
import trio
import trio.testing

import vnet
from tests.vnet.sockets.in_guest import TOPOLOGY

pytestmark = pytest.mark.deadline(150)

ROOT = Path(__file__).parents[3]

MODULES = [
    "test_highlevel_socket",
    "test_highlevel_open_tcp_listeners",
    "test_highlevel_serve_listeners",
    "test_highlevel_open_tcp_stream",
    "test_socket",
]
NOT_OURS = {
    "test_getaddrinfo": "replaces the system's resolver, and expects to be asked",
    "test_idna": "the same",
    "test_custom_hostname_resolver": "expects that nobody set one before",
    "test_custom_socket_factory": "the same",
    "test_SocketType_basics": "detaches the descriptor, which ours is not",
    "test_SocketType_connect_paths": "puts a descriptor of its own in place of a socket's",
    "test_open_tcp_listeners_rebind": "binds the same port with the standard library's socket, outside",
}


def test_trios_own_tests_pass_in_a_guest(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    # By expression, as their paths depend on where trio is installed.
    names = " or ".join(NOT_OURS)
    result = pytester.runpytest_subprocess(
        *("-p", "tests.vnet.sockets.in_guest", "-p", "no:trio", "-k", f"not ({names})"),
        *("--pyargs", *(f"trio._tests.{module}" for module in MODULES)),
        timeout=120,
    )
    found = result.parseoutcomes()
    assert found.get("failed", 0) == found.get("errors", 0) == 0
    assert found["passed"] >= 75


async def pair(family: int) -> tuple[trio.SocketStream, trio.SocketStream]:
    host = "127.0.0.1" if family == stdlib.AF_INET else "::1"
    (listener,) = await trio.open_tcp_listeners(0, host=host)
    async with listener:
        left = await trio.testing.open_stream_to_socket_listener(listener)
        return left, await listener.accept()


async def clogged() -> tuple[trio.SocketStream, trio.SocketStream]:
    left, right = await pair(stdlib.AF_INET)
    for stream in (left, right) * 2:
        # In virtual time that is when nothing moves any more.
        with trio.move_on_after(0.2):
            while True:
                await stream.send_all(bytes(1 << 20))
    return left, right


@pytest.mark.parametrize("family", [stdlib.AF_INET, stdlib.AF_INET6])
async def test_streams_pass_trios_checks(family: int, autojump_clock: trio.testing.MockClock) -> None:
    async with vnet.Fabric.from_dict(TOPOLOGY) as fabric, fabric.guests["here"].as_network():
        await trio.testing.check_two_way_stream(lambda: pair(family), clogged)
        await trio.testing.check_half_closeable_stream(lambda: pair(family), clogged)


async def test_streams_pass_trios_checks_in_real_time() -> None:
    fabric = vnet.Fabric.from_dict(TOPOLOGY, driver="thread")
    async with fabric, fabric.guests["here"].as_network():
        await trio.testing.check_half_closeable_stream(lambda: pair(stdlib.AF_INET), None)
