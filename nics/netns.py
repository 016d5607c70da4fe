"""A guest that is a network namespace: its own interfaces, addresses, routes, firewall and host name.

As root, a namespace has a path in /run/netns, so that `ip netns` knows it. An ordinary user's lies in a
user namespace, one for the whole fabric, in which commands see themselves as root. Files, users,
processes and /etc/resolv.conf are the host's.

Nothing of it outlives its fabric, but for containers that were started in there: see `inside.py`.
"""

from __future__ import annotations

import errno
import os
import shlex
import socket as sockets
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import attrs
import trio

from nics import inside
from nics.errors import NicError, VnetError
from nics.netlink import Netlink


def command(entry: Mapping[str, str], *argv: str) -> list[str]:
    """The command line that runs `argv` in the namespace of an `Namespace.entry`.

    It becomes `argv`, so signals, terminal and exit code are that command's; 125 when the namespace
    is gone, 126 and 127 when the command can't be run or isn't there, as with a shell.
    """
    options = [word for key in ("user", "uts", "net") if key in entry for word in (f"--{key}", entry[key])]
    return inside.program("enter", *options, "--", *argv)


def enter_and_exec(entry: Mapping[str, str], argv: list[str]) -> NoReturn:
    """Become a command in a namespace."""
    line = command(entry, *argv)
    os.execv(line[0], line)


def remove_leftover(name: str) -> bool:
    """Remove a namespace by name that a fabric which was killed left behind, with the processes in it.

    Returns whether there was one. Raises NicError.
    """
    try:
        return inside.remove_leftover(name)
    except OSError as error:
        raise NicError(
            f"network namespace {name} can't be removed: {error.strerror}", "run as root"
        ) from error


@attrs.define(eq=False)
class Namespace:
    """A network namespace, alive. Made by `create`."""

    name: str
    """As in `ip netns list`, when it has a path."""
    fd: int
    """Descriptor of the network namespace: `Place.netns` for NICs in it."""
    path: Path | None
    """/run/netns/NAME, or None."""
    _uts: int
    _entry: Mapping[str, str]
    _netlink: Netlink
    _closed: bool = attrs.field(default=False, init=False)

    @classmethod
    async def create(cls, name: str, netlink: Netlink, *, host: str | None = None) -> Namespace:
        """Make a namespace, its loopback interface up, its host name `host` (left out: `name`).

        Raises NicError, having left nothing behind.
        """
        try:
            net, uts, pinned, entry = await netlink.make_namespace(name, host or name)
        except OSError as error:
            what = f"the network namespace {name} can't be made: {error.strerror}"
            raise NicError(what, _remedy(error, name)) from error
        path = inside.PINS / name if pinned else None
        return cls(name, net, path, uts, entry, netlink)

    def entry(self) -> dict[str, str]:
        """How a process of the same user, or of root, gets in, for `command`; good for JSON."""
        pinned = {"net": str(self.path)} if self.path is not None else {}
        return {**self._entry, **pinned}

    async def run(self, *argv: str, check: bool = True) -> str:
        """Run a command inside; its standard output. With `check`, raises VnetError when it fails."""
        done = await trio.run_process(
            command(self.entry(), *argv), capture_stdout=True, capture_stderr=True, check=False
        )
        if check and done.returncode != 0:
            words = done.stderr.decode(errors="replace").strip().splitlines()
            why = words[-1] if words else "it said nothing"
            raise VnetError(f"{shlex.join(argv)} failed in {self.name} ({done.returncode}): {why}")
        return done.stdout.decode(errors="replace")

    async def open_process(self, *argv: str, **options: Any) -> trio.Process:
        """Start a command inside; `options` are those of `trio.lowlevel.open_process`."""
        options.setdefault("stdin", subprocess.DEVNULL)
        return await trio.lowlevel.open_process(command(self.entry(), *argv), **options)

    async def socket(self, family: int, kind: int, protocol: int = 0) -> sockets.socket:
        """A socket that belongs to this namespace, for use from outside. Raises OSError."""
        return await self._netlink.open_socket(self.fd, family, kind, protocol)

    async def aclose(self) -> None:
        """Remove the namespace: the processes in it end, its interfaces vanish. To be called after the
        doors in it were detached, because an open TAP keeps its namespace alive.
        """
        await self.close_all([self])

    @staticmethod
    async def close_all(namespaces: Iterable[Namespace]) -> None:
        """Remove several namespaces of one fabric: whose processes are in them is looked up once for all."""
        closing = [namespace for namespace in namespaces if not namespace._closed]
        if not closing:
            return
        for namespace in closing:
            namespace._closed = True
        with trio.CancelScope(shield=True):
            try:
                await closing[0]._netlink.remove_namespaces([namespace.name for namespace in closing])
            finally:
                for namespace in closing:
                    os.close(namespace.fd)
                    os.close(namespace._uts)


def _remedy(error: OSError, name: str) -> str:
    if error.errno == errno.EEXIST:
        return f"if nobody needs it, `ip netns delete {name}`; or give the topology another name"
    if error.errno in (errno.ENOSPC, errno.EUSERS):
        return "raise the limit that `sysctl user.max_net_namespaces` shows"
    return ""
