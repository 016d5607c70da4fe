"""`vnet shell`: with a terminal of its own, from standard input, with a file and attached."""

from __future__ import annotations

import contextlib
import functools
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio

from vnet import runtime

NAME = f"shell-{os.getpid()}"
"""Root's fabrics are all in one folder, where others may run, too."""
LAB = f"""
name: {NAME}
networks: {{red: {{subnets: [10.0.0.0/24]}}}}
guests:
  web: {{nics: [{{network: red, ip: 10.0.0.11}}]}}
  my-db: {{nics: [{{network: red, ip: 10.0.0.12}}]}}
"""


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """The environment of a user who has nothing yet."""
    (tmp_path / "run").mkdir(mode=0o700)
    (tmp_path / "lab.yaml").write_text(LAB)
    places = {"XDG_RUNTIME_DIR": str(tmp_path / "run"), "XDG_STATE_HOME": str(tmp_path / "state")}
    return {**os.environ, **places, "TERM": "dumb"}


def shell(home: dict[str, str], *argv: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vnet", "shell", *argv]
    return subprocess.run(command, input=text, capture_output=True, text=True, env=home, timeout=50)


def test_code_and_standard_input(home: dict[str, str], tmp_path: Path) -> None:
    file = str(tmp_path / "lab.yaml")
    done = shell(home, file, "-c", "print(await web.ping(my_db)); print(Ether(dst='ff:ff:ff:ff:ff:ff').dst)")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"[0-9.e-]+\nff:ff:ff:ff:ff:ff\n", done.stdout)
    text = "async def twice():\n    return [await web.ping(my_db) for _ in range(2)]\n\n"
    text += "print(len(await twice()))\n"
    assert shell(home, file, text=text).stdout == "2\n"
    assert shell(home, file, "-c", "raise SystemExit(7)").returncode == 7
    failed = shell(home, file, "-c", "await web.ping('10.0.0.99', timeout=0.1)")
    assert failed.returncode == 1
    assert failed.stderr.startswith("vnet shell: 10.0.0.99 from web.0: ")
    assert shell(home, file, "-c", "1 +").returncode == 2
    assert shell(home, str(tmp_path / "none.yaml"), "-c", "1").returncode == 2
    wrong = shell(home, file, "-c", "1 / 0")
    assert wrong.returncode == 1
    assert "ZeroDivisionError" in wrong.stderr


@pytest.fixture
def running(home: dict[str, str], tmp_path: Path) -> Iterator[None]:
    """The lab, up in another process."""
    vnet = [sys.executable, "-m", "vnet"]
    subprocess.run([*vnet, "up", str(tmp_path / "lab.yaml"), "-d"], env=home, check=True, timeout=50)
    yield
    subprocess.run([*vnet, "down", NAME], env=home, check=True, timeout=50)


@pytest.mark.usefixtures("running")
def test_attached_it_has_the_same_verbs(home: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "x.pcapng"
    text = f"""
print(await web.ping(my_db, timeout=30) > 0)
print((await fabric.explain(web, "IP(dst='10.0.0.99')/ICMP()"))["reaches"])
print((await web.send(Ether(src="02:00:00:00:00:66", dst="ff:ff:ff:ff:ff:ff")/ARP()))["reason"])
drops = await fabric.drops()
print([(drop["port"], drop["frames"]) for drop in drops if drop["reason"] == "guard-mac"])
print(await fabric.attach("probe", network="red", nic={{"kind": "pipe"}}) is not None)
print(sorted(await fabric.guests()))
await fabric.detach("probe")
async with trio.open_nursery() as nursery:
    kept = trio.Event()
    async def keep():
        print((await fabric.capture({str(file)!r}, "red", count=2))["written"])
        kept.set()
    nursery.start_soon(keep)
    while not kept.is_set():
        await web.ping(my_db, timeout=30)
"""
    done = shell(home, "--name", NAME, text=text)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "True",
        "['my-db.0']",
        "guard-mac",
        "[('web.0', 1)]",
        "True",
        "['my-db', 'probe', 'web']",
        "2",
    ]
    assert file.stat().st_size > 100


