"""How the tests of topologies run."""

from __future__ import annotations

from hypothesis import settings

# Every test has a deadline of its own; one on a single example fails when the machine is busy.
settings.register_profile("vnet", deadline=None)
settings.load_profile("vnet")
