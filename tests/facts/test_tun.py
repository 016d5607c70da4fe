"""TAP devices (nics/tap.py, nics/rust/src/tap): Documentation/networking/tuntap.rst, if_tun.h."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import functools
import json
import os
import select
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.needs import needs_tool, needs_tun

pytestmark = [needs_tun, needs_tool("ip")]

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
TUNSETOFFLOAD = 0x400454D0
TUNSETVNETHDRSZ = 0x400454D8
TUNSETCARRIER = 0x400454E2
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR, IFF_MULTI_QUEUE, IFF_TUN_EXCL = 0x2, 0x1000, 0x4000, 0x100, 0x8000
TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6 = 0x1, 0x2, 0x4
NEEDS_CSUM, DATA_VALID = 1, 2
GSO_TCPV4 = 1
HEADER = 12
"""virtio_net_hdr_v1: flags, gso_type, hdr_len, gso_size, csum_start, csum_offset, num_buffers."""

HOST = bytes.fromhex("020000000001")
GUEST = bytes.fromhex("020000000002")


def in_namespace(test: Callable[[], None]) -> Callable[[], None]:
    """Run a test in a thread that has a network namespace of its own, and so has all that it makes."""

    @functools.wraps(test)
    def run() -> None:
        def inside() -> None:
            assert ctypes.CDLL(None).unshare(CLONE_NEWNET) == 0
            test()

        with ThreadPoolExecutor(1) as thread:
            thread.submit(inside).result()

    return run


def interfaces() -> set[str]:
    """Of this thread's namespace."""
    return {name for _, name in socket.if_nameindex()}


def attach(descriptor: int, name: str, flags: int = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR) -> str:
    """TUNSETIFF; the interface's name."""
    request = bytearray(struct.pack("16sH22x", name.encode(), flags))
    fcntl.ioctl(descriptor, TUNSETIFF, request)
    return bytes(request[:16]).rstrip(b"\0").decode()


