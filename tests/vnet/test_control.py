"""The control socket with a client at the other end: the command line's, and ones that misbehave."""

import concurrent.futures
import contextlib
import json
import math
import os
import resource
import select
import socket
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from tests import turns
from vnet.control import protocol, server
from vnet.control.client import Client, Silent
from vnet.errors import BadInput, VnetError
from vnet.shell.remote import RemoteFabric


@asynccontextmanager
async def serving(tmp_path, **operations):
    path = tmp_path / "control.sock"
    listener = server.listen(path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve, listener, operations)
        yield path
        nursery.cancel_scope.cancel()


async def in_thread(function, *arguments):
    return await trio.to_thread.run_sync(function, *arguments)


async def echo(request):
    return request.arguments


async def counting(request):
    for n in range(request.arguments["to"]):
        await request.item(n)
    return "done"


async def test_results_items_and_errors_reach_the_client(tmp_path):
    async def refusing(request):
        raise BadInput("no such thing")

    async def mistaken(request):
        return request.arguments["missing"]

    async def broken(request):
        raise AssertionError("a mistake of ours")

    def talk(path):
        with Client(path) as client:
            assert client.call("echo", a=1) == {"a": 1}
            assert list(client.stream("counting", to=3)) == [0, 1, 2]
            with pytest.raises(BadInput, match="no such thing"):
                client.call("refusing")
            with pytest.raises(BadInput, match="missing"):
                client.call("mistaken")
            with pytest.raises(BadInput, match="there is no call 'nothing'"):
                client.call("nothing")
            with pytest.raises(VnetError, match="inside vnet"):
                client.call("broken")
            assert client.call("echo") == {}

    operations = {
        "echo": echo,
        "counting": counting,
        "refusing": refusing,
        "mistaken": mistaken,
        "broken": broken,
    }
    async with serving(tmp_path, **operations) as path:
        await in_thread(talk, path)


def test_a_fabric_that_lets_nobody_in_is_a_silent_one(tmp_path):
    path = tmp_path / "control.sock"
    with server.listen(path) as full, socket.socket(socket.AF_UNIX) as waiting:
        full.listen(0)
        waiting.connect(str(path))
        with pytest.raises(Silent, match=r"control\.sock: too many wait for it"):
            Client(path, patience=0.01)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            later = pool.submit(Client, path, patience=30.0)
            full.setblocking(True)
            for _ in range(2):
                full.accept()[0].close()
            with later.result():
                pass


def test_a_stuck_fabric_is_told_by_a_quick_call_and_waited_for_by_others(tmp_path):
    stuck = server.listen(tmp_path / "control.sock")
    with stuck, Client(tmp_path / "control.sock", patience=0.01) as client:
        with pytest.raises(VnetError, match=rf"the fabric \(process {os.getpid()}\) does not answer"):
            client.call("status")
        stuck.setblocking(True)
        accepted, _ = stuck.accept()

        def late():
            # The first call, and then the second, which has to have waited by now.
            lines = accepted.makefile("rwb")
            lines.readline()
            assert b"ping" in lines.readline()
            assert select.select([accepted], [], [], 0.05) == ([], [], [])
            accepted.sendall(b'{"id":2,"result":"late"}\n')
            lines.close()

        with accepted, concurrent.futures.ThreadPoolExecutor() as pool:
            answered = pool.submit(late)
            assert client.call("ping") == "late"
            answered.result()


async def test_the_socket_is_its_owners_alone(tmp_path):
    async with serving(tmp_path, echo=echo) as path:
        assert path.stat().st_mode & 0o777 == 0o600


async def test_descriptors_arrive_and_are_closed(tmp_path):
    async def write(request):
        descriptor = request.take_descriptor()
        os.write(descriptor, b"hello")
        os.close(descriptor)

    async def ignore(request):
        return None

    def talk(path):
        with Client(path) as client:
            for call, said in (("write", b"hello"), ("ignore", b"")):
                reading, writing = os.pipe()
                client.call(call, descriptors=[writing])
                os.close(writing)
                assert os.read(reading, 100) == said
                os.close(reading)
            with pytest.raises(BadInput, match="descriptor"):
                client.call("write")

    async with serving(tmp_path, write=write, ignore=ignore) as path:
        await in_thread(talk, path)


async def test_no_more_descriptors_wait_for_their_call_than_one_may_have(tmp_path):
    def flood(path):
        reading, writing = os.pipe()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            connection.settimeout(30)
            with contextlib.suppress(ConnectionError):
                for _ in range(2):
                    socket.send_fds(connection, [b" "], [writing] * server.DESCRIPTORS_MAX)
                assert connection.recv(1) == b""
        os.close(writing)
        assert os.read(reading, 1) == b""
        os.close(reading)

    async with serving(tmp_path, echo=echo) as path:
        await in_thread(flood, path)


