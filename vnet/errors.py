"""Every error that vnet raises on purpose. `str()` is for a person to read."""

from nics.errors import BadInput, NicError, VnetError

__all__ = ["BadInput", "NicError", "VnetError"]
