"""The program that stands inside namespaces: `hold` for a fabric, `enter` for a command.

Only a process with one thread may join a user namespace, and a thread that joined a network namespace
should do nothing else any more. So neither happens in the fabric's own process: it starts this file
as a program of its own, with the standard library alone and none of the user's Python settings.

`hold` makes network namespaces and opens descriptors inside them for the fabric, which sends its wishes
by the socket that is our standard input. A fabric may be confined, and we are not: so it gets
namespaces, devices and sockets in them, and their interfaces' receiving spread over CPUs, and nothing else
that we could do. Descriptors keep their namespace for life, and the kernel lets the owner of a user
namespace do in it what root may; so the fabric can go on by itself with a TUN or netlink descriptor that was
opened here. Without the privilege to make namespaces, `hold` first makes one user namespace, in which all
others then lie.

When the fabric is gone, however it ended, the socket says so, and all namespaces are removed together
with the processes in them, whether these are still in the network namespace or made one of their own and are
in the UTS namespace. Those that are in neither, as a container's, are not found. As a second net, for when
this process is killed as well, a fabric notes the names of its network namespaces in its runtime folder,
and `remove_leftover` removes them, and who is in them, the next time.

`enter` joins the namespaces it is given and becomes the command.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import select
import signal
import socket
import stat
import struct
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

PINS = Path("/run/netns")
"""Where `ip netns` looks for namespaces, too."""
MESSAGE = 65536
"""Longest message, in bytes; and no more than DESCRIPTORS with one."""
DESCRIPTORS = 128

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 0x2, 0x4, 0x8
_MS_BIND, _MS_REC, _MS_SLAVE, _MS_SHARED = 0x1000, 0x4000, 0x80000, 0x100000
_MNT_DETACH = 2
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
"""Numbers of system calls, on all machines the same."""
_FSOPEN_CLOEXEC, _FSMOUNT_CLOEXEC, _FSCONFIG_CMD_CREATE = 0x1, 0x1, 6
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
_PATIENCE = 0.3
"""Seconds that processes in a removed namespace have to end by themselves."""
_ASK = (signal.SIGHUP, signal.SIGTERM, signal.SIGCONT)
_FORCE = (signal.SIGKILL,)
_ROUNDS = 5

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: Any) -> None:
    """A function of the C library that returns 0, or -1 and errno."""
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _mount(source: str, target: Path, kind: str | None, flags: int) -> None:
    _call(
        "mount",
        source.encode(),
        os.fsencode(target),
        kind.encode() if kind is not None else None,
        ctypes.c_ulong(flags),
        None,
    )


def _system_call(number: int, *arguments: Any) -> int:
    """What a system call returns, which is not -1."""
    result = int(_libc.syscall(number, *arguments))
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def identity(namespace: int | str | Path) -> tuple[int, int]:
    """What tells one namespace from another: device and inode of its file."""
    status = os.stat(namespace)  # noqa: PTH116 - it takes descriptors, too
    return status.st_dev, status.st_ino


# -- pins ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def _pins_locked() -> Iterator[None]:
    """As `ip netns` does: the folder is shared between mount namespaces, and one works in it at a time."""
    PINS.mkdir(mode=0o755, exist_ok=True)
    folder = os.open(PINS, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _pin(name: str, source: str) -> bool:
    """Give a namespace a path. False where we may not mount; FileExistsError when the name is taken."""
    try:
        with _pins_locked():
            try:
                _mount("", PINS, None, _MS_SHARED | _MS_REC)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                _mount(str(PINS), PINS, None, _MS_BIND | _MS_REC)
                _mount("", PINS, None, _MS_SHARED | _MS_REC)
            path = PINS / name
            os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
            try:
                _mount(source, path, None, _MS_BIND)
            except OSError:
                path.unlink()
                raise
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES, errno.EROFS):
            return False  # as in many containers: it lives without a path
        raise
    return True


def _unpin(name: str, wanted: tuple[int, int] | None = None) -> None:
    """Take the path away, unless it is another namespace's than `wanted` by now."""
    path = PINS / name
    if not path.exists():
        return
    with _pins_locked(), contextlib.suppress(FileNotFoundError):
        found = identity(path)
        if found[0] == PINS.stat().st_dev:
            mounted = False  # whoever made it was killed before the mount
        elif wanted in (None, found):
            mounted = True
        else:
            return
        if mounted:
            _call("umount2", os.fsencode(path), _MNT_DETACH)
        path.unlink()


