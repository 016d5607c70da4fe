"""The native part: engine, switch and doors. Private; use what `vnet` exports."""

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

def tap_door(fds: list[int], name: str | None, *, create: bool, mtu: int, offload: bool) -> tuple[Door, str]:
    """Open the TAP `name` by descriptors of /dev/net/tun, one a queue.

    They were opened in the network namespace that it belongs in, and are duplicated; with `name` None
    they are queues of a TAP already. `create`: it must not exist yet. Returns the door and the
    interface's name. Raises OSError: EBUSY taken, EPERM not allowed there, EINVAL no TAP.
    """
