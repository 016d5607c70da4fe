"""A fabric with its control socket, from start to signal; in this process or in one of its own."""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import trio

from nics import handed
from nics.kinds import KINDS
from nics.tap import Tap
from vnet import leases, logs, runtime, state, usage
from vnet._native import run_soon
from vnet.control import server
from vnet.control.operations import Operations
from vnet.errors import VnetError, single
from vnet.fabric import Fabric
from vnet.sandbox import confinement
from vnet.stopping import endings
from vnet.topology import Topology
from vnet.topology.check_ports import nics

log = logging.getLogger("vnet")

READY = b"ready\n"
START_DEADLINE = 120.0
STOP_DEADLINE = 30.0


async def serve(topology: Topology, ready: Callable[[Fabric], None], sandbox: str | None = None) -> None:
    """Bring `topology` up, confine this process, call `ready`, and keep it up until `vnet down`, SIGINT,
    SIGTERM or SIGHUP. `sandbox`: a mode other than the topology's. Its name has to be ours, see
    `state.owning`.
    """
    state_folder = state.folder(topology.name)
    # Under load a client would wait a few milliseconds each time that this thread is woken for it.
    run_soon()
    confinement.raise_descriptors()
    billed = state_folder / usage.FILE
    with trio.open_signal_receiver(*stopping()) as signals, _last(billed) as begun:
        async with Fabric(topology) as fabric:
            fabric.accounts.remember(billed)
            # Not before: what it would write knows nothing of the figures that it did not go on with.
            begun.append(fabric)
            folder = await fabric.hold_runtime()
            operations = Operations(fabric)
            listener = server.listen(folder.path / runtime.CONTROL)
            kept = state_folder / leases.FILE
            if (count := leases.remember(fabric, kept, time.time())) > 0:
                log.info("%d leases of before are remembered", count)
            mode = sandbox or topology.engine.sandbox
            fabric.confinement = await confinement.confine(fabric, mode, [folder.path, state_folder])
            async with trio.open_nursery() as nursery:
                if fabric.confinement is not None:
                    nursery.start_soon(fabric.confinement.watch)
                nursery.start_soon(leases.keep, fabric, kept)
                nursery.start_soon(usage.keep, fabric.accounts, fabric.ports, billed)
                nursery.start_soon(server.serve, listener, operations.table())
                nursery.start_soon(_stop_on_signal, signals, operations.stop)
                operations.cycles.settle()
                ready(fabric)
                await trio.to_thread.run_sync(whole)
                await operations.stop.wait()
                nursery.cancel_scope.cancel()


def whole() -> None:
    """Import what a fabric has no need of before somebody asks for it. After an upgrade its files are another
    version's, which need not fit what runs. What can't be imported is told, and takes nobody's network down.
    """
    for module in (*(kind.where.partition(":")[0] for kind in KINDS.values()), "vnet.echo", "vnet.sockets"):
        try:
            importlib.import_module(module)
        except Exception:
            log.exception("%s can't be imported: nothing that needs it will work", module)


def stopping() -> list[signal.Signals]:
    """Signals that bring a fabric down."""
    return [signal.SIGINT, *endings()]


@contextlib.contextmanager
def _last(billed: Path) -> Iterator[list[Fabric]]:
    """Note what a fabric came to when its last port is gone, however it ended."""
    begun: list[Fabric] = []
    try:
        yield begun
    finally:
        for fabric in begun:
            usage.note(billed, fabric.accounts.document(fabric.ports))


async def _stop_on_signal(signals: object, stop: trio.Event) -> None:
    async for _ in signals:  # type: ignore[attr-defined]
        stop.set()


def spawn(topology: Topology, sandbox: str | None = None) -> None:
    """Start a process of its own for the fabric and return once every port is up.

    It gets the topology as it was read here: what the file says may change meanwhile, and standard
    input can be read only once. Raises what kept it from coming up.
    """
    # Claimed here and owned there: nobody's log is moved out of the way who still writes it.
    claimed = state.claim(topology.name)
    log = state.log_path(topology.name)
    reading, writing = os.pipe()
    try:
        environment = dict(os.environ)
        taps = (nic for _, _, nic in nics(topology) if isinstance(nic, Tap))
        wanted = ((tap.fd, tap.queues) for tap in taps if tap.fd is not None)
        handed_on = handed.pass_on(wanted, environment)
        # In memory: no folder for temporary files has to have room.
        with _opened(log) as output, os.fdopen(os.memfd_create("topology"), "w+b") as document:
            document.write(json.dumps(topology.to_dict()).encode())
            document.seek(0)
            child = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "vnet.daemon",
                    str(writing),
                    str(claimed),
                    *([sandbox] if sandbox else []),
                ],
                stdin=document,
                stdout=output,
                stderr=output,
                pass_fds=[writing, claimed, *handed_on],
                env=environment,
                start_new_session=True,
            )
        os.close(writing)
        writing = -1
        answer = _read_all(reading, START_DEADLINE)
    finally:
        os.close(claimed)
        os.close(reading)
        if writing >= 0:
            os.close(writing)
    if answer == READY:
        return
    if not answer:
        child.kill()
        raise VnetError(f"the fabric did not come up; what it said is in {log}")
    raise VnetError(answer.decode(errors="replace").strip())


def _opened(log: Path) -> BinaryIO:
    """A new log; what one that ended badly said is kept beside it. Raises VnetError."""
    try:
        with contextlib.suppress(FileNotFoundError):
            log.replace(log.with_name(state.LOG_BEFORE))
        # To append: it is written by two, the log's lines and what the interpreter says (`logs.py`).
        return log.open("ab")
    except OSError as error:
        raise VnetError(f"{log} can't be written: {error.strerror or error}") from None


def _read_all(descriptor: int, seconds: float) -> bytes:
    """Everything until the end, or nothing when that doesn't come in time."""
    import select

    data, deadline = b"", time.monotonic() + seconds
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([descriptor], [], [], left)[0]:
            return b""
        chunk = os.read(descriptor, 65536)
        if not chunk:
            return data
        data += chunk


def main() -> int:
    """`python -m vnet.daemon DESCRIPTOR CLAIMED [SANDBOX] < TOPOLOGY`: tells DESCRIPTOR that the fabric is
    up, or why not. CLAIMED is what `state.claim` gave for its name.
    """
    layout = "%(asctime)s %(levelname)s %(message)s"
    logging.basicConfig(level=logging.INFO, format=layout)
    descriptor, claimed = map(int, sys.argv[1:3])
    for ours in (descriptor, claimed):
        # No child's, and no door's, whatever number the topology names.
        os.set_inheritable(ours, False)
    handed.take()

    told = False

    def tell(answer: bytes) -> None:
        # Once: afterwards the number may be a guest's door.
        nonlocal told
        if not told:
            told = True
            try:
                os.write(descriptor, answer)
            finally:
                os.close(descriptor)

    try:
        topology = Topology.from_file("-")
        logs.write_to(state.log_path(topology.name), layout)
        sandbox = sys.argv[3] if len(sys.argv) > 3 else None
        with state.owning(topology.name, claimed):
            trio.run(serve, topology, lambda _fabric: tell(READY), sandbox)
            state.log_path(topology.name).unlink(missing_ok=True)
    except BaseException as error:
        reason = single(error)
        logging.exception("the fabric ended")
        with contextlib.suppress(OSError):
            tell(str(reason).encode() or b"it failed")
        return 1
    with contextlib.suppress(OSError):  # others are in it
        runtime.base().rmdir()
    return 0


if __name__ == "__main__":
    sys.exit(main())
