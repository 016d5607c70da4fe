//! Why a frame was not forwarded: one name for every case, the same in counters, captures and help.

macro_rules! reasons {
    ($($(#[doc = $doc:expr])+ $variant:ident = $name:literal, $side:ident;)+) => {
        /// The reason for one dropped frame (or for one copy of it, at an egress).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum DropReason { $($(#[doc = $doc])+ $variant,)+ }

        impl DropReason {
            /// Every reason, in the order of its number.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$variant,)+];
            /// How many there are.
            pub const COUNT: usize = DropReason::ALL.len();

            /// The name that users see and that stays: kebab-case.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(DropReason::$variant => $name,)+ }
            }

            /// One sentence for `vnet drops` and the documentation.
            #[must_use]
            pub const fn explanation(self) -> &'static str {
                match self { $(DropReason::$variant => concat!($($doc,)+),)+ }
            }

            /// Where it is counted: `Ingress` reasons at the port the frame came in by (they stand
            /// in `received = forwarded + dropped`), `Egress` reasons at the port a copy of it
            /// would have left by, `Door` reasons by the NIC before the switch saw a frame.
            #[must_use]
            pub const fn side(self) -> Side {
                match self { $(DropReason::$variant => Side::$side,)+ }
            }
        }
    };
}

/// See [`DropReason::side`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Door,
    Ingress,
    Egress,
}