def _end_processes(namespaces: set[tuple[int, int]]) -> None:
    """End the processes that live in these namespaces: asked once, then by force.

    Looks again after each round, because what was about to end may have started others.
    """
    for signals in (_ASK, *[_FORCE] * _ROUNDS):
        with contextlib.ExitStack() as stack:
            found = list(_processes_in(namespaces, stack))
            if not found:
                return
            for process in found:
                for number in signals:
                    with contextlib.suppress(OSError):
                        signal.pidfd_send_signal(process, number)
            _wait_for(found)


def _processes_in(namespaces: set[tuple[int, int]], stack: contextlib.ExitStack) -> Iterator[int]:
    """Handles of the processes in network or UTS namespaces, which `stack` closes."""
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError), contextlib.ExitStack() as unless:
            # First the handle, then the question: the number can't be another process' meanwhile.
            process = os.pidfd_open(int(entry.name))
            unless.callback(os.close, process)
            if any(identity(f"/proc/{entry.name}/ns/{kind}") in namespaces for kind in ("net", "uts")):
                stack.push(unless.pop_all())
                yield process


def _wait_for(processes: list[int]) -> None:
    """Wait a moment for processes to end."""
    deadline = time.monotonic() + _PATIENCE
    poll = select.poll()
    for process in processes:
        poll.register(process, select.POLLIN)
    left = len(processes)
    while left and (rest := deadline - time.monotonic()) > 0:
        for process, _ in poll.poll(rest * 1000):
            poll.unregister(process)
            left -= 1


def remove_leftover(name: str) -> bool:
    """Remove the pinned namespace of a fabric that is no more, with the processes in it.

    Returns whether there was one. Raises OSError, e.g. EPERM when it is root's.
    """
    try:
        _end_processes({identity(PINS / name)})
    except FileNotFoundError:
        return False
    _unpin(name)
    return True


# -- hold ----------------------------------------------------------------------------------------


