"""A virtual machine on a fabric in its sandbox: `vnet up`, QEMU, a reset, `vnet apply`, `vnet down`."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.needs import needs_qemu, needs_root
from tests.qemu.machine import MEMORY, Card, boot

pytestmark = [needs_qemu, needs_root, pytest.mark.deadline(300)]

NAME = f"boxed{os.getpid()}"
KINDS = {
    "vhost-user": ("10.7.1", {"kind": "vhost-user", "socket": "vu.sock"}),
    "stream": ("10.7.2", {"kind": "stream", "socket": "st.sock"}),
    "dgram": ("10.7.3", {"kind": "dgram", "local": "dg.sock", "remote": "dg-vm.sock"}),
    "vde": ("10.7.4", {"kind": "vde", "directory": "vm.vde"}),
}


def document() -> dict[str, Any]:
    """A network for each kind, with an in-process guest and a NIC of the machine in each."""
    nics = [
        {"network": kind, "ip": [f"{net}.12"], "mac": f"02:00:00:00:00:1{number}", "nic": nic}
        for number, (kind, (net, nic)) in enumerate(KINDS.items())
    ]
    hosts = {
        f"host-{kind}": {"nics": [{"network": kind, "ip": [f"{net}.11"]}]} for kind, (net, _) in KINDS.items()
    }
    return {
        "name": NAME,
        "networks": {kind: {"subnets": [f"{net}.0/24"]} for kind, (net, _) in KINDS.items()},
        "guests": {"vm": {"kind": "external", "nics": nics}, **hosts},
    }


async def vnet(*words: str, given: Any = None, code: int = 0) -> str:
    run = functools.partial(
        subprocess.run,
        [sys.executable, "-m", "vnet", *words],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    done: subprocess.CompletedProcess[str] = await trio.to_thread.run_sync(run)
    assert done.returncode == code, f"vnet {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


async def test_every_way_into_a_virtual_machine_works_in_the_sandbox() -> None:
    folder = Path("/run/vnet", NAME)
    await vnet("up", "-", "-d", "--sandbox", "strict", given=document())
    try:
        cards = [
            Card("vhost-user,chardev=vhost", mac="02:00:00:00:00:10", options="vectors=0"),
            Card(f"stream,server=off,addr.type=unix,addr.path={folder}/st.sock", mac="02:00:00:00:00:11"),
            Card(
                f"dgram,local.type=unix,local.path={folder}/dg-vm.sock,remote.type=unix,"
                f"remote.path={folder}/dg.sock",
                mac="02:00:00:00:00:12",
            ),
            Card(f"vde,sock={folder}/vm.vde", mac="02:00:00:00:00:13"),
        ]
        shared = [
            *("-object", f"memory-backend-memfd,id=shared,size={MEMORY}M,share=on"),
            *("-machine", "memory-backend=shared", "-chardev", f"socket,id=vhost,path={folder}/vu.sock"),
        ]
        async with boot("vm", *cards, more=shared) as machine:
            for number, (kind, (net, _)) in enumerate(KINDS.items()):
                await machine.run(f"ip addr add {net}.12/24 dev eth{number}; ip link set eth{number} up")
                assert await machine.ping(f"{net}.11"), kind
                assert "3 received" in await vnet(
                    "ping", f"host-{kind}", f"{net}.12", "-c", "3", "-i", "0.05", "-W", "20", "-n", NAME
                )
            # Rings start anew: memory is mapped and eventfds are taken while confined.
            await machine.reset()
            await machine.run("ip addr add 10.7.1.12/24 dev eth0; ip link set eth0 up")
            assert await machine.ping("10.7.1.11")
            changed = document()
            changed["guests"]["late"] = {"nics": [{"network": "stream"}]}
            assert "add guest late" in await vnet("apply", "-", given=changed)
        told = json.loads(await vnet("status", NAME, "--json"))["sandbox"]
        assert (told["mode"], told["capabilities"], told["refused"]) == ("strict", [], {})
    finally:
        await vnet("down", NAME)
    assert not folder.exists()  # noqa: ASYNC240 - nothing else runs any more
