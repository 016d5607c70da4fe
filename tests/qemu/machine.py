"""A real Linux guest in QEMU, for tests: boot it, run commands in it, pull its cables, kill it.

    async with boot("a", Card("stream,server=off,addr.type=unix,addr.path=/run/x.sock")) as guest:
        await guest.run("ip addr add 10.0.0.1/24 dev eth0 && ip link set eth0 up")
        print(await guest.run("ping -c 3 10.0.0.2"))

The image and what serves the commands are in `tools/guest`. QEMU's control, bulk and QMP channels are
socket pairs that it inherits: no paths, and nothing to race for. It dies when we do.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import attrs
import trio

from tests import peers
from tools.guest import image
from vnet.machines.qmp import Qmp

MEMORY = 160
"""Guest memory in MiB: the kernel, 20 MiB of initramfs, and room for socket buffers."""
BOOT = 90.0
"""Seconds to boot. It takes 3 on an idle machine; this is a limit, not a wait."""
RUN = 60.0
"""Seconds that a command may take if it isn't told otherwise."""

KERNEL_WORDS = "console=ttyS0 quiet panic=-1 net.ifnames=0 mitigations=off nokaslr norandmaps tsc=reliable"
"""Programs are where they were: QEMU would translate them anew for each address that they start at, and after
hundreds of starts every byte that the next boot clears costs a walk through all of that."""
QBOOT = Path("/usr/share/qemu/qboot.rom")


class GuestError(Exception):
    """A guest did not boot, went away, or a command in it failed."""


@attrs.frozen
class Card:
    """One NIC of a guest: what follows `-netdev`, but for the id, and the model that the guest sees."""

    netdev: str
    model: str = "virtio-net-pci"
    mac: str | None = None
    options: str = ""
    """More of the device, e.g. `csum=off,gso=off`."""

    def words(self, index: int) -> list[str]:
        kind, _, rest = self.netdev.partition(",")
        device = [self.model, f"id=nic{index}", f"netdev=net{index}", "romfile="]
        if self.mac is not None:
            device.append(f"mac={self.mac}")
        if self.options:
            device.append(self.options)
        netdev = f"{kind},id=net{index}" + (f",{rest}" if rest else "")
        return ["-netdev", netdev, "-device", ",".join(device)]