class _Holder:
    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.made: dict[str, tuple[int, int]] = {}
        self.kept: dict[str, list[int]] = {}
        """Our own descriptors of each (network, UTS), by which commands enter."""
        self.user: int | None = None
        self.host = identity("/proc/self/ns/net")
        """Where the fabric stands: nothing is opened there for it. It does that itself, if it may."""

    def settle(self) -> None:
        """Find a place to stand: here, with the privilege to make namespaces, or in a user namespace."""
        try:
            _call("unshare", CLONE_NEWNET | CLONE_NEWUTS)
        except OSError as error:
            if error.errno != errno.EPERM:
                raise
            uid, gid = os.geteuid(), os.getegid()
            _call("unshare", CLONE_NEWUSER)
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
            Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
            _call("unshare", CLONE_NEWNET | CLONE_NEWUTS)
            self.user = os.open("/proc/self/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        # An empty namespace to stand in between two visits, so that none is kept alive by us.
        self.home = [os.open(f"/proc/self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in ("net", "uts")]

    @contextlib.contextmanager
    def away(self) -> Iterator[list[int]]:
        """Go elsewhere and open descriptors there; home again afterwards, and without them if it failed."""
        opened: list[int] = []
        try:
            yield opened
        except BaseException:
            for descriptor in opened:
                os.close(descriptor)
            raise
        finally:
            for namespace, kind in zip(self.home, (CLONE_NEWNET, CLONE_NEWUTS), strict=True):
                _call("setns", namespace, kind)

    def make(self, name: str, host: str) -> tuple[dict[str, Any], list[int]]:
        """A network namespace with its loopback interface up, and a host name of its own."""
        if "/" in name or name in ("", ".", ".."):
            raise ValueError(f"no name of a namespace: {name!r}")
        if name in self.made:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        with self.away() as opened:
            _call("unshare", CLONE_NEWNET | CLONE_NEWUTS)
            socket.sethostname(host[:64])
            for kind in ("net", "uts"):
                opened.append(os.open(f"/proc/self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC))
            _loopback_up()
            namespace = identity(opened[0])
            pinned = self.user is None and _pin(name, "/proc/self/ns/net")
        self.made[name] = namespace
        self.kept[name] = [os.dup(descriptor) for descriptor in opened]
        return {"pinned": pinned, "kept": self.kept[name]}, opened

    def remove(self, names: Iterable[str]) -> None:
        gone = {name: self.made.pop(name) for name in names if name in self.made}
        if gone:
            # Who made a network namespace of its own in there is still in the UTS namespace.
            _end_processes({identity(namespace) for name in gone for namespace in self.kept[name]})
        for name in gone:
            for descriptor in self.kept.pop(name):
                os.close(descriptor)
        for name, namespace in gone.items():
            _unpin(name, namespace)

    def open(self, inside: list[int], count: int, path: str | None, kind: list[int]) -> list[int]:
        """Open a device, or a socket of a kind (family, type, protocol), `count` times in a namespace."""
        with self.away() as opened:
            for namespace in inside:
                if identity(namespace) == self.host:
                    raise PermissionError(errno.EPERM, "this is no guest's namespace")
                _call("setns", namespace, CLONE_NEWNET)
            for _ in range(count):
                if path is not None:
                    opened.append(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY))
                    if not stat.S_ISCHR(os.fstat(opened[-1]).st_mode):
                        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
                else:
                    opened.append(socket.socket(*kind).detach())
        return opened

    def spread(self, inside: list[int], interface: str, over: bool) -> None:
        """Have the kernel receive what comes by an interface of one of our namespaces on all CPUs that we may
        use, chosen by flow (receive packet steering), or where it comes in. What somebody else set stays.
        """
        cpus = os.sched_getaffinity(0)
        if len(cpus) == 1:
            return
        everywhere = sum(1 << cpu for cpu in cpus)
        before, after = (0, everywhere) if over else (everywhere, 0)
        with self.away():
            for namespace in inside:
                if identity(namespace) not in self.made.values():
                    raise PermissionError(errno.EPERM, "this is none of our namespaces")
                _call("setns", namespace, CLONE_NEWNET)
            with _sysfs() as sysfs:
                # By a folder's descriptor no name leads out of it but `..`, and that is no interface.
                if "/" in interface or interface in ("", ".", ".."):
                    raise ValueError(f"no name of an interface: {interface!r}")
                queues = f"class/net/{interface}/queues"
                for queue in _names(queues, sysfs):
                    if queue.startswith("rx-"):
                        _replace(f"{queues}/{queue}/rps_cpus", sysfs, before, after)

    def answer(self, wish: dict[str, Any], given: list[int]) -> tuple[dict[str, Any], list[int]]:
        match wish.pop("do"):
            case "make":
                return self.make(**wish)
            case "open":
                return {}, self.open(given, **wish)
            case "spread":
                self.spread(given, **wish)
                return {}, []
            case "remove":
                self.remove(wish["names"])
                return {}, []
            case other:
                raise ValueError(f"no such wish: {other}")

    def serve(self) -> None:
        while True:
            message, given, _, _ = socket.recv_fds(self.control, MESSAGE, DESCRIPTORS)
            if not message:
                return
            try:
                reply, opened = self.answer(json.loads(message), given)
            except Exception as error:  # whatever it is, it is the fabric's to tell
                number = error.errno if isinstance(error, OSError) else None
                what = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
                reply, opened = {"errno": number, "error": what}, []
            try:
                socket.send_fds(self.control, [json.dumps(reply).encode()], opened)
            except OSError:
                return
            finally:
                for descriptor in (*given, *opened):
                    os.close(descriptor)


@contextlib.contextmanager
def _sysfs() -> Iterator[int]:
    """A folder: sysfs as it shows the network namespace that we are in, mounted nowhere."""
    context = _system_call(_FSOPEN, b"sysfs", _FSOPEN_CLOEXEC)
    try:
        _system_call(_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0)
        folder = _system_call(_FSMOUNT, context, _FSMOUNT_CLOEXEC, 0)
    finally:
        os.close(context)
    try:
        yield folder
    finally:
        os.close(folder)


def _names(path: str, folder: int) -> list[str]:
    there = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    try:
        return os.listdir(there)  # noqa: PTH208 - a path would lead to another sysfs
    finally:
        os.close(there)


def _replace(path: str, folder: int, before: int, after: int) -> None:
    """Where a file has that set of CPUs, have it that one."""
    there = os.open(path, os.O_RDWR | os.O_CLOEXEC, dir_fd=folder)
    try:
        if int(os.pread(there, 4096, 0).replace(b",", b""), 16) == before:
            os.pwrite(there, _mask(after).encode(), 0)
    finally:
        os.close(there)


def _mask(bits: int) -> str:
    """As the kernel reads a set of CPUs: words of 32 bits in hexadecimal, the highest first."""
    words: list[str] = []
    while bits or not words:
        words.append(f"{bits & 0xFFFF_FFFF:x}")
        bits >>= 32
    return ",".join(reversed(words))


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        request = bytearray(struct.pack("16sh22x", b"lo", 0))
        fcntl.ioctl(handle, _SIOCGIFFLAGS, request)
        (flags,) = struct.unpack_from("h", request, 16)
        fcntl.ioctl(handle, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | _IFF_UP))


def hold() -> int:
    """Serve the fabric at the other end of standard input until it is gone."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the fabric decides when it ends
    os.chdir("/")
    control = socket.socket(fileno=os.dup(0))
    holder = _Holder(control)
    try:
        holder.settle()
    except OSError as error:
        socket.send_fds(control, [json.dumps({"errno": error.errno, "error": error.strerror}).encode()], [])
        return 1
    try:
        control.send(json.dumps({"user": holder.user}).encode())
        holder.serve()
    finally:
        holder.remove(list(holder.made))
    return 0


# -- enter ---------------------------------------------------------------------------------------


def enter(arguments: list[str]) -> NoReturn:
    """`[--user PATH] [--uts PATH] --net PATH -- COMMAND...`: join those namespaces, become the command."""
    at = arguments.index("--")
    options, command = arguments[:at], arguments[at + 1 :]
    kinds = {"--user": CLONE_NEWUSER, "--uts": CLONE_NEWUTS, "--net": CLONE_NEWNET}
    paths = zip(options[::2], options[1::2], strict=True)
    try:
        opened = [(os.open(path, os.O_RDONLY | os.O_CLOEXEC), kinds[option]) for option, path in paths]
        for namespace, kind in opened:  # the user namespace first: it gives the right to the others
            _call("setns", namespace, kind)
    except OSError as error:
        print(f"vnet: the guest's namespace can't be entered: {error}", file=sys.stderr)
        sys.exit(125)
    with contextlib.suppress(OSError):
        # /sys/class/net shows the namespace of whoever mounted it. Where this is not allowed, it
        # keeps showing the host's interfaces.
        _call("unshare", CLONE_NEWNS)
        _mount("", Path("/"), None, _MS_SLAVE | _MS_REC)
        _mount("vnet", Path("/sys"), "sysfs", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"vnet: {command[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(127 if isinstance(error, FileNotFoundError) else 126)


def program(*arguments: str) -> list[str]:
    """The command line that runs this file."""
    return [sys.executable or "python3", "-I", "-S", os.fspath(Path(__file__).resolve()), *arguments]


if __name__ == "__main__":
    if sys.argv[1] == "hold":
        sys.exit(hold())
    enter(sys.argv[2:])
