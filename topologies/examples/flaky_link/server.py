"""A shop: an HTTP server with h11 on trio. It knows nothing of vnet and runs on any machine as well."""

from __future__ import annotations

import json

import h11
import trio

STOCK = {"tea": 3, "coffee": 5}


async def serve(
    port: int = 80, *, task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve until cancelled."""
    await trio.serve_tcp(_connection, port, task_status=task_status)


async def _connection(stream: trio.SocketStream) -> None:
    connection = h11.Connection(h11.SERVER)
    try:
        async with stream:
            while (request := await _request(connection, stream)) is not None:
                status, body = _answer(request.target.decode())
                head = h11.Response(status_code=status, headers=[("content-length", str(len(body)))])
                for event in (head, h11.Data(data=body), h11.EndOfMessage()):
                    await stream.send_all(connection.send(event) or b"")
                connection.start_next_cycle()
    except (trio.BrokenResourceError, h11.RemoteProtocolError):
        # The customer went into a tunnel.
        return


async def _request(connection: h11.Connection, stream: trio.SocketStream) -> h11.Request | None:
    """The next request, read to its end; None when there will be no other."""
    request = None
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.receive_some())
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.EndOfMessage):
            return request
        elif isinstance(event, h11.ConnectionClosed):
            return None


def _answer(path: str) -> tuple[int, bytes]:
    name = path.strip("/")
    if name not in STOCK:
        return 404, b"we do not sell that\n"
    return 200, json.dumps({"name": name, "left": STOCK[name]}).encode()


if __name__ == "__main__":
    trio.run(serve, 8080)
