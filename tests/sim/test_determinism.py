"""The same run twice: random topologies with impairments give the same captures and the same events, byte
for byte. `VNET_DETERMINISM=200` tries 200 of them; without it a few are, other ones by their number.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

import vnet

COUNT = int(os.environ.get("VNET_DETERMINISM", "40"))
BATCH = 10
SECONDS = 12.0


def impairment(dice: random.Random) -> dict[str, Any]:
    """Some of what a cable can do to frames."""
    whole: dict[str, Any] = {
        "delay": f"{dice.randint(1, 30)} ms",
        "jitter": f"{dice.randint(1, 9)} ms",
        "distribution": dice.choice(["uniform", "normal", "pareto"]),
        "duplicate": f"{dice.randint(0, 5)} %",
        "reorder": f"{dice.randint(0, 5)} %",
        "corrupt": f"{dice.randint(0, 2)} %",
        "rate": f"{dice.randint(1, 50)} Mbit/s",
    }
    lost = dice.choice([{"loss": f"{dice.randint(1, 8)} %"}, {"bursts": {"begin": "2 %", "end": "30 %"}}, {}])
    chosen = {key: whole[key] for key in dice.sample(sorted(whole), dice.randint(1, 4))}
    if "jitter" not in chosen:
        chosen.pop("distribution", None)
    if {"jitter", "reorder"} & set(chosen):
        chosen["delay"] = whole["delay"]
    return {**chosen, **lost}


def topology(number: int) -> vnet.Topology:
    """A network that follows from a number: switches with loops or without, tenants, bad cables."""
    dice = random.Random(number)
    switches = [f"s{n}" for n in range(dice.randint(1, 6))]
    pairs = {(dice.choice(switches[:n]), switches[n]) for n in range(1, len(switches))}
    for _ in range(dice.randint(0, 2) if len(switches) > 2 else 0):
        pairs.add(tuple(sorted(dice.sample(switches, 2))))  # type: ignore[arg-type]
    links = []
    for ends in sorted(pairs):
        link: dict[str, Any] = {"ends": list(ends), "impair": impairment(dice)}
        if dice.random() < 0.4:
            begin = dice.randint(3, 8)
            link["schedule"] = [{"from": f"{begin} s", "to": f"{begin + 2} s", "up": False}]
        links.append(link)
    subnets = {n: [f"10.{n}.0.0/24", f"fd00:0:0:{n}::/64"] for n in range(1, dice.randint(2, 4))}
    networks = {f"n{n}": {"subnets": subnet} for n, subnet in subnets.items()}
    guests = {}
    for n in range(dice.randint(3, 9)):
        nic: dict[str, Any] = {"network": dice.choice(sorted(networks)), "switch": dice.choice(switches)}
        if dice.random() < 0.3:
            nic["limits"] = {"egress": {"rate": f"{dice.randint(1, 20)} Mbit/s"}}
        guests[f"g{n}"] = {"nics": [nic]}
    return vnet.Topology.from_dict(
        {
            "name": "dice",
            "seed": dice.randint(1, 2**31),
            "networks": networks,
            "switches": {name: {"stp": "rstp"} for name in switches},
            "links": links,
            "guests": guests,
        }
    )


async def traffic(fabric: vnet.Fabric, dice: random.Random) -> None:
    """Echoes, connections and datagrams between guests that may or may not meet."""

    async def echo(stream: trio.SocketStream) -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            async with stream:
                async for data in stream:
                    await stream.send_all(data)

    async def talk(one: vnet.StackGuest, other: vnet.StackGuest, size: int) -> None:
        async with one.as_network():
            with contextlib.suppress(OSError, trio.BrokenResourceError), trio.move_on_after(6):
                async with await trio.open_tcp_stream(other.name, 7) as stream:
                    await stream.send_all(bytes(size))
                    await stream.send_eof()
                    async for _ in stream:
                        pass

    async def ping(one: vnet.StackGuest, other: vnet.StackGuest) -> None:
        for _ in range(3):
            with contextlib.suppress(vnet.VnetError):
                await one.ping(other, timeout=1)

    guests = list(fabric.guests.values())
    async with trio.open_nursery() as nursery:
        for guest in guests:
            async with guest.as_network():
                await nursery.start(trio.serve_tcp, echo, 7)
        await trio.sleep(2)
        for _ in range(8):
            one, other = dice.sample(guests, 2)
            nursery.start_soon(talk, one, other, dice.randint(1, 60_000))
            nursery.start_soon(ping, one, other)
            await trio.sleep(dice.random() / 2)
        await trio.sleep(SECONDS - trio.current_time())
        nursery.cancel_scope.cancel()


class Events(logging.Handler):
    """What the fabric said, and when."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{trio.current_time():.9f} {record.levelname} {record.getMessage()}")


