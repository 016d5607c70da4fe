"""One test from beginning to end: frames, talk, expectations.

With in-process guests alone it runs in virtual time: waiting costs nothing and the same seed gives the
same run. With namespaces it runs in real time, and what has to stay silent is waited for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import attrs
import trio
from trio.testing import MockClock

from vnet.check import Proof, judge
from vnet.fabric import Fabric
from vnet.probe import frames, rings, talk
from vnet.probe.result import Finding, Part, Result
from vnet.probe.stand_in import as_written, stand_in
from vnet.scenario import play
from vnet.stopping import in_order
from vnet.topology import Topology

PATIENCE = {True: 30.0, False: 1.5}
"""Seconds that an answer may take, in virtual and in real time."""


@attrs.frozen
class Options:
    """What is asked for."""

    virtual: bool = False
    """Stand in for namespaces, too."""
    patience: float | None = None
    probe: bool = True
    """Probe every pair; otherwise only the scenario is played."""
    folder: Path = Path()
    """Where relative paths of the scenario lie."""


def run(topology: Topology, options: Options, tell: Callable[[str], None] = lambda _: None) -> Result:
    """Test a topology; `tell` hears of every step. Raises VnetError when it can't be brought up."""
    proof = Proof(topology)
    has_namespaces = any(guest.kind == "netns" for guest in topology.guests.values())
    virtual = options.virtual or not has_namespaces
    result = Result(topology.name, virtual)
    begun = time.perf_counter()
    result.parts.append(_expectations(proof))
    clock = MockClock(autojump_threshold=0) if virtual else None
    if options.probe:
        trio.run(in_order, partial(_probe, proof, result, options, tell), clock=clock)
    if topology.scenario:
        clock = MockClock(autojump_threshold=0) if virtual else None
        trio.run(in_order, partial(_scenario, proof, result, options, tell), clock=clock)
    result.seconds = time.perf_counter() - begun
    return result


async def _probe(proof: Proof, result: Result, options: Options, tell: Callable[[str], None]) -> None:
    patience = options.patience or PATIENCE[result.virtual]
    for part in (frames, talk):
        begun = time.perf_counter()
        made = stand_in(proof.topology, proof.resolved, talk=part is talk, namespaces=not result.virtual)
        if made.recorder is not None:
            # What is dropped here was sent to be dropped.
            only = tuple(dump for dump in made.recorder.dump if dump.on == "expect")
            made.recorder = attrs.evolve(made.recorder, dump=only)
        async with Fabric(made) as fabric:
            found = await part.probe(fabric, proof, patience, tell)
            path = await fabric.keeper.failed() if found.findings else None
        found.seconds = time.perf_counter() - begun
        found.notes = notes(proof, result.virtual)
        if found.findings:
            found.notes += rings.notes(proof.resolved)
        if path:
            found.notes.append(f"what was before is in {path}")
        result.parts.append(found)


async def _scenario(proof: Proof, result: Result, options: Options, tell: Callable[[str], None]) -> None:
    part = Part("scenario", notes=notes(proof, result.virtual))
    begun = time.perf_counter()
    prepare = partial(as_written, namespaces=not result.virtual)
    async with Fabric(prepare(proof.topology, proof.resolved)) as fabric:
        steps = proof.topology.scenario
        for told in await play(fabric, steps, options.folder, lambda step: tell(str(step)), prepare):
            part.probes += not told.skipped
            part.steps.append(told)
            if told.failure:
                part.findings.append(Finding("", "", f"step {told.number}, {told.title}: {told.failure}"))
    if part.findings:
        part.notes += rings.notes(proof.resolved)
    part.seconds = time.perf_counter() - begun
    result.parts.append(part)


def notes(proof: Proof, virtual: bool) -> list[str]:
    """What is not as in the file."""
    kinds = ("external", "qemu", "netns") if virtual else ("external", "qemu")
    guests = [guest.name for guest in proof.topology.guests.values() if guest.kind in kinds]
    found = []
    if guests:
        few = ", ".join(guests[:5]) + (f" and {len(guests) - 5} more" if len(guests) > 5 else "")
        found.append(f"stood in for: {few}")
    if proof.topology.uplinks:
        names = ", ".join(proof.topology.uplinks)
        found.append(f"without their interfaces, so that nothing leaves this machine: {names}")
    return found


def _expectations(proof: Proof) -> Part:
    """What `vnet check` says, as a part of the test."""
    part = Part("expect")
    for outcome in judge(proof).outcomes:
        part.probes += 1
        part.note(outcome.pair.source, outcome.pair.target)
        if not outcome.holds:
            text = f"{outcome.pair.source} {outcome.wanted} is expected, and the proof says: {outcome.found}"
            part.findings.append(Finding(outcome.pair.source, outcome.pair.target, text))
    return part
