"""What a guest that floods costs one that doesn't, at an uplink that carries less than its guests send.

The uplink is congested all the time, by TCP of one guest. Another keeps within its share: datagrams of 1400
bytes, and requests to the world, one at a time. In half of the runs a third floods 64-byte frames, more than
all the wire could carry.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from typing import Any

from tools.bench.doors_load import server, told
from tools.bench.doors_switches import LOAD, Pair, VnetUplink
from tools.bench.processes import WITH_US, Failed

RATE = "100mbit"
"""Of the uplink."""
FLOOD = 300_000
"""Frames a second: one and a half times what the wire carries of them, and no more than the cores of a small
machine can make beside all else, because what counts is the wire.
"""
SHARE = 2000
"""Datagrams a second that the well-behaved guest sends: 23 Mbit/s, a quarter of the wire."""
PAYLOAD = 1400
_WELL, _FLOODS, _BULK = 0, 1, 2


def fair(pair: Pair, seconds: float, flood: bool) -> dict[str, Any]:
    """The well-behaved guest's `mbps` that arrive, and the `p50_us` and `p99_us` of its requests."""
    world = VnetUplink.WORLD
    load, long = str(LOAD), str(seconds + 600)

    def receive(port: int, how_long: str) -> list[str]:
        return pair.inside(-1, load, "receive", "--at", f"{world}:{port}", "--seconds", how_long)

    def send(guest: int, port: int, *words: str) -> list[str]:
        return pair.inside(guest, load, "send", "--to", f"{world}:{port}", *words)

    with contextlib.ExitStack() as stack:
        for argv in (
            pair.inside(-1, load, "serve", "--at", f"{world}:9010"),
            pair.inside(-1, load, "sink", "--at", f"{world}:9011"),
            receive(9012, long),
        ):
            stack.enter_context(server(argv))
        bulk = [load, "pour", "--to", f"{world}:9011", "--from", f"/run/netns/{pair.namespaces[_BULK]}"]
        beside = [[*bulk, "--seconds", long]]
        if flood:
            beside.append(send(_FLOODS, 9012, "--rate", str(FLOOD), "--seconds", long))
        for argv in beside:
            process = stack.enter_context(subprocess.Popen([*WITH_US, *argv], stdout=subprocess.DEVNULL))
            stack.callback(process.kill)
        # Of one second less: the congestion is there before what is counted.
        arrives = stack.enter_context(server(receive(9009, str(seconds + 1))))
        words = ("--rate", str(SHARE), "--payload", str(PAYLOAD), "--seconds", str(seconds))
        sending = stack.enter_context(subprocess.Popen(send(_WELL, 9009, *words), stdout=subprocess.PIPE))
        ask = pair.inside(_WELL, load, "ask", "--to", f"{world}:9010", "--seconds", str(seconds))
        asked = told(ask, seconds)
        sent = json.loads(sending.communicate()[0])
        assert arrives.stdout is not None
        received = json.loads(arrives.stdout.readline())["received"]
    if not sent["sent"]:
        raise Failed("nothing was sent")
    return {"mbps": received * PAYLOAD * 8 / sent["seconds"] / 1e6, **asked}


def alone(pair: Pair, seconds: float) -> dict[str, Any]:
    """Without a flood."""
    return fair(pair, seconds, flood=False)


def flooded(pair: Pair, seconds: float) -> dict[str, Any]:
    """Beside one."""
    return fair(pair, seconds, flood=True)
