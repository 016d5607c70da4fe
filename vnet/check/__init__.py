"""Who can reach whom, proved from the topology alone: no traffic, no native code, nothing is started.

It is a second opinion on the switch, the guard and the security groups. It shares no code with what
carries them out, so that a mistake would have to be made twice to go unseen. In reading order:

* `packets.py`  sets of packets, by what rules tell apart
* `rules.py`    what the security groups of two ports let pass between them
* `voice.py`    whose addresses a guest may send from, or come to
* `wire.py`     who shares a broadcast domain with whom
* `pair.py`     what is said about two guests
* `ground.py`   what lies between two ports
* `prove.py`    one pair after the other, with the reasons
* `detour.py`   guests that could forward
* `verdict.py`  the pairs against the expectations
* `openings.py` what guests are allowed beside being themselves
* `matrix.py`   for a person
"""

from __future__ import annotations

from vnet.check.pair import Pair, Reason
from vnet.check.prove import Proof
from vnet.check.verdict import Verdict, judge

__all__ = ["Pair", "Proof", "Reason", "Verdict", "judge"]
