"""The native part: engine, switch and doors. Private; use what `vnet` exports."""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, Final, Literal, Self, final

__all__ = [
    "VERSION",
    "BondSetup",
    "BpfProgram",
    "CaptureHandle",
    "Door",
    "Engine",
    "Groups",
    "Guard",
    "Impair",
    "Limits",
    "LoadFar",
    "LoadTcp",
    "Mirror",
    "PcapFiles",
    "PipeHandle",
    "PortConfig",
    "Proxy",
    "Snooping",
    "StackHandle",
    "Stations",
    "Switch",
    "Verdict",
    "bond_door",
    "bond_view",
    "bridge_view",
    "complete_offload",
    "confine_process",
    "confinement_offered",
    "cord_up",
    "describe_port",
    "dgram_door",
    "drop_reasons",
    "drop_sides",
    "flow_counts",
    "hand_over",
    "join_bridge",
    "leave_bridge",
    "load_bulk",
    "load_echo",
    "load_flood",
    "mirror_counts",
    "multicast_members",
    "multicast_sides",
    "packet_door",
    "pcap_door",
    "pipe_door",
    "refused_calls",
    "run_soon",
    "set_bridge",
    "set_cord",
    "set_flows",
    "set_member",
    "set_mirrors",
    "set_multicast",
    "set_recorder",
    "split_capture",
    "stack_door",
    "start_capture",
    "stream_door",
    "take_flows",
    "tap_door",
    "vde_door",
    "vhost_user_door",
    "write_past",
    "xdp_door",
]

VERSION: str

def drop_reasons() -> list[tuple[str, str]]:
    """Every drop reason: (name, what it means)."""

def confine_process(
    *,
    capabilities: Sequence[int],
    rules: Sequence[tuple[str | PathLike[str], str]],
    bind: Sequence[int],
    connect: Sequence[int],
    abstract_sockets: bool,
    families: Sequence[int],
    calls: Sequence[str],
) -> tuple[int, bool, bool, int, int]:
    """Confine every thread of this process, for good; after an error it is to end.

    `capabilities`: numbers of those that are kept. `rules`: (path, `read`, `write`, `own`, `sockets`,
    `prune` or `device`) each, and beneath it; what is not there is passed over. `bind`, `connect`: TCP ports.
    `families`: of new sockets. `calls`: system calls beyond the usual ones.

    Returns (Landlock's version or 0, whether calls are filtered, whether memory that was writable can't be
    run, threads, a descriptor that is readable once a call was refused). Raises OSError.
    """

def confinement_offered() -> tuple[int, bool]:
    """Version of this kernel's Landlock, 0 without; whether it can keep memory that was writable from being
    run (PR_SET_MDWE).
    """

def refused_calls() -> list[tuple[str, int]]:
    """System calls that were refused since: (name, how often) each."""

def run_soon() -> None:
    """Have the calling thread run soon once it is woken, and for a short while (Linux 6.12)."""

def drop_sides() -> list[tuple[str, str]]:
    """Where each drop reason is counted: (name, `door`, `ingress` or `egress`).

    `ingress` reasons stand in `received = forwarded + dropped`, at the port that a frame came in by;
    `egress` ones at the port that a copy of it would have left by; `door` ones before a switch saw it.
    """

@final
class BpfProgram:
    """A verified BPF program of (code, jt, jf, k).

    Raises ValueError for one that could do anything but end.
    """

    def __new__(cls, instructions: Sequence[tuple[int, int, int, int]]) -> Self: ...
    def run(self, data: bytes, length: int | None = None) -> int:
        """How many bytes of the packet to keep, 0 to reject it. `length` is that on the wire."""

@final
class CaptureHandle:
    """A running capture."""

    def select(self, ports: Sequence[int], vlans: Sequence[int]) -> None:
        """Have it look at these ports, and for frames of these VLANs at any port, instead of those that
        it had. One of all ports stays one.
        """

    def stop(self) -> None:
        """End it. What was captured is written on; `fileno()` tells when all is."""

    def fileno(self) -> int:
        """Readable once the capture has ended and all that will be written is."""

    @property
    def ended(self) -> bool: ...
    @property
    def error(self) -> tuple[int | None, str] | None:
        """What writing failed with: (error number or None, text)."""

    def stats(self) -> dict[str, int]:
        """Frames `received` at its ports, `accepted` by the filter, `lost`, `written`; `bytes`."""

def start_capture(
    engine: Engine,
    fd: int,
    *,
    ports: Sequence[int] | None,
    vlans: Sequence[int] = ...,
    direction: Literal["in", "out"] | None = None,
    drops: bool = False,
    program: BpfProgram | None = None,
    filter: str = "",  # noqa: A002
    snaplen: int = ...,
    segment: bool = False,
    complete: bool = False,
    count: int | None = None,
    room: int = ...,
    inline: bool = False,
    epoch: int = 0,
    hardware: str = "",
    os: str = "",
    application: str = "",
) -> CaptureHandle:
    """Start a capture into a duplicate of `fd`. Raises OSError.

    `ports` None: all, those to come included. `vlans`: frames of these VLANs at any port, too.
    `direction`: `in` to the switch, `out` of it, None for both. `filter`: the text of `program`.
    `epoch`: nanoseconds from the Unix epoch to the engine's time 0. `segment`: super-frames as the
    segments that a wire would see. `complete`: take as much of the engine's time as it needs. `room`: bytes
    that may wait for the writer. `inline`: write regular files in the turn itself.
    """

