"""Build the guests' initramfs: busybox, a few real tools with their libraries, the NIC drivers.

Built in under a second, without root, and kept in the cache under a key of all that goes into it.
"""

from __future__ import annotations

import functools
import hashlib
import lzma
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from tools.guest import cpio, kernel

HERE = Path(__file__).parent
MODULES = (
    "8021q",
    "bonding",
    "bridge",
    "button",
    "dummy",
    "evdev",
    "sch_netem",
    "tun",
    "veth",
    "virtio_blk",
    "virtio_console",
    "virtio_net",
    "virtio_pci",
    "vmxnet3",
)
TOOLS = ("dash", "ethtool", "ip", "bridge", "iperf3", "qemu-ga", "socat", "ss", "tcpdump")
"""Copied with their libraries; dash is the shell, as busybox' own prefers its applets to these."""
POWER_BUTTON = b"#!/bin/sh\npoweroff -f\n"
"""What busybox' acpid runs when it is pushed."""
WEEK = 7 * 24 * 3600
_FOLDERS = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"


class ImageError(Exception):
    """Something that a guest is built from is not on this machine."""


class Image(NamedTuple):
    """What a guest boots."""

    kernel: Path
    initramfs: Path

    def words(self) -> list[str]:
        """What QEMU is told to boot this, but for `-append`."""
        return ["-kernel", str(self.kernel), "-initrd", str(self.initramfs)]


def _which(command: str) -> Path | None:
    found = shutil.which(command, path=_FOLDERS)
    return Path(found) if found is not None else None


def libraries(binary: Path) -> list[Path]:
    """The shared libraries of a dynamically linked binary, its loader among them, as ldd gives them."""
    told = subprocess.run(["ldd", binary], capture_output=True, text=True, check=False).stdout
    if "not found" in told:
        raise ImageError(f"{binary} lacks a library: {told}")
    return [Path(path) for path in re.findall(r"(?:=> |^\s+)(/\S+) \(0x", told, flags=re.MULTILINE)]


def with_dependencies(modules: Path, names: Iterable[str]) -> list[str]:
    """Paths below `modules` of the named modules and all they depend on, from `modules.dep`."""
    lines = (line.split(":") for line in (modules / "modules.dep").read_text().splitlines())
    needs = {path: needed.split() for path, needed in lines}
    by_name = {Path(path).name.partition(".ko")[0].replace("-", "_"): path for path in needs}
    wanted: dict[str, None] = {}
    for name in names:
        path = by_name.get(name.replace("-", "_"))
        if path is None:
            raise ImageError(f"{modules} has no module {name}")
        # modules.dep already lists what is needed by what is needed.
        wanted |= dict.fromkeys([path, *needs[path]])
    return sorted(wanted)


def _sources(base: kernel.Kernel, busybox: Path, tools: list[Path]) -> Iterator[Path]:
    yield from (base.image, base.modules / "modules.dep", busybox)
    for tool in tools:
        yield tool
        yield from libraries(tool)


def _key(base: kernel.Kernel, busybox: Path, tools: list[Path]) -> str:
    told = hashlib.sha256()
    for own in (HERE / "init", HERE / "image.py", HERE / "cpio.py"):
        told.update(own.read_bytes())
    for path in _sources(base, busybox, tools):
        status = path.stat()
        told.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    return told.hexdigest()[:16]


def _write(archive: cpio.Archive, base: kernel.Kernel, busybox: Path, tools: list[Path]) -> None:
    archive.file("init", (HERE / "init").read_bytes(), mode=0o755)
    for folder in ("dev", "proc", "sys", "etc", "root"):
        archive.folder(folder)
    archive.link("sbin", "bin")
    archive.file("etc/acpi/PWRF/00000080", POWER_BUTTON, mode=0o755)
    archive.file("bin/busybox", busybox.read_bytes(), mode=0o755)
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout
    for applet in sorted(set(applets.split()) - {"busybox", "sh"}):
        archive.link(f"bin/{applet}", "busybox")

    archive.link("bin/sh", "../usr/bin/dash" if any(tool.name == "dash" for tool in tools) else "busybox")

    copied: set[Path] = set()
    for tool in tools:
        archive.file(f"usr/bin/{tool.name}", tool.read_bytes(), mode=0o755)
        for library in libraries(tool):
            if library not in copied:
                copied.add(library)
                archive.file(str(library).removeprefix("/"), library.read_bytes(), mode=0o755)

    place = f"lib/modules/{base.version}"
    kept = with_dependencies(base.modules, MODULES)
    for path in kept:
        data = (base.modules / path).read_bytes()
        archive.file(
            f"{place}/{path.removesuffix('.xz')}", lzma.decompress(data) if path.endswith(".xz") else data
        )
    names = {Path(path).name.partition(".ko")[0].replace("-", "_") for path in kept}
    depends = (base.modules / "modules.dep").read_text().splitlines()
    depends = [line.replace(".ko.xz", ".ko") for line in depends if line.partition(":")[0] in set(kept)]
    archive.file(f"{place}/modules.dep", ("\n".join(depends) + "\n").encode())
    aliases = (base.modules / "modules.alias").read_text().splitlines()
    aliases = [line for line in aliases if line.rpartition(" ")[2].replace("-", "_") in names]
    archive.file(f"{place}/modules.alias", ("\n".join(aliases) + "\n").encode())


def _prune(used: Path) -> None:
    """Forget images that nobody booted for a week."""
    for old in used.parent.glob("initramfs-*.cpio"):
        if used.stat().st_mtime - old.stat().st_mtime > WEEK:
            old.unlink(missing_ok=True)


@functools.cache
def build() -> Image:
    """The image, built unless it is in the cache. Raises ImageError."""
    base = kernel.find()
    if base is None:
        raise ImageError(f"no guest kernel: neither installed nor fetched ({kernel.PACKAGE})")
    busybox = _which("busybox")
    if busybox is None or libraries(busybox):
        raise ImageError("no statically linked busybox (Debian: busybox-static)")
    tools = [path for path in map(_which, TOOLS) if path is not None]
    place = kernel.cache() / f"initramfs-{_key(base, busybox, tools)}.cpio"
    if not place.exists():
        # Under another name first: another process may build the same, and ours may be interrupted.
        with tempfile.NamedTemporaryFile(dir=place.parent, delete=False) as out:
            archive = cpio.Archive(out)
            _write(archive, base, busybox, tools)
            archive.close()
        Path(out.name).replace(place)
    place.touch()
    _prune(place)
    return Image(base.image, place)
