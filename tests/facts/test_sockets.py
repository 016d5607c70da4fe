"""Unix sockets (nics/endpoint.py, nics/rust/src/{socket,stream,dgram}): unix(7)."""

from __future__ import annotations

import errno
import os
import select
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="vnet-") as path:
        yield Path(path)


def test_a_path_has_at_most_107_bytes(folder: Path) -> None:
    for length, fits in ((107, True), (108, False)):
        path = str(folder / "x") + "x" * (length - len(str(folder / "x")))
        with socket.socket(socket.AF_UNIX) as listening:
            if fits:
                listening.bind(path)
            else:
                # The kernel takes 108 without their NUL; Python's limit is the portable one.
                with pytest.raises(OSError, match="path too long"):
                    listening.bind(path + "x")


def test_a_socket_file_that_nobody_listens_at_refuses_and_stays(folder: Path) -> None:
    """So a file that refuses was left by a crash and may be removed."""
    path = str(folder / "left")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
    with socket.socket(socket.AF_UNIX) as client, pytest.raises(ConnectionRefusedError):
        client.connect(path)
    with socket.socket(socket.AF_UNIX) as again, pytest.raises(OSError, match="in use"):
        again.bind(path)


def test_a_full_datagram_socket_says_so_and_becomes_writable(folder: Path) -> None:
    """A connected sender gets EAGAIN, never ENOBUFS, and epoll tells when there is room."""
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind(str(folder / "r"))
        sender.connect(str(folder / "r"))
        sender.setblocking(False)
        for _ in range(int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text()) + 1):
            sender.send(b"frame")
        with pytest.raises(BlockingIOError):
            sender.send(b"frame")
        with select.epoll() as epoll:
            epoll.register(sender, select.EPOLLOUT)
            assert not epoll.poll(0)
            receiver.recv(10)
            assert epoll.poll(1)


def test_a_datagram_socket_whose_peer_is_gone_refuses(folder: Path) -> None:
    path = folder / "r"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
            receiver.bind(str(path))
            sender.connect(str(path))
            sender.send(b"frame")
        with pytest.raises(ConnectionRefusedError):
            sender.send(b"frame")
        path.unlink()
        with pytest.raises(FileNotFoundError):
            sender.connect(str(path))


def test_a_connected_datagram_socket_takes_nothing_from_strangers(folder: Path) -> None:
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as guest,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger,
    ):
        ours.bind(str(folder / "o"))
        guest.bind(str(folder / "g"))
        ours.connect(str(folder / "g"))
        with pytest.raises(PermissionError):
            stranger.sendto(b"frame", str(folder / "o"))


def test_peer_credentials_are_those_at_connect() -> None:
    """SO_PEERCRED: what the control socket trusts (vnet/control/server.py)."""
    left, right = socket.socketpair()
    with left, right:
        data = left.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        assert [int.from_bytes(data[i : i + 4], "little") for i in (0, 4, 8)] == [
            os.getpid(),
            os.getuid(),
            os.getgid(),
        ]


def test_a_stream_peer_that_closes_with_data_unread_resets(folder: Path) -> None:
    """So the end of a connection can be an error as well as an end."""
    left, right = socket.socketpair()
    with left:
        left.send(b"unread")
        right.close()
        with pytest.raises(OSError, match="reset") as caught:
            left.recv(1)
        assert caught.value.errno == errno.ECONNRESET
