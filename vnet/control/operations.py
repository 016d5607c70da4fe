"""What can be asked of a running fabric over its control socket: one function a call.

Arguments and results are plain JSON; their keys are stable. The command line is made of these.
"""

from __future__ import annotations

import base64
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import attrs
import trio

from nics.errors import Unreachable
from vnet.connect.facts import facts_of
from vnet.control import protocol
from vnet.control.server import Operation, Request
from vnet.cycles import Cycles
from vnet.errors import BadInput
from vnet.fabric import Fabric
from vnet.guests import Guest, NetnsGuest, QemuGuest, one_of
from vnet.topology import Topology

LINES_MAX = 16
"""Lines that wait to be told to a client."""
PIECE = 1 << 20
"""Bytes of a command's output that are told at once."""


class Operations:
    """The calls of one fabric. `stop` is set by `down`."""

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric
        self.stop = trio.Event()
        self.cycles = Cycles()

    def table(self) -> dict[str, Operation]:
        """Every call by its name."""
        return {
            name.removeprefix("call_"): getattr(self, name) for name in dir(self) if name.startswith("call_")
        }

    async def call_status(self, request: Request) -> dict[str, Any]:
        """The document of `vnet status --json`."""
        return self.fabric.status_in_turns() | {"pid": os.getpid()}

    async def call_down(self, request: Request) -> float:
        """Bring the fabric down, once this was answered: with the seconds that its machines may take."""
        request.afterwards = self.stop.set
        return max((machine.stop_timeout for machine in self.fabric.machines.by_name.values()), default=0.0)

    async def call_apply(self, request: Request) -> dict[str, Any]:
        """Change to the topology `document` (plain data, validated here as well)."""
        wanted = Topology.from_dict(request.arguments["document"])
        done = await self.fabric.apply(wanted)
        self.cycles.changed()
        return {"done": done}

    async def call_attach(self, request: Request) -> dict[str, Any]:
        """Add guest `name` with one NIC, whose keys are `nic` (as under `nics:` in a file); `keys` are its
        own others, paths absolute.
        """
        given = request.arguments
        name, keys = str(given["name"]), dict(given.get("keys", {}))
        guest = {**keys, "kind": given.get("kind", "external"), "nics": [dict(given["nic"])]}

        def with_it(running: Topology) -> Topology:
            document = running.to_dict()
            if name in document.setdefault("guests", {}):
                raise BadInput(f"there is a guest {name} already")
            document["guests"][name] = guest
            return Topology.from_dict(document)

        await self.fabric.change(with_it)
        self.cycles.changed()
        return self.fabric.port(name).status()

    async def call_detach(self, request: Request) -> None:
        """Remove guest `name`."""
        await self.fabric.detach(str(request.arguments["name"]))
        self.cycles.changed()

    async def call_link(self, request: Request) -> None:
        """Set the link of `port` up (true) or down (false)."""
        await self.fabric.set_link(str(request.arguments["port"]), bool(request.arguments["up"]))

    async def call_ping(self, request: Request) -> dict[str, Any]:
        """`count` echoes from guest `from` to `to` (a guest or an address), `interval` s apart."""
        given = request.arguments
        source = one_of(self.fabric.guests, str(given["from"]))
        count, interval = int(given.get("count", 4)), float(given.get("interval", 1.0))
        timeout, size = float(given.get("timeout", 2.0)), int(given.get("size", 56))
        if not (1 <= count <= 1_000_000 and 0 <= size <= 65_000 and 0 < timeout < 3600 and interval >= 0):
            raise BadInput("count is 1 to 1000000, size 0 to 65000, timeout more than 0 s")
        target = self._target(str(given["to"]))
        address = source.address_of(target, given.get("family"))
        times: list[float] = []
        for sequence in range(1, count + 1):
            begun = trio.current_time()
            item: dict[str, Any] = {"seq": sequence, "address": str(address)}
            try:
                item["rtt"] = await source.ping(str(address), timeout=timeout, size=size)
                times.append(item["rtt"])
            except Unreachable as error:
                item["error"] = str(error)
            if sequence == count:
                request.last(item)
                break
            await request.item(item)
            await trio.sleep_until(begun + interval)
        return {
            "from": source.name,
            "to": given["to"],
            "address": str(address),
            **protocol.ping_summary(count, times),
        }

    def _target(self, name: str) -> Guest | str:
        if name in self.fabric.guests:
            return self.fabric.guests[name]
        if any(mark in name for mark in ".:"):
            return name
        return one_of(self.fabric.guests, name)

    async def call_enter(self, request: Request) -> dict[str, Any]:
        """How a program enters the namespace of guest `name`; or `agent`: `run` it there. For `vnet exec`."""
        guest = one_of(self.fabric.guests, str(request.arguments["name"]))
        if isinstance(guest, QemuGuest):
            return {"agent": True}
        if not isinstance(guest, NetnsGuest) or guest.namespace is None:
            raise BadInput(f"{guest.name} is {guest.kind}: commands run in guests of kind netns and qemu")
        return guest.namespace.entry()

    async def call_run(self, request: Request) -> dict[str, Any]:
        """Run `argv` in guest `name` of kind qemu: its `code`. Items: pieces of its `output`, and of its
        `errors`, in base64.
        """
        guest = one_of(self.fabric.guests, str(request.arguments["name"]))
        if not isinstance(guest, QemuGuest):
            raise BadInput(f"{guest.name} is {guest.kind}")
        if not (argv := _words(request.arguments, "argv")):
            raise BadInput("argv: found nothing, expected a command")
        done = await guest.outcome(*argv)
        for key in ("output", "errors"):
            said = getattr(done, key)
            for at in range(0, len(said), PIECE):
                await request.item({key: base64.b64encode(said[at : at + PIECE]).decode()})
        return {"code": done.code}

    async def call_console(self, request: Request) -> None:
        """Join the descriptor that came along, a stream socket, with the console of guest `name`."""
        machine = self.fabric.machines.one(one_of(self.fabric.guests, str(request.arguments["name"])).name)
        descriptor = request.take_descriptor()
        try:
            given = socket.socket(fileno=descriptor)
        except OSError:
            os.close(descriptor)
            raise
        # Closed by itself, too, because what is no stream is refused.
        with given:
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(given))
            await request.item({"state": machine.state})
            await machine.console.attach(stream)

    async def call_console_log(self, request: Request) -> str:
        """What is remembered of the console of guest `name`."""
        machine = self.fabric.machines.one(one_of(self.fabric.guests, str(request.arguments["name"])).name)
        return machine.console.tail.decode(errors="replace")

    async def call_power(self, request: Request) -> str:
        """Switch guest `name` `on` or `off`, or `reset` it; `now`: without asking it."""
        given = request.arguments
        guest = one_of(self.fabric.guests, str(given["name"]))
        if not isinstance(guest, QemuGuest):
            raise BadInput(f"{guest.name} is {guest.kind}: only guests of kind qemu have a switch")
        match given["what"]:
            case "on":
                await guest.start()
            case "off":
                await guest.stop(now=bool(given.get("now", False)))
            case "reset":
                await guest.reset()
            case other:
                raise BadInput(f"{other!r}: expected on, off or reset")
        return guest.state

    async def call_connect(self, request: Request) -> dict[str, Any]:
        """The facts that `vnet connect` makes words of: the ports of guest `name`."""
        guest = one_of(self.fabric.guests, str(request.arguments["name"]))
        if isinstance(guest, QemuGuest):
            raise BadInput(f"{guest.name} is qemu: vnet plugs it in itself; `vnet status` tells what it does")
        runtime = self.fabric.runtime
        return {
            "guest": guest.name,
            "runtime": str(runtime),
            "ports": [facts_of(port, runtime) for port in guest.ports.values()],
        }

    async def call_fdb(self, request: Request) -> list[dict[str, Any]]:
        """The forwarding database, perhaps of one `network` or `port` only."""
        return self.fabric.fdb(
            network=request.arguments.get("network"),
            port=request.arguments.get("port"),
        )

    async def call_members(self, request: Request) -> list[dict[str, Any]]:
        """Who wants which multicast group, perhaps of one `network` or `port` only."""
        return self.fabric.members(
            network=request.arguments.get("network"),
            port=request.arguments.get("port"),
        )

    async def call_connections(self, request: Request) -> list[dict[str, Any]]:
        """Connections that security groups track, perhaps of one `network` or `port` only."""
        return self.fabric.connections(
            network=request.arguments.get("network"),
            port=request.arguments.get("port"),
        )

    async def call_usage(self, request: Request) -> dict[str, Any]:
        """What guests sent and received, perhaps `only` these; with `gone`, those that are gone too."""
        only = _words(request.arguments, "only")
        return self.fabric.usage(*only, gone=bool(request.arguments.get("gone", False)))

    async def call_drops(self, request: Request) -> list[dict[str, Any]]:
        """What was dropped by port and reason, the most first."""
        return self.fabric.drops()

    async def call_send(self, request: Request) -> dict[str, Any]:
        """Put `frame` (hex) in at `port`, `count` times; what became of the last one."""
        given = request.arguments
        frame = bytes.fromhex(str(given["frame"]))
        count = int(given.get("count", 1))
        if not 1 <= count <= 1_000_000:
            raise BadInput(f"count: found {count}, expected 1 to 1000000")
        for n in range(count):
            if n % 64 == 0:
                await trio.lowlevel.checkpoint()
            verdict = self.fabric.send(str(given["port"]), frame)
        return verdict

    async def call_explain(self, request: Request) -> dict[str, Any]:
        """What would happen to `frame` (hex) at `port`: where it `reaches`, and the `steps`."""
        given = request.arguments
        steps, reaches = self.fabric.explain(str(given["port"]), bytes.fromhex(str(given["frame"])))
        return {"reaches": reaches, "steps": [attrs.asdict(step) for step in steps]}

    async def call_capture(self, request: Request) -> dict[str, Any]:
        """Capture to the descriptor that came along until `count` frames, cancelled, or the reader
        is gone. Items: that it has `started`, and lines to be `told`.
        """
        given = request.arguments
        lines, told = trio.open_memory_channel[str](LINES_MAX)
        with request.descriptor() as descriptor, lines, told:
            capture = self.fabric.capture_to(
                descriptor,
                *_words(given, "targets", "all"),
                filter=given.get("filter"),
                count=given.get("count"),
                direction=given.get("direction"),
                drops=bool(given.get("drops", False)),
                snaplen=int(given.get("snaplen", 262_144)),
                segment=bool(given.get("segment", False)),
                complete=bool(given.get("complete", False)),
                truncate=bool(given.get("truncate", False)),
                tell=partial(_send, lines),
            )
            request.stop = trio.Event()
            async with capture as running:
                await request.item({"started": True})
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_pass_on, told, request)
                    for ends in (request.stop.wait, running.wait):
                        nursery.start_soon(_then_cancel, ends, nursery.cancel_scope)
        return running.stats()

    async def call_past(self, request: Request) -> dict[str, Any]:
        """Write what passed in the last `seconds` (None: all that is kept) to the descriptor that came
        along.
        """
        given = request.arguments
        with request.descriptor() as descriptor:
            return await self.fabric.past(
                descriptor,
                *_words(given, "targets", "all"),
                seconds=given.get("seconds"),
                filter=given.get("filter"),
                count=given.get("count"),
                direction=given.get("direction"),
                drops=bool(given.get("drops", False)),
                snaplen=int(given.get("snaplen", 262_144)),
                truncate=bool(given.get("truncate", False)),
            )


def _words(given: dict[str, Any], key: str, *default: str) -> list[str]:
    """The list of words at a key. A word alone would be taken for its letters. Raises BadInput."""
    words = given.get(key, list(default))
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise BadInput(f"{key}: expected a list of words")
    return words


def _send(lines: trio.MemorySendChannel[str], line: str) -> None:
    # A client that doesn't read keeps nobody waiting.
    with contextlib.suppress(trio.WouldBlock):
        lines.send_nowait(line)


async def _pass_on(lines: trio.MemoryReceiveChannel[str], request: Request) -> None:
    # That a client is gone its connection notices, and ends the call.
    with contextlib.suppress(OSError, trio.ClosedResourceError):
        async for line in lines:
            await request.item({"told": line})


async def _then_cancel(wait: Callable[[], Awaitable[None]], scope: trio.CancelScope) -> None:
    await wait()
    scope.cancel()
