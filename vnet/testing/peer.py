"""The other side of a NIC under test."""

from __future__ import annotations

import abc


class Peer(abc.ABC):
    """Plays the guest of a NIC for `check_nic`.

    All methods are awaited from one task at a time, but `send` and `receive` may run at once. What is
    not a frame of the check (a kernel's own neighbour discovery, say) may be given to `receive`'s
    caller or left out; the check ignores it.

    The attributes say what the kind can't do. Whatever they leave open is checked.
    """

    max_frame: int = 65_557
    """The longest frame that passes, in bytes: 65,535 of payload behind Ethernet and two tags."""
    min_frame: int = 14
    """The shortest frame that passes as it is; kinds that pad have 60."""
    min_sent: int = 1
    """The shortest run of bytes that the peer can send at all; what is shorter than a frame must be
    dropped by reason."""
    carrier: bool = True
    """The NIC notices `disconnect` and `connect`."""
    notices_by_sending: bool = False
    """It notices `disconnect` only when it sends."""
    sends_without_link: bool = True
    """What it sends while the operator has the link down reaches the NIC, and is dropped there."""
    hung_up_by_link: bool = False
    """The NIC ends the connection while the operator has the link down: the peer has to come again."""
    groups_apart: bool = False
    """What the peer sends to groups may overtake what it sends to stations, and the other way round: each
    has an order of its own (IEEE 802.1Q, 6.5.3)."""
    stalls: bool = True
    """Frames wait in front of a peer that does not call `receive`, until they are dropped as `tx-full`.
    False for a peer behind a kernel that drops by itself."""
    reliable: bool = True
    """Every frame that the NIC counted as sent is received, once the peer reads."""

    @abc.abstractmethod
    async def connect(self) -> None:
        """Come to the NIC, which is attached by now; also again after `disconnect`."""

    @abc.abstractmethod
    async def disconnect(self) -> None:
        """Vanish, as a guest does that is killed."""

    @abc.abstractmethod
    async def send(self, frame: bytes) -> None:
        """Send a frame into the NIC. Raises OSError when the transport refuses it at once."""

    @abc.abstractmethod
    async def receive(self) -> bytes:
        """The next frame from the NIC."""