class Machine:
    """A running guest. Made by `boot`."""

    def __init__(
        self, name: str, process: subprocess.Popen[bytes], console: Path, control: trio.SocketStream
    ) -> None:
        self.name = name
        self.process = process
        self.bulk: trio.SocketStream
        self.qmp: Qmp
        self._console = console
        self._control = control
        self._count = 0
        self._waiting: dict[int, trio.MemorySendChannel[tuple[int, bytes]]] = {}
        self._sending = trio.Lock()
        self._bulk_lock = trio.Lock()
        self._gone = False
        self._has_block = False
        self.booted = trio.Event()

    # -- commands --------------------------------------------------------------------------------

    async def run(self, command: str, *, check: bool = True, deadline: float = RUN) -> str:
        """Run a shell command and return what it printed, to both outputs.

        Raises GuestError when it exits with another code than 0, unless `check` is False; and
        TooSlowError. Several may run at once. It may leave processes in the background.
        """
        code, text = await self.outcome(command, deadline=deadline)
        if check and code != 0:
            raise GuestError(f"{self.name}: {command!r} exited with {code}:\n{text}")
        return text

    async def outcome(self, command: str, *, deadline: float = RUN) -> tuple[int, str]:
        """Run a shell command; its exit code and what it printed."""
        self._count += 1
        number = self._count
        send, receive = trio.open_memory_channel[tuple[int, bytes]](1)
        self._waiting[number] = send
        try:
            with trio.fail_after(deadline):
                if self._gone:
                    raise GuestError(self._obituary())
                words = base64.b64encode(command.encode()).decode()
                async with self._sending:
                    await self._control.send_all(f"{number} {words}\n".encode())
                code, output = await receive.receive()
        except (trio.EndOfChannel, trio.BrokenResourceError):
            raise GuestError(self._obituary()) from None
        finally:
            del self._waiting[number]
        return code, output.decode(errors="replace")

    async def upload(self, data: bytes, path: str, *, mode: int = 0o644) -> None:
        """Write a file in the guest."""
        async with self._bulk_lock, trio.open_nursery() as nursery:
            quoted = shlex.quote(path)
            copy = f"head -c {len(data)} < /dev/bulk > {quoted} && chmod {mode:o} {quoted}"
            nursery.start_soon(self.run, copy)
            await self.bulk.send_all(data)
        if await self.sha256(path) != hashlib.sha256(data).hexdigest():
            raise GuestError(f"{self.name}: {path} arrived damaged")

    async def sha256(self, path: str) -> str:
        """The SHA-256 of a file in the guest, in hexadecimal."""
        return (await self.run(f"sha256sum {shlex.quote(path)}")).split()[0]

    # -- as a peer of a transfer (tests/peers.py) ------------------------------------------------

    async def ping(self, address: str, *, count: int = peers.TRIES) -> bool:
        """Whether any of `count` echo requests was answered."""
        # One at a time: several in one call take a second each, answered or not.
        tries = " ".join(map(str, range(count)))
        code, _ = await self.outcome(f"for i in {tries}; do ping -c 1 -W 2 {address} && exit 0; done; exit 1")
        return code == 0

    async def take(self, port: int, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> str:
        """Accept one connection, read it to its end; the SHA-256. Started once it listens."""
        # State 0A is LISTEN. Looked for in the guest, where a round trip costs least.
        listens = f"until grep -q ':{port:04X} 0*:0000 0A' /proc/net/tcp6; do usleep 20000; done"
        result = ""

        async def take() -> None:
            nonlocal result
            listen = f"socat -u -b 65536 TCP6-LISTEN:{port},ipv6only=0,reuseaddr STDOUT || echo failed"
            told = await self.run(f"({listen}) | sha256sum", deadline=600)
            result = told.split()[0]

        async with trio.open_nursery() as nursery:
            nursery.start_soon(take)
            await self.run(listens)
            task_status.started()
        return result

    async def give(self, address: str, port: int, blocks: int) -> None:
        """Connect, send so many blocks, and close."""
        if not self._has_block:
            await self.upload(peers.block(), "/tmp/block")
            self._has_block = True
        target = f"TCP6:[{address}]:{port}" if ":" in address else f"TCP4:{address}:{port}"
        send = f"for i in $(seq {blocks}); do cat /tmp/block; done | socat -u -b 65536 STDIN {target}"
        await self.run(send, deadline=600)

    # -- life ------------------------------------------------------------------------------------

    async def reset(self) -> None:
        """Push the reset button, and wait until the guest is up again. Commands that ran are lost."""
        self.booted = trio.Event()
        self._has_block = False
        await self.qmp("system_reset")
        with trio.fail_after(BOOT):
            await self.booted.wait()

    def pause(self) -> None:
        """Freeze the whole process: it neither sends nor reads any more."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    async def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        descriptor = os.pidfd_open(self.process.pid)
        try:
            await trio.lowlevel.wait_readable(descriptor)
        finally:
            os.close(descriptor)
        self.process.wait()

    def console(self) -> str:
        """What the kernel printed, and QEMU itself."""
        return self._console.read_text(errors="replace")

    def _obituary(self) -> str:
        return f"{self.name} is gone; its console ended with:\n" + "\n".join(
            self.console().splitlines()[-25:]
        )

    async def serve(self) -> None:
        """Read answers until the guest is gone."""
        rest = b""
        try:
            while True:
                line, rest = await self._until_newline(rest)
                if line.startswith(b"vnet-guest"):
                    self.booted.set()
                    continue
                number, code, size = map(int, line.split())
                while len(rest) < size:
                    rest += await self._some()
                output, rest = rest[:size], rest[size:]
                if (waiting := self._waiting.get(number)) is not None:
                    waiting.send_nowait((code, output))
        except (trio.BrokenResourceError, EOFError):
            pass
        finally:
            self._gone = True
            for waiting in self._waiting.values():
                waiting.close()

    async def _until_newline(self, rest: bytes) -> tuple[bytes, bytes]:
        while b"\n" not in rest:
            rest += await self._some()
        line, _, rest = rest.partition(b"\n")
        return line, rest

    async def _some(self) -> bytes:
        data = await self._control.receive_some()
        if not data:
            raise EOFError
        return data


def _pair() -> tuple[trio.SocketStream, socket.socket]:
    ours, theirs = socket.socketpair()
    return trio.SocketStream(trio.socket.from_stdlib_socket(ours)), theirs


def _words(
    name: str, cards: Sequence[Card], memory: int, descriptors: dict[str, int], more: Sequence[str]
) -> list[str]:
    qemu = shutil.which("qemu-system-x86_64") or "qemu-system-x86_64"
    words = ["setpriv", "--pdeathsig", "KILL", qemu, "-name", name, "-machine", "pc", "-accel", "tcg"]
    words += [
        "-cpu",
        "max",
        "-m",
        str(memory),
        "-smp",
        "1",
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
    ]
    words += image.build().words()
    words += ["-append", f"{KERNEL_WORDS} vnet.name={name}", "-serial", "stdio"]
    if QBOOT.exists():  # a second faster than SeaBIOS
        words += ["-bios", str(QBOOT)]
    for channel, descriptor in descriptors.items():
        words += ["-chardev", f"socket,id={channel},fd={descriptor}"]
    words += ["-mon", "chardev=qmp,mode=control", "-device", "virtio-serial-pci"]
    for channel in ("control", "bulk"):
        words += ["-device", f"virtserialport,chardev={channel},name={channel}"]
    for index, card in enumerate(cards):
        words += card.words(index)
    return words + list(more)


@contextlib.asynccontextmanager
async def boot(
    name: str,
    *cards: Card,
    memory: int = MEMORY,
    descriptors: Sequence[int] = (),
    more: Sequence[str] = (),
    wait: bool = True,
) -> AsyncIterator[Machine]:
    """Boot a guest, and end it with the block.

    `descriptors` are inherited by QEMU under the same numbers, for `-netdev ...,fd=N`; `more` are
    further words for QEMU. Without `wait` it may still be booting: `await guest.booted.wait()`.
    """
    channels = {channel: _pair() for channel in ("control", "bulk", "qmp")}
    theirs = {channel: pair[1] for channel, pair in channels.items()}
    numbers = {channel: end.fileno() for channel, end in theirs.items()}
    with tempfile.TemporaryDirectory(prefix="vnet-guest-") as scratch:
        console = Path(scratch, "console")
        with console.open("wb") as out:  # noqa: ASYNC230
            # Not trio.open_process: it starts processes from threads that come and go, and with the
            # thread that started it QEMU would go too (prctl(2), PR_SET_PDEATHSIG).
            process = subprocess.Popen(  # noqa: ASYNC220
                _words(name, cards, memory, numbers, more),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                pass_fds=[*numbers.values(), *descriptors],
            )
        for end in theirs.values():
            end.close()
        machine = Machine(name, process, console, channels["control"][0])
        machine.bulk = channels["bulk"][0]
        machine.qmp = Qmp(channels["qmp"][0])
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(machine.serve)
                await _starts(machine, nursery)
                if wait:
                    await _boots(machine)
                yield machine
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            if len(group.exceptions) > 1:
                raise
            raise group.exceptions[0] from None
        finally:
            with trio.CancelScope(shield=True):
                if process.poll() is None:
                    await machine.kill()
                for stream, _ in channels.values():
                    await trio.aclose_forcefully(stream)


async def _starts(machine: Machine, nursery: trio.Nursery) -> None:
    try:
        with trio.fail_after(BOOT):
            await nursery.start(machine.qmp.run)
    except (RuntimeError, trio.TooSlowError):
        raise GuestError(f"QEMU did not start {machine.name}: {machine.console()}") from None


async def _boots(machine: Machine) -> None:
    with trio.move_on_after(BOOT):
        await machine.booted.wait()
        return
    raise GuestError(f"{machine.name} did not boot in {BOOT:g} s; its console says:\n{machine.console()}")
