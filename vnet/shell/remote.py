"""A running fabric in another process, with the verbs of one in this: `fabric` in an attached shell."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import trio

from vnet import spelling
from vnet.control.client import Client
from vnet.errors import BadInput, Unreachable
from vnet.guests import suggestion


@attrs.frozen
class RemoteGuest:
    """A guest of a fabric elsewhere."""

    name: str
    fabric: RemoteFabric = attrs.field(repr=False)

    async def ping(self, target: RemoteGuest | str, *, timeout: float = 2.0, size: int = 56) -> float:
        """Round-trip time of one ICMP echo to `target`, in seconds. Raises Unreachable."""
        return await self.fabric.ping(self, target, timeout=timeout, size=size)

    async def send(self, frame: Any) -> dict[str, Any]:
        """Put a frame in at its first port; see `RemoteFabric.send`."""
        return await self.fabric.send(self, frame)

    async def explain(self, frame: Any) -> dict[str, Any]:
        """What would become of a frame that it sent."""
        return await self.fabric.explain(self, frame)


class RemoteFabric:
    """Every verb is awaited, and is one call over the control socket."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __repr__(self) -> str:
        return f"<RemoteFabric {self._path.parent.name}>"

    async def call(self, verb: str, /, **arguments: Any) -> Any:
        """Any call of the control socket, by its name. Raises what the fabric raised."""

        def work() -> Any:
            with Client(self._path) as client:
                return client.call(verb, **arguments)

        return await trio.to_thread.run_sync(work, abandon_on_cancel=True)

    async def status(self) -> dict[str, Any]:
        """The document of `vnet status --json`."""
        return dict(await self.call("status"))

    async def drops(self) -> list[dict[str, Any]]:
        """What was dropped, the most first."""
        return list(await self.call("drops"))

    async def fdb(self, **which: Any) -> list[dict[str, Any]]:
        """The forwarding database, perhaps of one `network` or `port`."""
        return list(await self.call("fdb", **which))

    async def connections(self, **which: Any) -> list[dict[str, Any]]:
        """Connections that security groups track, perhaps of one `network` or `port`."""
        return list(await self.call("connections", **which))

    async def ping(
        self, source: RemoteGuest | str, target: RemoteGuest | str, *, timeout: float = 2.0, size: int = 56
    ) -> float:
        """Round-trip time of one ICMP echo, in seconds. Raises Unreachable."""
        whom = {"from": _name(source), "to": _name(target)}
        told = await self.call("ping", **whom, count=1, timeout=timeout, size=size)
        if not told["received"]:
            raise Unreachable(f"{_name(target)} does not answer {_name(source)}")
        return float(told["avg"])

    async def send(self, port: RemoteGuest | str, frame: Any, count: int = 1) -> dict[str, Any]:
        """Put a frame in at a port as if its guest had sent it: bytes, hex, a scapy packet or expression."""
        name, data = await self._frame(port, frame)
        return dict(await self.call("send", port=name, frame=data.hex(), count=count))

    async def explain(self, port: RemoteGuest | str, frame: Any) -> dict[str, Any]:
        """What would become of a frame that came in at a port: where it `reaches`, and the `steps`."""
        name, data = await self._frame(port, frame)
        return dict(await self.call("explain", port=name, frame=data.hex()))

    async def _frame(self, port: RemoteGuest | str, frame: Any) -> tuple[str, bytes]:
        ports = (await self.status())["ports"]
        word = _name(port)
        found = next((each for each in ports if word in (each["port"], each["guest"])), None)
        if found is None:
            known = [each["port"] for each in ports]
            raise BadInput(f"there is no port {word!r}{suggestion(word, known)}")
        if isinstance(frame, str):
            return found["port"], spelling.frame(frame, found, ports)
        return found["port"], bytes(frame)

    async def attach(self, name: str, *, kind: str = "external", **nic: Any) -> dict[str, Any]:
        """Add a guest with one NIC, whose keys are those of a topology file."""
        return dict(await self.call("attach", name=name, kind=kind, nic=nic))

    async def detach(self, name: RemoteGuest | str) -> None:
        """Remove a guest."""
        await self.call("detach", name=_name(name))

    async def set_link(self, port: str, up: bool) -> None:
        """Set a port's link up or down."""
        await self.call("link", port=port, up=up)

    async def capture(
        self, path: str | os.PathLike[str], *what: str, count: int, **options: Any
    ) -> dict[str, Any]:
        """Capture `count` frames to a pcapng file; what was captured. Cancel it to end before."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        given = {"targets": list(what) or ["all"], "count": count, **options}
        try:
            # The fabric ends a capture whose client is gone.
            with Client(self._path) as client:
                work = partial(client.call, "capture", descriptors=[descriptor], **given)
                return dict(await trio.to_thread.run_sync(work, abandon_on_cancel=True))
        finally:
            os.close(descriptor)

    async def guests(self) -> Mapping[str, RemoteGuest]:
        """Every guest by name."""
        names = {port["guest"] for port in (await self.status())["ports"] if port["guest"]}
        return {name: RemoteGuest(name, self) for name in sorted(names) if name is not None}


def _name(whom: RemoteGuest | str) -> str:
    return whom if isinstance(whom, str) else whom.name
