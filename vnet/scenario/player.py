"""Goes through the steps of a scenario, one after the other, and tells what came of each.

A step that fails ends the scenario: what follows would be about another network than was meant. Time is
trio's, so a fabric of in-process guests plays an hour in a moment.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs
import trio

from vnet.errors import VnetError
from vnet.fabric import Fabric
from vnet.scenario.acts import Acts, Prepare
from vnet.scenario.reach import Failed
from vnet.topology.scenario import Step

NANO = 1_000_000_000


@attrs.frozen
class Told:
    """What came of one step."""

    number: int
    """From 1."""
    title: str
    failure: str | None
    """None: it held."""
    text: str
    """What was seen: times, rates."""
    seconds: float
    """Of the network's time."""
    skipped: bool = False

    def __str__(self) -> str:
        mark = "-" if self.skipped else "FAILED" if self.failure else "ok"
        said = "not played" if self.skipped else self.failure or self.text
        return f"{self.number:>3}  {mark:6}  {self.title}{f': {said}' if said else ''}"


def title(step: Step) -> str:
    """What a step is called."""
    if step.name:
        return step.name
    values = step.values
    match step.action:
        case "ping" | "transfer":
            return f"{step.action} {values['from']} -> {values['to']}"
        case "assert" if step.expect is not None:
            word = "reaches" if step.expect.reach else "does not reach"
            what = "" if step.expect.protocol == "any" else f" with {step.expect.protocol}"
            return f"{', '.join(step.expect.sources)} {word} {', '.join(step.expect.targets)}{what}"
        case "link":
            return f"link {values['name']} {values['state']}"
        case "run":
            return f"{values['guest']}: {' '.join(values['command'])}"
        case "wait" | "converge":
            return f"{step.action} {values['value'] / NANO:g} s"
        case "apply":
            return f"apply {values['value']}"
    return "time passes"


async def play(
    fabric: Fabric,
    steps: list[Step],
    folder: Path,
    tell: Callable[[Told], None] = lambda _: None,
    prepare: Prepare = lambda topology, _: topology,
) -> list[Told]:
    """Play `steps`; what came of each. Relative paths lie in `folder`. `prepare` makes of another file's
    topology one that can run here, as the fabric's own was made.
    """
    begun = trio.current_time()
    told: list[Told] = []
    async with trio.open_nursery() as background:
        acts = Acts(fabric, folder, background, prepare)
        for number, step in enumerate(steps, 1):
            if any(past.failure for past in told):
                told.append(Told(number, title(step), None, "", 0.0, skipped=True))
                tell(told[-1])
                continue
            if step.at is not None:
                await trio.sleep_until(begun + step.at / NANO)
            since = trio.current_time()
            failure, text = None, ""
            try:
                text = await acts.do(step)
            except Failed as error:
                failure = str(error)
            except (VnetError, OSError, ExceptionGroup) as error:
                # What a step does at once, it does in nurseries.
                one: BaseException = error
                while isinstance(one, ExceptionGroup):
                    if one.split((VnetError, OSError))[1] is not None:
                        raise
                    one = one.exceptions[0]
                failure = " ".join(str(one).split("\n"))
            if acts.broken:
                failure = "; ".join([*([failure] if failure else []), *acts.broken])
            if failure and (path := await fabric.keeper.failed()):
                failure += f" (what was before is in {path})"
            told.append(Told(number, title(step), failure, text, trio.current_time() - since))
            tell(told[-1])
        background.cancel_scope.cancel()
    return told