async def test_who_finds_no_descriptor_left_waits_for_one(tmp_path, caplog):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with serving(tmp_path, echo=echo) as path:
        with trio.socket.socket(socket.AF_UNIX) as connection, contextlib.ExitStack() as spare:
            spare.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
            resource.setrlimit(resource.RLIMIT_NOFILE, (connection.fileno() + 1, hard))
            with contextlib.suppress(OSError):
                while True:
                    spare.callback(os.close, os.dup(connection.fileno()))
            await connection.connect(str(path))
            with trio.fail_after(30):
                while "have to wait" not in caplog.text:  # noqa: ASYNC110
                    await trio.sleep(0.01)
                spare.close()
                await connection.send(b'{"id": 1, "call": "echo"}\n')
                assert json.loads(await connection.recv(100)) == {"id": 1, "result": {}}


async def test_a_capture_from_afar_ends_with_whoever_wanted_it(tmp_path):
    begun, ended = trio.Event(), trio.Event()

    async def forever(request):
        begun.set()
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    async with serving(tmp_path, capture=forever) as path, trio.open_nursery() as nursery:
        wanted = partial(RemoteFabric(path).capture, tmp_path / "a.pcapng", count=1)
        nursery.start_soon(wanted)
        await begun.wait()
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True), trio.fail_after(30):
            await ended.wait()


async def test_a_call_ends_when_its_client_cancels_or_goes(tmp_path):
    begun, ended = trio.Event(), trio.Event()

    async def forever(request):
        begun.set()
        try:
            await request.item("begun")
            await trio.sleep_forever()
        finally:
            ended.set()

    def cancelling(path):
        with Client(path) as client:
            calls = client.stream("forever")
            next(calls)
            client.cancel()
            assert list(calls) == []
            assert client.call("echo", b=2) == {"b": 2}

    def going(path):
        with Client(path) as client:
            next(client.stream("forever"))

    async with serving(tmp_path, forever=forever, echo=echo) as path:
        for client in (cancelling, going):
            begun, ended = trio.Event(), trio.Event()
            await in_thread(client, path)
            await ended.wait()


async def test_a_call_that_is_cancelled_in_the_middle_of_a_line_harms_no_other(tmp_path):
    async def long(request):
        await request.item("x" * (8 << 20))

    async with serving(tmp_path, long=long, echo=echo) as path:
        with trio.socket.socket(socket.AF_UNIX) as connection:
            await connection.connect(str(path))
            await connection.send(b'{"id": 1, "call": "long"}\n')
            said = await connection.recv(1)
            await connection.send(b'{"id": 1, "cancel": true}\n{"id": 2, "call": "echo"}\n')
            with trio.fail_after(30):
                while said.count(b"\n") < 3:
                    said += await connection.recv(1 << 20)
    told = [json.loads(line) for line in said.splitlines()]
    assert len(told[0].pop("item")) == 8 << 20
    assert sorted(told, key=lambda line: line["id"]) == [
        {"id": 1},
        {"id": 1, "result": None},
        {"id": 2, "result": {}},
    ]


async def test_rubbish_ends_its_own_connection_only(tmp_path):
    def rubbish(path, data):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            # A server that hung up with some of it unread resets the connection, which is fine too.
            with contextlib.suppress(ConnectionError):
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(100):
                    pass

    def talk(path):
        with Client(path) as client:
            deep = b"[" * 100_000 + b"\n"
            for data in (b"\xff\n", b"{}\n", deep, b"GET / HTTP/1.1\r\n\r\n", b'{"id": 1, "call": "ec'):
                rubbish(path, data)
            assert client.call("echo", c=3) == {"c": 3}

    async with serving(tmp_path, echo=echo) as path:
        await in_thread(talk, path)


@pytest.mark.gives_up
async def test_a_mistake_of_ours_with_one_client_ends_its_connection_only(tmp_path, monkeypatch, caplog):
    read = protocol.parse_call

    def mistaken(line):
        return read(line) if b"echo" in line else 1 // 0

    def talk(path):
        with Client(path) as client, Client(path) as other:
            with pytest.raises(VnetError, match="went away"):
                other.call("anything")
            assert client.call("echo", d=4) == {"d": 4}

    monkeypatch.setattr(protocol, "parse_call", mistaken)
    async with serving(tmp_path, echo=echo) as path:
        await in_thread(talk, path)
    assert "was given up" in caplog.text


@pytest.mark.parametrize("said", [b"not JSON\n", b"[" * 100_000 + b"\n"])
def test_what_is_no_answer_is_told(tmp_path, said):
    def answer(listener):
        listener.setblocking(True)
        accepted, _ = listener.accept()
        with accepted:
            accepted.recv(100)
            accepted.sendall(said)

    path = tmp_path / "control.sock"
    with server.listen(path) as listener, concurrent.futures.ThreadPoolExecutor() as pool:
        answered = pool.submit(answer, listener)
        with Client(path) as client, pytest.raises(VnetError, match="what no fabric says"):
            client.call("status")
        answered.result()


async def test_one_connection_can_have_so_many_calls_and_no_more(tmp_path):
    async def forever(request):
        await trio.sleep_forever()

    def flood(path):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            with contextlib.suppress(ConnectionError):
                for number in range(server.CALLS_MAX + 1):
                    connection.sendall(json.dumps({"id": number, "call": "forever"}).encode() + b"\n")
                assert connection.recv(1) == b""

    async with serving(tmp_path, forever=forever) as path:
        await in_thread(flood, path)


async def test_whoever_is_one_too_many_is_told_and_may_look_and_bring_it_down(tmp_path):
    async def status(request):
        return "there"

    def crowd(path):
        with contextlib.ExitStack() as others:
            clients = [others.enter_context(Client(path)) for _ in range(server.CONNECTIONS_MAX)]
            for client in clients:
                assert client.call("echo", n=1) == {"n": 1}
            for _ in range(2):
                with Client(path) as one:
                    with pytest.raises(VnetError, match="64 clients are connected already: end one"):
                        one.call("echo")
                    assert one.call("status") == "there"
                    assert one.call("down") is None
                    # What asks again and again stays away.
                    with pytest.raises(VnetError, match="connected already"):
                        one.call("status")
            assert clients[-1].call("status") == "there"

    async def down(request):
        return None

    async with serving(tmp_path, echo=echo, status=status, down=down) as path:
        await in_thread(crowd, path)


async def test_whoever_is_one_too_many_does_not_stay(tmp_path, monkeypatch):
    def crowd(path):
        with contextlib.ExitStack() as others:
            for _ in range(server.CONNECTIONS_MAX):
                assert others.enter_context(Client(path)).call("echo") == {}
            with socket.socket(socket.AF_UNIX) as one:
                one.settimeout(30)
                one.connect(str(path))
                assert one.recv(1) == b""

    monkeypatch.setattr(server, "BRIEFLY", 0.01)
    async with serving(tmp_path, echo=echo) as path:
        await in_thread(crowd, path)


async def test_a_long_answer_lets_others_have_their_turn():
    answer = {
        "many": [{"n": n, "text": '"\u00e9'} for n in range(1000)],
        "few": [1, None],
        "by": {"7": {}},
        3: [],
    }
    told = json.loads(await server.written(answer))
    assert told == json.loads(json.dumps(answer))
    del answer[3]
    async with turns.counted() as so_far:
        told = json.loads(await server.written(answer))
        seen = so_far()
    assert told == answer
    assert seen >= 10
    assert "\n" not in await server.written({"text": "a\nb"})


async def test_a_long_answer_goes_on_when_others_are_done_and_is_made_as_it_is_written(mock_clock):
    calls, called = trio.open_memory_channel(math.inf)
    made, seen = 0, []

    def entries():
        nonlocal made
        for made in range(1, 101):
            if made % server.ENTRIES_A_TURN == 1:
                calls.send_nowait(made)
            yield made

    async def other():
        async for _ in called:
            for _ in range(5):
                await trio.lowlevel.checkpoint()
            seen.append(made)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        told = json.loads(await server.written({"many": entries()}))
        nursery.cancel_scope.cancel()
    assert told == {"many": list(range(1, 101))}
    assert seen == [*range(server.ENTRIES_A_TURN, 100, server.ENTRIES_A_TURN), 100]


async def test_a_mistake_while_an_answer_is_made_ends_the_call_alone(tmp_path, caplog):
    async def half(request):
        return {"many": (1 // (3 - n) for n in range(1000))}

    def talk(path):
        with Client(path) as client:
            with pytest.raises(VnetError, match="half failed inside vnet"):
                client.call("half")
            assert client.call("echo", a=1) == {"a": 1}

    async with serving(tmp_path, half=half, echo=echo) as path:
        await in_thread(talk, path)
    assert "the call half failed" in caplog.text
