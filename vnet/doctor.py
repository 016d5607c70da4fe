"""What this host has for vnet, what is missing, and how to get it. Looks, and changes nothing."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import attrs

from vnet import rest

CLONE_NEWUSER = 0x10000000
AF_XDP = 44
CLONE_NEWNET = 0x40000000
LONG_REST = 50
"""Microseconds to wake from a CPU's rest that somebody may notice."""
LANDLOCK_WHOLE = 6
"""The version that knows all that is asked of it: files, TCP, devices, signals, abstract sockets."""


@attrs.frozen
class Finding:
    """One thing looked at."""

    what: str
    state: str
    """ok, missing (something does not work), or optional (something is less convenient)."""
    detail: str
    """What was found, and for what is missing, what can't be done without it."""
    remedy: str = ""


def _root() -> bool:
    return os.geteuid() == 0


def kernel() -> Finding:
    """The engine needs epoll_pwait2 (5.11)."""
    release = platform.release()
    version = tuple(int(part) for part in release.split("-")[0].split(".")[:2] if part.isdecimal())
    if version >= (5, 11):
        return Finding("kernel", "ok", f"Linux {release}")
    return Finding("kernel", "missing", f"Linux {release}; 5.11 is needed", "use a newer kernel")


def tun() -> Finding:
    """TAPs."""
    path = Path("/dev/net/tun")
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        remedy = f"modprobe tun; mkdir -p /dev/net; mknod {path} c 10 200; chmod 666 {path}"
        return Finding("TAP", "missing", f"no {path}: no tap NICs, no netns guests", remedy)
    except OSError as error:
        remedy = f"chmod 666 {path} (as distributions have it)"
        return Finding("TAP", "missing", f"{path}: {error.strerror}: no tap NICs, no netns guests", remedy)
    return Finding("TAP", "ok", f"{path} can be opened")