def split_capture(
    fd: int,
    begin: Callable[[int, int], int],
    *,
    bytes: int | None = None,  # noqa: A002
    nanos: int | None = None,
    packets: int | None = None,
) -> tuple[int, int, int]:
    """Copy a capture from `fd` into files until it ends, each of which stands by itself.

    `begin(number, time)` opens file `number`, from 1, whose first packet has that time in nanoseconds, and
    returns a descriptor, which stays its own. A file is full with `bytes`, `packets`, or `nanos` after its
    first packet. Returns (files, packets, bytes) that were written. Raises OSError, and what `begin` raises.
    """

_FlowTuple = tuple[
    tuple[int, int, int | None, int, str | None, bool],
    tuple[bytes, bytes, int],
    tuple[int, int, int, bytes, bytes, int, int, int],
    tuple[int, int, int, int, int, int, int],
]
"""(switch, ingress, egress or None, VLAN, drop reason, for the switch itself), (source MAC, destination MAC,
EtherType), (IP version or 0, class, protocol, source, target, source port, destination port, ICMP type and
code), (first and last in nanoseconds, packets, bytes, bytes from the IP header on, TCP flags, IPFIX's
flowEndReason).
"""

def set_flows(
    engine: Engine, every: int, *, active: int = 0, idle: int = 0, limit: int = 0
) -> list[_FlowTuple]:
    """Count every `every`-th frame that a switch takes in with its flow, at most `limit` flows at a time; 0:
    none. A flow is due when it was silent for `idle` ns, and after `active` ns though it goes on. Returns
    those that were counted before: they have ended.
    """

def take_flows(engine: Engine, now: int, most: int) -> tuple[list[_FlowTuple], bool]:
    """Flows that have ended or are due at `now`, at most `most`, and whether the table was looked through:
    each call looks at a part of it.
    """

def flow_counts(engine: Engine) -> dict[str, int]:
    """What was counted since sampling began: `sampled` frames, `flows` now, `evicted` and `lost` ones."""

def set_recorder(
    engine: Engine,
    size: int,
    *,
    total: int,
    snap: int,
    triggers: Sequence[tuple[Sequence[str], int, int, int]] = ...,
) -> None:
    """How much is kept of what passes: `size` bytes a port and `total` in all, of each frame its first
    `snap` bytes, 128 at most. `size` 0: nothing is. What was kept is forgotten if these change.

    `triggers`: (reasons, over, per, pause): an event `trigger` comes with the number of one of them when a
    port drops more than `over` frames for its `reasons` within `per` ns, and then not again for `pause` ns.
    Raises ValueError for a reason that there is not.
    """

def write_past(
    engine: Engine,
    fd: int,
    *,
    ports: Sequence[int] | None,
    vlans: Mapping[int, int] = ...,
    since: int = 0,
    direction: Literal["in", "out"] | None = None,
    drops: bool = False,
    program: BpfProgram | None = None,
    filter: str = "",  # noqa: A002
    snaplen: int = 128,
    count: int | None = None,
    epoch: int = 0,
    hardware: str = "",
    os: str = "",
    application: str = "",
) -> dict[str, int]:
    """Write what was kept, as pcapng, to a duplicate of `fd`. Blocks; raises OSError.

    `ports`: frames that came in at these, were sent to them or were refused there, None for all; `vlans`:
    frames of these VLANs, too, each with the time from which on. `since`: from this time of the engine on.
    `count`: the latest so many. The other arguments are those of `start_capture`. Counts `written`,
    `left_out` (frames in that time that were counted and not kept), `unseen` (of which the filter would
    have had to see more), `bytes`; `oldest` is the first frame's time, 0 without one.
    """

def set_bridge(
    engine: Engine,
    switch: int,
    version: Literal["stp", "rstp"] | None,
    mac: str,
    *,
    priority: int = 32768,
    hello: int = 2,
    max_age: int = 20,
    forward_delay: int = 15,
) -> None:
    """Have a switch run a spanning tree, or none; times in seconds. Raises ValueError."""

def join_bridge(
    engine: Engine,
    port: int,
    mac: str,
    *,
    cost: int = 2000,
    priority: int = 128,
    edge: bool = False,
    auto_edge: bool = True,
    bpdu_guard: bool = False,
) -> None:
    """Have a port take part in its switch's spanning tree; its BPDUs come from `mac`."""

def set_cord(
    engine: Engine,
    port: int,
    seed: tuple[int, int],
    now: int,
    steps: Sequence[tuple[int, Impair, Impair, bool]],
) -> None:
    """What the cable of a guest's NIC is like now (the first step), and from which times on (ascending):
    (time, what the guest sends, what it receives, whole). `now`: the driver's time.
    """

def cord_up(engine: Engine, port: int) -> bool:
    """Whether the cable of a guest's NIC is whole, or cut by its schedule."""

