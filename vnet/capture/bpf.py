"""Capture filters in libpcap's language, compiled by libpcap itself.

libpcap compiles and nothing else: no device is opened, no privilege needed. The engine evaluates
the instructions (`nics/rust/src/bpf.rs`). Frames are Ethernet with their tags in place, as they are
on the port that they are seen at, so `vlan 10` works as in a file.
"""

from __future__ import annotations

import ctypes
import functools
import threading

from vnet.errors import BadInput, VnetError

Instruction = tuple[int, int, int, int]
"""code, jt, jf, k: one `struct bpf_insn`."""

SNAPLEN = 262_144
"""What a filter that accepts returns: more bytes than any frame has."""

_NAMES = ("libpcap.so.1", "libpcap.so.0.8", "libpcap.so")
_ETHERNET = 1
_NETMASK_UNKNOWN = 0xFFFFFFFF


class FilterError(BadInput):
    """A filter that libpcap does not understand."""


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort),
        ("jt", ctypes.c_ubyte),
        ("jf", ctypes.c_ubyte),
        ("k", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint), ("instructions", ctypes.POINTER(_Instruction)))


@functools.cache
def _library() -> ctypes.CDLL:
    for name in _NAMES:
        try:
            pcap = ctypes.CDLL(name)
        except OSError:
            continue
        pcap.pcap_open_dead.argtypes = (ctypes.c_int, ctypes.c_int)
        pcap.pcap_open_dead.restype = ctypes.c_void_p
        pcap.pcap_compile.argtypes = (
            ctypes.c_void_p,
            ctypes.POINTER(_Program),
            ctypes.c_char_p,
            ctypes.c_int,
            ctypes.c_uint32,
        )
        pcap.pcap_geterr.argtypes = (ctypes.c_void_p,)
        pcap.pcap_geterr.restype = ctypes.c_char_p
        pcap.pcap_freecode.argtypes = (ctypes.POINTER(_Program),)
        pcap.pcap_freecode.restype = None
        pcap.pcap_close.argtypes = (ctypes.c_void_p,)
        pcap.pcap_close.restype = None
        return pcap
    raise VnetError(
        "a capture filter needs libpcap, which is not installed: apt-get install libpcap0.8 "
        "(Fedora: dnf install libpcap), or capture without a filter"
    )


# Before libpcap 1.8 compiling was not thread-safe, and nobody compiles two filters at once.
_lock = threading.Lock()


def compile_filter(text: str) -> list[Instruction]:
    """Compile `text`, e.g. `tcp port 80`; an empty one accepts every frame.

    Blocks: a filter that names a host asks the resolver. Raises FilterError with libpcap's words,
    VnetError when libpcap is not installed.
    """
    if "\0" in text:
        raise FilterError(f"filter {text!r}: a null character")
    pcap = _library()
    with _lock:
        handle = pcap.pcap_open_dead(_ETHERNET, SNAPLEN)
        if not handle:
            raise MemoryError("libpcap can't open a handle")
        try:
            program = _Program()
            if pcap.pcap_compile(handle, program, text.encode(), 1, _NETMASK_UNKNOWN) != 0:
                said = pcap.pcap_geterr(handle).decode(errors="replace")
                raise FilterError(f"filter {text!r}: {said}")
            try:
                return [(one.code, one.jt, one.jf, one.k) for one in program.instructions[: program.length]]
            finally:
                pcap.pcap_freecode(program)
        finally:
            pcap.pcap_close(handle)
