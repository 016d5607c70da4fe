"""A process that confined itself tries what it must not be able to do any more."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

HEAD = """
import ctypes, json, os, signal, socket, struct, sys, threading, time
from vnet import _native
folder, = sys.argv[1:]
started, go_on = threading.Event(), threading.Event()
def before():
    started.set()
    go_on.wait()
    lines = open(f"/proc/self/task/{threading.get_native_id()}/status").read().splitlines()
    wanted = ("NoNewPrivs", "Seccomp", "CapPrm")
    told["early thread"] = [line for line in lines if line.split(":")[0] in wanted]
    told["early thread reads"] = attempt(open, "/etc/passwd")
def attempt(function, *arguments):
    try:
        function(*arguments)
    except OSError as error:
        return error.errno
    return 0
def confine(rules=(), **more):
    keys = dict(capabilities=[], rules=[(f"/proc/{os.getpid()}", "read"), *rules], bind=[], connect=[],
                abstract_sockets=False, families=[socket.AF_UNIX, socket.AF_INET], calls=[])
    return _native.confine_process(**{**keys, **more})
told = {}
thread = threading.Thread(target=before)
thread.start()
started.wait()
"""

TAIL = """
go_on.set()
thread.join()
told["refused"] = dict(_native.refused_calls())
print(json.dumps(told))
"""


def confined(folder: Path, text: str) -> dict[str, Any]:
    """What a process of its own has to tell after it confined itself."""
    script = HEAD + textwrap.dedent(text) + TAIL
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)], capture_output=True, text=True, timeout=50, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    told: dict[str, Any] = json.loads(done.stdout)
    return told


EPERM, EACCES, ENOSYS = 1, 13, 38


def test_every_thread_has_given_up_everything(tmp_path: Path) -> None:
    told = confined(
        tmp_path,
        """
        told["landlock"], told["filtered"], _, told["threads"], _ = confine()
        told["status"] = open("/proc/self/status").read()
        told["later thread"] = 1
        def late():
            told["later thread"] = attempt(open, "/etc/passwd")
        other = threading.Thread(target=late)
        other.start()
        other.join()
        """,
    )
    assert told["landlock"] >= 1
    assert told["filtered"]
    assert told["threads"] == 2
    assert told["early thread"] == ["CapPrm:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"]
    assert told["early thread reads"] == told["later thread"] == EACCES
    assert "CapEff:\t0000000000000000" in told["status"]


def test_system_calls(tmp_path: Path) -> None:
    told = confined(
        tmp_path,
        """
        libc = ctypes.CDLL(None, use_errno=True)
        def call(number, *arguments):
            ctypes.set_errno(0)
            return ctypes.get_errno() if libc.syscall(number, *arguments) == -1 else 0
        parent = os.getppid()
        confine()
        told["errors"] = {
            "execve": attempt(os.execv, "/bin/true", ["true"]),
            "fork": attempt(os.fork),
            "kill": attempt(os.kill, parent, 0),
            "setuid": attempt(os.setuid, 0),
            "packet": attempt(socket.socket, socket.AF_PACKET, socket.SOCK_RAW),
            "netlink": attempt(socket.socket, socket.AF_NETLINK, socket.SOCK_RAW),
            "ptrace": call(101, 16, parent, 0, 0),
            "process_vm_readv": call(310, parent, 0, 0, 0, 0, 0),
            "bpf": call(321, 0, 0, 0),
            "io_uring_setup": call(425, 1, 0),
            "userfaultfd": call(323, 0),
            "unshare": call(272, 0x40000000),
            "mount": call(165, 0, 0, 0, 0, 0),
            "keyctl": call(250, 0, 0, 0, 0, 0),
            "perf_event_open": call(298, 0, 0, 0, 0, 0),
            "tgkill": call(234, parent, parent, 0),
            "ioctl TIOCSTI": call(16, 0, 0x5412, b"x"),
            "prctl PR_SET_DUMPABLE": call(157, 4, 1, 0, 0, 0),
        }
        told["newer than us"] = call(460, 0)
        told["clone3"] = call(435, 0, 0)
        told["fine"] = [attempt(socket.socket, socket.AF_INET), attempt(os.getpid), attempt(os.eventfd, 0)]
        """,
    )
    assert told["errors"] == dict.fromkeys(told["errors"], EPERM)
    assert (told["newer than us"], told["clone3"]) == (ENOSYS, ENOSYS)
    assert told["fine"] == [0, 0, 0]
    # Each is counted under its name; what is newer and what the C library is told are not.
    assert told["refused"]["ptrace"] == 1
    assert told["refused"]["socket"] == 2
    assert "clone3" not in told["refused"]


def test_one_that_is_refused_rings_the_bell(tmp_path: Path) -> None:
    told = confined(
        tmp_path,
        """
        *_, bell = confine()
        told["before"] = attempt(os.read, bell, 8)
        attempt(os.fork)
        told["after"] = attempt(os.read, bell, 8)
        attempt(os.fork)  # the second of its kind
        told["again"] = attempt(os.read, bell, 8)
        """,
    )
    again = 11
    assert (told["before"], told["after"], told["again"]) == (again, 0, again)


def test_files_and_ports(tmp_path: Path) -> None:
    for name in ("own", "sockets", "read", "prune"):
        (tmp_path / name).mkdir()
    (tmp_path / "prune" / "empty").mkdir()
    (tmp_path / "read" / "file").write_text("here")
    (tmp_path / "secret").write_text("not for you")
    told = confined(
        tmp_path,
        """
        outside = socket.socket(socket.AF_UNIX)
        outside.bind("\\0vnet-outside-" + str(os.getpid()))
        confine([(f"{folder}/{name}", name) for name in ("own", "sockets", "read", "prune")], bind=[0])
        def bind(path):
            socket.socket(socket.AF_UNIX).bind(path)
        def connect():
            socket.socket().connect(("127.0.0.1", 9))
        told["fine"] = [
            attempt(lambda: open(f"{folder}/own/file", "w").write("x")),
            attempt(os.mkdir, f"{folder}/own/folder"),
            attempt(os.unlink, f"{folder}/own/file"),
            attempt(bind, f"{folder}/sockets/a.sock"),
            attempt(os.unlink, f"{folder}/sockets/a.sock"),
            attempt(open, f"{folder}/read/file"),
            attempt(os.rmdir, f"{folder}/prune/empty"),
            attempt(socket.socket().bind, ("127.0.0.1", 0)),
        ]
        told["refused files"] = [
            attempt(open, f"{folder}/secret"),
            attempt(open, f"{folder}/read/file", "w"),
            attempt(open, f"{folder}/sockets/file", "w"),
            attempt(bind, f"{folder}/read/a.sock"),
            attempt(os.unlink, f"{folder}/secret"),
            attempt(os.listdir, "/etc"),
            attempt(os.mkdir, f"{folder}/prune/other"),
            attempt(socket.socket().bind, ("127.0.0.1", 40123)),
            attempt(connect),
        ]
        """,
    )
    assert told["fine"] == [0] * 8
    assert told["refused files"] == [EACCES] * 9


def test_memory_that_was_written_is_not_run(tmp_path: Path) -> None:
    told = confined(
        tmp_path,
        """
        import mmap
        told["promised"] = confine()[2]
        libc = ctypes.CDLL(None, use_errno=True)
        told["both"] = attempt(mmap.mmap, -1, 4096, mmap.MAP_PRIVATE, mmap.PROT_WRITE | mmap.PROT_EXEC)
        """,
    )
    if told["promised"]:
        assert told["both"] == EACCES
    else:
        assert not confinement_offered()


def confinement_offered() -> bool:
    """Whether this kernel can promise it."""
    from vnet._native import confinement_offered

    return confinement_offered()[1]
