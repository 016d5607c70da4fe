"""A change that fails, and then its undoing does, too: the rest is undone all the same."""

from __future__ import annotations

from typing import Any

import pytest
import trio.testing

import vnet
from vnet import apply, mirrors, uplinks
from vnet.topology import actions

SLOW = {"egress": {"rate": "1 Gbit/s"}}


def lab(*guests: str, **keys: Any) -> vnet.Topology:
    """Stacks, the first of them with such a NIC."""
    topology = vnet.Topology("lab", seed=1).network("red", subnets=["10.0.0.0/24"])
    for name in guests:
        topology.guest(name, network="red", **(keys if name == guests[0] else {}))
    return topology


@pytest.mark.parametrize(
    "error", [ValueError, KeyError, OSError, TypeError, lambda why: ExceptionGroup(why, [ValueError(why)])]
)
async def test_what_fails_while_undoing_leaves_the_rest_as_it_was(
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
    error: Any,
) -> None:
    async with vnet.Fabric(lab("a", "b")) as fabric:
        take, undoing = apply._take, False

        async def failing(fabric: vnet.Fabric, action: actions.Action) -> None:
            nonlocal undoing
            if isinstance(action, actions.AddPort) and action.part.name == "z.0":
                undoing = True
                raise vnet.NicError("z.0: there is no such thing")
            if undoing and isinstance(action, actions.ChangePort):
                raise error("a step back")
            await take(fabric, action)

        def deaf(fabric: vnet.Fabric) -> None:
            raise error("nobody listens")

        told: list[str] = []
        with monkeypatch.context() as broken:
            # In words: an error that is kept keeps the fabric.
            broken.setattr(apply.log, "error", lambda line, *what: told.append(line % what))
            broken.setattr(apply, "_take", failing)
            for module in (uplinks, mirrors):
                broken.setattr(module, "tell", deaf)
            with pytest.raises(vnet.NicError, match=r"z\.0: there is no such thing"):
                await fabric.apply(lab("a", "z", limits=SLOW))
        assert [line.partition(":")[0] for line in told] == ["while undoing"] * 3
        assert "a step back" in told[0]
        # The steps before that one were taken back, and it can be changed as before.
        assert sorted(fabric.guests) == ["a", "b"]
        assert await fabric.guests["a"].ping(fabric.guests["b"]) == 0
        await fabric.apply(lab("a", "c", limits=SLOW))
        assert await fabric.guests["a"].ping(fabric.guests["c"]) == 0
