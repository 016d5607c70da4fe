"""Figures for Prometheus, read by its own client library, and the endpoint with clients good and bad."""

from __future__ import annotations

import http.client
import math
import os
import re
import signal
import socket
import threading
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

import vnet
from vnet import runtime
from vnet.cli import main, metrics, words
from vnet.control import server
from vnet.control.client import PATIENCE, Client
from vnet.errors import BadInput, VnetError
from vnet.metrics import CONTENT_TYPE, endpoint, exposition


def status(name="lab", **more):
    port = {
        "port": "web.0",
        "guest": "web",
        "kind": "tap",
        "switch": "s1",
        "network": "red",
        "trunk": [],
        "mac": "02:00:00:00:00:01",
        "ip": ["10.0.0.1", "fd00::1"],
        "carrier": True,
        "link": "up",
        "rx": {"frames": 3, "bytes": 300},
        "tx": {"frames": 5, "bytes": 2**60},
        "drops": {"runt": 7, "guard-mac": 2},
        "held": 1.5,
    }
    machine = {"guest": "vm", "state": "shut down", "seconds": 2.5, "restarts": 3}
    engine = {"driver": "trio", "turns": 9}
    return {"name": name, "engine": engine, "ports": [port | more], "machines": [machine]}


def samples(text):
    """{(name, labels): value}, as Prometheus' own client reads it."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name, frozenset(sample.labels.items())] = sample.value
    return found


def of(found, name, **labels):
    wanted = set(labels.items())
    (value,) = (value for (n, has), value in found.items() if n == name and wanted <= has)
    return value


def test_prometheus_reads_it():
    found = samples(exposition([status(), status("two", carrier=False)]))
    assert of(found, "vnet_port_received_frames_total", fabric="lab", port="web.0", kind="tap") == 3
    assert of(found, "vnet_port_sent_bytes_total", fabric="two") == 2**60
    assert of(found, "vnet_port_dropped_frames_total", fabric="lab", reason="runt") == 7
    assert of(found, "vnet_port_held_seconds_total", fabric="lab") == 1.5
    assert of(found, "vnet_port_up", fabric="lab") == 1
    assert of(found, "vnet_port_up", fabric="two") == 0
    assert of(found, "vnet_port_info", fabric="lab", ip="10.0.0.1,fd00::1", network="red") == 1
    assert of(found, "vnet_machine_state", fabric="two", guest="vm", state="shut down") == 1
    assert of(found, "vnet_machine_state", fabric="two", guest="vm", state="running") == 0
    assert of(found, "vnet_machine_state_seconds", fabric="lab", guest="vm") == 2.5
    assert of(found, "vnet_machine_restarts_total", fabric="lab", guest="vm") == 3
    assert of(found, "vnet_engine_turns_total", fabric="two") == 9
    assert of(found, "vnet_fabric_up", fabric="two") == 1
    assert of(found, "vnet_fabrics") == 2


def test_a_fabric_that_does_not_answer_is_told_of():
    found = samples(exposition([status()], ["two"]))
    assert of(found, "vnet_fabric_up", fabric="lab") == 1
    assert of(found, "vnet_fabric_up", fabric="two") == 0
    assert of(found, "vnet_fabrics") == 2


def test_no_fabric_is_no_error():
    assert of(samples(exposition([])), "vnet_fabrics") == 0


def test_one_fabric_is_told_of_alone_and_may_come_later(monkeypatch):
    running = ["a", "b"]
    monkeypatch.setattr(runtime, "running", lambda: running)

    class Client:
        def __init__(self, name, patience=PATIENCE):
            self.name = name
            if name not in running:
                raise VnetError("there is none")

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def call(self, _):
            if self.name == "b":
                raise VnetError("it went away")
            return self.name

    monkeypatch.setattr(words, "client", Client)
    for told in (metrics.statuses(None), metrics.statuses("a"), metrics.statuses("a", there=False)):
        assert told == (["a"], [])
    for name in ("b", "c"):
        assert metrics.statuses(name, there=False) == ([], [])
        with pytest.raises(VnetError):
            metrics.statuses(name)


async def test_one_that_was_stopped_keeps_nobody_from_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "base", lambda: tmp_path / "vnet")
    monkeypatch.setattr(metrics, "PATIENCE", 0.1)
    asked = threading.Barrier(3)

    def client(name, patience):
        asked.wait(30)  # for the others to be asked, too
        # The one that answers may take its time: the machine may be busy.
        return Client(runtime.base() / name / runtime.CONTROL, patience if name != "works" else PATIENCE)

    async def answer(_):
        return status("works")

    monkeypatch.setattr(words, "client", client)
    with ExitStack() as stack:
        listening = {}
        for name in ("full", "stopped", "works"):
            folder = stack.enter_context(runtime.Runtime(name)).path
            listening[name] = stack.enter_context(server.listen(folder / runtime.CONTROL))
        listening["full"].listen(0)
        waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
        waiting.connect(str(runtime.base() / "full" / runtime.CONTROL))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.serve, listening["works"], {"status": answer})
            found, silent = await trio.to_thread.run_sync(partial(metrics.statuses, None))
            nursery.cancel_scope.cancel()
    assert [each["name"] for each in found] == ["works"]
    assert silent == ["full", "stopped"]


def test_the_command_serves_the_one_that_is_named(monkeypatch, tmp_path):
    asked = []

    async def serve(listener, text):
        await listener.aclose()
        await text()
        os.kill(os.getpid(), signal.SIGTERM)

    def statuses(name, *, there=True):
        asked.append((name, there))
        return [], []

    monkeypatch.setattr(endpoint, "serve", serve)
    monkeypatch.setattr(metrics, "statuses", statuses)
    assert main(["metrics", "lab", "--listen", str(tmp_path / "metrics.sock")]) == 0
    assert asked == [("lab", False)]


def test_the_room_s_page_has_every_metric_and_no_other():
    told = re.findall(r"^# TYPE (\S+) ", exposition([]), re.MULTILINE)
    page = (Path(vnet.__file__).parent / "README.md").read_text()
    rows = re.findall(r"^\| (`vnet_.*?) \|", page.partition("## Figures for Prometheus")[2], re.MULTILINE)
    listed = []
    for row in rows:
        first, *others = re.findall(r"`(\w+)`", row)
        # `_bytes_total` behind `vnet_..._frames_total` has the same beginning.
        listed += [first, *(first.removesuffix("_frames_total") + other for other in others)]
    assert sorted(listed) == sorted(told)


def test_labels_are_escaped():
    odd = 'a"b\\c\nd'
    found = samples(exposition([status(port=odd)]))
    assert of(found, "vnet_port_up", port=odd) == 1


async def test_a_running_fabric_has_all_it_tells():
    async with vnet.Fabric.from_dict(
        {"name": "m", "networks": {"red": {}}, "guests": {"a": {"nics": [{"network": "red"}]}}}
    ) as fabric:
        found = samples(exposition([fabric.status()]))
    assert of(found, "vnet_port_up", fabric="m", port="a.0", kind="stack") == 1


@pytest.mark.parametrize("address", ["0.0.0.0:9000", "[::]:9000", "10.1.2.3:80", "127.0.0.1:99999", ""])
def test_addresses_that_others_reach_are_refused(address):
    with pytest.raises(BadInput, match=r"^--listen: "):
        endpoint.parse(address)


@asynccontextmanager
async def serving(address, text="x 1\n"):
    async def told():
        await trio.lowlevel.checkpoint()
        return text

    where = endpoint.parse(str(address))
    listener = await endpoint.listen(where)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(endpoint.serve, listener, told)
        yield listener.socket.getsockname()
        nursery.cancel_scope.cancel()
    endpoint.remove(where)


def ask(port, method, target):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, target)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, answer.headers["content-type"], body


async def test_http():
    async with serving("127.0.0.1:0") as (_, port):

        async def asked(*words):
            return await trio.to_thread.run_sync(ask, port, *words)

        assert await asked("GET", "/metrics") == (200, CONTENT_TYPE, b"x 1\n")
        assert await asked("HEAD", "/metrics") == (200, CONTENT_TYPE, b"")
        assert (await asked("GET", "/metrics?name=1"))[0] == 200
        assert (await asked("GET", "/etc/passwd"))[0] == 404
        assert (await asked("POST", "/metrics"))[0] == 405


async def test_clients_that_break_the_rules_harm_nobody():
    async with serving("127.0.0.1:0") as address:
        for words in (b"\x16\x03\x01\x00\xff", b"GET " + b"x" * 20_000, b"GET /metrics HTTP/1.1\r\n", b""):
            bad = await trio.open_tcp_stream(*address)
            await bad.send_all(words)
            await bad.aclose()
        status, _, body = await trio.to_thread.run_sync(ask, address[1], "GET", "/metrics")
        assert (status, body) == (200, b"x 1\n")


async def test_clients_that_stall_keep_nobody_waiting(monkeypatch):
    monkeypatch.setattr(endpoint, "CLIENTS_MAX", 3)
    monkeypatch.setattr(endpoint, "REQUEST_SECONDS", math.inf)
    text = "x 1\n" * (4 << 20)
    begun, rest = b"GET /metrics HTTP/1.1\r\nhost: x\r\n", b"\r\n"
    async with serving("127.0.0.1:0", text) as address:

        async def scraped():
            status, _, body = await trio.to_thread.run_sync(ask, address[1], "GET", "/metrics")
            return status, len(body)

        takes_nothing = await trio.open_tcp_stream(*address)
        await takes_nothing.send_all(begun + rest)
        assert await takes_nothing.receive_some(9) == b"HTTP/1.1 "
        asks_half = await trio.open_tcp_stream(*address)
        await asks_half.send_all(begun)
        says_nothing = await trio.open_tcp_stream(*address)
        # The one that was waited for the longest makes room, and the others stay.
        assert await scraped() == (200, len(text))
        assert sum([len(part) async for part in takes_nothing]) < len(text)
        late = await trio.open_tcp_stream(*address)
        assert await scraped() == (200, len(text))
        assert await asks_half.receive_some() == b""
        for stream in (says_nothing, late):
            await stream.send_all(begun + rest)
            assert await stream.receive_some(9) == b"HTTP/1.1 "
        for stream in (takes_nothing, asks_half, says_nothing, late):
            await stream.aclose()


async def test_a_unix_socket_is_its_owners_alone(tmp_path):
    path = tmp_path / "m.sock"
    async with serving(path):
        assert path.stat().st_mode & 0o777 == 0o600
        stream = await trio.open_unix_socket(path)
        await stream.send_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
        got = b"".join([part async for part in stream])
        assert got.startswith(b"HTTP/1.1 200")
        assert got.endswith(b"\r\n\r\nx 1\n")
        await stream.aclose()
        with pytest.raises(VnetError, match="in use"):
            await endpoint.listen(endpoint.parse(str(path)))
    assert not path.exists()


async def test_what_a_killed_one_left_is_replaced_and_nothing_else(tmp_path):
    path = tmp_path / "m.sock"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    async with serving(path):
        stream = await trio.open_unix_socket(path)
        await stream.aclose()
    others = {"file": tmp_path / "file", "link": tmp_path / "link", "datagrams": tmp_path / "datagrams"}
    others["file"].write_text("dear")
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(tmp_path / "left"))
    others["link"].symlink_to("left")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as alive:
        alive.bind(str(others["datagrams"]))
        for other in others.values():
            before = other.lstat()
            with pytest.raises(VnetError, match="in use"):
                await endpoint.listen(endpoint.parse(str(other)))
            assert os.path.samestat(before, other.lstat())


async def test_an_abstract_name():
    name = f"@vnet-test-{os.getpid()}"
    async with serving(name):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect("\0" + name[1:])
