//! How a switch and its ports are set up. Everything here is checked before anything is changed.

use crate::groups::Groups;
use crate::guard::Guard;
use crate::limits::Limits;
use crate::private::Private;
use crate::proxy::Proxy;
use crate::{Nanos, PortId, VlanId};
use std::fmt;
use std::sync::Arc;

/// A set of VLAN ids, 512 bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct VlanSet([u64; 64]);

impl Default for VlanSet {
    fn default() -> Self {
        VlanSet([0; 64])
    }
}

impl VlanSet {
    /// Add `vlan`; an id outside 1..=4094 is left out.
    pub fn insert(&mut self, vlan: VlanId) {
        if (1..=4094).contains(&vlan) {
            self.0[usize::from(vlan >> 6)] |= 1 << (vlan & 63);
        }
    }

    #[inline]
    #[must_use]
    pub fn contains(&self, vlan: VlanId) -> bool {
        self.0.get(usize::from(vlan >> 6)).is_some_and(|word| word >> (vlan & 63) & 1 == 1)
    }

    /// The members, ascending.
    pub fn iter(&self) -> impl Iterator<Item = VlanId> + '_ {
        (1..=4094).filter(|&vlan| self.contains(vlan))
    }
}

impl fmt::Debug for VlanSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl FromIterator<VlanId> for VlanSet {
    fn from_iter<I: IntoIterator<Item = VlanId>>(vlans: I) -> Self {
        let mut set = VlanSet::default();
        for vlan in vlans {
            set.insert(vlan);
        }
        set
    }
}

/// The native VLAN of a trunk: where untagged frames belong, and how it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Native {
    pub vlan: VlanId,
    /// Frames of the native VLAN leave with their tag (native-tagged) instead of without.
    pub tagged: bool,
}

/// Which VLANs a port carries, and how they are told apart on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortMode {
    /// One VLAN, untagged. Frames with a VLAN tag are dropped; a priority tag (VID 0) is taken off.
    Access(VlanId),
    /// Several VLANs, tagged 802.1Q; untagged and priority-tagged frames belong to the native VLAN.
    Trunk { tagged: Box<VlanSet>, native: Option<Native> },
}

/// VLAN ids as a trunk's far side knows them, where they differ from ours (802.1Q 6.9: VID translation
/// table). Both ways are one-to-one.
#[derive(Clone, PartialEq, Eq)]
pub struct VlanMap {
    /// By our VLAN: the far side's VID.
    outward: [VlanId; 4096],
    /// By the far side's VID: our VLAN; 0 where there is none.
    inward: [VlanId; 4096],
}

impl VlanMap {
    /// Of a trunk with these (our VLAN, the far side's VID), which are all there are: a VID that is not
    /// among them is nobody's, whatever VLAN of ours has its number. `None` when an id is not in
    /// 1..=4094 or twice there.
    #[must_use]
    pub fn new(pairs: impl IntoIterator<Item = (VlanId, VlanId)>) -> Option<Box<Self>> {
        let mut map = Box::new(VlanMap { outward: [0; 4096], inward: [0; 4096] });
        for (ours, theirs) in pairs {
            let known = (1..=4094).contains(&ours) && (1..=4094).contains(&theirs);
            if !known || map.outward[usize::from(ours)] != 0 || map.inward[usize::from(theirs)] != 0 {
                return None;
            }
            map.outward[usize::from(ours)] = theirs;
            map.inward[usize::from(theirs)] = ours;
        }
        Some(map)
    }

    /// Our VLAN for the far side's VID; 0 for none.
    #[inline]
    #[must_use]
    pub fn inward(&self, vid: u16) -> VlanId {
        self.inward[usize::from(vid & 0xfff)]
    }

    /// The far side's VID for our VLAN.
    #[inline]
    #[must_use]
    pub fn outward(&self, vlan: VlanId) -> VlanId {
        self.outward[usize::from(vlan & 0xfff)]
    }
}

impl fmt::Debug for VlanMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries((1..4095).map(|v| (v, self.outward(v))).filter(|(_, vid)| *vid != 0)).finish()
    }
}