def hand_over(engine: Engine, handover: Mapping[int, int | None]) -> None:
    """VLANs pass from their networks to others, and no port that is up carries them: what was learned in
    them is forgotten, and what is on links in them lost. `handover`: each of them, and the VLAN that the
    network has instead, in which it keeps the leases of its guests; None: it has none.
    """

def leave_bridge(engine: Engine, port: int) -> None:
    """Have a port forward whatever the spanning tree says, as those of guarded guests do."""

def set_multicast(engine: Engine, switch: int, vlan: int, setup: Snooping | None) -> None:
    """Have a switch snoop multicast groups in a VLAN, or no more. Raises ValueError when there is no room."""

def multicast_sides(engine: Engine, switch: int) -> list[dict[str, Any]]:
    """Queriers and routers at a switch, for each VLAN that is snooped in and each of "igmp" and "mld": vlan,
    protocol, querier (its address, or None), ours, querier_port, interval, routers (port: until when),
    groups.
    """

def multicast_members(
    engine: Engine, switch: int, cursor: int = 0, limit: int = 256
) -> tuple[list[tuple[int, str, int, list[str], list[str], int]], int | None]:
    """Who wants which group, `limit` groups from `cursor` on: (VLAN, group, port, the only sources or [] for
    all but the excluded ones, those, until when); and the cursor of the next page.
    """

def bridge_view(engine: Engine, switch: int) -> dict[str, Any] | None:
    """What is to be seen of a switch's spanning tree; None when it runs none.

    id, root, cost (to the root), root_port, changes, changed (nanoseconds of the engine's clock or
    None), ports: number, role, state, cost, id, edge, rapid, refused.
    """

def describe_port(
    engine: Engine,
    port: int,
    name: str,
    description: str = "",
    mac: Sequence[int] | None = None,
    speed: int | None = None,
) -> None:
    """Name a port for captures. `mac` as six bytes, `speed` in bits per second."""

def complete_offload(
    frame: bytes, header: Sequence[int], *, csum: bool = False, max_frame: int = 1518
) -> list[tuple[bytes, bytes]]:
    """What a port gets of `frame`, received with a virtio-net header (10 bytes): (header, frame) each.

    `csum`: it takes partial checksums. Raises ValueError when the header is refused, and when the
    frame can't be completed.
    """

@final
class Door:
    """An open NIC that is not attached to a port yet. Dropping it closes it."""

    @property
    def kind(self) -> str | None: ...
    def close(self) -> None:
        """Close it now, unless it is attached: then the engine does."""

@final
class PipeHandle:
    """The far end of a pipe.

    Never blocks: raises BlockingIOError, and the port's `pipe` event tells when to try again;
    BrokenPipeError once the port was removed.
    """

    def send(self, frame: bytes) -> None: ...
    def send_wait(self, frame: bytes, timeout: float) -> None:
        """Wait up to `timeout` seconds for room. For threads that may block."""

    def receive(self) -> bytes: ...
    def fileno(self) -> int:
        """A descriptor that is readable while there is something to receive, or the pipe is closed."""

    def close(self) -> None:
        """Nobody will send or receive here any more: the port has no carrier from now on."""

def pipe_door(limit: int, max_frame: int) -> tuple[Door, PipeHandle]:
    """Open a pipe that holds `limit` frames of at most `max_frame` bytes each way."""

def dgram_door(local: str | None, remote: str | None) -> tuple[Door, str | None]:
    """Open a dgram door: `local` is our end and `remote` the guest's.

    Each is a path, `@name` or `ip:port`; one may be None. Returns the door and where it is bound, with
    the port that the kernel chose if 0 was asked for, or None for a unix socket. Raises NicError.
    """

@final
class PcapFiles:
    """The files of a pcap door, which may need a moment after the door is gone."""

    @property
    def lost(self) -> int:
        """Frames that the recording lost."""

    def filenos(self) -> list[int]:
        """Descriptors that all become readable once nothing of the door is open any more."""

    def error(self) -> str | None:
        """What writing the recording failed with, if it did."""

def pcap_door(
    read: int | None,
    write: int | None,
    *,
    speed: float,
    name: str,
    application: str,
    epoch: int | None,
) -> tuple[Door, PcapFiles]:
    """Open a pcap door on descriptors, which stay the caller's: `read` is played, `write` is written.

    `speed`: how many times as fast as recorded, 0 for as fast as possible. `name` and `application`
    stand in the recording. `epoch`: nanoseconds from the Unix epoch to time 0 in virtual time, where
    files are read and written in the turn; None in real time. Raises NicError and OSError.
    """

def stream_door(endpoint: str, role: str) -> tuple[Door, str]:
    """Open a stream door at `endpoint`: a path, `@name` or `ip:port`.

    `role` is `server` (we listen) or `client`. Returns the door and where it listens or connects to,
    with the port that the kernel chose if 0 was asked for. Raises NicError.
    """

@final
class Guard:
    """What the guest at a port may say and hear: that is itself, and what is allowed here.

    `macs`: further MAC addresses of its own. `addresses`: (prefix such as `10.0.0.1/32`, the MAC address
    it goes with or None for its own, its VLAN or None for all). `unknown`: VLANs in which nobody
    knows what addresses are right. `learns`: addresses it gets by DHCP are its own. Raises ValueError.
    """

    def __new__(
        cls,
        mac: str,
        *,
        macs: Sequence[str] = ...,
        addresses: Sequence[tuple[str, str | None, int | None]] = ...,
        unknown: Sequence[int] = ...,
        mac_changes: bool = False,
        promiscuous: bool = False,
        forged_transmits: bool = False,
        dhcp_server: bool = False,
        router_advertisements: bool = False,
        querier: bool = False,
        learns: bool = False,
    ) -> Self: ...

