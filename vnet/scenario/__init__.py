"""The scenario of a topology file, played.

`player.py` goes through the steps, `acts.py` does each, `reach.py` tries who reaches whom, `tries.py` what
may come true later.
"""

from __future__ import annotations

from vnet.scenario.player import Told, play

__all__ = ["Told", "play"]