@contextlib.contextmanager
def opened(flags: int = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC) -> Iterator[int]:
    descriptor = os.open("/dev/net/tun", flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@contextlib.contextmanager
def tap(offload: int) -> Iterator[tuple[int, str]]:
    """A TAP that is up, with 10.99.0.1/30 and a neighbour 10.99.0.2 whom we play."""
    with opened() as descriptor:
        name = attach(descriptor, "fact%d")
        fcntl.ioctl(descriptor, TUNSETVNETHDRSZ, struct.pack("i", HEADER))
        fcntl.ioctl(descriptor, TUNSETOFFLOAD, offload)
        ip("link", "set", name, "address", HOST.hex(":"), "up")
        ip("addr", "add", "10.99.0.1/30", "dev", name)
        ip("neigh", "add", "10.99.0.2", "lladdr", GUEST.hex(":"), "dev", name, "nud", "permanent")
        yield descriptor, name


def frames(descriptor: int) -> Iterator[tuple[tuple[int, ...], bytes]]:
    """What the kernel sends there: virtio-net header and frame. Ends when nothing comes for 2 s."""
    while select.select([descriptor], [], [], 2)[0]:
        data = os.read(descriptor, 70_000)
        yield struct.unpack_from("<BBHHHHH", data), data[HEADER:]


def flags(name: str) -> list[str]:
    told = subprocess.run(["ip", "-json", "link", "show", name], check=True, capture_output=True)
    (found,) = json.loads(told.stdout)
    return list(found["flags"])


def is_udp(frame: bytes) -> bool:
    return frame[12:14] == b"\x08\x00" and frame[23] == socket.IPPROTO_UDP


def datagram(checksum: bytes) -> bytes:
    """UDP 10.99.0.2:7 -> 10.99.0.1:9999, "fact"."""
    ip_header = bytes.fromhex("45000020000040004011") + bytes(2) + bytes([10, 99, 0, 2, 10, 99, 0, 1])
    ip_header = ip_header[:10] + struct.pack(">H", _sum(ip_header)) + ip_header[12:]
    return HOST + GUEST + b"\x08\x00" + ip_header + struct.pack(">HHH", 7, 9999, 12) + checksum + b"fact"


@in_namespace
def test_a_frame_without_checksum_leaves_with_where_it_belongs() -> None:
    with tap(TUN_F_CSUM) as (descriptor, _), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x" * 100, ("10.99.0.2", 7))
        header, _ = next(found for found in frames(descriptor) if is_udp(found[1]))
        what, gso, _, _, start, offset, _ = header
        assert what & NEEDS_CSUM
        assert gso == 0
        assert (start, offset) == (34, 6)


@in_namespace
def test_without_the_offload_the_kernel_completes_it() -> None:
    with tap(0) as (descriptor, _), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x" * 100, ("10.99.0.2", 7))
        header, _ = next(found for found in frames(descriptor) if is_udp(found[1]))
        assert not header[0] & NEEDS_CSUM


def udp_sum() -> int:
    """Of the pseudo header and the datagram."""
    pseudo = bytes([10, 99, 0, 2, 10, 99, 0, 1, 0, socket.IPPROTO_UDP, 0, 12])
    return _sum(pseudo + datagram(bytes(2))[34:])


@in_namespace
def test_the_kernel_takes_frames_whose_checksum_is_partial() -> None:
    """Its field then holds the sum of the pseudo header alone, not inverted."""
    pseudo = ~_sum(bytes([10, 99, 0, 2, 10, 99, 0, 1, 0, socket.IPPROTO_UDP, 0, 12])) & 0xFFFF
    with tap(TUN_F_CSUM) as (descriptor, _), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.settimeout(5)
        receiver.bind(("10.99.0.1", 9999))
        header = struct.pack("<BBHHHHH", NEEDS_CSUM, 0, 0, 0, 34, 6, 0)
        os.write(descriptor, header + datagram(struct.pack(">H", pseudo)))
        assert receiver.recv(10) == b"fact"


@in_namespace
def test_the_kernel_looks_at_a_checksum_that_is_vouched_for() -> None:
    """VIRTIO_NET_HDR_F_DATA_VALID is for virtio guests: a TAP takes it and believes nothing."""
    vouched = struct.pack("<BBHHHHH", DATA_VALID, 0, 0, 0, 0, 0, 0)
    with tap(TUN_F_CSUM) as (descriptor, _), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.settimeout(5)
        receiver.bind(("10.99.0.1", 9999))
        os.write(descriptor, vouched + datagram(b"\xba\xad").replace(b"fact", b"fake"))
        os.write(descriptor, vouched + datagram(struct.pack(">H", udp_sum())))
        assert receiver.recv(10) == b"fact"


@in_namespace
def test_a_header_that_points_past_its_frame_is_refused() -> None:
    header = struct.pack("<BBHHHHH", NEEDS_CSUM, 0, 0, 0, 2000, 6, 0)
    with tap(TUN_F_CSUM) as (descriptor, _), pytest.raises(OSError, match="Invalid argument"):
        os.write(descriptor, header + datagram(b"\0\0"))


@in_namespace
def test_super_segments_leave_whole_when_the_offload_is_on() -> None:
    with (
        tap(TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6) as (descriptor, _),
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client,
    ):
        client.setblocking(False)
        assert client.connect_ex(("10.99.0.2", 7)) == errno.EINPROGRESS
        _, syn = next(found for found in frames(descriptor) if found[1][23] == socket.IPPROTO_TCP)
        source, _, sequence = struct.unpack_from(">HHI", syn, 34)
        # SYN and ACK, with a maximum segment size of 1460 and a large window.
        tcp = struct.pack(">HHIIBBHHH", 7, source, 9, sequence + 1, 0x60, 0x12, 0xFFFF, 0, 0)
        tcp += bytes.fromhex("020405b4")
        addresses = bytes([10, 99, 0, 2, 10, 99, 0, 1])
        check = _sum(addresses + struct.pack(">HH", socket.IPPROTO_TCP, len(tcp)) + tcp)
        tcp = tcp[:16] + struct.pack(">H", check) + tcp[18:]
        head = bytes.fromhex("4500002c000040004006") + bytes(2) + addresses
        head = head[:10] + struct.pack(">H", _sum(head)) + head[12:]
        os.write(descriptor, bytes(HEADER) + HOST + GUEST + b"\x08\x00" + head + tcp)
        assert select.select([], [client], [], 5)[1]
        client.send(b"x" * 14_000)
        header, frame = next(found for found in frames(descriptor) if len(found[1]) > 1514)
        what, gso, _, size, start, offset, _ = header
        assert (what & NEEDS_CSUM, gso, size) == (NEEDS_CSUM, GSO_TCPV4, 1460)
        assert (start, offset) == (34, 16)
        assert len(frame) > 2 * 1460


def _sum(header: bytes) -> int:
    total = sum(struct.unpack(f">{len(header) // 2}H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@in_namespace
def test_a_tap_belongs_to_the_namespace_it_was_opened_in_and_dies_with_its_last_descriptor() -> None:
    """So one thread opens /dev/net/tun inside, and another attaches it from anywhere."""
    code = "import os, socket, sys; fd = os.open('/dev/net/tun', os.O_RDWR)\n"
    code += "socket.send_fds(socket.socket(fileno=int(sys.argv[1])), [b'.'], [fd]); sys.stdin.read()\n"
    code += "print(socket.if_nameindex())"
    ours, theirs = socket.socketpair()
    with ours, theirs:
        other = subprocess.Popen(
            ["unshare", "--net", sys.executable, "-c", code, str(theirs.fileno())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[theirs.fileno()],
            text=True,
        )
        with other:
            _, (descriptor,), _, _ = socket.recv_fds(ours, 1, 1)
            name = attach(descriptor, "fact%d")
            assert name not in interfaces()
            assert name in other.communicate("")[0]
            os.close(descriptor)


@in_namespace
def test_an_exclusive_name_is_refused_when_taken_and_free_again_at_once() -> None:
    with opened() as first:
        name = attach(first, "fact%d")
        with opened() as second, pytest.raises(OSError, match="busy"):
            attach(second, name, IFF_TAP | IFF_NO_PI | IFF_TUN_EXCL)
    assert name not in interfaces()


@in_namespace
def test_the_carrier_is_ours_to_pull() -> None:
    with tap(0) as (descriptor, name):
        assert "NO-CARRIER" not in flags(name)
        fcntl.ioctl(descriptor, TUNSETCARRIER, struct.pack("i", 0))
        assert "NO-CARRIER" in flags(name)