@final
class Limits:
    """What the guest at a port may send (`egress`), receive (`ingress`) and flood.

    A direction is (bit/s, bytes of burst, bytes of one-time burst, packets/s); `storm` is broadcast,
    multicast and unknown unicast in packets/s. 0 is any, and for a burst the usual one.
    """

    def __new__(
        cls,
        *,
        egress: tuple[int, int, int, int] = ...,
        ingress: tuple[int, int, int, int] = ...,
        storm: tuple[int, int, int] = ...,
    ) -> Self: ...

@final
class Proxy:
    """What ports are told for others by proxy ARP and neighbour discovery: in private networks locally, at
    uplinks by route.

    By network: (VLAN, [(prefix, gateway, its MAC address if known)], [(address, place, MAC address)]); the
    place as in `switch.private`. `routes`: (VLAN, prefix, MAC address of the guest that it is routed to);
    those at promiscuous places are told by them alone. Raises ValueError.
    """

    def __new__(
        cls,
        networks: Sequence[tuple[int, Sequence[tuple[str, str, str | None]], Sequence[tuple[str, int, str]]]],
        routes: Sequence[tuple[int, str, str]] = ...,
    ) -> Self: ...

@final
class Groups:
    """The rules of a port's security groups, compiled.

    Each allows: (IP protocol or None for any, first and last number, remotes or None for anybody).
    Numbers are destination ports, of ICMP `type << 8 | code`. A remote is (prefix such as `10.0.0.0/8`,
    its VLAN or None for any). `log`: tell of what is denied. Raises ValueError.
    """

    def __new__(
        cls,
        ingress: Sequence[tuple[int | None, tuple[int, int], Sequence[tuple[str, int | None]] | None]],
        egress: Sequence[tuple[int | None, tuple[int, int], Sequence[tuple[str, int | None]] | None]],
        *,
        log: bool = True,
    ) -> Self: ...
    def memory(self) -> int: ...

@final
class PortConfig:
    """How a switch's port is set up. Without `guard` everything may pass.

    Give `vlan` for an access port; `tagged` (and perhaps `native`) for a trunk. `translate`: (our VLAN,
    VID on the wire), every one of a trunk whose far side has other numbers. `uplink`: what is behind it
    is the physical network. `connections`: how many are tracked for it. `private`: VLANs in which it
    reaches promiscuous ports and its `community` (0: none) alone. `places`: it is the end of a link between
    switches, and the place of a frame's sender in private VLANs goes beside it. `proxy`: what it is told for
    others there, `station`: the MAC address that it is known by itself. Raises ValueError.
    """

    def __new__(
        cls,
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
        translate: list[tuple[int, int]] | None = None,
        uplink: bool = False,
        guard: Guard | None = None,
        groups: Groups | None = None,
        connections: int = 65536,
        private: Sequence[int] = ...,
        community: int = 0,
        places: bool = False,
        proxy: Proxy | None = None,
        station: str | None = None,
        limits: Limits | None = None,
    ) -> Self: ...

@final
class Snooping:
    """How multicast groups are snooped in a VLAN. `mac`, `ip4` and `ip6` are the switch's own, for its
    queries; `interval` in nanoseconds, 1 s at least. Raises ValueError.
    """

    def __new__(
        cls,
        mac: str,
        *,
        ip4: str,
        ip6: str,
        unknown: Literal["flood", "routers"] = "flood",
        querier: bool = True,
        interval: int = 125_000_000_000,
        fast_leave: bool = False,
        suppress: bool = False,
        groups: int = 1024,
        port_groups: int = 128,
    ) -> Snooping: ...

@final
class Impair:
    """What happens to frames one way. Times in nanoseconds, shares in millionths, `rate` in bit/s (0:
    any), `mtu` in bytes (0: any). `bursts`: (begin, end, loss); `codel`: (target, interval), left out
    for tail drop.
    """

    def __new__(
        cls,
        *,
        delay: int = 0,
        jitter: int = 0,
        spread: str = "uniform",
        loss: int = 0,
        bursts: tuple[int, int, int] | None = None,
        duplicate: int = 0,
        reorder: int = 0,
        corrupt: int = 0,
        rate: int = 0,
        queue_packets: int = 1000,
        queue_bytes: int = 0,
        codel: tuple[int, int] | None = None,
        mtu: int = 0,
    ) -> Self: ...

@final
class BondSetup:
    """How the cables of a bond share the work. `members`: (name, MAC address that LACP comes from, priority).
    `mode`: "lacp", "active-backup" or "static"; `hashed`: "l2", "l3" or "l4". Times in nanoseconds.
    """

    MOST: Final[int] = ...

    def __new__(
        cls,
        mode: str,
        members: Sequence[tuple[str, str, int]],
        *,
        least: int = 1,
        hashed: str = "l4",
        primary: int | None = None,
        system: tuple[int, str] = ...,
        key: int = 1,
        active: bool = True,
        short: bool = False,
        independent: bool = True,
        wait: int = 2_000_000_000,
        most: int = 8,
        fallback: bool = False,
    ) -> Self: ...

