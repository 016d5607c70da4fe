"""Write a cpio archive in the `newc` format that the Linux kernel unpacks as its initramfs.

Documentation/driver-api/early-userspace/buffer-format.rst of the kernel has the format: a header of
14 hexadecimal fields, the name, the data, the last two padded to 4 bytes. The same entries in the
same order give the same bytes: no times, no owners, inode numbers counted up.
"""

from __future__ import annotations

import stat
from typing import BinaryIO


class Archive:
    """An archive being written to `out`; `close` writes the trailer."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._inode = 0
        self._folders: set[str] = set()

    def file(self, name: str, data: bytes, *, mode: int = 0o644) -> None:
        """A regular file; its folders are made."""
        self._parents(name)
        self._entry(name, stat.S_IFREG | mode, data)

    def link(self, name: str, target: str) -> None:
        """A symbolic link; its folders are made."""
        self._parents(name)
        self._entry(name, stat.S_IFLNK | 0o777, target.encode())

    def folder(self, name: str) -> None:
        """A folder and those above it, unless they are there already."""
        if not name or name in self._folders:
            return
        self._parents(name)
        self._folders.add(name)
        self._entry(name, stat.S_IFDIR | 0o755, b"")

    def close(self) -> None:
        """Write the trailer. `out` stays open."""
        self._inode = -1
        self._entry("TRAILER!!!", 0, b"")

    def _parents(self, name: str) -> None:
        self.folder(name.rpartition("/")[0])

    def _entry(self, name: str, mode: int, data: bytes) -> None:
        self._inode += 1
        encoded = name.encode() + b"\0"
        links = 1
        fields = (self._inode, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
        self._padded(b"070701" + b"".join(b"%08x" % field for field in fields) + encoded)
        self._padded(data)

    def _padded(self, data: bytes) -> None:
        self._out.write(data + bytes(-len(data) % 4))
