"""For those who write NICs, and for those who test with vnet: public, and stable as the rest is."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vnet.testing.bench import Maker
    from vnet.testing.check_nic import check_nic
    from vnet.testing.expectations import (
        Frames,
        assert_isolated,
        assert_path,
        assert_reachable,
        eventually,
        expect_frames,
        path,
    )
    from vnet.testing.peer import Peer

_HOMES = {
    "Frames": "expectations",
    "Maker": "bench",
    "Peer": "peer",
    "assert_isolated": "expectations",
    "assert_path": "expectations",
    "assert_reachable": "expectations",
    "check_nic": "check_nic",
    "eventually": "expectations",
    "expect_frames": "expectations",
    "path": "expectations",
}

__all__ = [
    "Frames",
    "Maker",
    "Peer",
    "assert_isolated",
    "assert_path",
    "assert_reachable",
    "check_nic",
    "eventually",
    "expect_frames",
    "path",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for, when it is: every run of pytest imports the plugin in this package."""
    if name in _HOMES:
        from importlib import import_module

        value = getattr(import_module(f"vnet.testing.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'vnet.testing' has no attribute {name!r}")
