"""The endpoint: HTTP by h11, over trio, on loopback or a unix socket. `GET /metrics`, nothing else.

Whoever may connect may read every port's counters, so an address that other machines reach is refused.
A client has ten seconds for its request, as many to take the answer, and gets one. Where too many are
connected, the one that has been waited for the longest is hung up on.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import h11
import trio

from nics.endpoint import Endpoint
from vnet.errors import BadInput, VnetError
from vnet.metrics.text import CONTENT_TYPE

REQUEST_SECONDS = 10.0
CLIENTS_MAX = 32

Text = Callable[[], Awaitable[str]]
Stalled = dict[trio.CancelScope, None]
"""Clients that we wait for, the longest first."""


def parse(address: str) -> Endpoint:
    """Where to listen. Raises BadInput for what is no address, or not on this machine alone."""
    try:
        endpoint = Endpoint.parse(address)
    except ValueError as error:
        raise BadInput(f"--listen: {error}") from None
    if endpoint.ip is not None and not endpoint.ip.is_loopback:
        raise BadInput(
            f"--listen: {address} can be reached from other machines, and there is no password; "
            "expected 127.0.0.1:PORT, [::1]:PORT or a path"
        )
    return endpoint


async def listen(endpoint: Endpoint) -> trio.SocketListener:
    """A listener; a path is for its owner alone. Raises VnetError."""
    if endpoint.ip is not None:
        family = trio.socket.AF_INET6 if endpoint.ip.version == 6 else trio.socket.AF_INET
        address: object = (str(endpoint.ip), endpoint.port)
    else:
        family = trio.socket.AF_UNIX
        address = "\0" + endpoint.text[1:] if endpoint.text.startswith("@") else endpoint.text
    listener = trio.socket.socket(family, trio.socket.SOCK_STREAM)
    try:
        if endpoint.ip is not None:
            listener.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_REUSEADDR, 1)
            await listener.bind(address)
        else:
            if not endpoint.text.startswith("@"):
                _evict(endpoint.text)
            before = os.umask(0o177)
            try:
                await listener.bind(address)
            finally:
                os.umask(before)
        listener.listen(CLIENTS_MAX)
    except OSError as error:
        listener.close()
        raise VnetError(f"can't listen on {endpoint.text}: {error.strerror or error}") from None
    return trio.SocketListener(listener)


def _evict(path: str) -> None:
    """Remove the file of a socket that nobody has open any more, and nothing else. Raises OSError."""
    if not os.path.lexists(path) or not stat.S_ISSOCK(os.lstat(path).st_mode):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink(missing_ok=True)
        except OSError:
            pass  # somebody is there, or nobody can tell


async def serve(listener: trio.SocketListener, text: Text) -> None:
    """Answer until cancelled. `text` makes what is told, anew for every request."""
    limit = trio.CapacityLimiter(CLIENTS_MAX)
    stalled: Stalled = {}

    async def client(stream: trio.SocketStream) -> None:
        # Whoever may connect could otherwise keep everybody else waiting, again and again.
        if not limit.available_tokens and stalled:
            longest = next(iter(stalled))
            del stalled[longest]
            longest.cancel()
        async with limit:
            # One that breaks the rules, stalls or goes away ends its own connection only.
            with contextlib.suppress(trio.BrokenResourceError, h11.RemoteProtocolError):
                await _answer(stream, text, stalled)

    await trio.serve_listeners(client, [listener])


@contextlib.contextmanager
def _waited_for(stalled: Stalled) -> Iterator[None]:
    """For a while, and not when others need the room."""
    with trio.move_on_after(REQUEST_SECONDS) as scope:
        stalled[scope] = None
        try:
            yield
        finally:
            stalled.pop(scope, None)


async def _answer(stream: trio.SocketStream, text: Text, stalled: Stalled) -> None:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=8192)
    request = None
    with _waited_for(stalled):
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                connection.receive_data(await stream.receive_some(4096))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.ConnectionClosed):
                return
    if request is None or connection.their_state is h11.SEND_BODY:
        return
    status, kind, body = 200, CONTENT_TYPE, ""
    if request.target.split(b"?")[0] not in (b"/metrics", b"/"):
        status, kind, body = 404, "text/plain", "it is at /metrics\n"
    elif request.method not in (b"GET", b"HEAD"):
        status, kind, body = 405, "text/plain", "GET only\n"
    else:
        body = await text()
    data = body.encode()
    headers = [("content-type", kind), ("content-length", str(len(data))), ("connection", "close")]
    out = connection.send(h11.Response(status_code=status, headers=headers)) or b""
    if request.method != b"HEAD":
        out += connection.send(h11.Data(data=data)) or b""
    with _waited_for(stalled):
        await stream.send_all(out)


def remove(endpoint: Endpoint) -> None:
    """Remove the socket's file, if it has one."""
    if endpoint.ip is None and not endpoint.text.startswith("@"):
        Path(endpoint.text).unlink(missing_ok=True)
