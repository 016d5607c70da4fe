"""One machine at a time: starts, ends and what comes of both, beside a QEMU that only speaks as one."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import attrs
import pytest
import trio
import trio.testing

from vnet.errors import BadInput, VnetError
from vnet.machines.keeping import Ended, Keeping
from vnet.machines.machine import PAUSES, QUIT, SELDOM, START, Machine
from vnet.topology import model

ON_FAILURE = model.Machine(restart="on-failure", stop_timeout=60 * 10**9)


class Qemu:
    """One that was started."""

    def __init__(self, ended: Ended) -> None:
        self.ended = ended
        self.scope = trio.CancelScope()
        self.deaf = False
        """Its monitor does not answer."""
        self.asked: list[str] = []
        self.say: Callable[[bytes], Awaitable[None]]

    async def run(self, given: list[int]) -> None:
        """Until it is told to quit, or killed."""
        sockets = [socket.socket(fileno=descriptor) for descriptor in given]
        monitor = trio.SocketStream(trio.socket.from_stdlib_socket(sockets[0]))
        self.say = monitor.send_all
        try:
            with self.scope:
                with contextlib.suppress(trio.BrokenResourceError):
                    await self._serve(monitor)
                if "quit" not in self.asked:
                    await trio.sleep_forever()
        finally:
            for each in sockets[1:]:
                each.close()
            await trio.aclose_forcefully(monitor)

    async def _serve(self, monitor: trio.SocketStream) -> None:
        await monitor.send_all(b'{"QMP": {}}\n')
        async for data in monitor:
            for asked in map(json.loads, data.splitlines()):
                if self.deaf:
                    continue
                self.asked.append(asked["execute"])
                told = {"return": {}, "id": asked["id"]}
                await monitor.send_all(json.dumps(told).encode() + b"\n")
            if "quit" in self.asked:
                return

    def end(self, code: int) -> None:
        self.scope.cancel()
        self.ended(code)


@attrs.define
class Keeper:
    """In the place of a `Keeping`."""

    nursery: trio.Nursery
    running: dict[int, Qemu] = attrs.field(factory=dict)
    deaf: bool = False
    """As are those that come."""
    slow: bool = False
    """It does not say that it has started them, and doesn't kill any."""
    count: int = 0

    async def start(self, argv: Sequence[str], given: Sequence[int], ended: Ended) -> tuple[int, int]:
        self.count += 1
        number = self.count
        qemu = self.running[number] = Qemu(ended)
        qemu.deaf = self.deaf
        self.nursery.start_soon(self._run, number, [os.dup(descriptor) for descriptor in given])
        if self.slow:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        return number, 1000 + number

    async def _run(self, number: int, given: list[int]) -> None:
        qemu = self.running[number]
        await qemu.run(given)
        if self.running.pop(number, None) is not None:
            qemu.ended(0)

    async def kill(self, number: int) -> None:
        await trio.lowlevel.checkpoint()
        self.end(number)

    def end(self, number: int, code: int = -signal.SIGKILL) -> None:
        if not self.slow and number in self.running:
            self.running.pop(number).end(code)

    @property
    def one(self) -> Qemu:
        (only,) = self.running.values()
        return only


@asynccontextmanager
async def machine(folder: Path, wanted: model.Machine = ON_FAILURE) -> AsyncIterator[tuple[Machine, Keeper]]:
    async with trio.open_nursery() as nursery:
        keeper = Keeper(nursery)
        made = Machine("vm", cast("Keeping", keeper), nursery, folder)
        made.become(wanted, ["qemu"])
        yield made, keeper
        keeper.slow = False
        await made.stop(ask=False)
        assert not keeper.running
        nursery.cancel_scope.cancel()


async def crash(made: Machine, keeper: Keeper) -> None:
    """It is killed by somebody, and waits to be started again."""
    keeper.end(keeper.count)
    assert made.state == "killed"
    await trio.testing.wait_all_tasks_blocked()


