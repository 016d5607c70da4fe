"""Every error that vnet raises on purpose. `str()` is for a person to read."""

from nics.errors import BadInput, NicError, Unreachable, VnetError

__all__ = ["BadInput", "NicError", "Unreachable", "VnetError"]
