"""See `vnet.bench`."""

from vnet import bench
from vnet.bench import arguments, run

__all__ = ["arguments", "run"]
__doc__ = bench.__doc__
