"""The switch: how its ports are set up. The switch itself is native, in `switch/rust`."""

from switch.modes import Access, Mode, Trunk
from switch.policy import Allow, Policy, Remote
from switch.port import Port
from switch.private import Private, may_reach
from switch.storm import Storm

__all__ = ["Access", "Allow", "Mode", "Policy", "Port", "Private", "Remote", "Storm", "Trunk", "may_reach"]
