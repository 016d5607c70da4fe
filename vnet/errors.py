"""Every error that vnet raises on purpose. `str()` is for a person to read."""

from nics.errors import BadInput, NicError, Unreachable, VnetError

__all__ = ["BadInput", "NicError", "Unreachable", "VnetError", "single"]


def single(error: BaseException) -> BaseException:
    """The one error inside of a group of one, as nurseries raise them, however deep; any other as it is."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
