"""The nouns of a topology, as a person writes them: what is wanted, not yet what it comes to.

Everything here is frozen and compares by value. What is left out is None (or the default), so that
a topology can be written back as it was read. `resolve.py` works out MACs, addresses and VLANs.
Times are nanoseconds, rates bit/s, sizes bytes, shares millionths: see `nics/quantity.py`.
"""

from __future__ import annotations

from typing import Any, Literal

import attrs

from nics.door import Nic
from switch.storm import Storm
from vnet.topology.values import Address, Interface, Subnet

Driver = Literal["auto", "trio", "thread"]
Poll = Literal["adaptive", "busy", "sleep"]
GuestKind = Literal["stack", "netns", "external", "qemu"]


@attrs.frozen
class Engine:
    """What turns the fabric."""

    driver: Driver = "auto"
    cpu: int | None = None
    """The CPU that the engine's thread is bound to; None: any."""
    poll: Poll = "adaptive"
    wake: int | None = None
    """Nanoseconds that a CPU may take to wake up; None: any."""
    sandbox: str = "default"
    """What the process of `vnet up` gives up; see `vnet/sandbox/`."""
    keep: tuple[str, ...] = ()
    """Kinds that may come later although there are none yet."""


@attrs.frozen
class Multicast:
    """How multicast groups are snooped in a network."""

    snooping: bool = True
    querier: bool = True
    address: Address | None = None
    """What switches ask from; None: 0.0.0.0."""
    interval: int = 125_000_000_000
    """Nanoseconds."""
    unknown: Literal["flood", "routers"] = "flood"
    fast_leave: bool = False
    report_suppression: bool = False
    groups: int = 1024
    nic_groups: int = 128


@attrs.frozen
class Dump:
    """What has the recorder write down the past by itself."""

    on: str
    """`drop`, `carrier-loss` or `expect`."""
    reason: tuple[str, ...] = ()
    """Names of drop reasons, or their first parts; (): any."""
    over: int | None = None
    """More than so many drops in a second at one port; None: any."""


@attrs.frozen
class Recorder:
    """How much of the past is kept. Sizes are bytes, times nanoseconds."""

    size: int = 256 << 10
    """For each port."""
    total: int = 64 << 20
    snap: int = 96
    """The first bytes of each frame."""
    dump: tuple[Dump, ...] = ()
    files: int = 10
    file_size: int = 8 << 20
    pause: int = 10 * 10**9


@attrs.frozen
class Flows:
    """What of the traffic is counted and told to a collector. Times are nanoseconds."""

    collector: str
    """An address and a UDP port."""
    sample: int = 100
    """Of so many frames one is looked at."""
    active: int = 60 * 10**9
    idle: int = 15 * 10**9
    flows: int = 1 << 16
    """Flows that are counted at a time."""
    templates: int = 60 * 10**9
    """How often the collector is told again what records look like."""


@attrs.frozen
class Network:
    """A tenant's broadcast domain."""

    name: str
    vlan: int | None = None
    """1..4094; None: the lowest free one."""
    subnets: tuple[Subnet, ...] = ()
    gateway: tuple[Address, ...] | None = None
    """The gateways, at most one in a subnet. None: the first address of each subnet; (): none."""
    private: bool = False
    proxy_arp: bool = False
    """Isolated guests of a private network reach each other through the gateway."""
    mtu: int = 1500
    """Largest payload of a frame, in bytes."""
    multicast: Multicast | None = None
    """None: multicast is flooded."""


@attrs.frozen
class Rule:
    """What a security group allows: all of its keys together, each list one of its items."""

    protocol: int | None = None
    """The IANA number; None: any."""
    ports: tuple[tuple[int, int], ...] = ()
    """Destination ports, first and last; (): any."""
    type: int | None = None
    """Of ICMP and ICMPv6."""
    code: int | None = None
    prefix: tuple[Subnet, ...] = ()
    """The other end's address; () and no group: any."""
    group: str | None = None
    """The other end is a guest with this group."""


@attrs.frozen
class Group:
    """A security group: what may reach its guests, and what they may reach."""

    name: str
    ingress: tuple[Rule, ...] = ()
    """To the guest."""
    egress: tuple[Rule, ...] | None = None
    """From the guest; None: everything, (): nothing."""
    log: bool = True
    """Tell of what is denied."""


@attrs.frozen
class PortSettings:
    """How the switch treats a port; each has the meaning of the same key in a topology file."""

    connections: int = 65536
    """Connections of its guest that are tracked, at most."""
    mac_limit: int = 1024
    mac_limit_action: Literal["flood", "drop"] = "flood"
    learning: bool = True
    sticky: bool = False
    static: bool = False
    transparent: bool = False
    priority_tags: bool = False
    flood_unknown: bool = True
    flood_multicast: bool = True
    flood_broadcast: bool = True
    up: bool = True


