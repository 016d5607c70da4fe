"""`vnet explain` says what would happen, and just that does happen: random frames in random fabrics.

Each frame is explained, then sent. Then all counters of all ports have moved as the explanation says, each
drop by its reason, and what has come out at each guest is what it says, byte for byte. Where a cable may lose
a frame, the explanation must say so, and where it makes it wait, time passes.

`VNET_EXPLAIN=100000` tries so many frames; it takes minutes. `VNET_EXPLAIN_SEED` is the number of the first
world, which a failure tells.
"""

from __future__ import annotations

import math
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

import vnet
from tests.vnet.explained.frames import TOKEN, Talk
from tests.vnet.explained.worlds import world
from vnet import drive, explain
from vnet.explain import FORWARDED

FRAMES = int(os.environ.get("VNET_EXPLAIN", "2000"))
FIRST = int(os.environ.get("VNET_EXPLAIN_SEED", "0"))
EACH = 50
"""Frames in one world."""
LONG = 3.0
"""Seconds in which everything that waits has arrived."""


SEEN: Counter[str] = Counter()
"""What has become of frames and copies."""


class Expected:
    """What an explanation says: counters that move, and frames that come out."""

    def __init__(self, hops: list[dict[str, Any]], watcher: int | None) -> None:
        self.hops = hops
        self.moves: Counter[tuple[int, str]] = Counter()
        self.certain: Counter[tuple[int, bytes]] = Counter()
        self.possible: Counter[tuple[int, bytes]] = Counter()
        self.late = self.unsure = False
        doubtful: list[bool] = []
        for hop in hops:
            came = hop["from"]
            doubt = came is not None and (doubtful[came[0]] or hops[came[0]]["copies"][came[1]][6])
            doubtful.append(doubt)
            self.moves[hop["ingress"], "rx"] += 1
            if hop["action"] not in FORWARDED:
                self.moves[hop["ingress"], hop["action"]] += 1
            if hop["action"] == "answer":
                self.moves[hop["ingress"], "tx"] += 1
            if watcher is not None:
                self.moves[watcher, "tx"] += len(hop["mirrors"])
            for port, refused, strip, insert, peer, late, unsure, _ in hop["copies"]:
                if refused:
                    self.moves[port, refused] += 1
                    continue
                self.moves[port, "tx"] += 1
                self.late |= late
                self.unsure |= unsure
                if peer is None:
                    leaves = edited(hop["frame"], strip, insert)
                    self.possible[port, leaves] += 1
                    self.certain[port, leaves] += not (doubt or unsure)


def edited(frame: bytes, strip: int, insert: int) -> bytes:
    """A frame as it leaves."""
    return frame[:12] + (insert.to_bytes(4, "big") if insert else b"") + frame[12 + strip :]


def moved(fabric: vnet.Fabric, watcher: int | None) -> Counter[tuple[int, str]]:
    """All counters. What mirrors give to a guest counts whether it takes it or not."""
    found: Counter[tuple[int, str]] = Counter()
    for number, port in fabric.wiring.numbers.items():
        counted = port.counters()
        if number == watcher:
            found[number, "tx"] = counted["tx_frames"] + sum(counted["drops"].values())
            continue
        found[number, "rx"] = counted["rx_frames"]
        found[number, "tx"] = counted["tx_frames"]
        for reason, frames in counted["drops"].items():
            found[number, reason] = frames
    return found


