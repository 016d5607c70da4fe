"""Giving up what the doors that are open do not need, and saying no to changes that would need it."""

from __future__ import annotations

import logging
import os
import resource
import socket
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import trio

from vnet._native import confine_process, refused_calls
from vnet.errors import VnetError
from vnet.sandbox.needs import CAPABILITIES, KEEP, Needs, needs, of_kind
from vnet.topology.problems import Problem, bad_input

if TYPE_CHECKING:
    from vnet.fabric import Fabric
    from vnet.topology.resolve import Resolved

log = logging.getLogger("vnet")

DESCRIPTORS = 65_536
"""As many as a fabric of the most ports may have, and no more."""
EVERYBODY = frozenset({int(socket.AF_UNIX), int(socket.AF_INET), int(socket.AF_INET6)})
_READ = (
    "/usr/lib",
    "/lib",
    "/usr/lib64",
    "/lib64",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/usr/share/zoneinfo",
)
_STATUS, _STATUS_MAX = "/proc/self/status", 1 << 16
_SHOWN = ("CapEff", "CapPrm", "CapBnd", "NoNewPrivs", "Seccomp")


@attrs.define
class Confinement:
    """What was given up, for good."""

    mode: str
    kept: Needs
    gave_up: frozenset[str]
    """Capabilities that the process had before, of those that a door may need."""
    landlock: int
    """Its version; 0: this kernel has none."""
    filtered: bool
    """System calls are."""
    no_new_code: bool
    """Memory that was written can't be run."""
    runtime: Path
    _bell: int = attrs.field(repr=False)
    _status: int = attrs.field(repr=False)
    """What the kernel says of us, open: whoever asks may find no descriptor left."""
    _told: set[str] = attrs.field(factory=set, repr=False)

    def status(self) -> dict[str, Any]:
        """As in `vnet status --json`; `capabilities` are those that the process has now."""
        shown = _parsed(os.pread(self._status, _STATUS_MAX, 0).decode())
        return {
            "mode": self.mode,
            "capabilities": _capabilities(shown),
            "no_new_privs": shown["NoNewPrivs"] == "1",
            "system_calls": "filtered" if self.filtered else "any",
            "landlock": self.landlock,
            "no_new_code": self.no_new_code,
            "refused": dict(refused_calls()),
        }

    def admits(self, running: Resolved | None, wanted: Resolved, more: Iterable[Problem] = ()) -> None:
        """Raise BadInput for each door that would come and needs what was given up, and for `more`."""
        problems = [*more]
        before = {} if running is None else {**running.ports, **running.uplinks}
        for name, port in {**wanted.ports, **wanted.uplinks}.items():
            old = before.get(name)
            if old is not None and (old.nic, old.guest_kind) == (port.nic, port.guest_kind):
                continue
            asked = needs(port, self.runtime)
            # Who had no capability to begin with may have what it takes without: a TAP of one's own, say.
            asked = attrs.evolve(
                asked, capabilities=asked.capabilities & (self.gave_up | self.kept.capabilities)
            )
            if missing := asked.beyond(self.kept):
                kind = "netns" if port.guest_kind == "netns" else port.nic.kind
                where = ("uplinks", name) if port.is_uplink else ("guests", port.guest, "nics", port.index)
                named = f" with `engine: {{keep: [{kind}]}}`," if kind in KEEP else ""
                problems.append(
                    Problem(
                        where,
                        f"{kind} needs {', '.join(missing)}, which this fabric's sandbox gave up: bring it"
                        f" down, and up again with that in the file,{named} or with --sandbox off",
                    )
                )
        if problems:
            raise bad_input(problems)

    async def watch(self) -> None:
        """Tell of each kind of system call that is refused, once. Runs until cancelled."""
        while True:
            await trio.lowlevel.wait_readable(self._bell)
            os.read(self._bell, 8)
            for name, _ in refused_calls():
                if name not in self._told:
                    self._told.add(name)
                    log.warning("the sandbox refused the system call %s; further ones are counted only", name)


def _capabilities(shown: dict[str, str]) -> list[str]:
    """The effective ones; numbers for those that no door needs."""
    bits = int(shown["CapEff"], 16)
    names = {number: name for name, number in CAPABILITIES.items()}
    return [names.get(bit, str(bit)) for bit in range(64) if bits >> bit & 1]


def _shown(path: str) -> dict[str, str]:
    """What the kernel says of a process or thread."""
    return _parsed(Path(path).read_text())


def _parsed(status: str) -> dict[str, str]:
    lines = (line.partition(":") for line in status.splitlines())
    return {key: value.strip() for key, _, value in lines if key in _SHOWN}


