"""Folders of tests side by side, each as if the machine were its alone.

    python -m tests.apart tests/kernel tests/qemu

They make interfaces, namespaces and fabrics, and look at all that there are: so each folder has a network,
the place of their names (/run) and the kernel's view of them (/sys) to itself. Where that can't be made, one
runs after the other. Much of their time they wait: together they take little more than the longer one.

The first folder's run is seen as it goes, what the others say when they are done.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from typing import IO

from tests.prerequisites import which

UNSHARE = ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-ec"]
HOME = """
mount -t tmpfs -o mode=755 none /run
mkdir /run/netns /run/lock
mount -t sysfs none /sys
mount -t cgroup2 none /sys/fs/cgroup 2>/dev/null || true
ip link set lo up
exec "$@"
"""


def command(folder: str) -> list[str]:
    """What runs its tests in a home of its own."""
    return [*UNSHARE, HOME, "home", sys.executable, "-m", "pytest", folder]


def possible() -> bool:
    """Whether there are such homes here."""
    if which("unshare") is None or which("ip") is None:
        return False
    return subprocess.run([*UNSHARE, HOME, "home", "true"], capture_output=True, check=False).returncode == 0


def run(folders: list[str]) -> int:
    """Run them; the worst exit code."""
    if not possible():
        return subprocess.run([sys.executable, "-m", "pytest", *folders], check=False).returncode
    with contextlib.ExitStack() as stack:
        outputs: list[IO[bytes] | None] = [None]
        outputs += [stack.enter_context(tempfile.TemporaryFile()) for _ in folders[1:]]
        begun = [
            subprocess.Popen(command(folder), stdout=output, stderr=output)
            for folder, output in zip(folders, outputs, strict=True)
        ]
        try:
            for process, output in zip(begun, outputs, strict=True):
                process.wait()
                if output is not None:
                    output.seek(0)
                    sys.stdout.buffer.write(output.read())
                    sys.stdout.flush()
        finally:
            for process in begun:
                process.terminate()
                process.wait()
    return max(process.returncode % 256 for process in begun)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
