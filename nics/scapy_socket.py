"""A scapy socket at the end of a pipe: `sr1`, `srp`, `sniff`, `AsyncSniffer`, answering machines.

    nic = await fabric.attach("probe", network="red", nic=vnet.Pipe())
    with scapy_socket(nic) as socket:
        answer = await trio.to_thread.run_sync(lambda: socket.sr1(Ether() / IP(dst=...) / ICMP(), timeout=1))

scapy blocks, so it belongs in a thread; its socket may be used there while trio runs the fabric.

This is the only module of vnet that imports scapy, and it does so when `scapy_socket` is called:
scapy is licensed GPL-2.0-only, and whoever does without it never loads it.
"""

from __future__ import annotations

import functools
import math
import select
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nics.errors import VnetError
from nics.pipe import PipeEnd

if TYPE_CHECKING:
    from scapy.supersocket import SuperSocket

SEND_TIMEOUT = 10.0
"""Seconds that `send` waits for room in the pipe before it gives up."""


def scapy_socket(end: PipeEnd) -> SuperSocket:
    """A scapy `SuperSocket` that sends and receives whole Ethernet frames by way of `end`.

    Closing it leaves the pipe open. Frames go to whoever takes them first, so let nobody else receive
    from `end` meanwhile. Raises VnetError when scapy is not installed.
    """
    return _socket_class()(end)


@functools.cache
def _socket_class() -> type[SuperSocket]:
    try:
        from scapy.data import MTU
        from scapy.layers.l2 import Ether
        from scapy.supersocket import SuperSocket
    except ImportError as error:
        raise VnetError("scapy is not installed: pip install 'vnet-fabric[scapy]'") from error

    class ScapySocket(SuperSocket):  # type: ignore[misc, no-any-unimported, unused-ignore]
        """Ethernet frames to and from a pipe."""

        desc = "frames of a vnet pipe"

        def __init__(self, end: PipeEnd) -> None:
            self.end = end
            self.iface = None
            self.promisc = True
            # scapy finds the layer of packets it sends and receives by these.
            self.basecls = self.LL = Ether
            self.ins = self.outs = None
            self.closed = False
            self._descriptor = end.handle.fileno()

        def fileno(self) -> int:
            return self._descriptor

        def send(self, x: Any) -> int:
            """Send a packet or bytes; how many bytes it had."""
            frame = bytes(x)
            if hasattr(x, "sent_time"):
                x.sent_time = time.time()
            self.end.handle.send_wait(frame, SEND_TIMEOUT)
            return len(frame)

        def recv_raw(self, x: int = MTU) -> tuple[type[Any] | None, bytes | None, float | None]:
            """The next frame, waiting for it; nothing once the pipe is closed."""
            while not self.closed:
                try:
                    return Ether, self.end.handle.receive()[:x], time.time()
                except BlockingIOError:
                    _ready([self], None)
                except BrokenPipeError:
                    break
            raise EOFError("the pipe was closed")

        @staticmethod
        def select(sockets: Sequence[Any], remain: float | None = None) -> list[Any]:
            """Those that have something, after at most `remain` seconds. With poll, because scapy's
            own select fails for descriptors from 1024 on, which a fabric with many ports has.
            """
            return _ready(sockets, remain)

        def close(self) -> None:
            self.closed = True

        def __del__(self) -> None:
            """Nothing is owned: the descriptor is the pipe's."""

    return ScapySocket


def _ready(sockets: Sequence[Any], remain: float | None) -> list[Any]:
    # Reading from a closed one is how scapy notices that it is closed.
    if closed := [socket for socket in sockets if getattr(socket, "closed", False)]:
        return closed
    poll = select.poll()
    for socket in sockets:
        poll.register(socket.fileno(), select.POLLIN)
    ready = {descriptor for descriptor, _ in poll.poll(None if remain is None else math.ceil(remain * 1000))}
    return [socket for socket in sockets if socket.fileno() in ready]
