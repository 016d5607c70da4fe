"""The switch: how its ports are set up. The switch itself is native, in `switch/rust`."""

from switch.modes import Access, Mode, Trunk
from switch.port import Port

__all__ = ["Access", "Mode", "Port", "Trunk"]