reasons! {
    /// shorter than an Ethernet header (14 bytes)
    Runt = "runt", Ingress;
    /// longer than the port's MTU allows and not a GSO super-frame
    Giant = "giant", Ingress;
    /// a VLAN tag that is cut off, or more than two tags deep
    MalformedTag = "malformed-tag", Ingress;
    /// the source address is a group address, which no station may send from
    SourceMulticast = "source-multicast", Ingress;
    /// the source address is 00-00-00-00-00-00, which no station has
    SourceZero = "source-zero", Ingress;
    /// a tagged frame on a port that takes untagged frames only
    TagNotAllowed = "tag-not-allowed", Ingress;
    /// an untagged or priority-tagged frame on a trunk without a native VLAN
    UntaggedNotAllowed = "untagged-not-allowed", Ingress;
    /// tagged with a VLAN that the port is not a member of
    VlanNotMember = "vlan-not-member", Ingress;
    /// a link-local address (01-80-C2-00-00-0x) that a VLAN bridge never forwards (802.1Q 8.6.3)
    LinkLocal = "link-local", Ingress;
    /// the guest sent from a MAC address that is not its own
    GuardMac = "guard-mac", Ingress;
    /// the guest sent an LLC frame or a protocol of links and bridges (spanning tree, LACP, LLDP, ...)
    GuardControl = "guard-control", Ingress;
    /// malformed IP headers, hidden tags, or more extension headers than can be seen through
    GuardHeaders = "guard-headers", Ingress;
    /// source routing: an IPv4 option, or an IPv6 routing header in use or of type 0 (RFC 5095)
    GuardSourceRoute = "guard-source-route", Ingress;
    /// a fragment that hides what it belongs to: tiny, of a DHCP or ICMP control message, with headers cut
    GuardFragment = "guard-fragment", Ingress;
    /// the guest sent what no DHCP client sends, but a server or relay, DHCPv4 or DHCPv6
    GuardDhcpServer = "guard-dhcp-server", Ingress;
    /// DHCP in another's name: another hardware address, a relay, another's lease given back; or to be read in two ways, or not from a client's port
    GuardDhcpClient = "guard-dhcp-client", Ingress;
    /// the guest sent a router advertisement (ICMPv6, RFC 6105, or ICMP)
    GuardRa = "guard-ra", Ingress;
    /// the guest sent a redirect or a router renumbering message
    GuardRedirect = "guard-redirect", Ingress;
    /// the guest sent an IGMP or MLD query, or another message of a multicast router
    GuardQuerier = "guard-querier", Ingress;
    /// an IPv4 source that is not one of the guest's addresses
    GuardIp4 = "guard-ip4", Ingress;
    /// an IPv6 source that is not one of the guest's addresses
    GuardIp6 = "guard-ip6", Ingress;
    /// ARP that claims another's MAC or IPv4 address
    GuardArp = "guard-arp", Ingress;
    /// IPv6 neighbour discovery that claims another's MAC or IPv6 address
    GuardNd = "guard-nd", Ingress;
    /// no rule of the guest's security groups allows it to send this, or it is no IP
    GroupEgress = "group-egress", Ingress;
    /// the guest sent what belongs to no connection and begins none, or is outside of its TCP window
    GroupInvalid = "group-invalid", Ingress;
    /// a further fragment of a datagram whose first one did not pass before
    GroupFragment = "group-fragment", Ingress;
    /// as many connections are tracked for the guest as may be, and none of them can be given up
    GroupFull = "group-full", Ingress;
    /// the port it goes to is not for this one to reach: both are in a private network
    Private = "private", Ingress;
    /// a station with a sticky entry at another port sent from here
    StationSticky = "station-sticky", Ingress;
    /// a station of the fabric's own was heard from the wire: a reflection, or somebody forges it
    UplinkOwn = "uplink-own", Ingress;
    /// the port's limit of learned addresses is reached and it is set to drop instead of flood
    MacLimit = "mac-limit", Ingress;
    /// the destination lives at the port that the frame came from
    SamePort = "same-port", Ingress;
    /// more broadcasts than the port's storm control lets pass
    StormBroadcast = "storm-broadcast", Ingress;
    /// more multicast than the port's storm control lets pass
    StormMulticast = "storm-multicast", Ingress;
    /// more unicast to unknown stations than the port's storm control lets pass
    StormUnknown = "storm-unknown", Ingress;
    /// more reports of multicast groups, or more changes in them, than a guest may send
    MulticastReports = "multicast-reports", Ingress;
    /// multicast that nobody in its VLAN has asked for, where groups are snooped
    NoListener = "no-listener", Ingress;
    /// no other port in the frame's VLAN takes it
    NoMember = "no-member", Ingress;
    /// the port is administratively down
    PortDown = "port-down", Ingress;
    /// the spanning tree keeps the port from forwarding: another way leads there
    StpBlocked = "stp-blocked", Ingress;
    /// more BPDUs than spanning trees have to say
    StpBpdus = "stp-bpdus", Ingress;
    /// the link is part of a loop without a spanning tree, and blocked for a while
    Loop = "loop", Ingress;
    /// the port it would leave by is administratively down or gone
    TxPortDown = "tx-port-down", Egress;
    /// the spanning tree, or a loop, keeps the port that it would leave by from forwarding
    TxStpBlocked = "tx-stp-blocked", Egress;
    /// the port it would leave by is not in the frame's VLAN any more
    TxNotMember = "tx-not-member", Egress;
    /// it would leave untagged, with another VLAN tag on top that the far side would take for its VLAN
    TxDoubleTag = "tx-double-tag", Egress;
    /// the limit of what the guest receives is reached, and the queue in front of it is full
    TxLimit = "tx-limit", Egress;
    /// the guest did not take its frames in time: its queue was full
    TxFull = "tx-full", Egress;
    /// the NIC has no carrier: its peer is not connected or its link is down
    TxNoCarrier = "tx-no-carrier", Egress;
    /// unicast that is not addressed to the guest, whose station is unknown or was another's before
    TxNotAddressed = "tx-not-addressed", Egress;
    /// no rule of the receiving guest's security groups allows it, or it is no IP
    GroupIngress = "group-ingress", Egress;
    /// to a guest with security groups: of no connection and beginning none, or outside of its TCP window
    TxGroupInvalid = "tx-group-invalid", Egress;
    /// to a guest with security groups: a fragment of a datagram whose first one did not pass before
    TxGroupFragment = "tx-group-fragment", Egress;
    /// as many connections are tracked for the receiving guest as may be
    TxGroupFull = "tx-group-full", Egress;
    /// longer than the egress port's MTU allows
    TxTooBig = "tx-too-big", Egress;
    /// the NIC reported an error when the frame was handed to it
    TxError = "tx-error", Egress;
    /// the link's queue was full: more came than its rate lets pass
    LinkQueue = "link-queue", Egress;
    /// the link's active queue management (CoDel) kept the queue short
    LinkAqm = "link-aqm", Egress;
    /// more was on the link, delayed, than it has memory for
    LinkMemory = "link-memory", Egress;
    /// lost on the link, as its impairment asks for
    ImpairLoss = "impair-loss", Egress;
    /// a mirror's copy, which the port that it was for had no room for
    MirrorFull = "mirror-full", Egress;
    /// a mirror's copy, beyond the limit that the mirror is set to
    MirrorLimit = "mirror-limit", Egress;
    /// an offload header that does not fit its frame, so it could not be completed in software
    TxOffload = "tx-offload", Egress;
    /// the guest sent something that is no frame (framing, length or header out of bounds)
    DoorMalformed = "door-malformed", Door;
    /// the kernel dropped frames before vnet could read them
    DoorOverrun = "door-overrun", Door;
    /// a datagram came from an address that is not the peer's
    DoorStranger = "door-stranger", Door;
    /// it came in by a cable of a bond, or a queue of a virtual machine, that is not in use
    DoorUnused = "door-unused", Door;
}