def run(number: int, folder: Path) -> tuple[str, int, list[str], str]:
    """The capture's digest and length, the events, and all counters at the end."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{number}.pcapng"
    told: list[str] = []

    async def main() -> None:
        async with vnet.Fabric(topology(number), runtime=folder) as fabric:
            async with fabric.capture(path, "all"):
                await traffic(fabric, random.Random(number))
            told.append(repr(fabric.status()) + repr(fabric.fdb()))

    log, events = logging.getLogger("vnet"), Events()
    log.addHandler(events)
    level = log.level
    log.setLevel(logging.DEBUG)
    try:
        clock = trio.testing.MockClock(autojump_threshold=0)
        trio.run(main, clock=clock)
    finally:
        log.setLevel(level)
        log.removeHandler(events)
    data = path.read_bytes()
    path.unlink()
    return hashlib.sha256(data).hexdigest(), len(data), events.lines, told[0]


@pytest.mark.deadline(120)
@pytest.mark.parametrize("batch", range(-(-COUNT // BATCH)))
def test_two_runs_are_one(batch: int, tmp_path: Path) -> None:
    lengths = []
    for number in range(batch * BATCH, min(COUNT, (batch + 1) * BATCH)):
        first, second = run(number, tmp_path), run(number, tmp_path)
        assert first == second, f"topology {number}"
        lengths.append(first[1])
    # They are not alike for want of frames.
    assert sum(lengths) > 20_000 * len(lengths)
    print(f"{len(lengths)} topologies, {sum(lengths)} bytes of captures")


def test_another_seed_is_another_run(tmp_path: Path) -> None:
    """What is compared does differ where something does."""
    assert run(1, tmp_path)[0] != run(2, tmp_path)[0]


def test_another_process_is_the_same_run(tmp_path: Path) -> None:
    """Nothing follows from how a process hashes its strings, or where its objects lie."""
    command = (
        "import pathlib, sys\n"
        "from tests.sim.test_determinism import run\n"
        "print(*run(3, pathlib.Path(sys.argv[1]))[:2])"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", command, str(tmp_path)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert said[0] == said[1] != ""


@pytest.mark.parametrize("first_out", [0, 1])
def test_fabrics_that_overlap_share_one_order(first_out: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What trio keeps for all of the process is set from the first one's beginning to the last one's end."""
    from trio._core import _run

    monkeypatch.setattr(_run, "_ALLOW_DETERMINISTIC_SCHEDULING", False)

    def dice() -> tuple[bool, Any]:
        return _run._ALLOW_DETERMINISTIC_SCHEDULING, _run._r.getstate()

    async def main() -> list[Any]:
        seen: list[Any] = []
        ends = [trio.Event(), trio.Event()]
        gone = [trio.Event(), trio.Event()]

        async def live(number: int, task_status: trio.TaskStatus[None]) -> None:
            async with vnet.Fabric(topology(number), driver="trio"):
                seen.append(dice())
                task_status.started()
                await ends[number].wait()
            gone[number].set()

        async with trio.open_nursery() as nursery:
            for number in (0, 1):
                await nursery.start(live, number)
            for number in (first_out, 1 - first_out):
                seen.append(dice())
                ends[number].set()
                await gone[number].wait()
        return seen

    runs = []
    for _ in range(2):
        runs.append(trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0)))
        assert dice()[0] is False
    assert [switch for switch, _ in runs[0]] == [True] * 4
    assert runs[0] == runs[1]