def test_an_interrupt_as_the_code_begins() -> None:
    """Nothing goes on behind the prompt, wherever Ctrl-C finds us."""
    from vnet.shell.console import House

    ended: list[bool] = []
    places: list[House] = []
    ready, end = threading.Event(), trio.Event()

    async def live() -> None:
        async with trio.open_nursery() as nursery:
            places.append(House(nursery))
            ready.set()
            await end.wait()

    async def code() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(True)

    def interrupted(start: Callable[..., object], *given: object) -> None:
        token.run_sync_soon(start, *given)
        if not interrupts:
            interrupts.append(True)
            signal.raise_signal(signal.SIGINT)

    interrupts: list[bool] = []
    thread = threading.Thread(target=trio.run, args=(live,))
    thread.start()
    ready.wait()
    house = places[0]
    token = house._token
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        house._token = SimpleNamespace(run_sync_soon=interrupted)  # type: ignore[assignment]
        with pytest.raises(KeyboardInterrupt):
            house.run(code)
        assert ended == [True]
    finally:
        signal.signal(signal.SIGINT, before)
        token.run_sync_soon(end.set)
        thread.join()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_nothing_behind(home: dict[str, str], tmp_path: Path, number: signal.Signals) -> None:
    folder = (runtime.base() if os.geteuid() == 0 else tmp_path / "run/vnet") / NAME
    with Terminal(home, str(tmp_path / "lab.yaml")) as terminal:
        terminal.expect(">>> ")
        terminal.type("print(await fabric.hold_runtime())\n")
        terminal.expect("vnet.runtime.Runtime object")
        assert folder.exists()
        terminal.process.send_signal(number)
        assert terminal.process.wait(40) == 128 + number
    assert not folder.exists()


class Terminal:
    """A shell behind a terminal of its own."""

    def __init__(self, home: dict[str, str], *argv: str) -> None:
        self.ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "vnet", "shell", *argv]
        self.process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=home,
            start_new_session=True,
            # Whoever runs the tests with nohup has had it ignored, and programs inherit that.
            preexec_fn=functools.partial(signal.signal, signal.SIGHUP, signal.SIG_DFL),
        )
        os.close(theirs)
        self.seen = ""

    def expect(self, pattern: str) -> str:
        """Read until there is this; what it was. What came before is forgotten."""
        until = time.monotonic() + 40
        while (found := re.search(pattern, self.seen)) is None:
            readable, _, _ = select.select([self.ours], [], [], max(until - time.monotonic(), 0))
            assert readable, f"no {pattern!r} in {self.seen!r}"
            with contextlib.suppress(OSError):
                self.seen += os.read(self.ours, 65536).decode()
        self.seen = self.seen[found.end() :]
        return found[0]

    def type(self, text: str) -> None:
        os.write(self.ours, text.encode())

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.ours)


def test_a_prompt_with_completion_history_and_an_interrupt(home: dict[str, str], tmp_path: Path) -> None:
    with Terminal(home, str(tmp_path / "lab.yaml")) as terminal:
        talk(terminal)
    history = tmp_path / "state/vnet/shell_history"
    assert "await web.ping(my_db)" in history.read_text()
    assert history.stat().st_mode & 0o777 == 0o600


def talk(terminal: Terminal) -> None:
    assert "web, my_db" in terminal.expect(r"guests: [^;.]*")
    terminal.expect(">>> ")
    terminal.type("print('rtt', await web.ping(my_db))\n")
    terminal.expect(r"rtt [0-9.e-]+\r\n")
    terminal.expect(">>> ")
    terminal.type("print('it is', fabri\t.name[:5])\n")
    terminal.expect(r"it is shell\r\n")
    terminal.type("for n in range(2):\n    print('n', await trio.sleep(0), n)\n\n")
    terminal.expect("n None 1")
    terminal.expect(">>> ")
    terminal.type("print('asleep') or await trio.sleep_forever()\n")
    terminal.expect(r"\r\nasleep")
    # What a terminal's Ctrl-C comes to.
    os.killpg(terminal.process.pid, signal.SIGINT)
    terminal.expect("KeyboardInterrupt")
    terminal.expect(">>> ")
    terminal.type("await web.ping('10.0.0.99', timeout=0.1)\n")
    terminal.expect("Unreachable: 10.0.0.99 from web.0")
    terminal.expect(">>> ")
    terminal.type("\x04")
    assert terminal.process.wait(40) == 0