@attrs.frozen
class Allow:
    """What a guard lets through besides the port's own addresses."""

    ip: Subnet | None = None
    mac: str | None = None
    """With `ip`: what it goes with; None: the port's own. Without: one more of its own."""
    network: str | None = None
    """Where `ip` may be used; None: in all networks of the port."""


Allowed = Literal["allow", "deny"]


@attrs.frozen
class Guard:
    """What a guest may be besides itself."""

    allow: tuple[Allow, ...] = ()
    mac_changes: Allowed = "deny"
    promiscuous: Allowed = "deny"
    forged_transmits: Allowed = "deny"
    dhcp_server: Allowed = "deny"
    router_advertisements: Allowed = "deny"
    querier: Allowed = "deny"


@attrs.frozen
class Limit:
    """How much a port may carry one way."""

    rate: int | None = None
    """bit/s."""
    burst: int | None = None
    """Bytes; None: what flows in during 10 ms."""
    one_time_burst: int | None = None
    """Bytes that pass before the rate counts, once."""
    packets: int | None = None
    """Packets/s."""


@attrs.frozen
class Limits:
    """How much a guest may send (`egress`) and receive (`ingress`)."""

    egress: Limit | None = None
    ingress: Limit | None = None


@attrs.frozen
class TreePort:
    """A port's part in a spanning tree."""

    cost: int | None = None
    """None: by the rate."""
    priority: int = 128
    edge: bool = False
    bpdu_guard: bool = False


@attrs.frozen
class NicPort:
    """A guest's NIC and the switch's port that it is plugged into."""

    nic: Nic
    network: str | None = None
    """Of an access port."""
    trunk: tuple[str, ...] = ()
    """The networks of a trunk."""
    native: str | None = None
    """The network of a trunk's untagged frames."""
    native_tagged: bool = False
    """Frames of the native network leave with their tag."""
    switch: str | None = None
    mac: str | None = None
    dhcp: bool = False
    """Its addresses are what DHCP servers give it; then `ip` is ()."""
    ip: tuple[Interface, ...] | None = None
    """None: an address from each subnet; (): none. What has no prefix length has that of a host."""
    mtu: int | None = None
    settings: PortSettings = PortSettings()
    guard: Guard | Literal["off"] | None = None
    """None: that of a guest which is nothing but itself."""
    limits: Limits | None = None
    groups: tuple[str, ...] = ()
    """Security groups; (): none, everything passes that the guard lets pass."""
    private: str | None = None
    """`promiscuous`, `isolated`, `community NAME`; None: as its networks are."""
    storm: Storm | None = None
    stp: TreePort = TreePort()
    mirrors: tuple[str, ...] = ()
    """Mirrors whose copies it may receive."""
    cord: Cord = attrs.field(factory=lambda: Cord())
    """What its cable does to frames."""

    @property
    def networks(self) -> tuple[str, ...]:
        """Every network that it carries."""
        return (self.network,) if self.network is not None else self.trunk

    @property
    def home(self) -> str | None:
        """The network of its untagged frames, which its addresses are of."""
        return self.network if self.network is not None else self.native


@attrs.frozen
class Disk:
    """A disk of a machine."""

    path: str
    format: str | None = None
    """None: by its name."""
    snapshot: bool = True
    """What is written to it is thrown away at the end."""


@attrs.frozen
class Machine:
    """What vnet starts for a guest of kind `qemu`. Paths are absolute once it was read."""

    memory: int = 256 << 20
    """Bytes."""
    cpus: int = 1
    disks: tuple[Disk, ...] = ()
    kernel: str | None = None
    initrd: str | None = None
    append: str | None = None
    accel: Literal["auto", "kvm", "tcg"] = "auto"
    args: tuple[str, ...] = ()
    restart: Literal["never", "on-failure"] = "never"
    stop_timeout: int = 10 * 10**9
    """Nanoseconds."""


@attrs.frozen
class Guest:
    """Who owns NICs."""

    name: str
    kind: GuestKind = "stack"
    nics: tuple[NicPort, ...] = ()
    machine: Machine | None = None
    """Of kind `qemu`, and there never None."""


@attrs.frozen
class Uplink:
    """The NIC on a physical interface that guests share."""

    name: str
    nic: Nic
    native: str | None = None
    tagged: tuple[str, ...] = ()
    vlans: tuple[tuple[str, int], ...] = ()
    """Networks whose VLAN has another number on the wire: (network, VLAN id there)."""
    switch: str | None = None
    mirrors: tuple[str, ...] = ()
    """Mirrors whose copies it may send out."""
    storm: Storm | None = None
    """How much of what goes to every port may come in there."""
    proxy_arp: bool = False
    """Who asks there for what is routed to a guest is told the guest's MAC address."""

    @property
    def networks(self) -> tuple[str, ...]:
        """Every network that it carries, the native one first."""
        return (() if self.native is None else (self.native,)) + self.tagged