/// One port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortConfig {
    pub mode: PortMode,
    /// Largest payload in bytes (without Ethernet header and tags), 68..=65521.
    pub mtu: u16,
    /// Priority-tagged egress: keep the priority of a frame that would leave untagged by sending
    /// a VID 0 tag (802.1Q 6.9.2) when that, with the drop eligibility, is not 0.
    pub priority_tags: bool,
    /// Learned addresses this port may hold; further ones are not learned.
    pub mac_limit: u32,
    /// A frame from an address beyond `mac_limit` is dropped instead of forwarded unlearned.
    pub mac_limit_drops: bool,
    /// Learn addresses at this port.
    pub learning: bool,
    /// Learned addresses do not move away from this port until they age out; frames from their
    /// stations at other ports are dropped.
    pub sticky: bool,
    /// Forward link-local group addresses (01-80-C2-00-00-0x) as ordinary multicast.
    pub transparent: bool,
    /// Send unknown unicast, multicast or broadcast out of this port.
    pub flood_unknown: bool,
    pub flood_multicast: bool,
    pub flood_broadcast: bool,
    /// Administratively up.
    pub up: bool,
    /// Of a trunk: VIDs on the wire that are not our VLANs' numbers.
    pub translate: Option<Box<VlanMap>>,
    /// What is behind it is not part of the fabric: the physical network. Stations of ports of this
    /// switch that are up and whose guards vouch for them are never heard from there.
    pub uplink: bool,
    /// What its guest may say and hear; `None` at a port of the infrastructure: anything.
    pub guard: Option<Box<Guard>>,
    /// Who may begin to talk to its guest, and whom it may begin to talk to; `None`: everybody.
    pub groups: Option<Arc<Groups>>,
    /// Connections that are tracked on its account.
    pub connections: u32,
    /// Where it does not reach everybody; `None`: nowhere, it is promiscuous.
    pub private: Option<Box<Private>>,
    /// It is the end of a link between switches, on which the place of a frame's sender in private
    /// VLANs is told: here, what comes in stands where the switch before says.
    pub places: bool,
    /// What it is told for others in private networks; `None`: nothing.
    pub proxy: Option<Box<Proxy>>,
    /// How much its guest may send, receive and flood; `None`: anything.
    pub limits: Option<Box<Limits>>,
}

impl PortConfig {
    /// An untagged port in `vlan` with the defaults every port gets, and no guard.
    #[must_use]
    pub fn access(vlan: VlanId) -> Self {
        PortConfig {
            mode: PortMode::Access(vlan),
            mtu: 1500,
            priority_tags: false,
            mac_limit: 1024,
            mac_limit_drops: false,
            learning: true,
            sticky: false,
            transparent: false,
            flood_unknown: true,
            flood_multicast: true,
            flood_broadcast: true,
            up: true,
            translate: None,
            uplink: false,
            guard: None,
            groups: None,
            connections: 1 << 16,
            private: None,
            places: false,
            proxy: None,
            limits: None,
        }
    }
}

/// One switch.
#[derive(Clone, Debug)]
pub struct SwitchConfig {
    /// Addresses the forwarding database holds at most, static ones included.
    pub fdb_limit: u32,
    /// Learned addresses one VLAN holds at most, but for guests' own, which have room in any case.
    pub vlan_limit: u32,
    /// A learned address that was not heard for this long is forgotten, give or take a 256th or a
    /// millisecond (802.1Q 8.8.3: 300 s); 0 for never.
    pub ageing: Nanos,
    /// Connections that are tracked for security groups at most.
    pub connection_limit: u32,
    /// Secret of the hash, so that no guest can aim for collisions; from the operating system in
    /// real time, from the topology's seed in virtual time.
    pub hash_seed: [u64; 2],
}

impl Default for SwitchConfig {
    fn default() -> Self {
        SwitchConfig {
            fdb_limit: 1 << 20,
            vlan_limit: 1 << 18,
            ageing: 300_000_000_000,
            connection_limit: 1 << 18,
            hash_seed: [0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03],
        }
    }
}

/// What a change to a switch was refused for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SwitchError {
    BadPort(PortId),
    PortExists,
    NoSuchPort,
    BadVlan(VlanId),
    /// The port of an entry does not carry its VLAN.
    NotMember(VlanId),
    BadMtu(u16),
    BadMac,
    FdbFull,
    NoSuchEntry,
}

impl fmt::Display for SwitchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SwitchError::BadPort(port) => write!(f, "port number {port} is not in 0..4095"),
            SwitchError::PortExists => write!(f, "the port exists already"),
            SwitchError::NoSuchPort => write!(f, "there is no such port"),
            SwitchError::BadVlan(vlan) => write!(f, "VLAN {vlan} is not in 1..4094"),
            SwitchError::NotMember(vlan) => write!(f, "the port is not in VLAN {vlan}"),
            SwitchError::BadMtu(mtu) => write!(f, "MTU {mtu} is not in 68..65521"),
            SwitchError::BadMac => write!(f, "a group or zero address can't be a station"),
            SwitchError::FdbFull => write!(f, "the forwarding database is full"),
            SwitchError::NoSuchEntry => write!(f, "there is no such entry"),
        }
    }
}

impl std::error::Error for SwitchError {}
