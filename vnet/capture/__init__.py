"""Captures: what passed the ports, as pcapng, live and off the per-frame path.

`Fabric.capture` is how people start one; what stands here knows the engine, not the fabric.
"""

from vnet.capture.bpf import FilterError, compile_filter
from vnet.capture.past import past
from vnet.capture.running import Capture, CaptureError, Clock
from vnet.capture.selection import Asked, Names, Selection, read

__all__ = [
    "Asked",
    "Capture",
    "CaptureError",
    "Clock",
    "FilterError",
    "Names",
    "Selection",
    "compile_filter",
    "past",
    "read",
]