@attrs.frozen
class Switch:
    """A switch."""

    name: str
    ageing: int = 300_000_000_000
    """Nanoseconds."""
    fdb_limit: int = 1 << 20
    vlan_limit: int = 1 << 18
    connection_limit: int = 1 << 18
    """Connections that are tracked, of all guests."""
    stp: Literal["none", "off", "stp", "rstp"] = "none"
    priority: int = 32768
    hello: int = 2_000_000_000
    """Nanoseconds, as the two below."""
    max_age: int = 20_000_000_000
    forward_delay: int = 15_000_000_000


@attrs.frozen
class Bursts:
    """Loss in bursts (Gilbert and Elliott), in millionths."""

    begin: int
    end: int
    loss: int = 1_000_000


@attrs.frozen
class Queue:
    """Where frames wait that come faster than a rate."""

    packets: int = 1000
    bytes: int | None = None
    aqm: Literal["tail", "codel"] = "tail"
    target: int = 5_000_000
    """Nanoseconds, as `interval`; both of CoDel."""
    interval: int = 100_000_000


@attrs.frozen
class Impair:
    """What a link does to frames one way. Times in nanoseconds, shares in millionths."""

    delay: int = 0
    jitter: int = 0
    distribution: Literal["uniform", "normal", "pareto"] = "uniform"
    loss: int = 0
    bursts: Bursts | None = None
    duplicate: int = 0
    reorder: int = 0
    corrupt: int = 0
    rate: int | None = None
    queue: Queue = Queue()
    mtu: int | None = None


Keys = tuple[tuple[str, Any], ...]
"""Some attributes of an Impair, by name."""


@attrs.frozen
class Change:
    """What is different at a link for some time."""

    start: int
    """Nanoseconds after the fabric came up."""
    stop: int | None = None
    """None: it stays so."""
    up: bool | None = None
    a_to_b: Keys = ()
    b_to_a: Keys = ()


@attrs.frozen
class Cord:
    """The cable of a guest's NIC."""

    egress: Impair = Impair()
    """What happens to frames that the guest sends."""
    ingress: Impair = Impair()
    schedule: tuple[Change, ...] = ()
    """`a_to_b` in it is what the guest sends."""


@attrs.frozen
class Bond:
    """How several cables between two switches share the work; as the keys of a topology file."""

    mode: Literal["lacp", "active-backup", "static"] = "lacp"
    hash: Literal["l2", "l3", "l4"] = "l4"
    min_links: int = 1
    max_links: int = 8
    timeout: Literal["long", "short"] = "long"
    control: Literal["independent", "coupled"] = "independent"
    passive: Literal["a", "b"] | None = None
    """The end that speaks when it is spoken to; None: neither."""


@attrs.frozen
class Cable:
    """One of several cables of a link."""

    a_to_b: Keys = ()
    """What differs from the link's."""
    b_to_a: Keys = ()
    schedule: tuple[Change, ...] = ()
    up: bool = True
    priority: int = 32768


@attrs.frozen
class Link:
    """A cable between two switches, or several."""

    ends: tuple[str, str]
    a_to_b: Impair = Impair()
    b_to_a: Impair = Impair()
    transparent: bool = False
    name: str | None = None
    """None: made of its ends' names."""
    networks: tuple[str, ...] | None = None
    """The networks that it carries; None: all."""
    up: bool = True
    schedule: tuple[Change, ...] = ()
    stp: TreePort = TreePort()
    cables: tuple[Cable, ...] = ()
    """(): one, without bond."""
    bond: Bond = Bond()


@attrs.frozen
class Erspan:
    """A session with a collector elsewhere."""

    uplink: str
    session: int
    source: Address
    target: Address
    next_hop: str
    mac: str | None = None
    """None: made from the names and the seed."""
    network: str | None = None
    """None: the uplink's native one."""


@attrs.frozen
class Mirror:
    """Copies of traffic for somebody who watches."""

    name: str
    ports: tuple[str, ...] = ()
    """Guests, NICs, uplinks, ends of links; () and no switches: every port but links."""
    switches: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    """(): all."""
    direction: Literal["both", "in", "out"] = "both"
    to: str | None = None
    """The guest or NIC that gets the copies."""
    erspan: Erspan | None = None
    snap: int | None = None
    tagged: bool = False
    rate: int | None = None
    """bit/s."""
    packets: int | None = None
    """Copies/s."""

    @property
    def receiver(self) -> str | None:
        """The guest, NIC or uplink that must grant it."""
        return self.erspan.uplink if self.erspan else self.to


@attrs.frozen
class Expect:
    """What must hold between guests; see `topology/expect.py`."""

    sources: tuple[str, ...]
    """Guests and uplinks, by name or pattern; each of them."""
    targets: tuple[str, ...]
    reach: bool
    protocol: Literal["any", "icmp", "tcp", "udp", "ethernet"] = "any"
    ports: tuple[tuple[int, int], ...] = ()
    """With `tcp` and `udp`: first and last of each range; (): some port or other."""
    family: Literal[4, 6] | None = None
    network: str | None = None
    via: str | None = None
    """The guest that forwards between the two."""


DEFAULT_SWITCH = "s1"