def raise_descriptors() -> None:
    """Let this process have as many descriptors as a large fabric needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, DESCRIPTORS) if hard != resource.RLIM_INFINITY else DESCRIPTORS
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def confine(fabric: Fabric, mode: str, own: Iterable[Path]) -> Confinement | None:
    """Confine this process to what `fabric` needs; `own` are folders that are the fabric's. None: the mode
    is off.

    Raises VnetError when that fails, which the process must not outlive.
    """
    if mode == "off":
        return None
    assert fabric.resolved is not None
    kept = wanted(fabric, mode)
    had = frozenset(_capabilities(_shown(_STATUS)))
    await fabric.netlink.prepare(routes=kept.routes, holder=kept.holder)
    await fabric.machines.prepare(open_to_others=mode == "default" and "qemu" in fabric.topology.engine.keep)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY or hard > DESCRIPTORS:
        resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    folders = list(own)
    rules = [*_code(), *((folder, "own") for folder in folders), *((f.parent, "prune") for f in folders)]
    try:
        landlock, filtered, no_new_code, threads, bell = confine_process(
            capabilities=[CAPABILITIES[name] for name in kept.capabilities],
            rules=[*rules, *kept.rules],
            bind=sorted(kept.bind),
            connect=sorted(kept.connect),
            abstract_sockets=kept.abstract_sockets,
            families=sorted(EVERYBODY | kept.families),
            calls=sorted(kept.calls),
        )
    except OSError as error:
        raise VnetError(f"the sandbox can't be closed: {error}; --sandbox off does without") from error
    _verify(kept, filtered=filtered)
    lacking = [
        what
        for there, what in (
            (filtered, "seccomp filters"),
            (landlock, "Landlock"),
            (no_new_code, "memory that is never both written and run"),
        )
        if not there
    ]
    if lacking and mode == "strict":
        raise VnetError(f"the sandbox is to be strict, and this kernel has no {', no '.join(lacking)}")
    if lacking:
        log.warning("the sandbox does without what this kernel has not: %s", ", ".join(lacking))
    rules_kept = frozenset({*kept.rules, *((folder, "own") for folder in folders)})
    done = Confinement(
        mode,
        attrs.evolve(kept, rules=rules_kept),
        had & CAPABILITIES.keys() - kept.capabilities,
        landlock,
        filtered,
        no_new_code,
        fabric.runtime,
        bell,
        os.open(_STATUS, os.O_RDONLY | os.O_CLOEXEC),
    )
    log.info("the sandbox is closed: %d threads, %s", threads, words(done.status()))
    return done


def wanted(fabric: Fabric, mode: str) -> Needs:
    """What is to be kept: what the doors that are open need, and to open more of their kinds."""
    resolved = fabric.resolved
    assert resolved is not None
    kept = Needs()
    for port in (*resolved.ports.values(), *resolved.uplinks.values()):
        kept |= needs(port, fabric.runtime)
    if mode == "strict":
        # What the open doors use is open; what would open others goes.
        return Needs(
            rules=frozenset(rule for rule in kept.rules if rule[1] in ("sockets", "prune")),
            bind=kept.bind,
            connect=kept.connect,
            abstract_sockets=kept.abstract_sockets,
            calls=kept.calls,
        )
    for kind in fabric.topology.engine.keep:
        kept |= of_kind(kind)
    return kept


def _code() -> Iterator[tuple[Path, str]]:
    """What an interpreter reads while it runs: modules that are imported late, and about itself."""
    found = {*sys.path, *sysconfig.get_paths().values(), sys.prefix, *_READ, str(Path(__file__).parents[2])}
    for path in sorted(found):
        if path.startswith("/") and path != "/" and Path(path).exists():
            yield Path(path), "read"
    yield Path(f"/proc/{os.getpid()}"), "read"
    yield Path("/dev/null"), "write"
    yield Path("/dev/urandom"), "read"


def _verify(kept: Needs, *, filtered: bool) -> None:
    """Ask the kernel about every thread."""
    allowed = sum(1 << CAPABILITIES[name] for name in kept.capabilities)
    for thread in os.listdir("/proc/self/task"):  # noqa: PTH208
        try:
            shown = _shown(f"/proc/self/task/{thread}/status")
        except FileNotFoundError:
            continue
        except ProcessLookupError:
            continue
        free = int(shown["CapEff"], 16) | int(shown["CapPrm"], 16)
        if free & ~allowed or shown["NoNewPrivs"] != "1" or (filtered and shown["Seccomp"] != "2"):
            raise VnetError(f"the sandbox has a hole: thread {thread} is not confined ({shown})")


def words(status: dict[str, Any]) -> str:
    """A line of `vnet status` for its `sandbox`."""
    if status["mode"] == "off":
        return "off: the process may do what its user may"
    said = [
        "no new privileges",
        "system calls filtered" if status["system_calls"] == "filtered" else "any system call",
        f"Landlock {status['landlock']}" if status["landlock"] else "no Landlock",
        f"keeps {', '.join(status['capabilities'])}" if status["capabilities"] else "no capabilities",
    ]
    if refused := sum(status["refused"].values()):
        said.append(f"{refused} call{'s' if refused > 1 else ''} refused ({', '.join(status['refused'])})")
    return f"{status['mode']}: {', '.join(said)}"
