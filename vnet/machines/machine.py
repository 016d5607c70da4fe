"""One machine: started, watched, stopped, its NICs plugged and unplugged while it runs.

It is started stopped, gets its NICs by its monitor, and only then runs: so it finds them as if they had been
there always, and one that comes later takes the same way.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from collections import deque
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import trio

from vnet.connect.facts import Facts
from vnet.connect.qemu import plug
from vnet.errors import BadInput, VnetError
from vnet.machines.agent import Agent
from vnet.machines.console import Console
from vnet.machines.keeping import Keeping
from vnet.machines.qmp import Qmp, QmpError
from vnet.topology import model

log = logging.getLogger("vnet")

START = 30.0
"""Seconds until QEMU has taken its NICs."""
QUIT = 3.0
"""Seconds that QEMU may take to end when it is told to, before it is killed."""
ANSWER = 10.0
"""Seconds that QEMU may take to push a button."""
UNPLUG = 5.0
"""Seconds that a guest may hold on to a NIC that is unplugged."""
PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
"""Before a machine that failed is started again. One that ran for longer than the last begins anew."""
SELDOM = 1.0
"""From one line about an event to the next of its kind."""
LINES = 20
"""Of what QEMU says itself, kept for whoever asks why it ended."""
WIDTH = 300
STATES = ("stopped", "starting", "running", "paused", "shut down", "failed", "killed")
"""`stopped` by us, `shut down` by its guest."""


class Machine:
    """Of one guest of kind `qemu`."""

    def __init__(self, name: str, keeping: Keeping, nursery: trio.Nursery, runtime: Path) -> None:
        self.name = name
        self.state = "stopped"
        """One of STATES."""
        self.since = trio.current_time()
        self.pid: int | None = None
        self.code: int | None = None
        """That QEMU exited with, negative for a signal; None: it runs, or nobody knows."""
        self.kvm = False
        self.restarts = 0
        self.said: deque[str] = deque(maxlen=LINES)
        """QEMU's own last lines."""
        self.console = Console(runtime / f"{name}.console.log")
        self.agent: Agent | None = None
        """Whoever speaks for the guest inside of it, if anybody does."""
        self._keeping = keeping
        self._nursery = nursery
        self._wanted = model.Machine()
        self._argv: list[str] = []
        self._facts: dict[str, Facts] = {}
        self._qmp: Qmp | None = None
        self._number = 0
        self._gone = trio.Event()
        self._gone.set()
        self._heard = self._gone
        self._lock = trio.Lock()
        """Held while a process comes or goes: there is one at a time."""
        self._starting = trio.CancelScope()
        """Of the latest start."""
        self._stopping = 0
        """So many are at it."""
        self._plugged: dict[str, str] = {}
        self._left: set[str] = set()
        self._cut: set[str] = set()
        """Ports whose cables are cut, which its guest is to see."""
        self._dark: set[str] = set()
        """NICs that QEMU shows without carrier because of that."""
        self._showing = False
        self._count = 0
        self._again: trio.CancelScope | None = None
        """Of the start to come after it failed."""
        self._failures = 0
        self._warned: dict[str, tuple[float, int]] = {}
        """When it may be told again, and how often it was not."""

    @property
    def facts(self) -> list[Facts]:
        """Of the ports that it has NICs at."""
        return [*self._facts.values()]

    @property
    def is_running(self) -> bool:
        """Whether there is a process."""
        return not self._gone.is_set()

    @property
    def stop_timeout(self) -> float:
        """Seconds that it may take to shut down."""
        return self._wanted.stop_timeout / 1e9

    def status(self) -> dict[str, Any]:
        """Its entry in `vnet status --json`."""
        return {
            "guest": self.name,
            "state": self.state,
            "seconds": trio.current_time() - self.since,
            "pid": self.pid if self.is_running else None,
            "accel": ("kvm" if self.kvm else "tcg") if self.is_running else None,
            "exit": self.code,
            "restarts": self.restarts,
            "stop_timeout": self.stop_timeout,
            "said": list(self.said) if self.state in ("failed", "killed") else [],
        }

    def become(self, wanted: model.Machine, argv: list[str]) -> None:
        """Be another from the next start on; when to start again counts at once."""
        self._wanted, self._argv = wanted, argv

    # -- start and end ---------------------------------------------------------------------------

    async def start(self, facts: Iterable[Facts]) -> None:
        """Start it with NICs at these ports. Raises VnetError, with QEMU's last words, and it is gone."""
        self._alone()
        self._cancel_restart()
        async with self._lock:
            self._alone()
            self._facts = {fact["port"]: fact for fact in facts}
            self.restarts = self._failures = 0
            await self._start()

    def _alone(self) -> None:
        """Raise BadInput while there is a process."""
        if self.is_running:
            busy = "has not ended yet" if self.state == "failed" else f"is {self.state}"
            raise BadInput(f"{self.name} {busy}")

    async def _start(self) -> None:
        """Whoever does has the lock."""
        self._set("starting")
        self.said.clear()
        self._plugged.clear()
        self._left.clear()
        self._dark.clear()
        with trio.CancelScope() as self._starting:
            try:
                with trio.fail_after(START):
                    await self._launch()
                    for name in self._facts:
                        await self._plug(name)
                    assert self._qmp is not None
                    await self._qmp("cont")
            except BaseException as error:
                with trio.move_on_after(START, shield=True):
                    await self._kill()
                self._set("failed")
                if isinstance(error, trio.TooSlowError):
                    raise VnetError(self._failure(f"it did not start within {START:g} s")) from None
                # No descriptor is left for it, say: whoever starts it again tries once more later.
                if isinstance(error, VnetError | OSError):
                    raise VnetError(self._failure(str(error))) from None
                raise
            self._set("running")
            return
        raise VnetError(f"{self.name} was switched off while it started")

    def _failure(self, what: str) -> str:
        said = "; ".join([*self.said][-3:])
        return f"guests.{self.name}: QEMU: {said or what}"

    async def _launch(self) -> None:
        pairs = [socket.socketpair() for _ in range(4)]
        ours = [trio.SocketStream(trio.socket.from_stdlib_socket(pair[0])) for pair in pairs]
        monitor, console, agent, output = ours
        gone = self._gone = trio.Event()
        self._number, self.pid = 0, None
        try:
            self._number, self.pid = await self._keeping.start(
                self._argv, [pair[1].fileno() for pair in pairs], partial(self._ended, gone)
            )
        except BaseException as error:
            if not isinstance(error, trio.Cancelled):  # else it is told when it is gone
                gone.set()
            for stream in ours:
                stream.socket.close()
            raise
        finally:
            for _, theirs in pairs:
                theirs.close()
        self.code = None
        self.agent = Agent(self.name, agent)
        self._qmp = Qmp(monitor, self._told)
        self._heard = trio.Event()
        self._nursery.start_soon(self._listen, output, self._heard)
        self._nursery.start_soon(self.console.run, console)
        self._nursery.start_soon(self._qmp.run)
        await self._qmp.ready.wait()
        told = await self._qmp("query-kvm")
        self.kvm = isinstance(told, dict) and told.get("enabled") is True

    async def _listen(self, output: trio.SocketStream, heard: trio.Event) -> None:
        """Note what QEMU says, a few lines of it."""
        rest = b""
        async with output:
            with contextlib.suppress(trio.BrokenResourceError):
                async for data in output:
                    *lines, rest = (rest + data).split(b"\n")
                    rest = rest[-WIDTH:]
                    for line in lines:
                        self.said.append(_clean(line))
        if rest:
            self.said.append(_clean(rest))
        heard.set()

    def _told(self, event: dict[str, Any]) -> None:
        match event["event"]:
            case "STOP" if self.state == "running":
                self._set("paused")
                self._warn("the machine was stopped")
            case "RESUME" if self.state == "paused":
                self._set("running")
            case "GUEST_PANICKED":
                self._warn("its kernel panicked")
            case "DEVICE_DELETED" if (device := event.get("data", {}).get("device")) in self._left:
                self._left.discard(device)
                self._nursery.start_soon(self._forget, device)

    def _warn(self, what: str) -> None:
        """Of what QEMU may say as often as it likes: once in a while, with how often it was in between."""
        now = trio.current_time()
        rests, untold = self._warned.get(what, (now, 0))
        if now < rests:
            self._warned[what] = rests, untold + 1
            return
        self._warned[what] = now + SELDOM, 0
        log.warning("%s: %s%s", self.name, what, f", {untold} times more before" if untold else "")

    def _ended(self, gone: trio.Event, code: int | None) -> None:
        """The process whose end `gone` stands for."""
        gone.set()
        if gone is not self._gone:
            return
        self.code = code
        if self.agent is not None:
            self.agent.close()
            self.agent = None
        if self.state not in ("running", "paused"):
            return  # whoever started it says what became of it
        if trio.current_time() - self.since > PAUSES[-1]:
            self._failures = 0
        if self._stopping:
            self._set("stopped")
            return
        self._set("shut down" if code == 0 else "failed" if code is not None and code > 0 else "killed")
        if self.state != "shut down" and self._wanted.restart == "on-failure":
            self._again = trio.CancelScope()
        self._nursery.start_soon(self._obituary, self.status(), self._again)

    async def _obituary(self, status: dict[str, Any], again: trio.CancelScope | None) -> None:
        await self._last_words()
        if status["state"] == "shut down":
            log.info("%s: the guest has shut down", self.name)
        else:
            log.warning("%s: the machine %s", self.name, described(status | {"said": [*self.said]}))
        if again is not None:
            await self._start_again(again)

    async def _start_again(self, again: trio.CancelScope) -> None:
        """Unless that is cancelled, or not wanted any more once it is time."""
        with again:
            while True:
                await trio.sleep(PAUSES[min(self._failures, len(PAUSES) - 1)])
                if self._wanted.restart != "on-failure":
                    break
                self._failures += 1
                self.restarts += 1
                try:
                    async with self._lock:
                        self._alone()
                        await self._start()
                    break
                except VnetError as error:
                    log.warning("%s", error)
        if self._again is again:
            self._again = None

    async def stop(self, *, ask: bool = True) -> None:
        """Ask it to shut down; after its time end it. It is gone afterwards. Who is cancelled while it is
        asked leaves it as it is.
        """
        gone = self._gone
        coming = self._again is not None or self.state == "starting"
        if gone.is_set() and not coming:
            return
        self._cancel_restart()
        self._starting.cancel()
        self._stopping += 1
        try:
            if ask and self.state == "running" and self.stop_timeout > 0 and self._qmp is not None:
                with contextlib.suppress(QmpError), trio.move_on_after(self.stop_timeout):
                    await self._qmp("system_powerdown")
                    await gone.wait()
            async with self._lock:
                if gone is self._gone or coming:
                    # What is told to end does, whoever waits for it.
                    with trio.CancelScope(shield=True):
                        await self._end()
        finally:
            self._stopping -= 1

    async def _end(self) -> None:
        if self.is_running and self._qmp is not None:
            with contextlib.suppress(QmpError), trio.move_on_after(QUIT):
                await self._qmp("quit")
                await self._gone.wait()
        await self._kill()
        self._set("stopped")

    async def _kill(self) -> None:
        if self.is_running:
            with contextlib.suppress(OSError):
                await self._keeping.kill(self._number)
                await self._gone.wait()
        await self._last_words()

    async def _last_words(self) -> None:
        """They may still be on their way."""
        with trio.move_on_after(1):
            await self._heard.wait()

    def _cancel_restart(self) -> None:
        if self._again is not None:
            self._again.cancel()
            self._again = None

    async def reset(self) -> None:
        """Push its reset button. Raises VnetError."""
        if self._qmp is None or not self.is_running:
            raise VnetError(f"{self.name} is {self.state}")
        try:
            with trio.fail_after(ANSWER):
                await self._qmp("system_reset")
        except trio.TooSlowError:
            raise VnetError(
                f"{self.name}: QEMU does not answer: vnet power off {self.name} --now ends it"
            ) from None

    def _set(self, state: str) -> None:
        self.state, self.since = state, trio.current_time()

    # -- NICs ------------------------------------------------------------------------------------

    async def plug(self, facts: Facts) -> None:
        """A NIC comes. Raises VnetError when the machine runs and does not take it."""
        self._facts[facts["port"]] = facts
        if not self.is_running:
            return
        try:
            with trio.fail_after(START):
                await self._plug(facts["port"])
        except (VnetError, trio.TooSlowError) as error:
            del self._facts[facts["port"]]
            why = str(error) or "QEMU does not answer"
            raise VnetError(
                f"{facts['port']}: it can't be plugged in while the machine runs: {why}"
            ) from None

    async def _plug(self, port: str) -> None:
        assert self._qmp is not None
        number = str(self._count)
        self._count += 1
        made = plug(self._facts[port], number)
        device = {**made.device, "id": f"nic{number}", "romfile": ""}
        if made.chardev is not None and not self.kvm:
            # QEMU 7.2 crashes with vhost-user and MSI-X where there is no KVM.
            device["vectors"] = 0
        if made.chardev is not None:
            await self._qmp.execute("chardev-add", made.chardev.command())
        try:
            await self._qmp.execute("netdev_add", made.netdev)
            await self._qmp.execute("device_add", device)
        except QmpError:
            await self._forget(f"nic{number}")
            raise
        self._plugged[port] = f"nic{number}"
        await self._show()

    async def unplug(self, port: str) -> None:
        """A NIC goes. The guest is asked for it; a guest that keeps it has a NIC that leads nowhere."""
        self._facts.pop(port, None)
        self._cut.discard(port)
        device = self._plugged.pop(port, None)
        self._dark.discard(device or "")
        if device is None or self._qmp is None or not self.is_running:
            return
        try:
            with trio.move_on_after(UNPLUG):
                await self._qmp("device_del", id=device)
                await self._qmp.event("DEVICE_DELETED", device=device)
                await self._forget(device)
                return
        except QmpError as error:
            if not self.is_running:
                return
            log.warning("%s: %s", port, error)
        self._left.add(device)
        log.warning("%s: its guest did not let go of it: there, it is a NIC without a cable now", port)

    def cable(self, port: str, *, up: bool) -> None:
        """A NIC's cable was cut or mended: the guest sees it soon, or when it starts."""
        (self._cut.discard if up else self._cut.add)(port)
        if self._plugged:
            self._nursery.start_soon(self._show)

    async def _show(self) -> None:
        """Have QEMU show every cable as it is. One does so at a time, until there is nothing left to show:
        a QEMU that does not answer holds nobody else up.
        """
        if self._showing:
            return
        self._showing = True
        try:
            while (wrong := self._wrongly_shown()) is not None and self._qmp is not None:
                device, cut = wrong
                await self._qmp("set_link", name=device, up=not cut)
                (self._dark.add if cut else self._dark.discard)(device)
        except QmpError as error:
            if self.is_running:
                log.warning("%s: its cables can't be shown as they are: %s", self.name, error)
        finally:
            self._showing = False

    def _wrongly_shown(self) -> tuple[str, bool] | None:
        """A NIC that is shown with carrier and has none, or the other way round; whether it is cut."""
        for port, device in self._plugged.items():
            if (cut := port in self._cut) != (device in self._dark):
                return device, cut
        return None

    async def _forget(self, device: str) -> None:
        """Take away what was behind a NIC."""
        number = device.removeprefix("nic")
        for command, thing in (("netdev_del", "net"), ("chardev-remove", "chr")):
            # What was never made can't be removed.
            with contextlib.suppress(QmpError):
                if self._qmp is not None:
                    await self._qmp(command, id=f"{thing}{number}")


def _clean(line: bytes) -> str:
    text = line.decode(errors="replace")[:WIDTH]
    return "".join(character if character.isprintable() else "?" for character in text)


def described(status: dict[str, Any], since: str = "", *more: str) -> str:
    """Its state in words: `failed, exit code 1: ...`. `since`: for how long, `failed 3 s ago, exit code 1`;
    `more` is said before what QEMU said.
    """
    state, code = status["state"], status["exit"]
    ago = f" {since} ago" if since else ""
    if state == "killed":
        by = "with its keeper" if code is None else f"by signal {-code}"
        words = [f"was killed{ago} {by}"]
    elif state in ("failed", "shut down"):
        words = [state + ago]
    else:
        words = [f"{state} for {since}" if since else state]
    if state == "failed" and code is not None and code >= 0:
        words.append(f"exit code {code}")
    told = ", ".join([*words, *more])
    said = "; ".join(status["said"][-3:])
    return f"{told}: {said}" if said else told
