"""How long CPUs may take to wake up, asked of the kernel for as long as a fabric runs.

The engine's thread sleeps until a guest rings for it, and then waits for its CPU to wake: for the longer the
deeper that rests, up to hundreds of microseconds, and in a virtual machine until its host has it run again.
The kernel leaves out what takes longer than the lowest of all that holders of `/dev/cpu_dma_latency` ask for
(its power management's quality of service, `Documentation/power/pm_qos_interface.rst`), as long as they hold
it open: who is killed asks for nothing any more. That is for all CPUs. The file of a single one, in sysfs,
would keep what was asked after a crash.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from vnet.errors import BadInput

DEVICE = Path("/dev/cpu_dma_latency")
STATES = Path("/sys/devices/system/cpu/cpu0/cpuidle")


@contextlib.contextmanager
def limited(longest: int | None) -> Iterator[None]:
    """Meanwhile CPUs take at most `longest` nanoseconds to wake up, and with 0 never rest; None: as they
    like. Raises BadInput when that can't be asked for.
    """
    if longest is None:
        yield
        return
    try:
        descriptor = os.open(DEVICE, os.O_WRONLY | os.O_CLOEXEC)
    except OSError as error:
        raise BadInput(
            f"engine.wake: {DEVICE}: {error.strerror}, expected a file that may be written to, as by root"
        ) from None
    try:
        os.write(descriptor, struct.pack("=i", longest // 1000))
        yield
    finally:
        os.close(descriptor)


def deepest() -> tuple[str, int] | None:
    """The name of the state of rest that takes longest to wake from, and microseconds; None: the kernel
    knows of none. A virtual machine's kernel does not know what its host's take.
    """
    found = []
    for state in STATES.glob("state*"):
        with contextlib.suppress(OSError, ValueError):
            if (state / "disable").read_text().strip() == "0":
                found.append(((state / "name").read_text().strip(), int((state / "latency").read_text())))
    return max(found, key=lambda each: each[1], default=None)
