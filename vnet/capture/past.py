"""What passed lately, from the flight recorder's memory, as a capture.

The recorder keeps each frame where it came in, with its first bytes and what became of it, and once more
at a port that refused it; so a frame that was sent on stands in the file once, at its ingress, and its
comment says where it went. `start_capture`'s options mean the same here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal

import trio

from vnet import drive
from vnet._native import BpfProgram, Engine, write_past
from vnet.capture.bpf import compile_filter
from vnet.capture.running import (
    CaptureError,
    Clock,
    check,
    create,
    described,
    empty,
    epoch_of,
    name_of,
    now_of,
    open_for_writing,
)
from vnet.capture.selection import Selection
from vnet.errors import BadInput
from vnet.topology.recorder import HEAD


async def past(
    engine: Engine,
    target: str | os.PathLike[str] | int,
    selection: Selection,
    *,
    clock: Clock,
    handed: Mapping[int, int] | None = None,
    seconds: float | None = None,
    filter: str | BpfProgram | None = None,  # noqa: A002 - the word that users know
    count: int | None = None,
    direction: Literal["in", "out"] | None = None,
    drops: bool = False,
    snaplen: int = HEAD,
    truncate: bool = False,
) -> dict[str, Any]:
    """Write what was kept, of the last `seconds` or of all the time, to a path or a descriptor that stays
    the caller's. `selection`: frames that came in at these ports, were sent to them, or were refused there.
    `handed`: when VLANs became whose they are, by the engine's time; what passed in them before is left out.
    `direction`: only what came `in` there, or what was to go `out`. `count`: the latest so many. `truncate`:
    what a descriptor's file had goes first.

    Returns the counts `written`, `left_out` (frames in that time of which the recorder kept no more than
    their number), `unseen` (the filter would have had to see more of them than is kept), `bytes`, and
    `oldest`, how many seconds ago the first one was, None without one. Raises BadInput for options that
    make no sense, FilterError, CaptureError when it can't be written.
    """
    if seconds is not None and not seconds > 0:
        raise BadInput(f"past: found {seconds} s, expected a time such as 10 s")
    check(count, snaplen)
    virtual = clock == "virtual"
    program = filter if isinstance(filter, BpfProgram) else None
    text = filter if isinstance(filter, str) else ""
    if text:
        code = compile_filter(text) if virtual else await trio.to_thread.run_sync(compile_filter, text)
        program = BpfProgram(code)
    # Here: in a thread there is no trio to ask.
    now, epoch = now_of(clock), epoch_of(clock)

    def work(descriptor: int) -> dict[str, int]:
        if truncate:
            empty(descriptor)
        return write_past(
            engine,
            descriptor,
            ports=selection.ports,
            vlans={vlan: (handed or {}).get(vlan, 0) for vlan in selection.vlans},
            since=0 if seconds is None else now - round(min(seconds * drive.NANO, now)),
            direction=direction,
            drops=drops,
            program=program,
            filter=text,
            snaplen=snaplen,
            count=count,
            epoch=epoch,
            **described(clock),
        )

    if isinstance(target, int):
        descriptor = os.dup(target)
    else:
        descriptor = create(target) if virtual else await open_for_writing(target)
    try:
        stats: dict[str, Any] = dict(
            work(descriptor) if virtual else await trio.to_thread.run_sync(work, descriptor)
        )
    except BrokenPipeError:
        # Whoever read it has seen enough.
        stats = {"written": 0, "left_out": 0, "unseen": 0, "bytes": 0, "oldest": 0}
    except OSError as error:
        raise CaptureError(f"capture to {name_of(target)}: {error}") from None
    finally:
        os.close(descriptor)
    oldest = stats["oldest"]
    return stats | {"oldest": (now - oldest) / drive.NANO if stats["written"] else None}
