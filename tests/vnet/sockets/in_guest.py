"""A pytest plugin under which async tests run in a guest: for trio's own tests, which know nothing of us.

`pytest -p tests.vnet.sockets.in_guest --pyargs trio._tests.test_highlevel_socket`
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from typing import Any

import pytest
import trio
import trio.testing

import vnet
from vnet.sockets.guest_socket import GuestSocket

TOPOLOGY = {
    "name": "in-guest",
    "networks": {"lan": {"subnets": ["10.0.0.0/24", "fd00::/64"]}},
    "guests": {"here": {"nics": [{"network": "lan"}]}, "there": {"nics": [{"network": "lan"}]}},
}
DEADLINE = 20.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Where trio's tests look into its own class, it is ours that they look into.
    for item in items:
        if hasattr(module := getattr(item, "module", None), "_SocketType"):
            module._SocketType = GuestSocket


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--run-slow", action="store_true", default=False, help="unused; trio's tests ask for it")


@pytest.fixture
def mock_clock() -> trio.testing.MockClock:
    return trio.testing.MockClock()


@pytest.fixture
def autojump_clock() -> trio.testing.MockClock:
    return trio.testing.MockClock(autojump_threshold=0)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    function = pyfuncitem.obj
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        def run(**arguments: Any) -> None:
            clock = next((v for v in arguments.values() if isinstance(v, trio.abc.Clock)), None)

            async def main() -> None:
                async with vnet.Fabric.from_dict(TOPOLOGY, driver="trio") as fabric:
                    guest = fabric.guests["here"]
                    assert isinstance(guest, vnet.StackGuest)
                    async with guest.as_network():
                        # Virtual time may jump over a deadline.
                        with trio.fail_after(DEADLINE if clock is None else float("inf")):
                            await function(**arguments)

            trio.run(main, clock=clock)

        pyfuncitem.obj = run
    return (yield)