def bond_door(doors: Sequence[Door], setup: BondSetup) -> Door: ...
def set_member(engine: Engine, port: int, member: int, up: bool) -> None: ...
def bond_view(engine: Engine, port: int) -> dict[str, Any] | None: ...

@final
class Engine:
    """Switches, ports and NICs, and the `turn` that moves frames between them.

    Commands raise KeyError for what does not exist, ValueError for a bad configuration, OSError for
    what the kernel refused and RuntimeError for what can't be done now.
    """

    turns: int

    def __new__(cls) -> Self: ...
    def fileno(self) -> int: ...
    def events_fileno(self) -> int: ...
    def now(self) -> int: ...
    def add_switch(
        self,
        *,
        fdb_limit: int = ...,
        vlan_limit: int = ...,
        ageing: int = ...,
        connection_limit: int = ...,
        hash_seed: tuple[int, int] | None = None,
    ) -> int: ...
    def remove_switch(self, switch: int) -> None: ...
    def set_switch(
        self,
        switch: int,
        *,
        fdb_limit: int,
        vlan_limit: int,
        ageing: int,
        connection_limit: int = ...,
    ) -> None:
        """Change a switch's limits and ageing time; entries keep their age.

        Learned entries beyond a lower limit are forgotten, longest heard first. ValueError when there
        are more static ones than `fdb_limit`; then nothing has changed.
        """

    def add_port(self, door: Door, switch: int, config: PortConfig) -> int:
        """Attach a door; the port's number.

        `now`: the time in nanoseconds of the clock by which `turn` is called; the engine's own thread
        needs none. Without it the time is that of the latest turn.
        """

    def add_link(
        self,
        a: int,
        config_a: PortConfig,
        b: int,
        config_b: PortConfig,
        seeds: Sequence[tuple[int, int]],
        bonds: tuple[BondSetup, BondSetup] | None = None,
    ) -> tuple[int, int]: ...
    def set_impair(
        self, port: int, cable: int, now: int, steps: Sequence[tuple[int, Impair, Impair, bool]]
    ) -> None: ...
    def set_port(self, port: int, config: PortConfig) -> None: ...
    def set_groups(self, groups: Sequence[tuple[int, Groups | None]]) -> None: ...
    def connections(
        self, switch: int, cursor: int, limit: int
    ) -> tuple[
        list[tuple[int, str, tuple[str, int], tuple[str, int], str, tuple[int, int, int], int]], int | None
    ]: ...
    def readings(self, ports: list[int]) -> list[tuple[int, list[tuple[int, str, int | None]]]]:
        """What only the engine knows of ports, of all of them at once: how many connections are tracked
        on account of each, and its `bindings`. (0, []) for a port that is gone.
        """

    def remove_port(self, port: int) -> list[tuple[int, int]]:
        """Detach a port's NIC and forget the port. What its guest sent and received, as `usage` has it."""

    def usage(self, ports: Sequence[int]) -> list[list[tuple[int, int]]]:
        """What guests' NICs sent and received since their ports are there, for each port that is asked about,
        all of one moment: (frames, bytes) sent inside the fabric, sent over uplinks, received from inside,
        received over uplinks. Zeros for uplinks, links' ends, and ports that are not there.

        Bytes are those of a wire, from the Ethernet header on, without FCS and VLAN tags; super-frames count
        as their segments. What counts: `vnet/README.md`.
        """

    def set_link(self, port: int, up: bool) -> None: ...
    def inject(self, port: int, frame: bytes) -> tuple[str, int | None, int]:
        """Put a frame in at a port as if its guest had sent it, between two turns.

        What the switch decided: (`to`, port, VLAN), (`flood`, None, VLAN), or (the drop reason, None, VLAN
        or 0). ValueError for a frame that is longer than any.
        """

    def explain(self, port: int, frame: bytes) -> list[dict[str, Any]]:
        """What would happen to a frame that came in at a port, by the code that forwards; nothing does.

        One dict a switch that it or a copy passes: `switch`, `ingress`, `frame` as it comes in there,
        `action` (`to`, `flood` or the drop reason), `vlan`, `station` (port and kind of the FDB's entry for
        the destination, or None), `copies`: (port, drop reason or None, bytes of tag removed, tag inserted
        as TPID << 16 | TCI or 0, the port at the other end of a link or None, whether it may come late: a
        cable delays it or a limit makes it wait, whether a cable may lose, double or damage it), `mirrors`:
        the names of those that copy it here, `from`: the number of the hop and of its copy that came here,
        None for the first.
        """

    def carrier(self, port: int) -> bool: ...
    def bindings(self, port: int) -> list[tuple[int, str, int | None]]:
        """Addresses that the port's guest has by DHCP: (VLAN, prefix, when the lease ends in nanoseconds of
        the driver's clock, None for never).
        """

    def bind(self, port: int, vlan: int, prefix: str, until: int | None) -> None:
        """Take it that the guest has this address by DHCP. Raises ValueError."""

    def counters(self, port: int) -> dict[str, Any]: ...
    def lost(self, port: int) -> list[tuple[str, int, int, int, bytes]]:
        """The last frame that a port lost for each reason, up to eight of them: (reason, when in nanoseconds
        of the driver's clock, VLAN or 0, length, its first bytes, 128 at most).
        """

    def fdb(
        self, switch: int, cursor: int, limit: int, *, port: int | None = None, vlan: int | None = None
    ) -> tuple[list[tuple[int, str, int, str, int]], int | None]: ...
    def fdb_set(self, port: int, vlan: int, mac: str, *, sticky: bool = False) -> None:
        """Enter an address at a port for good. `sticky`: what comes from it elsewhere is dropped."""

    def fdb_remove(self, port: int, vlan: int, mac: str) -> None:
        """Forget an address of a port's switch, of any kind."""

    def fdb_flush(
        self, switch: int, port: int | None = None, vlan: int | None = None, fixed: bool = False
    ) -> int: ...
    def advance(self, now: int) -> None: ...
    def settle(self, now: int) -> None: ...
    def turn(self, now: int) -> int | None: ...
    def start(self, poll: str = "adaptive", cpu: int | None = None) -> None: ...
    def stop(self) -> None: ...
    def wake(self) -> None: ...
    def events(self) -> tuple[list[tuple[int, str, int, int, str]], int]: ...

