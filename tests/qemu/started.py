"""Guests of kind `qemu` for tests: a tiny Linux that vnet starts, and the shell on its console."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

import vnet
from tests.qemu.machine import KERNEL_WORDS, MEMORY, QBOOT
from tools.guest import image

BOOT = 90


def machine(**keys: Any) -> dict[str, Any]:
    """The keys of a guest that boots the tests' image, with a shell on its console."""
    built = image.build()
    return {
        "kind": "qemu",
        "accel": "tcg",
        "memory": f"{MEMORY} MiB",
        "kernel": str(built.kernel),
        "initrd": str(built.initramfs),
        "append": KERNEL_WORDS,
        # It is not asked to shut down: while it boots it would not answer.
        "stop_timeout": "0 s",
        "nics": [{"network": "lan", "ip": "10.0.0.10"}],
        **({"args": ["-bios", str(QBOOT)]} if QBOOT.exists() else {}),
        **keys,
    }


def document(**guests: Any) -> dict[str, Any]:
    web = {"nics": [{"network": "lan", "ip": "10.0.0.11"}]}
    networks = {"lan": {"subnets": ["10.0.0.0/24"]}}
    return {"name": f"machines{os.getpid()}", "networks": networks, "guests": {"web": web, **guests}}


class Shell:
    """The shell on a machine's console."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.count = 0

    async def until(self, text: bytes) -> bytes:
        seen = b""
        with trio.fail_after(BOOT):
            while text not in seen:
                data = await self.stream.receive_some(4096)
                assert data, seen
                seen += data
        return seen

    async def run(self, command: str) -> str:
        """What a command printed."""
        self.count += 1
        begun, done = (f"{word} {self.count}".encode() for word in ("begun", "done"))
        # What is typed is echoed, twice if the shell was not there yet, and is not what it prints.
        await self.stream.send_all(
            f"echo be''gun {self.count}; {command}; echo do''ne {self.count}\n".encode()
        )
        return (await self.until(done)).partition(begun)[2].partition(done)[0].decode(errors="replace")


@asynccontextmanager
async def shell(guest: vnet.QemuGuest, *, booting: bool = True) -> AsyncIterator[Shell]:
    async with guest.console() as stream:
        found = Shell(stream)
        if booting:
            await found.until(b"/ # ")
        yield found


async def until(what: Callable[[], bool], seconds: float = 60) -> None:
    with trio.fail_after(seconds):
        while not what():  # noqa: ASYNC110 - there is nothing to wait for but the outcome
            await trio.sleep(0.01)


def qemu(fabric: vnet.Fabric, name: str = "vm") -> vnet.QemuGuest:
    guest = fabric.guests[name]
    assert isinstance(guest, vnet.QemuGuest)
    return guest


async def answers(fabric: vnet.Fabric, address: str, *, by: str = "web") -> None:
    """Wait until an address answers a guest."""
    asking = fabric.guests[by]
    with trio.fail_after(60):
        while True:
            try:
                await asking.ping(address, timeout=1)
                return
            except vnet.Unreachable:
                await trio.sleep(0.05)


def command(*words: str, given: Any = None, code: int = 0, folder: Path | None = None) -> str:
    """What `vnet` says, run in a folder."""
    done = subprocess.run(
        [sys.executable, "-m", "vnet", *words],
        input=given if isinstance(given, str) else json.dumps(given),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=folder,
    )
    assert done.returncode == code, f"vnet {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr
