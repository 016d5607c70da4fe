"""DPDK's virtio-user, another client of these sockets: testpmd as a guest, without a machine around it."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import attrs
import pytest
import trio

import vnet
from tests.needs import needs, needs_root, needs_tool
from tests.qemu import lab, scenario

HUGE = 40
"""Pages of 2 MiB that a testpmd takes."""
FOLDER = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")


def _huge() -> str | None:
    return None if FOLDER.exists() else "the kernel has none of 2 MiB"


@contextlib.contextmanager
def huge_pages() -> Iterator[None]:
    """As many free huge pages as it takes, and afterwards as many as there were."""
    all_of_them, free = FOLDER / "nr_hugepages", int((FOLDER / "free_hugepages").read_text())
    before = int(all_of_them.read_text())
    if free < HUGE:
        all_of_them.write_text(str(before + HUGE - free))
    try:
        yield
    finally:
        if free < HUGE:
            all_of_them.write_text(str(before))


pytestmark = [needs_root, needs_tool("dpdk-testpmd"), pytest.mark.deadline(200)]

PLAIN = ("--no-huge", "--no-shconf")
PAGES = ("--in-memory", "--single-file-segments")


@attrs.frozen
class Kind:
    """What the device is asked to be, and what memory it has."""

    device: str
    memory: tuple[str, ...] = PLAIN
    queues: int = 1


@contextlib.asynccontextmanager
async def answering(fabric: vnet.Fabric, name: str, kind: Kind) -> AsyncIterator[None]:
    """A testpmd on the port of guest `name` that answers to ARP and echo requests."""
    port = fabric.port(name)
    device = f"net_virtio_user0,path={fabric.runtime / f'{name}.sock'},mac={port.wanted.mac},queue_size=256"
    words = ["setpriv", "--pdeathsig", "KILL", "dpdk-testpmd", "--lcores", "0,1@0", "--no-pci"]
    words += ["--no-telemetry", *kind.memory, "-m", "64"]
    words += ["--vdev", f"{device},queues={kind.queues},{kind.device}", "--", "--total-num-mbufs=2048"]
    words += ["--forward-mode=icmpecho", f"--rxq={kind.queues}", f"--txq={kind.queues}"]
    with Path(fabric.runtime, "testpmd.log").open("wb") as log:  # noqa: ASYNC230
        # Not trio.open_process: see tests/qemu/machine.py. It ends when it is told to, or reads a line.
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=log, stderr=log)  # noqa: ASYNC220
    try:
        await lab.carrier(port, True)
        yield
    finally:
        process.send_signal(signal.SIGINT)
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(process.communicate)


async def _everything(kinds: list[Kind]) -> None:
    """One after the other on the same port: each finds it as if it were the first."""
    nics = {"vm1": {"kind": "vhost-user", "socket": "vm1.sock", "queues": 2}}
    with lab.runtime() as folder:
        async with vnet.Fabric.from_dict(lab.topology(nics), runtime=folder) as fabric:
            web, shell = fabric.guests["web"], fabric.guests["shell"]
            assert isinstance(web, vnet.StackGuest)
            assert isinstance(shell, vnet.NetnsGuest)
            address = lab.addresses(fabric, "vm1")[0]
            for kind in kinds:
                async with answering(fabric, "vm1", kind):
                    with trio.move_on_after(60):
                        while not await lab.peer(fabric, "web").ping(address, count=1):  # noqa: ASYNC110
                            await trio.sleep(0.01)
                    # More than a ring has places, of all lengths: every one is answered.
                    for number in range(300):
                        await web.ping(address, size=number * 4, timeout=20)
                    assert await lab.peer(fabric, "shell").ping(address), kind
                    drops = {reason: n for reason, n in fabric.port("vm1").status()["drops"].items() if n}
                    assert not drops.keys() - scenario.USUAL, (kind, drops)
                await lab.carrier(fabric.port("vm1"), False)


async def test_testpmd_with_plain_memory() -> None:
    await _everything(
        [
            Kind("packed_vq=0,in_order=0"),
            Kind("packed_vq=1,in_order=0"),
            Kind("packed_vq=1,in_order=1,mrg_rxbuf=0", queues=2),
        ]
    )


@needs("huge pages", _huge)
async def test_testpmd_with_huge_pages() -> None:
    with huge_pages():
        await _everything(
            [
                Kind("packed_vq=0,in_order=1", PAGES),
                Kind("packed_vq=0,in_order=0,mrg_rxbuf=0", PAGES, queues=2),
                Kind("packed_vq=1,in_order=1", PAGES),
            ]
        )
