"""The scenario of a topology file, played.

`player.py` goes through the steps, `acts.py` does each, `tries.py` tries what may come true later.
"""

from __future__ import annotations

from vnet.scenario.player import Told, play

__all__ = ["Told", "play"]
