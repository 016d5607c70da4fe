"""Find the guests' kernel, or fetch it: Debian's `linux-image-cloud-amd64`.

An installed one is used as it is. Otherwise `fetch` downloads the package with apt and unpacks it
into the cache: no kernel is installed on this machine, its boot loader is not touched, and root is
not needed. Standard library only.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

PACKAGE = "linux-image-cloud-amd64"
_PATTERN = "vmlinuz-*-cloud-amd64"


class Kernel(NamedTuple):
    """A kernel and its modules."""

    image: Path
    """What QEMU's `-kernel` takes."""
    modules: Path
    """Its folder of modules, with `modules.dep`."""

    @property
    def version(self) -> str:
        """As `uname -r` gives it in the guest."""
        return self.image.name.removeprefix("vmlinuz-")


def cache() -> Path:
    """Where this machine keeps what the guests are built from. Made if it isn't there."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "vnet" / "guest"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def find() -> Kernel | None:
    """The newest kernel here, installed or fetched; None: there is none."""
    places = [(Path("/boot"), Path("/lib/modules"))]
    places += [(root / "boot", root / "lib/modules") for root in cache().glob("kernel-*")]
    found = [
        Kernel(image, modules / image.name.removeprefix("vmlinuz-"))
        for boot, modules in places
        for image in boot.glob(_PATTERN)
    ]
    found = [k for k in found if (k.modules / "modules.dep").is_file() and os.access(k.image, os.R_OK)]
    return max(found, key=_age, default=None)


def _age(kernel: Kernel) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", kernel.version)]


def fetch() -> Kernel:
    """Download and unpack the newest. Raises CalledProcessError when apt can't."""
    # The named package is empty; it depends on the one of the current version.
    depends = subprocess.run(["apt-cache", "depends", PACKAGE], capture_output=True, text=True, check=True)
    names = re.findall(r"Depends: (linux-image-\S+)", depends.stdout)
    if not names:
        raise FileNotFoundError(f"apt-cache knows no kernel that {PACKAGE} depends on")
    busybox = shutil.which("busybox") or "busybox"
    with tempfile.TemporaryDirectory(dir=cache()) as scratch:
        # As root, apt would drop its rights for a folder it then can't write to, and say so at length.
        asked = ["apt-get", "-o", "APT::Sandbox::User=root", "download", "-q", names[0]]
        subprocess.run(asked, cwd=scratch, check=True)
        (package,) = Path(scratch).glob("*.deb")
        root = Path(scratch, "root")
        subprocess.run(["dpkg-deb", "--extract", package, root], check=True)
        for modules in (root / "lib/modules").iterdir():
            subprocess.run([busybox, "depmod", "-b", root, modules.name], check=True)
        place = cache() / f"kernel-{names[0]}"
        shutil.rmtree(place, ignore_errors=True)
        root.rename(place)
    kernel = find()
    if kernel is None:
        raise FileNotFoundError(f"{names[0]} was unpacked to {place}, yet holds no kernel")
    return kernel
