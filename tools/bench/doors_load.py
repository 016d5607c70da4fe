"""What is measured between two namespaces, each in one run."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.bench.doors_switches import ADDRESSES, LOAD, Pair
from tools.bench.processes import WITH_US, Failed, cpu_seconds

_TICKS = 100
"""Of /proc/stat in a second (USER_HZ)."""
_LOSS = 0.01
_STEPS = 6
_PROBE = 0.6
"""Seconds of one try at a rate."""
_DRAIN = 0.3


def busy() -> float:
    """CPU seconds that the whole machine has worked, interrupts included."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle, waiting, stolen = fields[3], fields[4], fields[7]
    return (sum(fields) - idle - waiting - stolen) / _TICKS


@contextlib.contextmanager
def server(argv: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A program that says something once it listens."""
    words = [*WITH_US, *argv]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            if not process.stdout.readline():
                raise Failed(f"{argv}: it ended")
            yield process
        finally:
            process.kill()


def told(argv: list[str], seconds: float) -> dict[str, Any]:
    """The JSON that a program says. Raises Failed."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds + 20, check=False)
    try:
        return dict(json.loads(done.stdout))
    except ValueError:
        raise Failed(f"{argv}: {(done.stdout + done.stderr)[-500:]}") from None


def tcp(pair: Pair, streams: int, seconds: float) -> dict[str, Any]:
    """iperf3 from the first to the second: `gbps`, and CPU seconds of the machine and of the switch for
    10^9 bytes.
    """
    with server(pair.inside(1, "iperf3", "-s", "--forceflush")):
        cpu, switch, whole = switch_cpu(pair), 0.0, busy()
        client = pair.inside(0, "iperf3", "-c", ADDRESSES[1], "-t", str(max(1, round(seconds))))
        result = told([*client, "-P", str(streams), "-J"], seconds)
        switch, whole = switch_cpu(pair) - cpu, busy() - whole
    if "error" in result:
        raise Failed(f"iperf3: {result['error']}")
    received = result["end"]["sum_received"]
    gigabytes = received["bytes"] / 1e9
    return {
        "gbps": received["bits_per_second"] / 1e9,
        "cpu_s_gb": whole / gigabytes,
        "switch_cpu_s_gb": switch / gigabytes,
        "retransmits": result["end"]["sum_sent"].get("retransmits"),
    }


def switch_cpu(pair: Pair) -> float:
    """CPU seconds of the switch's processes so far."""
    return sum(cpu_seconds(pid) for pid in pair.processes)


def offer(pair: Pair, rate: float) -> tuple[float, float]:
    """Datagrams in frames of 64 bytes, `rate` a second, 0: as many as go. Arrived a second, and lost of
    those sent.
    """
    receive = [str(LOAD), "receive", "--at", f"{ADDRESSES[1]}:9009", "--seconds", str(_PROBE + _DRAIN)]
    send = [str(LOAD), "send", "--to", f"{ADDRESSES[1]}:9009", "--seconds", str(_PROBE), "--rate", str(rate)]
    with server(pair.inside(1, *receive)) as process:
        sent = told(pair.inside(0, *send), _PROBE)
        assert process.stdout is not None
        received = json.loads(process.stdout.readline())["received"]
    if not sent["sent"]:
        raise Failed("nothing was sent")
    return received / sent["seconds"], 1 - received / sent["sent"]


def datagrams(pair: Pair) -> dict[str, Any]:
    """The highest rate of which at most 1 % is lost, by halving: `kpps`. `flood_kpps` is what arrives when
    the sender sends as much as it can.
    """
    flood, loss = offer(pair, 0)
    best = flood if loss <= _LOSS else 0.0
    low, high = flood * 0.3, flood * 1.6
    for _ in range(_STEPS):
        rate = (low + high) / 2
        arrived, loss = offer(pair, rate)
        if loss <= _LOSS and arrived > 0.9 * rate:
            best, low = max(best, arrived), rate
        else:
            high = rate
    return {"kpps": best / 1e3, "flood_kpps": flood / 1e3}


def requests(pair: Pair, seconds: float, beside: float = 0) -> dict[str, Any]:
    """A byte there and back by TCP, one at a time: `rate`, `p50_us`, `p99_us`; `beside` so many datagrams a
    second from the same end to the other.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(server(pair.pinned(1, str(LOAD), "serve", "--at", f"{ADDRESSES[1]}:9010")))
        if beside:
            receive = [str(LOAD), "receive", "--at", f"{ADDRESSES[1]}:9009", "--seconds", "600"]
            stack.enter_context(server(pair.inside(1, *receive)))
            send = [str(LOAD), "send", "--to", f"{ADDRESSES[1]}:9009", "--seconds", "600"]
            argv = [*WITH_US, *pair.inside(0, *send, "--rate", str(beside))]
            process = stack.enter_context(subprocess.Popen(argv, stdout=subprocess.DEVNULL))
            stack.callback(process.kill)
        ask = [str(LOAD), "ask", "--to", f"{ADDRESSES[1]}:9010", "--seconds", str(seconds)]
        return told(pair.pinned(0, *ask), seconds)


def beside_bulk(pair: Pair, seconds: float, asker: int) -> dict[str, Any]:
    """Requests while one TCP connection moves what it can from the first end to the second: `asker` 0 asks
    along it, 1 against it. As `requests`.
    """
    answerer, load = 1 - asker, str(LOAD)
    with contextlib.ExitStack() as stack:
        serve = pair.pinned(answerer, load, "serve", "--at", f"{ADDRESSES[answerer]}:9010")
        for argv in (serve, pair.inside(1, load, "sink", "--at", f"{ADDRESSES[1]}:9011")):
            stack.enter_context(server(argv))
        bulk = [load, "pour", "--to", f"{ADDRESSES[1]}:9011", "--from", f"/run/netns/{pair.namespaces[0]}"]
        argv = [*WITH_US, *bulk, "--seconds", str(seconds + 600)]
        process = stack.enter_context(subprocess.Popen(argv, stdout=subprocess.DEVNULL))
        stack.callback(process.kill)
        time.sleep(_PROBE)
        ask = ["ask", "--to", f"{ADDRESSES[answerer]}:9010", "--seconds", str(seconds)]
        return told(pair.pinned(asker, load, *ask), seconds)


def idle(pair: Pair, seconds: float) -> dict[str, Any]:
    """How much of a core the switch takes while nobody sends: `cpu_percent`."""
    if not pair.processes:
        return {}
    time.sleep(0.5)
    begun, before = time.monotonic(), switch_cpu(pair)
    time.sleep(seconds)
    return {"cpu_percent": (switch_cpu(pair) - before) / (time.monotonic() - begun) * 100}


def pour(pair: Pair, guests: int, to: str, seconds: float) -> dict[str, Any]:
    """A connection from each of the first guests to the world, all at once: `gbps` in all."""
    words = ["pour", "--to", f"{to}:9011", "--seconds", str(seconds)]
    for name in pair.namespaces[:guests]:
        words += ["--from", f"/run/netns/{name}"]
    with server(pair.inside(-1, str(LOAD), "sink", "--at", f"{to}:9011")):
        return told([str(LOAD), *words], seconds)
