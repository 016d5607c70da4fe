"""Consoles and monitors, whatever a guest or its QEMU says there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from vnet.machines import console
from vnet.machines.console import Console
from vnet.machines.qmp import LINE_MAX, Qmp, QmpError


def pair() -> tuple[trio.SocketStream, trio.SocketStream]:
    ours, theirs = trio.socket.socketpair()
    return trio.SocketStream(ours), trio.SocketStream(theirs)


async def test_a_console_remembers_so_much_and_its_log_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "PACE", 1 << 40)
    log = tmp_path / "vm.log"
    found = Console(log)
    ours, guest = pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(found.run, ours)
        flood = b"0123456789abcde\n" * (console.LOG * 3 // 16)
        await guest.send_all(flood)
        await guest.aclose()
    assert found.tail == flood[-console.TAIL :]
    sizes = [file.stat().st_size for file in (log, tmp_path / "vm.log.1")]
    assert max(sizes) <= console.LOG + console.CHUNK
    assert sum(sizes) < len(flood)


async def test_who_watches_sees_the_end_and_what_comes_and_may_type(tmp_path: Path) -> None:
    found = Console(tmp_path / "vm.log")
    ours, guest = pair()
    watcher, theirs = pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(found.run, ours)
        await guest.send_all(b"x" * 5000 + b"login: ")
        while len(found.tail) < 5007:  # noqa: ASYNC110
            await trio.sleep(0.001)
        nursery.start_soon(found.attach, theirs)
        seen = b""
        with trio.fail_after(30):
            while len(seen) < console.SHOWN:
                seen += await watcher.receive_some()
        assert seen.endswith(b"x" + b"login: ")
        await watcher.send_all(b"root\n")
        with trio.fail_after(30):
            assert await guest.receive_some() == b"root\n"
        await guest.send_all(b"# ")
        with trio.fail_after(30):
            assert await watcher.receive_some() == b"# "
        await watcher.aclose()
        await guest.aclose()
    await theirs.aclose()


async def test_two_type_while_the_guest_does_not_read(tmp_path: Path) -> None:
    found = Console(tmp_path / "vm.log")
    ours, guest = pair()
    one, one_s = pair()
    two, two_s = pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(found.run, ours)
        await trio.testing.wait_all_tasks_blocked()
        for end in (one_s, two_s):
            nursery.start_soon(found.attach, end)
        paste = b"x" * (8 << 20)
        nursery.start_soon(one.send_all, paste)
        await trio.testing.wait_all_tasks_blocked()
        await two.send_all(b"y")
        await trio.testing.wait_all_tasks_blocked()
        typed = 0
        with trio.fail_after(30):
            while typed < len(paste) + 1:
                typed += len(await guest.receive_some())
        nursery.cancel_scope.cancel()
    for stream in (guest, one, one_s, two, two_s):
        await stream.aclose()


GREETING = {"QMP": {"version": {}, "capabilities": []}}


async def negotiated(qemu: trio.SocketStream) -> None:
    await qemu.send_all(json.dumps(GREETING).encode() + b"\n")
    asked = json.loads(await qemu.receive_some())
    await qemu.send_all(json.dumps({"return": {}, "id": asked["id"]}).encode() + b"\n")


async def test_a_monitor_answers_and_tells() -> None:
    ours, qemu = pair()
    events: list[Any] = []
    qmp = Qmp(ours, events.append)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(qmp.run)
        await negotiated(qemu)
        await qmp.ready.wait()

        async def reply() -> None:
            asked = json.loads(await qemu.receive_some())
            assert (asked["execute"], asked["arguments"]) == ("device_add", {"host_mtu": 1400})
            told = (
                b'{"event": "STOP"}\n'
                + json.dumps({"error": {"desc": "no"}, "id": asked["id"]}).encode()
                + b"\n"
            )
            await qemu.send_all(told)

        nursery.start_soon(reply)
        with pytest.raises(QmpError, match="device_add: no"):
            await qmp.execute("device_add", {"host_mtu": 1400})
        assert events == [{"event": "STOP"}]
        await qemu.aclose()
    with pytest.raises(QmpError, match="QEMU is gone"):
        await qmp("cont")


@pytest.mark.parametrize(
    "said",
    [
        b"nonsense\n",
        b"[]\n",
        b'{"event": 5}\n{"id": []}\n',
        b'{"event": "STOP", "data": 5}\n',
        b"5\n",
        b"[" * 100_000 + b"\n",
        b"x" * (LINE_MAX + 2),
    ],
)
async def test_a_monitor_that_says_anything_else_ends_alone(said: bytes) -> None:
    ours, qemu = pair()
    qmp = Qmp(ours)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(qmp.run)
        await negotiated(qemu)
        await qmp.ready.wait()
        try:
            with trio.fail_after(30):
                await qemu.send_all(said)
                assert await qemu.receive_some() == b""
        except trio.BrokenResourceError:
            pass
    await qemu.aclose()
    with pytest.raises(QmpError, match="QEMU is gone"):
        await qmp("cont")


@pytest.mark.parametrize("reply", [{}, {"error": 5}, {"error": {}}, {"error": {"desc": ["x" * 10_000]}}])
async def test_a_reply_that_is_none_is_an_error_of_its_command_alone(reply: dict[str, Any]) -> None:
    ours, qemu = pair()
    qmp = Qmp(ours)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(qmp.run)
        await qemu.send_all(json.dumps(GREETING).encode() + b"\n")
        told: dict[str, Any] = json.loads(await qemu.receive_some())
        # Of the capabilities, which nobody waits for, and of a command; greeted twice it is no other.
        for line in (reply | {"id": told["id"]}, GREETING):
            await qemu.send_all(json.dumps(line).encode() + b"\n")

        async def answer() -> None:
            asked = json.loads(await qemu.receive_some())
            assert asked["execute"] == "cont"
            await qemu.send_all(json.dumps(reply | {"id": asked["id"]}).encode() + b"\n")

        nursery.start_soon(answer)
        with trio.fail_after(30), pytest.raises(QmpError, match="cont: ") as raised:
            await qmp("cont")
        assert len(str(raised.value)) < 1000
        await qemu.aclose()