@final
class Mirror:
    """Which frames are copied, and where to; see `set_mirrors`."""

    def __new__(
        cls,
        name: str,
        to: int,
        *,
        ingress: Sequence[int],
        egress: Sequence[int],
        vlans: Sequence[int] | None = None,
        transit: bool = True,
        erspan: tuple[str, str, int | None, str, str, int] | None = None,
        snap: int | None = None,
        tagged: bool = False,
        rate: int = 0,
        packets: int = 0,
    ) -> Self:
        """`ingress`, `egress`: ports whose frames are copied when they come in, and when they go out.

        `vlans`: only of these; None: of any. `transit`: frames that came over a link, too, where they go
        out. `to`: the port that copies leave by. `erspan`: packed so: (next hop's MAC, own MAC, VLAN id on
        the wire or None, source, target, session). `snap`: bytes that are kept. `rate`, `packets`: bit/s
        and copies a second, 0 for any. Raises ValueError.
        """

def set_mirrors(engine: Engine, mirrors: Sequence[Mirror]) -> None:
    """Have these mirrors and no others. KeyError, and nothing has changed, when a port isn't there.

    One that is there already by its name goes on counting.
    """

def mirror_counts(engine: Engine) -> list[tuple[str, int, int, int]]:
    """What each mirror has done: (name, copies, their bytes, copies lost)."""

@final
class Verdict:
    """What became of one frame."""

    @property
    def action(self) -> str:
        """`unicast`, `flood-unknown` (or -multicast, -broadcast, -link-local), `group`, `report`,
        `answer`, `drop`.
        """

    @property
    def reason(self) -> str | None:
        """Why it was dropped; a name of `drop_reasons`."""

    @property
    def vlan(self) -> int:
        """The VLAN it was classified to; 0 when it was dropped before that."""

    @property
    def priority(self) -> int:
        """Upper four bits of its tag's TCI: priority, drop eligibility. 0 without a tag."""

    @property
    def copies(self) -> list[tuple[int, bytes]]:
        """(egress port, the frame as it leaves)."""

    @property
    def lost(self) -> list[tuple[int, str]]:
        """(egress port, why the copy did not leave); a name of `drop_reasons`."""

    @property
    def answer(self) -> bytes | None:
        """What the switch itself answers, by the port that the frame came in by."""

    @property
    def place(self) -> int:
        """Where its sender stands in a private VLAN, as `switch.private` counts: what goes beside copies that
        leave over a link.
        """

