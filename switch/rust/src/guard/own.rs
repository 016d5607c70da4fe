//! What is a guest's own: MAC addresses, IP addresses, roles; those that the topology has for it, and those
//! that DHCP servers gave it. The last address that was found is remembered.

use super::Frame;
use crate::VlanId;
use crate::config::{PortConfig, VlanSet};
use crate::fdb::Mac;
use crate::snoop::{Binding, Bindings};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a guest may be beside itself. `default` is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles {
    /// It may take another MAC address: any source, and frames for the last one used come to it.
    pub mac_changes: bool,
    /// It hears what the switch sends to its port, addressed to it or not.
    pub promiscuous: bool,
    /// It may send from any MAC address; frames for those do not come to it.
    pub forged_transmits: bool,
    /// It may answer DHCPv4 and DHCPv6, and relay them.
    pub dhcp_server: bool,
    /// It may send router advertisements, of IPv6 and of ICMP.
    pub router_advertisements: bool,
    /// It may query IGMP and MLD groups, and be a multicast router.
    pub querier: bool,
}

/// What a guest is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    pub roles: Roles,
    /// VLANs in which nobody knows which addresses are right.
    pub unknown: VlanSet,
    /// What DHCP servers give it is its own, too, for as long as they say (`snoop/`).
    pub learns: bool,
    /// The MAC address that its NIC came with.
    first: u64,
    /// Its own MAC addresses, ascending.
    own: Vec<u64>,
    /// MAC addresses with addresses of their own, ascending.
    paired: Vec<u64>,
    /// By MAC address, ascending.
    pairs4: Vec<Pair<u32>>,
    pairs6: Vec<Pair<u128>>,
}

/// Addresses that a guest may send from: `net` under `mask` ...
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pair<A> {
    net: A,
    mask: A,
    /// ... from this MAC address, or with 0 from any of its own ...
    mac: u64,
    /// ... in this VLAN, or with 0 in any.
    vlan: VlanId,
}

/// What a guard remembers between frames. Good for one `Guard` only.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    /// Addresses that it has by DHCP, until their leases end.
    pub(crate) learned: Bindings,
    /// The last addresses that were found among the pairs.
    pub(super) last4: (u64, VlanId, u32),
    pub(super) last6: (u64, VlanId, u128),
    /// The address that the guest changed to.
    pub(super) changed: u64,
    /// It sent something that has to be weighed (`whole.rs`).
    pub(crate) asked: bool,
}

/// Lists are sorted, so that a guest with thousands of addresses costs no more than others.
fn insert(list: &mut Vec<u64>, mac: u64) {
    if let Err(at) = list.binary_search(&mac) {
        list.insert(at, mac);
    }
}

fn enlist<A>(list: &mut Vec<Pair<A>>, pair: Pair<A>) {
    let at = list.partition_point(|other| other.mac <= pair.mac);
    list.insert(at, pair);
}

/// The pairs of one MAC address, or with 0 those that are for any.
fn of<A>(list: &[Pair<A>], mac: u64) -> impl Iterator<Item = &Pair<A>> {
    let from = list.partition_point(|pair| pair.mac < mac);
    list[from..].iter().take_while(move |pair| pair.mac == mac)
}

impl Memory {
    /// What is left for `guard`, of what was remembered with the one before it.
    pub(crate) fn renew(&mut self, before: Option<&Guard>, guard: Option<&Guard>, config: &PortConfig) {
        let mut learned = std::mem::take(&mut self.learned);
        let first = |guard: &Guard| guard.learns.then_some(guard.first);
        let same = before.and_then(first).is_some() && before.and_then(first) == guard.and_then(first);
        learned.keep(|binding| same && config.carries(binding.vlan));
        *self = Memory { learned, ..Memory::default() };
    }

    /// Keep learned addresses for which `stays` says so; whether any went.
    pub(crate) fn unlearn(&mut self, stays: impl FnMut(&Binding) -> bool) -> bool {
        self.relearn(|learned| learned.keep(stays))
    }

