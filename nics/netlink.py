"""The thread that talks to the kernel about interfaces, and the fabric's link to its holder.

pyroute2's netlink classes block, and each drives an asyncio loop of its own, so they have no place in
a trio loop; and they belong to the thread that made them. One thread therefore owns them all, and lives
as long as the fabric. It starts with the first thing that is asked of it, because pyroute2 takes 0.2 s
to import, which a fabric without kernel interfaces needn't wait for.

The same thread speaks with the holder (`inside.py`), the process that makes network namespaces and
opens descriptors in them.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import queue
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, TypeVar

import outcome
import trio

from nics import inside
from nics.errors import NicError

T = TypeVar("T")
log = logging.getLogger("vnet")

_EXIT_TIME = 10.0
"""Seconds that the holder may take to remove all namespaces when the fabric ends."""
AT_ONCE = 200
"""Namespaces that are removed with one wish: their names fit into a message."""


class Netlink:
    """Use as `async with Netlink() as netlink`. All methods may be called from any trio task."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._iproute: Any = None
        self._holder: _Holder | None = None
        self._closed = False

    async def __aenter__(self) -> Netlink:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Remove all namespaces that were made, with the processes in them, and end the thread."""
        self._closed = True
        if self._thread is not None:
            with trio.CancelScope(shield=True):
                await self._in_thread(self._close)
                self._jobs.put(None)
                self._thread = None

    async def prepare(self, *, routes: bool, holder: bool) -> None:
        """Have ready what can't be had later, when this process may start no other any more: a netlink
        socket (`routes`), the `holder`. Raises NicError.
        """

        def job() -> None:
            if routes and self._iproute is None:
                self._iproute = _iproute()
            if holder and self._holder is None:
                self._holder = _Holder()

        if routes or holder:
            await self._do(job)

    async def run(self, function: Callable[[Any], T], netns: int | None = None) -> T:
        """Call `function(iproute)` in the netlink thread, in the namespace of descriptor `netns`, or ours.

        `iproute` is a pyroute2 IPRoute, for the call only. Raises what the function raises, e.g.
        `pyroute2.NetlinkError` with `.code`, an errno. Not cancellable once begun: it takes
        milliseconds, and half of it done would be worse.
        """

        def job() -> T:
            if netns is None:
                if self._iproute is None:
                    self._iproute = _iproute()
                return function(self._iproute)
            with _closed_on_error() as opened:
                # NETLINK_ROUTE; pyroute2 insists on a datagram socket.
                opened += self._open(netns, kind=(socket.AF_NETLINK, socket.SOCK_DGRAM, 0))
                iproute = _iproute(fileno=opened[0])
            with contextlib.closing(iproute):  # which closes the descriptor, too
                return function(iproute)

        return await self._do(job)

    async def open_device(self, path: str, count: int = 1, netns: int | None = None) -> list[int]:
        """Open a device file, such as /dev/net/tun, inside a namespace: (`count` descriptors).

        Raises OSError.
        """

        def job() -> list[int]:
            if netns is not None:
                return self._open(netns, count=count, path=path)
            with _closed_on_error() as opened:
                for _ in range(count):
                    opened.append(os.open(path, os.O_RDWR | os.O_CLOEXEC))
                return opened

        return await self._do(job)

    async def open_socket(self, netns: int, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket that belongs to a namespace. Raises OSError."""

        def job() -> socket.socket:
            return socket.socket(fileno=self._open(netns, kind=(family, kind, protocol))[0])

        return await self._do(job)

    async def make_namespace(self, name: str, host: str) -> tuple[int, int, bool, dict[str, str]]:
        """Make a network namespace: descriptors (network, UTS), pinned, paths (`net`, `uts`, `user`).

        `pinned`: it also got a path in /run/netns. It lives until `remove_namespaces`, or our end. By the
        paths a process of the same user can join it; `user` is missing where it lies in no user namespace of
        its own. They are the holder's, because nobody may look into a fabric that is confined. Raises
        OSError (EEXIST: the name is taken), NicError without the right to make namespaces.
        """

        def job() -> tuple[int, int, bool, dict[str, str]]:
            reply, (net, uts) = self._ask({"do": "make", "name": name, "host": host})
            assert self._holder is not None
            return net, uts, reply["pinned"], self._holder.paths(*reply["kept"])

        return await self._do(job)

    async def spread(self, netns: int, interface: str, *, over: bool) -> None:
        """Have the kernel receive what comes by an interface of a namespace made here on all CPUs, or again
        where it comes in. Raises OSError, e.g. EPERM: that is for the host's root alone.
        """

        def job() -> None:
            self._ask({"do": "spread", "interface": interface, "over": over}, [netns])

        await self._do(job)

    async def remove_namespaces(self, names: Sequence[str]) -> None:
        """End the processes in namespaces and take their paths away; each goes with its last descriptor."""

        def job() -> None:
            for some in (names[at : at + AT_ONCE] for at in range(0, len(names), AT_ONCE)):
                try:
                    self._ask({"do": "remove", "names": some})
                except NicError:  # the holder was killed; what has a path can be removed from here, too
                    for name in some:
                        inside.remove_leftover(name)

        if not self._closed:  # our end has removed it
            await self._do(job)

    # -- in the thread ---------------------------------------------------------------------------

    def _ask(self, wish: dict[str, Any], given: list[int] | None = None) -> tuple[dict[str, Any], list[int]]:
        if self._holder is None:
            self._holder = _Holder()
        return self._holder.ask(wish, given or [])

    def _open(
        self, netns: int, *, count: int = 1, path: str | None = None, kind: tuple[int, int, int] = (0, 0, 0)
    ) -> list[int]:
        return self._ask({"do": "open", "count": count, "path": path, "kind": kind}, [netns])[1]

    def _close(self) -> None:
        if self._iproute is not None:
            self._iproute.close()
        if self._holder is not None:
            self._holder.close()
        self._iproute = self._holder = None

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    async def _do(self, function: Callable[[], T]) -> T:
        """Have the thread call a function; wait for its result."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._closed:
            raise trio.ClosedResourceError("netlink is closed")
        return await self._in_thread(function)

    async def _in_thread(self, function: Callable[[], T]) -> T:
        if self._thread is None:
            # A daemon: should the program end without closing us, its exit isn't held up.
            self._thread = threading.Thread(target=self._work, name="vnet-netlink", daemon=True)
            self._thread.start()
        task, token = trio.lowlevel.current_task(), trio.lowlevel.current_trio_token()

        def job() -> None:
            result = outcome.capture(function)
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(trio.lowlevel.reschedule, task, result)

        self._jobs.put(job)
        result: T = await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)
        return result


def _iproute(**options: Any) -> Any:
    from pyroute2 import IPRoute

    return IPRoute(**options)


@contextlib.contextmanager
def _closed_on_error() -> Iterator[list[int]]:
    descriptors: list[int] = []
    try:
        yield descriptors
    except BaseException:
        for descriptor in descriptors:
            os.close(descriptor)
        raise


class _Holder:
    """Our side of `inside.py hold`."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                # A session of its own: Ctrl-C at a terminal is for the fabric, which then closes us.
                self._process = subprocess.Popen(
                    inside.program("hold"),
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
            greeting, _ = self._receive()
        except NicError:
            self._control.close()
            raise
        except OSError as error:
            self._control.close()
            raise NicError(
                f"no network namespace can be made here: {error.strerror}", _remedy(error.errno)
            ) from error
        self._user: int | None = greeting["user"]

    def paths(self, net: int, uts: int) -> dict[str, str]:
        """Of namespaces, by the holder's descriptors of them."""
        kept = {"net": net, "uts": uts, "user": self._user}
        here = f"/proc/{self._process.pid}/fd"
        return {kind: f"{here}/{number}" for kind, number in kept.items() if number is not None}

    def ask(self, wish: dict[str, Any], given: list[int]) -> tuple[dict[str, Any], list[int]]:
        try:
            socket.send_fds(self._control, [json.dumps(wish).encode()], given)
        except ConnectionError as error:
            raise self._dead() from error
        return self._receive()

    def _receive(self) -> tuple[dict[str, Any], list[int]]:
        try:
            message, descriptors, _, _ = socket.recv_fds(
                self._control, inside.MESSAGE, inside.DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionError as error:
            raise self._dead() from error
        if not message:
            raise self._dead()
        reply: dict[str, Any] = json.loads(message)
        if "error" in reply:
            raise OSError(reply["errno"] or errno.EIO, reply["error"])
        return reply, descriptors

    def _dead(self) -> NicError:
        code = self._process.wait()
        return NicError(
            f"the process that holds the network namespaces ended (exit code {code})", "restart the fabric"
        )

    def close(self) -> None:
        self._control.close()
        try:
            self._process.wait(_EXIT_TIME)
        except subprocess.TimeoutExpired:
            try:
                self._process.kill()
            except PermissionError:  # we are confined; it ends by itself when it is done
                log.warning("process %d still removes namespaces", self._process.pid)
                return
            self._process.wait()


def _remedy(number: int | None) -> str:
    if number in (errno.ENOSPC, errno.EUSERS):
        return "raise the limits that `sysctl user.max_user_namespaces user.max_net_namespaces` shows"
    if number == errno.EINVAL:
        return "this kernel has no user namespaces: run as root"
    return (
        "run as root, or allow unprivileged user namespaces: `sysctl kernel.unprivileged_userns_clone=1` "
        "(Debian), `sysctl kernel.apparmor_restrict_unprivileged_userns=0` (Ubuntu); in a container, "
        "`--cap-add SYS_ADMIN --cap-add NET_ADMIN --device /dev/net/tun`"
    )
