"""The guest agent's client, beside an agent that says what it likes: it is the guest's."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from vnet.machines import agent
from vnet.machines.agent import Agent, AgentError, Outcome

Answers = Callable[[str, dict[str, Any]], bytes]


@asynccontextmanager
async def answering(answers: Answers) -> AsyncIterator[Agent]:
    ours, theirs = (trio.SocketStream(end) for end in trio.socket.socketpair())

    async def serve() -> None:
        rest = b""
        async for data in theirs:
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                asked = json.loads(line)
                if asked["execute"] == "guest-sync":
                    await theirs.send_all(b'{"return": 5}\nold junk\n')
                    await theirs.send_all(said(asked["arguments"]["id"]))
                else:
                    await theirs.send_all(answers(asked["execute"], asked["arguments"]))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        yield Agent("vm", ours)
        nursery.cancel_scope.cancel()
    await ours.aclose()
    await theirs.aclose()


def said(value: Any) -> bytes:
    return json.dumps({"return": value}).encode() + b"\n"


def encoded(text: bytes) -> str:
    return base64.b64encode(text).decode()


async def test_a_command_to_its_end() -> None:
    looks = 0

    def answers(command: str, arguments: dict[str, Any]) -> bytes:
        nonlocal looks
        if command == "guest-exec":
            assert arguments == {"path": "ls", "arg": ["-l"], "capture-output": True}
            return said({"pid": 7})
        assert arguments == {"pid": 7}
        looks += 1
        if looks == 1:
            return said({"exited": False})
        return said({"exited": True, "exitcode": 3, "out-data": encoded(b"out"), "err-data": encoded(b"err")})

    async with answering(answers) as found:
        assert await found.run(["ls", "-l"]) == Outcome(3, b"out", b"err")


async def test_a_command_that_a_signal_ended() -> None:
    async with answering(lambda command, _: said({"pid": 7, "exited": True, "signal": 9})) as found:
        assert await found.run(["x"]) == Outcome(137, b"", b"")


@pytest.mark.parametrize(
    ("told", "line"),
    [
        (b'{"error": {"desc": "no such file"}}\n', "vm: its agent: no such file"),
        (b"nonsense\n", "its agent says what no agent says"),
        (b"[" * 100_000 + b"\n", "its agent says what no agent says"),
        (b'{"return": {"pid": 7, "exited": true, "exitcode": 1e999}}\n', "its agent says what no agent says"),
        (b"[1]\n", "its agent says what no agent says"),
        (b'{"return": {"pid": [' + b"[]," * 10_000 + b"[]]}}\n", "its agent says what no agent says"),
        (b'{"return": 5}\n', "its agent says what no agent says"),
        (said({"pid": 7, "exited": True}), "its agent says what no agent says"),
        (said({"pid": 7, "exited": True, "exitcode": 0, "out-data": 5}), "its agent says what no agent says"),
    ],
)
async def test_what_else_it_says_is_told(told: bytes, line: str) -> None:
    async with answering(lambda command, _: told) as found:
        with pytest.raises(AgentError, match=line):
            await found.run(["x"])


async def test_as_much_as_an_agent_keeps() -> None:
    output = bytes(range(256)) * (16 << 12)
    told = said({"pid": 7, "exited": True, "exitcode": 0, "out-data": encoded(output)})
    async with answering(lambda command, _: told if "status" in command else said({"pid": 7})) as found:
        assert (await found.run(["x"])).output == output


async def test_an_answer_takes_its_time(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = (trio.SocketStream(end) for end in trio.socket.socketpair())

    async def serve() -> None:
        asked = json.loads(await theirs.receive_some())
        await theirs.send_all(b"x" * 100)
        for answer in (
            b"\n" + said(asked["arguments"]["id"]),
            said({"pid": 7, "exited": True, "exitcode": 3}),
        ):
            for at in range(len(answer)):
                await trio.sleep(agent.ANSWER * 0.9)
                await theirs.send_all(answer[at : at + 1])
            await theirs.receive_some()
        await theirs.send_all(said({"pid": 7, "exited": True, "exitcode": 3}))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        assert await Agent("vm", ours).run(["x"]) == Outcome(3, b"", b"")
    await ours.aclose()
    await theirs.aclose()


async def test_a_line_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "LINE_MAX", 1 << 16)
    async with answering(lambda command, _: b"x" * (1 << 18)) as found:
        with pytest.raises(AgentError, match="says what no agent says"):
            await found.run(["x"])


async def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "ANSWER", 0.01)
    ours, theirs = (trio.SocketStream(end) for end in trio.socket.socketpair())
    with pytest.raises(AgentError, match=r"vm: no guest agent answers in it: .* vnet console"):
        await Agent("vm", ours).run(["x"])
    await theirs.aclose()
    with pytest.raises(AgentError, match="the machine has ended"):
        await Agent("vm", ours).run(["x"])
    await ours.aclose()