    /// Change what was learned; `change` says whether any address went, and so does this.
    pub(crate) fn relearn(&mut self, change: impl FnOnce(&mut Bindings) -> bool) -> bool {
        let went = change(&mut self.learned);
        if went {
            (self.last4, self.last6) = Default::default();
        }
        went
    }
}

fn number(mac: Mac) -> u64 {
    let [a, b, c, d, e, f] = mac;
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

impl Guard {
    /// The guard of a guest that has this MAC address and no others, its link-local address, and
    /// no others.
    #[must_use]
    pub fn new(mac: Mac) -> Guard {
        Guard {
            roles: Roles::default(),
            unknown: VlanSet::default(),
            learns: false,
            first: number(mac),
            own: vec![number(mac)],
            paired: vec![],
            pairs4: vec![],
            pairs6: vec![],
        }
    }

    /// One more MAC address of its own.
    pub fn add_mac(&mut self, mac: Mac) {
        insert(&mut self.own, number(mac));
    }

    /// Let it send from the addresses that have the first `prefix` bits of `ip`: in one VLAN or in
    /// all, from one MAC address or from those of its own. `false`: there is no such prefix.
    pub fn add_addresses(&mut self, ip: IpAddr, prefix: u8, mac: Option<Mac>, vlan: Option<VlanId>) -> bool {
        let prefix = u32::from(prefix);
        let (mac, vlan) = (mac.map_or(0, number), vlan.unwrap_or(0));
        match ip {
            IpAddr::V4(ip) if prefix <= 32 => {
                let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
                enlist(&mut self.pairs4, Pair { net: u32::from(ip) & mask, mask, mac, vlan });
            }
            IpAddr::V6(ip) if prefix <= 128 => {
                let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
                enlist(&mut self.pairs6, Pair { net: u128::from(ip) & mask, mask, mac, vlan });
            }
            _ => return false,
        }
        if mac != 0 {
            insert(&mut self.paired, mac);
        }
        true
    }

    /// Bytes of memory held, beside itself.
    pub(crate) fn memory(&self) -> usize {
        (self.own.capacity() + self.paired.capacity()) * size_of::<u64>()
            + self.pairs4.capacity() * size_of::<Pair<u32>>()
            + self.pairs6.capacity() * size_of::<Pair<u128>>()
    }

    /// Whether all stations that are heard from the guest are its own, so that they are nowhere else.
    #[inline]
    pub(crate) fn vouches(&self) -> bool {
        !self.roles.mac_changes && !self.roles.forged_transmits
    }

    /// Its own MAC addresses, if they are known to be nowhere else. Not those that have addresses of their own: they
    /// may be several routers' (VRRP).
    pub(crate) fn vouched(&self) -> &[u64] {
        if self.vouches() { &self.own } else { &[] }
    }

    /// Whether `mac` is the address that its NIC came with.
    pub(crate) fn is_first(&self, mac: u64) -> bool {
        self.first == mac
    }

    /// Whether it may send from an address in a VLAN, by some MAC address of its own: as one that has it, or as a router
    /// that passes on what others send.
    pub(crate) fn speaks_for(&self, memory: &Memory, vlan: VlanId, ip: IpAddr) -> bool {
        let is_here = |other: VlanId| other == 0 || other == vlan;
        let found = match ip {
            IpAddr::V4(ip) => {
                let bits = u32::from(ip);
                self.pairs4.iter().any(|pair| is_here(pair.vlan) && bits & pair.mask == pair.net)
            }
            IpAddr::V6(ip) => {
                let bits = u128::from(ip);
                let follows = |mac: &u64| link_local(*mac) == bits;
                (ip.is_unicast_link_local() && !self.vouches())
                    || self.own.iter().chain(&self.paired).any(follows)
                    || self.pairs6.iter().any(|pair| is_here(pair.vlan) && bits & pair.mask == pair.net)
            }
        };
        found || self.unknown.contains(vlan) || (self.learns && memory.learned.has(vlan, ip))
    }

    #[inline]
    pub(super) fn has(&self, mac: u64) -> bool {
        self.own.binary_search(&mac).is_ok() || self.paired.binary_search(&mac).is_ok()
    }
}

/// The link-local address that follows from a MAC address (RFC 4291, 2.5.6 and appendix A).
fn link_local(mac: u64) -> u128 {
    let id = (mac >> 24) << 40 | 0xff_fe00_0000 | mac & 0xff_ffff;
    0xfe80 << 112 | u128::from(id ^ 1 << 57)
}

/// No host's, whatever is allowed or unknown (RFC 1122, 3.2.1.3; RFC 4291, 2.5 to 2.7): loopback, groups,
/// everybody.
fn is_nobodys4(ip: u32) -> bool {
    ip >> 24 == 127 || ip >> 28 == 14 || ip == u32::MAX
}

/// The same, and IPv4 addresses in IPv6 ones, which are never on a wire.
fn is_nobodys6(ip: u128) -> bool {
    ip == 1 || ip >> 120 == 0xff || ip >> 32 == 0xffff
}

impl Frame<'_> {
    /// Whether an IPv4 address is the sender's here.
    #[inline]
    pub(super) fn has4(&mut self, ip: u32) -> bool {
        let asked = (self.src, self.vlan, ip);
        if self.memory.last4 == asked {
            return true;
        }
        if is_nobodys4(ip) {
            return false;
        }
        let found = self.pairs(&self.guard.pairs4).any(|pair| ip & pair.mask == pair.net);
        let found = found || self.learned(Ipv4Addr::from_bits(ip).into());
        if found {
            self.memory.last4 = asked;
        }
        found || self.guard.unknown.contains(self.vlan)
    }

    /// Whether an IPv6 address is the sender's here.
    #[inline]
    pub(super) fn has6(&mut self, ip: u128) -> bool {
        let asked = (self.src, self.vlan, ip);
        if self.memory.last6 == asked {
            return true;
        }
        if is_nobodys6(ip) {
            return false;
        }
        let found = ip == link_local(self.src)
            || self.pairs(&self.guard.pairs6).any(|pair| ip & pair.mask == pair.net);
        let found = found || self.learned(Ipv6Addr::from_bits(ip).into());
        if found {
            self.memory.last6 = asked;
        }
        found || self.guard.unknown.contains(self.vlan)
    }

    /// Whether all addresses of an IPv6 prefix are the sender's here.
    pub(super) fn has_all6(&mut self, ip: u128, prefix: u8) -> bool {
        if !(1..128).contains(&prefix) {
            return prefix == 128 && self.has6(ip);
        }
        let mask = u128::MAX << (128 - u32::from(prefix));
        let has_all = |pair: &Pair<u128>| pair.mask & mask == pair.mask && ip & pair.mask == pair.net;
        let learns = self.guard.learns && self.guard.is_first(self.src);
        self.pairs(&self.guard.pairs6).any(has_all)
            || (learns && self.memory.learned.has_all(self.vlan, Ipv6Addr::from_bits(ip).into(), prefix))
            || self.guard.unknown.contains(self.vlan)
    }

    /// Whether it has an address by DHCP, which goes with the MAC address that its NIC came with.
    fn learned(&self, ip: IpAddr) -> bool {
        self.guard.learns && self.guard.is_first(self.src) && self.memory.learned.has(self.vlan, ip)
    }

    /// The pairs for this sender here: a MAC address that was paired has only what it was paired with;
    /// one that is forged or changed to counts as the guest's own.
    fn pairs<'a, A>(&self, list: &'a [Pair<A>]) -> impl Iterator<Item = &'a Pair<A>> + use<'a, A> {
        let Guard { own, paired, .. } = self.guard;
        let is_own = own.binary_search(&self.src).is_ok() || paired.binary_search(&self.src).is_err();
        let (src, vlan) = (self.src, self.vlan);
        let mine = of(list, src).filter(move |_| src != 0);
        let any = of(list, 0).filter(move |_| is_own);
        mine.chain(any).filter(move |pair| pair.vlan == 0 || pair.vlan == vlan)
    }
}