def namespaces() -> Finding:
    """Namespaces: as root, or in a user namespace of ours. Tried in a child, which ends at once."""
    flags = CLONE_NEWNET if _root() else CLONE_NEWUSER | CLONE_NEWNET
    libc = ctypes.CDLL(None, use_errno=True)
    child = os.fork()
    if child == 0:
        os._exit(ctypes.get_errno() if libc.unshare(flags) else 0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    how = "network namespaces" if _root() else "user namespaces without root"
    if code == 0:
        return Finding("namespaces", "ok", how)
    detail = f"{how}: {os.strerror(code)}: no netns guests"
    remedy = "sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=15000"
    if Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").exists():
        remedy = "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    return Finding("namespaces", "missing", detail, "run as root" if _root() else remedy)


def packet() -> Finding:
    """Uplinks."""
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()
    except OSError as error:
        if error.errno == errno.EPERM:
            remedy = "run as root, or setcap cap_net_raw,cap_net_admin+ep on the Python interpreter"
            return Finding("AF_PACKET", "optional", "not permitted: no uplink on a host interface", remedy)
        return Finding("AF_PACKET", "optional", f"{error.strerror}: no uplink on a host interface")
    return Finding("AF_PACKET", "ok", "uplinks on host interfaces")


def xdp() -> Finding:
    """Uplinks around the kernel's network stack."""
    try:
        socket.socket(AF_XDP, socket.SOCK_RAW).close()
    except OSError as error:
        if error.errno == errno.EPERM:
            return Finding("AF_XDP", "optional", "not permitted: `xdp` NICs are `packet` ones", "run as root")
        return Finding("AF_XDP", "optional", f"{error.strerror}: `xdp` NICs are `packet` ones")
    return Finding("AF_XDP", "ok", "uplinks around the kernel's network stack")


def runtime_folder() -> Finding:
    """Where sockets lie."""
    from vnet.runtime import base

    folder = base()
    parent = folder if folder.exists() else folder.parent
    if os.access(parent, os.W_OK | os.X_OK):
        return Finding("runtime folder", "ok", str(folder))
    remedy = "" if _root() else "set XDG_RUNTIME_DIR to a folder of yours"
    return Finding("runtime folder", "missing", f"{parent} can't be written to: no vnet up", remedy)


def descriptors() -> Finding:
    """Each port needs one to three."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard >= 16_384:
        return Finding("descriptors", "ok", f"{soft}, at most {hard}")
    remedy = "raise nofile in /etc/security/limits.conf"
    return Finding("descriptors", "optional", f"at most {hard}: some {hard // 3} ports with sockets", remedy)


def sandbox() -> Finding:
    """What the process of `vnet up` can give up for good."""
    from vnet._native import confinement_offered

    landlock, no_new_code = confinement_offered()
    filters = Path("/proc/sys/kernel/seccomp/actions_avail").exists()
    has = ["seccomp filters"] if filters else []
    has += [f"Landlock {landlock}"] if landlock else []
    has += ["memory that is never both written and run"] if no_new_code else []
    lacks = [
        what
        for there, what in (
            (filters, "seccomp filters"),
            (landlock >= LANDLOCK_WHOLE, f"Landlock {LANDLOCK_WHOLE}"),
            (no_new_code, "PR_SET_MDWE (Linux 6.3)"),
        )
        if not there
    ]
    if not lacks:
        return Finding("sandbox", "ok", ", ".join(has))
    detail = f"{', '.join(has) or 'capabilities alone'}; no {', no '.join(lacks)}: less is held back"
    remedy = "a kernel of 6.12 or newer; Landlock is turned on by lsm=landlock,... on its command line"
    return Finding("sandbox", "optional", detail, remedy)


def is_virtual() -> bool:
    """Whether this is a virtual machine of x86, whose processor says so."""
    return "hypervisor" in Path("/proc/cpuinfo").read_text().split()


def wake() -> Finding:
    """What the first frame after silence waits for, beside vnet."""
    how = "in the file, as root: at the price of power"
    if is_virtual():
        detail = "a virtual CPU that rests wakes when its host has it run: some 50 to 200 us"
        return Finding("CPU rest", "optional", detail, f"engine: {{wake: 0 s}} {how}")
    found = rest.deepest()
    if found is None:
        return Finding("CPU rest", "ok", "the kernel knows of no state of rest that takes time to leave")
    name, microseconds = found
    detail = f"{name} is the deepest, and takes {microseconds} us to leave"
    if microseconds <= LONG_REST:
        return Finding("CPU rest", "ok", detail)
    detail += ": the first frame after silence waits so long"
    return Finding("CPU rest", "optional", detail, f"engine: {{wake: {LONG_REST} us}} {how}")


def _tool(command: str, package: str, purpose: str) -> Callable[[], Finding]:
    def look() -> Finding:
        found = shutil.which(command)
        if found:
            return Finding(command, "ok", found)
        return Finding(command, "optional", f"not found: {purpose}", f"apt-get install {package}")

    return look


def kvm() -> Finding:
    """The processor's help for machines."""
    from vnet.machines import look

    if look.has_kvm():
        return Finding("KVM", "ok", str(look.KVM))
    if look.may_use_kvm():
        detail = (
            f"{look.KVM} without VT-x or AMD-V runs only kernels made for it: guests of kind qemu are slow"
        )
        return Finding(
            "KVM", "optional", detail, "a host with nested virtualisation; `accel: kvm` tries it all the same"
        )
    there = look.KVM.exists()
    remedy = "usermod -aG kvm $USER, and log in again" if there else "a processor, and a host, that has it"
    detail = f"{look.KVM} {'may not be used' if there else 'is not there'}: guests of kind qemu are slow"
    return Finding("KVM", "optional", detail, remedy)


def libpcap() -> Finding:
    """Capture filters are compiled by libpcap."""
    from ctypes.util import find_library

    found = find_library("pcap")
    if found:
        return Finding("libpcap", "ok", found)
    return Finding("libpcap", "optional", "not found: no capture filters", "apt-get install libpcap0.8")


def scapy() -> Finding:
    """Frames in words."""
    from importlib.util import find_spec

    if find_spec("scapy"):
        return Finding("scapy", "ok", "frames can be scapy packets")
    return Finding(
        "scapy", "optional", "not found: frames are bytes only", "pip install 'vnet-fabric[scapy]'"
    )


LOOKS: tuple[Callable[[], Finding], ...] = (
    kernel,
    tun,
    namespaces,
    packet,
    xdp,
    runtime_folder,
    descriptors,
    sandbox,
    wake,
    libpcap,
    scapy,
    _tool("qemu-system-x86_64", "qemu-system-x86", "no guests of kind qemu, no VMs of your own to plug in"),
    kvm,
    _tool("tshark", "tshark", "captures can be read elsewhere only"),
)


def look() -> list[Finding]:
    """Everything, in the order of its weight."""
    return [one() for one in LOOKS]
