"""The fabric's end of the control socket."""

from __future__ import annotations

import array
import contextlib
import errno
import itertools
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import trio
import trio.testing

from vnet.control import protocol
from vnet.errors import BadInput, VnetError

log = logging.getLogger("vnet")

CONNECTIONS_MAX = 64
ALWAYS = ("status", "down")
"""Calls that are answered, once, however many clients are connected."""
BRIEFLY = 20.0
"""Seconds that a client stays connected which is one too many."""
CALLS_MAX = 64
DESCRIPTORS_MAX = 4
SCARCE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ECONNABORTED)
"""What accept() fails with for want of something that others give back, or because its client is gone."""
RETRY = 0.1
"""Seconds until it is tried again."""


@attrs.define
class Request:
    """A call while it is being answered."""

    arguments: dict[str, Any]
    item: Callable[[Any], Awaitable[None]]
    """Send the client one item."""
    last: Callable[[Any], None]
    """The same for one after which nothing but the answer comes: both are sent together."""
    descriptors: list[int]
    """Came with the call; closed at its end unless taken out of the list."""
    scope: trio.CancelScope
    ahead: bytes = b""
    """Lines that go right before the answer."""
    afterwards: Callable[[], None] | None = None
    """Called once the answer is on its way."""
    stop: trio.Event | None = None
    """Set by an operation that wants to come to an end of its own when the client cancels."""

    def cancel(self) -> None:
        """The client wants the call to end."""
        if self.stop is not None:
            self.stop.set()
        else:
            self.scope.cancel()

    def take_descriptor(self) -> int:
        """One of them, the caller's to close from now on."""
        if not self.descriptors:
            raise BadInput("this call needs a descriptor to write to")
        return self.descriptors.pop(0)

    @contextlib.contextmanager
    def descriptor(self) -> Iterator[int]:
        """The same, closed at the end of the block however that comes: its reader waits for that."""
        taken = self.take_descriptor()
        try:
            yield taken
        finally:
            os.close(taken)


Operation = Callable[[Request], Awaitable[Any]]


