"""The native part: engine, switch and doors. Private; use what `vnet` exports."""

from typing import Any

VERSION: str

def drop_reasons() -> list[tuple[str, str]]:
    """Every drop reason: (name, what it means)."""

class Door:
    """An open NIC that is not attached to a port yet. Dropping it closes it."""

    @property
    def kind(self) -> str | None: ...

class PipeHandle:
    """The far end of a pipe.

    Never blocks: raises BlockingIOError, and the port's `pipe` event tells when to try again;
    BrokenPipeError once the port was removed.
    """

    def send(self, frame: bytes) -> None: ...
    def receive(self) -> bytes: ...

def pipe_door(limit: int, max_frame: int) -> tuple[Door, PipeHandle]:
    """Open a pipe that holds `limit` frames of at most `max_frame` bytes each way."""

class PortConfig:
    """How a switch's port is set up.

    Give `vlan` for an access port; `tagged` (and perhaps `native`) for a trunk. Raises ValueError.
    """

    def __init__(
        self,
        *,
        vlan: int | None = None,
        tagged: list[int] | None = None,
        native: int | None = None,
        native_tagged: bool = False,
        mtu: int = 1500,
        priority_tags: bool = False,
        mac_limit: int = 1024,
        mac_limit_drops: bool = False,
        learning: bool = True,
        sticky: bool = False,
        transparent: bool = False,
        flood_unknown: bool = True,
        flood_multicast: bool = True,
        flood_broadcast: bool = True,
        up: bool = True,
    ) -> None: ...

class Engine:
    """Switches, ports and NICs, and the `turn` that moves frames between them.

    Commands raise KeyError for what does not exist, ValueError for a bad configuration, OSError for
    what the kernel refused and RuntimeError for what can't be done now.
    """

    turns: int

    def __init__(self) -> None: ...
    def fileno(self) -> int: ...
    def events_fileno(self) -> int: ...
    def now(self) -> int: ...
    def add_switch(
        self,
        *,
        fdb_limit: int = ...,
        vlan_limit: int = ...,
        ageing: int = ...,
        hash_seed: tuple[int, int] | None = None,
    ) -> int: ...
    def add_port(self, door: Door, switch: int, config: PortConfig) -> int: ...
    def set_port(self, port: int, config: PortConfig) -> None: ...
    def remove_port(self, port: int) -> None: ...
    def set_link(self, port: int, up: bool) -> None: ...
    def carrier(self, port: int) -> bool: ...
    def counters(self, port: int) -> dict[str, Any]: ...
    def fdb(
        self, switch: int, cursor: int, limit: int
    ) -> tuple[list[tuple[int, str, int, str, int]], int | None]: ...
    def fdb_flush(
        self, switch: int, port: int | None = None, vlan: int | None = None, fixed: bool = False
    ) -> int: ...
    def turn(self, now: int) -> int | None: ...
    def start(self, poll: str = "adaptive", cpu: int | None = None) -> None: ...
    def stop(self) -> None: ...
    def wake(self) -> None: ...
    def events(self) -> tuple[list[tuple[int, str, int, int, str]], int]: ...
