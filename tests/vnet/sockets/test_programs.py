"""Programs that know nothing of vnet, in different guests of one process and in virtual time."""

from __future__ import annotations

import ssl
from typing import Any

import anyio
import anyio.abc
import dns.asyncquery
import dns.asyncresolver
import dns.exception
import dns.message
import dns.name
import dns.rdatatype
import dns.rrset
import h11
import httpx
import pytest
import trio
import trio.testing

import vnet

DOCUMENT: dict[str, Any] = {
    "name": "programs",
    "networks": {"lan": {"subnets": ["10.0.0.0/24", "fd00::/64"]}},
    "guests": {name: {"nics": [{"network": "lan"}]} for name in ("client", "server", "names")},
}


async def serve_http(stream: trio.SocketStream) -> None:
    """HTTP/1.1 with h11: says what it was asked for; the connection stays open."""
    connection = h11.Connection(h11.SERVER)
    async with stream:
        while True:
            event = connection.next_event()
            while event is h11.NEED_DATA:
                connection.receive_data(await stream.receive_some())
                event = connection.next_event()
            if isinstance(event, h11.Request):
                body = b"you asked for " + event.target
                head = h11.Response(status_code=200, headers=[("content-length", str(len(body)))])
                for part in (head, h11.Data(data=body), h11.EndOfMessage()):
                    await stream.send_all(connection.send(part) or b"")
            elif isinstance(event, h11.EndOfMessage):
                connection.start_next_cycle()
            else:
                return


async def test_httpx_and_h11(autojump_clock: trio.testing.MockClock) -> None:
    async with vnet.Fabric.from_dict(DOCUMENT) as fabric, trio.open_nursery() as nursery:
        async with fabric.guests["server"].as_network():
            await nursery.start(trio.serve_tcp, serve_http, 80)
        async with fabric.guests["client"].as_network(), httpx.AsyncClient() as client:
            for path in ("/one", "/two"):
                answer = await client.get(f"http://server{path}")
                assert answer.text == f"you asked for {path}"
            # One connection served both: the client asked its socket whether it was still good.
            stream = answer.extensions["network_stream"]
            assert stream.get_extra_info("server_addr")[0] == str(fabric.guests["server"].addresses[1])
            assert fabric.guests["server"].host().handle.socket_count() == 3
            with pytest.raises(httpx.ConnectError):
                await client.get("http://server:81/")
        nursery.cancel_scope.cancel()


async def serve_names(socket: trio.socket.SocketType) -> None:
    """A name server that knows one name."""
    while True:
        data, sender = await socket.recvfrom(4096)
        query = dns.message.from_wire(data)
        answer = dns.message.make_response(query)
        if query.question[0].rdtype == dns.rdatatype.A:
            answer.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "A", "192.0.2.80"))
        await socket.sendto(answer.to_wire(), sender)


async def test_dnspython(autojump_clock: trio.testing.MockClock) -> None:
    async with vnet.Fabric.from_dict(DOCUMENT) as fabric, trio.open_nursery() as nursery:
        async with fabric.guests["names"].as_network():
            socket = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
        with socket:
            await socket.bind(("", 53))
            nursery.start_soon(serve_names, socket)
            async with fabric.guests["client"].as_network():
                resolver = dns.asyncresolver.Resolver(configure=False)
                resolver.nameservers = [fabric.guests["names"].ip]
                answer = await resolver.resolve("shop.example", "A")
                assert [item.to_text() for item in answer] == ["192.0.2.80"]
                # Where nobody listens it fails as it does anywhere.
                query = dns.message.make_query("shop.example", "A")
                with pytest.raises((dns.exception.Timeout, OSError)):
                    await dns.asyncquery.udp(query, fabric.guests["server"].ip, timeout=5)
            nursery.cancel_scope.cancel()


async def test_anyio(autojump_clock: trio.testing.MockClock) -> None:
    async with vnet.Fabric.from_dict(DOCUMENT) as fabric, trio.open_nursery() as nursery:
        async with fabric.guests["server"].as_network():
            await nursery.start(trio.serve_tcp, serve_http, 80)
        async with fabric.guests["client"].as_network(), await anyio.connect_tcp("server", 80) as stream:
            assert stream.extra(anyio.abc.SocketAttribute.remote_port) == 80
            await stream.send(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
            data = b""
            while b"you asked for /x" not in data:
                data += await stream.receive()
        nursery.cancel_scope.cancel()


async def test_tls_runs_over_it(autojump_clock: trio.testing.MockClock, tmp_path: Any) -> None:
    import trustme

    authority = trustme.CA()
    inner, outer = ssl.create_default_context(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.configure_trust(inner)
    authority.issue_cert("server").configure_cert(outer)

    async def serve(stream: trio.SocketStream) -> None:
        await serve_http(trio.SSLStream(stream, outer, server_side=True))  # type: ignore[arg-type]

    async with vnet.Fabric.from_dict(DOCUMENT) as fabric, trio.open_nursery() as nursery:
        async with fabric.guests["server"].as_network():
            await nursery.start(trio.serve_tcp, serve, 443)
        async with fabric.guests["client"].as_network(), httpx.AsyncClient(verify=inner) as client:
            assert (await client.get("https://server/tls")).text == "you asked for /tls"
        nursery.cancel_scope.cancel()