def listen(path: Path) -> socket.socket:
    """A listening socket at `path` that only its owner can connect to."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        path.unlink(missing_ok=True)
        listener.bind(os.fspath(path))
        path.chmod(0o600)
        listener.listen(CONNECTIONS_MAX)
    except OSError as error:
        listener.close()
        raise VnetError(f"no control socket at {path}: {error.strerror or error}") from None
    return listener


def peer_uid(connection: trio.socket.SocketType) -> int:
    """Who is at the other end (SO_PEERCRED)."""
    size = struct.calcsize("3i")
    _pid, uid, _gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return int(uid)


async def serve(listener: socket.socket, operations: dict[str, Operation]) -> None:
    """Answer calls by `operations` until cancelled."""
    limit = trio.CapacityLimiter(CONNECTIONS_MAX)
    with trio.socket.from_stdlib_socket(listener) as accepting:
        async with trio.open_nursery() as nursery:
            while True:
                nursery.start_soon(_connection, await _accepted(accepting), operations, limit)


async def _accepted(listener: trio.socket.SocketType) -> trio.socket.SocketType:
    """The next client. While this process has no descriptor for it, it waits."""
    told = False
    while True:
        try:
            connection, _ = await listener.accept()
            return connection
        except OSError as error:
            if error.errno not in SCARCE:
                raise
            if not told:
                log.warning("clients of the control socket have to wait: %s", error.strerror)
                told = True
        await trio.sleep(RETRY)


async def _connection(
    connection: trio.socket.SocketType, operations: dict[str, Operation], limit: trio.CapacityLimiter
) -> None:
    with connection:
        if peer_uid(connection) not in (os.geteuid(), 0):
            return
        try:
            try:
                limit.acquire_nowait()
            except trio.WouldBlock:
                with trio.move_on_after(BRIEFLY):
                    await _Connection(connection, _crowded(operations)).run()
                return
            try:
                await _Connection(connection, operations).run()
            finally:
                limit.release()
        except Exception:
            # A mistake of ours with one client must not take every tenant's network down.
            log.exception("a client of the control socket was given up")


def _crowded(operations: dict[str, Operation]) -> dict[str, Operation]:
    """What a client finds that is one too many: enough to look and to bring the fabric down. All else is
    refused at once, for nobody knows when another client goes.
    """
    left = {name: operations[name] for name in ALWAYS if name in operations}

    def once(name: str) -> Operation:
        async def answer(request: Request) -> Any:
            if (operation := left.pop(name, None)) is None:
                others = "vnet top, capture, console or shell"
                raise VnetError(f"{CONNECTIONS_MAX} clients are connected already: end one ({others})")
            return await operation(request)

        return answer

    return {name: once(name) for name in operations}


ENTRIES_A_TURN = 16
"""Entries of a list that are written before others have their turn."""
PATIENCE = 0.005
"""Seconds that a long answer waits for others at most, each time: they may always have something to do."""


async def _others_first() -> None:
    """Go on once every other task waits for something. One pass of trio's loop is not enough: a quick call
    takes several, and would wait for a piece of the long answer in each.
    """
    with trio.move_on_after(PATIENCE):
        await trio.testing.wait_all_tasks_blocked()


async def written(value: Any) -> str:
    """`value` as JSON on one line. Long lists, of ports or stations, are written a few entries at a time,
    so that nobody else waits for all of them. An iterator is a list that is made while it is written, and
    is never there as a whole.
    """
    if not _is_long(value):
        return protocol.text(value)
    if isinstance(value, dict):
        members = [f"{protocol.text(key)}:{await written(member)}" for key, member in value.items()]
        return "{" + ",".join(members) + "}"
    pieces, entries = [], iter(value)
    while few := [*itertools.islice(entries, ENTRIES_A_TURN)]:
        pieces.append(protocol.text(few)[1:-1])
        await _others_first()
    return "[" + ",".join(pieces) + "]"


def _is_long(value: Any) -> bool:
    """Whether there is a long list, or an iterator, among its members, however deep below other members."""
    if isinstance(value, dict):
        return any(map(_is_long, value.values())) and all(isinstance(key, str) for key in value)
    return isinstance(value, Iterator) or (isinstance(value, list) and len(value) > ENTRIES_A_TURN)


class _Connection:
    def __init__(self, connection: trio.socket.SocketType, operations: dict[str, Operation]) -> None:
        self._socket = connection
        self._operations = operations
        self._sending = trio.Lock()
        self._unsent = memoryview(b"")
        self._calls: dict[int, Request] = {}

    async def run(self) -> None:
        waiting: list[int] = []
        try:
            async with trio.open_nursery() as nursery:
                # A client that breaks the rules or goes away ends its own connection only.
                with contextlib.suppress(protocol.ProtocolError, OSError, trio.ClosedResourceError):
                    await self._read(nursery, waiting)
                nursery.cancel_scope.cancel()
        finally:
            for descriptor in waiting:
                os.close(descriptor)

    async def _read(self, nursery: trio.Nursery, waiting: list[int]) -> None:
        """Start a task for each call until the client is gone; `waiting` are the descriptors that
        came and whose line has not.
        """
        lines = protocol.Lines()
        while True:
            data, descriptors = await _receive(self._socket)
            waiting += descriptors
            if len(waiting) > DESCRIPTORS_MAX:
                raise protocol.ProtocolError(f"more than {DESCRIPTORS_MAX} descriptors for one call")
            if not data:
                return
            for text in lines.feed(data):
                call = protocol.parse_call(text)
                if call.cancel:
                    if request := self._calls.get(call.id):
                        request.cancel()
                    continue
                if len(self._calls) >= CALLS_MAX or call.id in self._calls:
                    raise protocol.ProtocolError("too many calls at once, or one id twice")
                request = self._calls[call.id] = self._request(call, waiting[:])
                waiting.clear()
                nursery.start_soon(self._answer, call, request)

    async def _send(self, line: str, ahead: bytes = b"") -> None:
        # Where nobody else is sending there is no need for a turn of the others: a client waits for each.
        try:
            self._sending.acquire_nowait()
        except trio.WouldBlock:
            await self._sending.acquire()
        try:
            # What is left of a line whose call was cancelled meanwhile goes first: half of it would be none.
            self._unsent = memoryview(bytes(self._unsent) + ahead + line.encode() + b"\n")
            while self._unsent:
                self._unsent = self._unsent[await self._socket.send(self._unsent) :]
        finally:
            self._sending.release()

    def _request(self, call: protocol.Call, descriptors: list[int]) -> Request:
        async def item(value: Any) -> None:
            await self._send(await written({"id": call.id, "item": value}))

        def last(value: Any) -> None:
            request.ahead += protocol.line({"id": call.id, "item": value})

        request = Request(call.arguments, item, last, descriptors, trio.CancelScope())
        return request

    async def _answer(self, call: protocol.Call, request: Request) -> None:
        try:
            with request.scope:
                answer = await self._result(call, request)
            if request.scope.cancelled_caught:
                answer = await written({"id": call.id, "result": None})
            await self._send(answer, request.ahead)
        except (OSError, trio.ClosedResourceError):
            # The client went away; the reader sees that too and ends the connection.
            pass
        finally:
            if request.afterwards is not None:
                request.afterwards()
            del self._calls[call.id]
            for descriptor in request.descriptors:
                os.close(descriptor)

    async def _result(self, call: protocol.Call, request: Request) -> str:
        """The answer, written."""
        try:
            operation = self._operations.get(call.name)
            if operation is None:
                raise BadInput(f"there is no call {call.name!r}")
            return await written({"id": call.id, "result": await operation(request)})
        except VnetError as error:
            problem = error
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            problem = BadInput(f"{call.name}: {error}")
        except OSError as error:
            if error.filename is None and isinstance(error, BrokenPipeError | ConnectionError):
                raise
            problem = VnetError(str(error))
        except Exception:
            # A mistake of ours in one call must not take every tenant's network down.
            log.exception("the call %s failed", call.name)
            problem = VnetError(f"{call.name} failed inside vnet; the fabric's log says where")
        return await written(protocol.error_document(call.id, problem))


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> Iterator[int]:
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found = array.array("i")
            found.frombytes(data[: len(data) - len(data) % found.itemsize])
            yield from found


async def _receive(connection: trio.socket.SocketType) -> tuple[bytes, list[int]]:
    """Some bytes, b"" at the end, and the descriptors that came along."""
    space = socket.CMSG_SPACE(DESCRIPTORS_MAX * array.array("i").itemsize)
    data, ancillary, _flags, _ = await connection.recvmsg(65536, space, socket.MSG_CMSG_CLOEXEC)
    return data, list(_descriptors(ancillary))
