"""A program at an interface's way out that puts a VLAN tag beside each frame, as a VLAN sub-interface does.

Kernels without such interfaces can do it by BPF, too: `bpf_skb_vlan_push` leaves the tag outside of the
frame, and a veth hands it on so.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import threading

SYS_BPF = 321
PROG_LOAD, LINK_CREATE = 5, 28
PROG_SCHED_CLS = 3
TCX_EGRESS = 47
CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


def _bpf(command: int, attributes: bytes) -> int:
    fd = int(_libc.syscall(SYS_BPF, command, ctypes.c_char_p(attributes), len(attributes)))
    if fd < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return fd


def _attach(interface: str, vlan: int) -> int:
    program = b"".join(
        struct.pack("<BBhi", *op)
        for op in (
            (0xB7, 2, 0, socket.htons(0x8100)),  # r2: the tag's type
            (0xB7, 3, 0, vlan),
            (0x85, 0, 0, 18),  # bpf_skb_vlan_push(r1: the frame, r2, r3)
            (0xB7, 0, 0, -1),  # TCX_NEXT
            (0x95, 0, 0, 0),
        )
    )
    code, licence = ctypes.create_string_buffer(program), ctypes.create_string_buffer(b"Dual MIT/GPL")
    where = (ctypes.addressof(code), ctypes.addressof(licence))
    loaded = _bpf(PROG_LOAD, struct.pack("<IIQQ", PROG_SCHED_CLS, len(program) // 8, *where) + bytes(96))
    try:
        about = struct.pack("<IIII", loaded, socket.if_nametoindex(interface), TCX_EGRESS, 0)
        return _bpf(LINK_CREATE, about + bytes(48))
    finally:
        os.close(loaded)


def push_tags(netns: int, interface: str, vlan: int) -> int:
    """From now on every frame that leaves by an interface of this namespace has a tag beside it: for as
    long as the descriptor is open that is returned. Raises OSError.
    """
    done: list[int | OSError] = []

    def inside() -> None:
        try:
            if _libc.setns(netns, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            done.append(_attach(interface, vlan))
        except OSError as error:
            done.append(error)

    # A thread of its own, which ends in that namespace.
    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    if isinstance(done[0], OSError):
        raise done[0]
    return done[0]