async def test_who_switches_it_on_does_so_instead_of_its_restart(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with machine(tmp_path) as (made, keeper):
        await made.start([])
        for count in (2, 3):
            await crash(made, keeper)
            await made.start([])
            await trio.sleep(2 * PAUSES[-1])
            assert (made.state, made.restarts) == ("running", 0)
            assert keeper.running.keys() == {count}
        # It is started again as before when it fails once more.
        await crash(made, keeper)
        await trio.sleep(PAUSES[0] + 2)
        assert (made.state, made.restarts) == ("running", 1)
        with pytest.raises(BadInput, match="vm is running"):
            await made.start([])
        assert len(keeper.running) == 1


async def test_who_switches_it_on_at_once_does_so_instead_of_its_restart(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with machine(tmp_path) as (made, keeper):
        await made.start([])
        keeper.end(1)
        await made.start([])
        await trio.sleep(2 * PAUSES[-1])
        assert (made.state, keeper.running.keys()) == ("running", {2})
        keeper.end(2)
        await made.stop()
        await trio.sleep(2 * PAUSES[-1])
        assert (made.state, keeper.count) == ("stopped", 2)


async def test_two_who_switch_it_on_start_one(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with machine(tmp_path) as (made, keeper):
        refused = []

        async def start() -> None:
            try:
                await made.start([])
            except BadInput as error:
                refused.append(str(error))

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(start)
        assert (made.state, len(keeper.running), len(refused)) == ("running", 1, 2)


async def test_switched_off_it_is_stopped_in_the_middle_of_a_start(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with machine(tmp_path) as (made, keeper):
        await made.start([])
        await crash(made, keeper)
        keeper.deaf = True
        await trio.sleep(PAUSES[0] + 2)
        assert (made.state, made.is_running) == ("starting", True)
        await made.stop()
        assert (made.state, made.is_running) == ("stopped", False)
        async with trio.open_nursery() as nursery:

            async def start() -> None:
                with pytest.raises(VnetError, match="vm was switched off while it started"):
                    await made.start([])

            nursery.start_soon(start)
            await trio.testing.wait_all_tasks_blocked()
            assert (made.state, made.is_running) == ("starting", True)
            await made.stop()
        await trio.sleep(2 * PAUSES[-1])
        assert (made.state, keeper.count) == ("stopped", 3)


async def test_a_start_that_is_cancelled_leaves_nobody(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with machine(tmp_path) as (made, keeper):
        keeper.slow = True
        with trio.move_on_after(1):
            await made.start([])
        # There may be one that nobody has heard of yet: until it is gone, there is no other.
        assert (made.state, made.pid) == ("failed", None)
        with pytest.raises(BadInput, match="vm has not ended yet"):
            await made.start([])
        keeper.slow = False
        keeper.end(1)
        assert (made.state, made.is_running) == ("failed", False)
        await made.start([])
        assert made.state == "running"


async def test_a_start_that_is_cancelled_waits_for_its_end(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with machine(tmp_path) as (made, keeper):
        keeper.slow = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(made.start, [])
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
            nursery.start_soon(trio.sleep_forever)
            begun = trio.current_time()

            async def end() -> None:
                with trio.CancelScope(shield=True):
                    await trio.sleep(START / 2)
                keeper.slow = False
                keeper.end(1)

            nursery.start_soon(end)
        assert trio.current_time() - begun >= START / 2
        assert not made.is_running


async def test_who_goes_away_while_it_is_asked_leaves_it_as_it_was(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with machine(tmp_path) as (made, keeper):
        await made.start([])
        with trio.move_on_after(3):
            await made.stop()
        assert (made.state, keeper.one.asked[-1]) == ("running", "system_powerdown")
        await crash(made, keeper)
        await trio.sleep(PAUSES[0] + 2)
        assert (made.state, made.restarts) == ("running", 1)


async def test_who_goes_away_while_it_is_ended_sees_it_through(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with machine(tmp_path) as (made, keeper):
        await made.start([])
        keeper.one.deaf = True
        begun = trio.current_time()
        with trio.move_on_after(QUIT / 2):
            await made.stop(ask=False)
        assert trio.current_time() - begun >= QUIT
        await trio.sleep(2 * PAUSES[-1])
        assert (made.state, keeper.count) == ("stopped", 1)


async def test_who_will_not_wait_ends_what_another_asks(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with machine(tmp_path) as (made, keeper):
        await made.start([])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(made.stop)
            await trio.testing.wait_all_tasks_blocked()
            begun = trio.current_time()
            await made.stop(ask=False)
            # Whoever asked does not end the next one.
            await made.start([])
        assert trio.current_time() - begun < QUIT
        assert (made.state, keeper.count) == ("running", 2)


async def test_never_counts_while_it_waits_to_be_started_again(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with machine(tmp_path) as (made, keeper):
        await made.start([])
        await crash(made, keeper)
        made.become(model.Machine(restart="never"), ["qemu"])
        await trio.sleep(2 * PAUSES[-1])
        assert (made.state, made.restarts, keeper.count) == ("killed", 0, 1)
        await made.stop()
        assert made.state == "killed"


async def test_events_without_end_are_a_line_a_second(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    events = b"".join(b'{"event": "%s"}\n' % name for name in (b"STOP", b"RESUME", b"GUEST_PANICKED"))
    async with machine(tmp_path) as (made, keeper):
        await made.start([])
        for _ in range(2):
            await keeper.one.say(events * 500)
            await trio.sleep(SELDOM)
        await keeper.one.say(b'{"event": "STOP"}\n')
        await trio.testing.wait_all_tasks_blocked()
        assert made.state == "paused"
    often = ", 499 times more before"
    stopped, panicked = "vm: the machine was stopped", "vm: its kernel panicked"
    assert caplog.messages == [stopped, panicked, stopped + often, panicked + often, stopped + often]


async def test_a_reset_that_nobody_answers_is_told(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with machine(tmp_path) as (made, keeper):
        await made.start([])
        await made.reset()
        assert keeper.one.asked[-1] == "system_reset"
        keeper.one.deaf = True
        with pytest.raises(VnetError, match="vm: QEMU does not answer: vnet power off vm --now ends it"):
            await made.reset()
        assert made.state == "running"


async def test_how_it_ended_is_told(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with machine(tmp_path, model.Machine()) as (made, keeper):
        for code, state, line in (
            (0, "shut down", "vm: the guest has shut down"),
            (3, "failed", "vm: the machine failed, exit code 3"),
            (-9, "killed", "vm: the machine was killed by signal 9"),
        ):
            await made.start([])
            keeper.end(keeper.count, code)
            assert made.state == state
            await trio.sleep(2)
            assert caplog.messages[-1] == line