@final
class Switch:
    """A learning VLAN switch by itself: frames and a time in nanoseconds in, verdicts out.

    Raises KeyError for a port or entry that does not exist, ValueError for anything else wrong.
    """

    def __new__(
        cls,
        *,
        fdb_limit: int = ...,
        vlan_limit: int = ...,
        ageing: int = 300_000_000_000,
        connection_limit: int = ...,
        seed: tuple[int, int] = ...,
    ) -> Self:
        """At most `fdb_limit` addresses, `vlan_limit` learned in one VLAN; `ageing` 0 for never."""
    def configure(self, now: int, *, fdb_limit: int, vlan_limit: int, ageing: int) -> None:
        """Other limits and another ageing time, from `now` on; see `Engine.set_switch`."""

    def add_port(self, port: int, config: PortConfig) -> None:
        """Add a port under a number 0..4095."""

    def set_port(self, port: int, config: PortConfig) -> None:
        """Set a port up anew."""

    def set_groups(self, port: int, groups: Groups | None) -> None:
        """Change the security groups of a port."""

    def connections(
        self, now: int
    ) -> list[tuple[int, str, tuple[str, int], tuple[str, int], str, tuple[int, int, int], int]]:
        """Tracked connections: (VLAN, protocol, source, target, state, (age, idle, left), owner)."""

    def connection_count(self, port: int) -> tuple[int, int]:
        """Tracked connections: (of all, on account of one port)."""

    def denied(self) -> list[tuple[int, str]]:
        """Lines about what security groups denied: (port, text)."""

    def remove_port(self, port: int) -> None:
        """Remove a port and its entries."""

    def forward(
        self,
        now: int,
        ingress: int,
        frames: Sequence[bytes],
        *,
        gso: bool = False,
        place: int | None = None,
    ) -> list[Verdict]:
        """Forward frames that came in together; `gso`: super-frames, which the MTU does not bound; `place`:
        what is beside them, if `ingress` is the end of a link (`places`).
        """

    def fdb_set(self, vlan: int, mac: str, port: int, *, sticky: bool = False) -> None:
        """Set an entry that does not age."""

    def fdb_remove(self, vlan: int, mac: str) -> None:
        """Forget one entry, of any kind."""

    def fdb_flush(self, *, port: int | None = None, vlan: int | None = None, fixed: bool = False) -> int:
        """Forget learned entries, and with `fixed` all. Returns how many."""

    def fdb_get(self, vlan: int, mac: str) -> tuple[int, str, int, str, int] | None:
        """(VLAN, MAC address, port, `learned` | `static` | `sticky`, age in nanoseconds)."""

    def fdb_page(
        self, cursor: int = 0, limit: int = 1000
    ) -> tuple[list[tuple[int, str, int, str, int]], int | None]:
        """About `limit` entries from `cursor` on, and the next page's cursor."""

    def fdb_count(self, *, port: int | None = None, vlan: int | None = None) -> tuple[int, int]:
        """(learned, static and sticky) entries of one port, of one VLAN, or of all."""

    def set_multicast(self, vlan: int, setup: Snooping | None) -> None:
        """Snoop multicast groups in a VLAN, or no more."""

    def queries(self) -> list[tuple[int, int | None, bytes]]:
        """Queries that the switch wants to send: (VLAN, port or all, frame)."""

    def multicast_members(self) -> list[tuple[int, str, int, list[str], list[str], int]]:
        """Who wants which group: see the function of that name."""

    def tick(self, now: int) -> None:
        """Forget what is due, a bounded amount of it."""

    def deadline(self) -> int | None:
        """When `tick` has something to do."""

    def counters(self, port: int) -> dict[str, Any]:
        """`rx_frames`, `rx_bytes`, `tx_frames`, `tx_bytes`, `forwarded`, `drops` by reason."""

    def memory(self) -> tuple[int, int]:
        """Bytes held: (by the forwarding database, by ports and VLANs)."""

def tap_door(fds: list[int], name: str | None, *, create: bool, mtu: int, offload: bool) -> tuple[Door, str]:
    """Open the TAP `name` by descriptors of /dev/net/tun, one a queue.

    They were opened in the network namespace that it belongs in, and are duplicated; with `name` None
    they are queues of a TAP already. `create`: it must not exist yet. Returns the door and the
    interface's name. Raises OSError: EBUSY taken, EPERM not allowed there, EINVAL no TAP.
    """

@final
class StackHandle:
    """The far end of an in-process guest: its sockets, by number.

    Nothing here blocks: what can't be done now gives None (or False), and a `socket` event of the
    port tells when to try again, once. Errors are OSErrors with the errno of the operating system;
    EBADF once the socket is closed or the guest has left its port.
    """

    def tcp_connect(
        self, host: str, port: int, local_host: str | None = None, local_port: int = 0
    ) -> int: ...
    def tcp_connected(self, socket: int) -> bool: ...
    def tcp_listen(self, host: str | None, port: int, backlog: int) -> int: ...
    def tcp_bind(self, host: str | None, port: int) -> int:
        """Take a port (0: any) of `host`, of all of one version if that is unspecified, or of all."""

    def tcp_listen_at(self, socket: int, backlog: int) -> None: ...
    def tcp_hops(self, socket: int, hops: int) -> None: ...
    def tcp_keep_alive(self, socket: int, keep: tuple[int, int, int] | None) -> None:
        """Ask a silent peer whether it is there: after how many seconds, how often, how many times."""

    def readable(self, socket: int) -> bool:
        """Whether it can be read from, or accept, now; if not, a `socket` event tells when."""

    def tcp_accept(self, listener: int) -> int | None: ...
    def tcp_send(self, socket: int, data: bytes, start: int) -> int | None:
        """Take over `data[start:]` as far as there is room; how many bytes."""

    def tcp_recv(self, socket: int, most: int) -> bytes | None:
        """Up to `most` bytes; b"" at the end of the stream."""

    def tcp_shutdown(self, socket: int) -> None: ...
    def tcp_abort(self, socket: int) -> None: ...
    def tcp_state(self, socket: int) -> str: ...
    def udp_bind(self, host: str | None, port: int) -> int: ...
    def udp_open(self, host: str | None, port: int, settings: tuple[bool, int, int, bool]) -> int:
        """As `udp_bind`. Settings: shares its port with others that do, hop limits to one station and to a
        group, receives what it sends to groups that were joined here.
        """

    def udp_set(self, socket: int, settings: tuple[bool, int, int, bool]) -> None: ...
    def udp_connect(self, socket: int, peer: tuple[str, int] | None) -> None:
        """Talk with `peer` alone, and hear of it (ECONNREFUSED) when nobody listens there."""

    def udp_send(self, socket: int, data: bytes, host: str, port: int) -> bool: ...
    def udp_recv(self, socket: int) -> tuple[bytes, tuple[str, int], str] | None:
        """The next datagram: its bytes, who sent it, and the address it was sent to."""

    def udp_join(self, socket: int, group: str) -> None: ...
    def udp_leave(self, socket: int, group: str) -> None: ...
    def udp_lost(self, socket: int) -> int: ...
    def raw_open(self, ethertype: int | None = None) -> int:
        """A socket for whole frames of one EtherType, or of all."""

    def raw_send(self, socket: int, frame: bytes) -> bool: ...
    def raw_recv(self, socket: int) -> bytes | None: ...
    def raw_lost(self, socket: int) -> int: ...
    def ping_open(self, host: str, hop_limit: int) -> int: ...
    def ping_send(self, socket: int, seq: int, size: int) -> None: ...
    def ping_recv(self, socket: int) -> tuple[int, int] | None:
        """The next answer: its number, and the nanoseconds it took; -errno if there will be none."""

    def names(self, socket: int) -> tuple[tuple[str, int], tuple[str, int] | None]: ...
    def close(self, socket: int) -> None: ...
    def addresses(self) -> list[str]: ...
    def neighbours(self) -> list[tuple[str, str]]: ...
    def socket_count(self) -> int: ...

