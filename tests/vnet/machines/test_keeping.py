"""The program that starts machines: what it starts, how it tells of ends, and that nothing outlives it."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from vnet.errors import VnetError
from vnet.machines.keeping import Keeping

SLEEP = ["/bin/sh", "-c", "echo started; exec sleep 1000", "sh"]
"""It is given QEMU's words about descriptors behind these, and takes no notice."""


@asynccontextmanager
async def keeping() -> AsyncIterator[Keeping]:
    async with trio.open_nursery() as nursery:
        keeper = Keeping()
        await nursery.start(keeper.run)
        yield keeper
        nursery.cancel_scope.cancel()


class Started:
    """A program that was started, and what became of it."""

    def __init__(self) -> None:
        self.pid = 0
        self.number = 0
        self.code: int | None = None
        self.end = trio.Event()
        self.output, self.theirs = trio.socket.socketpair()

    def ended(self, code: int | None) -> None:
        self.code = code
        self.end.set()

    async def start(self, keeper: Keeping, argv: list[str]) -> None:
        pairs = [socket.socketpair() for _ in range(3)]
        try:
            given = [pair[1].fileno() for pair in pairs] + [self.theirs.fileno()]
            self.number, self.pid = await keeper.start(argv, given, self.ended)
        finally:
            for pair in pairs:
                pair[0].close()
                pair[1].close()
            self.theirs.close()

    async def read(self) -> bytes:
        with trio.fail_after(30):
            return bytes(await self.output.recv(100))

    async def wait(self) -> int | None:
        with trio.fail_after(30):
            await self.end.wait()
        self.output.close()
        return self.code


async def gone(process: int) -> None:
    """Wait for the end of a process, by its descriptor, which is closed."""
    try:
        with trio.fail_after(30):
            await trio.lowlevel.wait_readable(process)
    finally:
        os.close(process)


async def test_ends_are_told() -> None:
    async with keeping() as keeper:
        one, two = Started(), Started()
        await one.start(keeper, ["/bin/sh", "-c", "exit 3", "sh"])
        assert await one.wait() == 3
        await two.start(keeper, SLEEP)
        assert await two.read() == b"started\n"
        status = Path(f"/proc/{two.pid}/status").read_text()  # noqa: ASYNC240
        assert "CapBnd:\t0000000000000000" in status or os.geteuid() != 0
        assert "NoNewPrivs:\t1" in status
        await keeper.kill(two.number)
        assert await two.wait() == -signal.SIGKILL


async def test_what_is_not_there_is_told() -> None:
    async with keeping() as keeper:
        none = Started()
        with pytest.raises(VnetError, match="such-thing can't be started: No such file or directory"):
            await none.start(keeper, ["/no/such-thing"])
        none.output.close()


async def test_sealed_it_starts_only_what_it_knows() -> None:
    async with keeping() as keeper:
        first, again, other = Started(), Started(), Started()
        await first.start(keeper, SLEEP)
        await keeper.seal()
        with pytest.raises(VnetError, match="the sandbox is closed, and this was not started before"):
            await other.start(keeper, [*SLEEP, "more"])
        await again.start(keeper, SLEEP)
        assert again.pid != first.pid
        for started in (first, again):
            await keeper.kill(started.number)
            await started.wait()
        other.output.close()


async def test_nothing_outlives_it() -> None:
    async with keeping() as keeper:
        left = Started()
        await left.start(keeper, SLEEP)
        assert await left.read() == b"started\n"
        handle = os.pidfd_open(left.pid)
    await gone(handle)
    assert await left.wait() is None


async def test_nor_does_anything_when_it_is_killed() -> None:
    async with keeping() as keeper:
        left = Started()
        await left.start(keeper, SLEEP)
        assert await left.read() == b"started\n"
        parent = int(Path(f"/proc/{left.pid}/stat").read_text().split()[3])  # noqa: ASYNC240
        handle = os.pidfd_open(left.pid)
        os.kill(parent, signal.SIGKILL)
        await gone(handle)
        assert await left.wait() is None
        late = Started()
        with pytest.raises(VnetError, match="the process that starts machines is gone"):
            await late.start(keeper, SLEEP)
        late.output.close()


async def test_a_start_that_is_cancelled_leaves_nothing() -> None:
    async with keeping() as keeper:
        known = Started()
        await known.start(keeper, SLEEP)
        program = int(Path(f"/proc/{known.pid}/stat").read_text().split()[3])  # noqa: ASYNC240
        for argv, code in ((SLEEP, -signal.SIGKILL), (["/no/such-thing"], None)):
            given_up = Started()
            # It gets to it when nobody waits any more.
            os.kill(program, signal.SIGSTOP)
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(given_up.start, keeper, argv)
                    await trio.testing.wait_all_tasks_blocked()
                    assert not given_up.end.is_set()
                    nursery.cancel_scope.cancel()
            finally:
                os.kill(program, signal.SIGCONT)
            assert await given_up.wait() == code
            assert given_up.pid == 0
        await keeper.kill(known.number)
        assert await known.wait() == -signal.SIGKILL