class World:
    """A fabric and its guests' far ends."""

    def __init__(self, fabric: vnet.Fabric, chance: random.Random, clock: trio.testing.MockClock) -> None:
        self.fabric, self.chance, self.clock = fabric, chance, clock
        self.guests = [name for name in fabric.ports if name.startswith("g")]
        self.senders = self.guests + [name for name in ("wan",) if name in fabric.ports]
        self.talk = Talk(chance, len(self.guests))
        watcher = fabric.ports.get("ids.0")
        self.watcher = watcher.number if watcher else None
        self.ends = {port.number: port.opened.far for name, port in fabric.ports.items() if name[0] in "gi"}

    async def settle(self, seconds: float = 0.0) -> None:
        """Let the fabric do what there is to do, with no time passing but these seconds."""
        if seconds:
            self.clock.autojump_threshold = 0.0
            # Not when a tree says hello: what switches send by themselves is none of what is counted.
            await trio.sleep(seconds + 0.0012345)
            self.clock.autojump_threshold = math.inf
        await trio.testing.wait_all_tasks_blocked()
        # What was due by now has been said, and is no part of what is counted next.
        while self.fabric.engine.turn(drive.now()) == 0:
            pass

    def arrived(self, token: bytes) -> Counter[tuple[int, bytes]]:
        """What has come out at guests, of the frame with this token, but for what mirrors gave."""
        found: Counter[tuple[int, bytes]] = Counter()
        for number, end in self.ends.items():
            while True:
                try:
                    frame = end.receive_nowait()
                except trio.WouldBlock:
                    break
                if frame[-TOKEN:] == token and number != self.watcher:
                    found[number, frame] += 1
        return found

    async def disturb(self) -> None:
        """Something that changes what is known: time, carrier."""
        chance = self.chance
        what = chance.random()
        if what < 0.04:
            port = chance.choice([*self.guests, *(name for link in self.fabric.links for name in [link])])
            try:
                await self.fabric.set_link(port, up=port in self.fabric.wiring.cuts)
            except vnet.BadInput as error:
                # A port that the topology has down stays so.
                if "the topology has it down" not in str(error):
                    raise
            await self.settle(chance.choice([0.0, 0.5, 20.0]))
        elif what < 0.1:
            await self.settle(chance.choice([0.01, 0.5, 3.0, 40.0, 400.0]))

    def told(self, hops: list[dict[str, Any]]) -> list[str]:
        """In words."""
        return [step.text for step in explain.steps(hops, self.fabric.names())]

    async def one(self) -> None:
        """Explain a frame, send it, and compare."""
        fabric, chance = self.fabric, self.chance
        sender = chance.choice(self.senders)
        who = self.guests.index(sender) if sender in self.guests else len(self.guests) % 8
        frame, asks = self.talk.frame(who)
        token = frame[-TOKEN:]
        port = fabric.port(sender)
        await self.settle()
        self.arrived(token)
        before = moved(fabric, self.watcher)
        fabric.tell_time()
        hops = fabric.engine.explain(port.number, frame)
        assert moved(fabric, self.watcher) == before, "asking changes nothing"
        expected = Expected(hops, self.watcher)
        SEEN.update(hop["action"] for hop in hops)
        SEEN.update(copy[1] or "out" for hop in hops for copy in hop["copies"])
        end = self.ends.get(port.number)
        if end is not None and port.link and chance.random() < 0.5:
            await end.send(frame)
        else:
            fabric.send(sender, frame)
        await self.settle(LONG if expected.late else 0.0)
        arrived, after = self.arrived(token), moved(fabric, self.watcher)
        told = "\n".join(["", f"{sender} {frame.hex()}", *self.told(hops)])
        names = {number: fabric.wiring.numbers[number].name for number in self.ends}
        here = {key: n for key, n in expected.certain.items() if key[0] in self.ends}
        missing = [names[key[0]] for key, n in here.items() if arrived[key] < n]
        extra = [names[key[0]] for key, n in arrived.items() if n > expected.possible[key]]
        assert not missing, f"not arrived at {missing}:{told}"
        assert not extra, f"arrived at {extra} although:{told}"
        if not (expected.late or expected.unsure or asks or any(hop["action"] == "local" for hop in hops)):
            difference = {
                (fabric.wiring.numbers[key[0]].name, key[1]): (after[key] - before[key], expected.moves[key])
                for key in after.keys() | expected.moves.keys()
                if after[key] - before[key] != expected.moves[key]
            }
            assert not difference, f"counted and expected: {difference}:{told}"


async def live(number: int, folder: Path, clock: trio.testing.MockClock) -> None:
    """One world, with a time of its own."""
    chance = random.Random(number)
    document = world(chance, folder)
    async with vnet.Fabric.from_dict(document) as fabric:
        here = World(fabric, chance, clock)
        await here.settle(chance.choice([0.001, 1.0, 30.0]))
        for at in range(EACH):
            await here.disturb()
            try:
                await here.one()
            except AssertionError as error:
                raise AssertionError(f"world {number}, frame {at}: {error}\n{document}") from None


@pytest.mark.deadline(60 + FRAMES // 50)
def test_what_is_explained_is_what_happens(tmp_path: Path) -> None:
    for number in range(FIRST, FIRST + FRAMES // EACH):
        clock = trio.testing.MockClock()
        trio.run(live, number, tmp_path, clock, clock=clock)
    usual = {"to", "flood", "out", "no-member", "guard-ip4", "private", "group-ingress", "tx-not-addressed"}
    rare = {*FORWARDED, "storm-broadcast", "stp-blocked", "mac-limit", "group-invalid"}
    missing = (usual | rare if FRAMES >= 20_000 else usual) - SEEN.keys()
    assert not missing, f"no frame was decided about so: {missing}"