def stack_door(
    mac: str,
    addresses: list[str],
    gateways: list[str],
    mtu: int,
    seed: int,
    *,
    receive_buffer: int = 262_144,
    send_buffer: int = 262_144,
    gso: bool = True,
    sockets: int = 4096,
    inbox: int = 1_048_576,
) -> tuple[Door, StackHandle]:
    """Open an in-process guest. Raises ValueError for what can't be."""

def vde_door(folder: str, role: str, port: int, description: str) -> Door:
    """Open a vde door at `folder`; `role` is `server` (the folder is ours) or `client`.

    A client asks the switch there for `port` (0: any) and says that it is `description`. Raises NicError.
    """

def vhost_user_door(
    path: str, role: str, *, queues: int, mtu: int, offload: bool, mac: bytes | None = None
) -> Door:
    """Open a vhost-user door at `path`; `role` is `server` (we listen) or `client`.

    `queues`: queue pairs that are offered, 1 to 64. `mtu`: the largest payload in bytes that a front-end
    may tell its guest. `offload`: offer checksum and segmentation offloads. Raises NicError.
    """

@final
class LoadFar:
    """A far side that sends one frame over and over; for `vnet bench`, as all that begins with load."""

    @staticmethod
    def pipe(handle: PipeHandle, frame: bytes) -> LoadFar: ...
    @staticmethod
    def stream(fd: int, frame: bytes) -> LoadFar: ...
    @staticmethod
    def packet(fd: int, frame: bytes) -> LoadFar: ...
    @staticmethod
    def udp(handle: StackHandle, socket: int, to: str, payload: bytes) -> LoadFar: ...

@final
class LoadTcp:
    """One side of a TCP connection."""

    @staticmethod
    def stack(handle: StackHandle, socket: int) -> LoadTcp: ...
    @staticmethod
    def kernel(fd: int) -> LoadTcp: ...

def load_flood(
    engine: Engine, source: LoadFar, sink: LoadFar, ingress: int, egress: int, window: int, seconds: float
) -> tuple[int, int, int, int]:
    """Frames and bytes that left by `egress`, lost frames, nanoseconds."""

def load_echo(near: LoadFar, far: LoadFar, count: int, seconds: float) -> list[int]:
    """Nanoseconds that each frame took there and back."""

def load_bulk(source: LoadTcp, sink: LoadTcp, seconds: float) -> tuple[int, int]:
    """Bytes that arrived, nanoseconds."""

@final
class Stations:
    """Who lives in the fabric, as an uplink's interface must know."""

    def want(self, macs: list[str] | None) -> None:
        """Receive groups and frames for these MAC addresses, nothing without any; None: for everybody.

        Raises OSError, ValueError.
        """

def packet_door(
    packet: int,
    netlink: int,
    interface: str,
    *,
    offload: bool,
    netns: int | None,
    queues: int,
) -> tuple[Door, Stations, int]:
    """Open a `packet` door on `interface` by a packet socket (SOCK_RAW, protocol 0) and a netlink socket
    (NETLINK_ROUTE) of its namespace: the door, who decides what comes in, the interface's MTU. `netns`: a
    descriptor of that namespace, None: ours. `queues`: packet sockets that share what comes in.

    Raises OSError; ENODEV: there is no such interface.
    """

def xdp_door(
    packet: int,
    netlink: int,
    interface: str,
    *,
    offload: bool,
    netns: int | None,
    queues: int | None,
    mode: str,
) -> tuple[Door, Stations, int]:
    """Open an `xdp` door on `interface` by the sockets that `packet_door` takes. `netns`: a descriptor of
    its namespace, None: ours. `queues` None: all, 16 at most. `mode`: auto, native, generic.

    What rules AF_XDP out is one line in the log, and the door a `packet` one. Raises as `packet_door`.
    """
