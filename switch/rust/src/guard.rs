//! The guard of a guest's port: a guest speaks for itself alone, and hears what is meant for it.
//!
//! On the way in, in this order; the first that fails is the drop reason:
//!
//!  1. `guard-mac`: the frame's source address is one of the guest's.
//!  2. `tag-not-allowed`, `guard-control`: no S-tag, which is nothing to us and may be a VLAN to the
//!     next switch; no LLC frame, no protocol of links and bridges.
//!  3. `guard-headers`, `guard-source-route`, `guard-fragment`: the headers are whole, lead to the
//!     upper-layer protocol within the first 128 bytes, and nobody can put them together differently
//!     (`headers.rs`). What can't be seen is refused, never passed.
//!  4. `guard-dhcp-server`, `guard-dhcp-client`, `guard-ra`, `guard-redirect`, `guard-querier`: a
//!     guest plays no role in its network that it was not given.
//!  5. `guard-ip4`, `guard-ip6`, `guard-arp`, `guard-nd`: sources, and claims to an address, are the
//!     guest's own. The unspecified address is good for what a host must do before it has one:
//!     DHCP, IGMP and MLD reports, router solicitation, and the probe for its own address.
//!
//! On the way out, `tx-not-addressed`: frames for its own stations and for groups.
//!
//! The guest's own link-local address is the one that follows from the MAC address (RFC 4291, A): a
//! guest that may choose one may choose the router's. In a VLAN with no subnets nobody knows what
//! addresses are right: there (`unknown`) all but the addresses in 5 is checked.
//!
//! Nothing is looked up by the frame but the list of addresses; the last one found is remembered.
//! Tunnels are not looked into, and EtherTypes unknown here pass with their source address checked.

use crate::config::PortConfig;
use crate::config::VlanSet;
use crate::fdb::Mac;
use crate::headers::{self, Bad, ICMP, ICMP6, IGMP, Ip, Part, TCP, UDP, be16, be32, be128, mac};
use crate::parse::{Header, is_link_local};
use crate::snoop::{Binding, Bindings};
use crate::{DropReason, Flood, Out, VlanId};
use DropReason as Drop;
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
    /// It may query IGMP and MLD groups.
    pub querier: bool,
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

/// What a guard remembers between frames. Good for one `Guard` only.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    /// Addresses that it has by DHCP, until their leases end.
    pub(crate) learned: Bindings,
    /// The last addresses that were found among the pairs.
    last4: (u64, VlanId, u32),
    last6: (u64, VlanId, u128),
    /// The address that the guest changed to.
    changed: u64,
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

/// One frame: who sends, to whom, where.
struct Frame<'a> {
    src: u64,
    dst: u64,
    vlan: VlanId,
    guard: &'a Guard,
    memory: &'a mut Memory,
}

fn number(mac: Mac) -> u64 {
    let [a, b, c, d, e, f] = mac;
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

/// The link-local address that follows from a MAC address (RFC 4291, 2.5.6 and appendix A).
fn link_local(mac: u64) -> u128 {
    let id = (mac >> 24) << 40 | 0xff_fe00_0000 | mac & 0xff_ffff;
    0xfe80 << 112 | u128::from(id ^ 1 << 57)
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

    /// The source of a frame that is so plain that nothing but its source decides: untagged IPv4
    /// without options, no fragment, with TCP or with UDP that is not DHCP. What else `admits` looks at
    /// has nothing to say about such a frame. 0 for any other.
    #[inline(always)]
    pub(crate) fn plain4(head: &[u8]) -> u32 {
        let Some(b) = head.first_chunk::<38>() else { return 0 };
        let word = |at: usize| u32::from_be_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
        let (kind, part, ports) = (word(12) & 0xffff_ff00, word(20) & 0x3fff_00ff, word(34));
        let (from, to) = (ports >> 16, ports & 0xffff);
        // No fragment, and the protocol.
        let plain = part == u32::from(TCP) || part == u32::from(UDP) && from != 67 && to != 67 && to != 68;
        if kind == 0x0800_4500 && plain { word(26) } else { 0 }
    }

    /// The same of untagged IPv6 without extension headers; 0 for any other frame.
    #[inline]
    pub(crate) fn plain6(head: &[u8]) -> u128 {
        let Some(b) = head.first_chunk::<58>() else { return 0 };
        let plain = u32::from_be_bytes([b[12], b[13], b[14] & 0xf0, 0]) == 0x86dd_6000;
        let (from, to) = (u16::from_be_bytes([b[54], b[55]]), u16::from_be_bytes([b[56], b[57]]));
        let special = from == 547 || to == 547 || to == 546;
        if plain && (b[20] == TCP || (b[20] == UDP && !special)) { be128(b, 22).unwrap_or(0) } else { 0 }
    }

    /// Whether a plain frame that was admitted once from a station is admitted again whenever its
    /// source is the same. Not where the guest may change its MAC address: there the last one counts.
    #[inline]
    pub(crate) fn remembers(&self) -> bool {
        !self.roles.mac_changes
    }

    /// Whether the guest may send this frame; `head` are its first bytes.
    #[inline]
    pub(crate) fn admits(
        &self,
        memory: &mut Memory,
        header: &Header,
        vlan: VlanId,
        head: &[u8],
    ) -> Result<(), Drop> {
        let Header { src, dst, tags } = *header;
        if self.remembers() && memory.last4.2 != 0 && memory.last4 == (src, vlan, Self::plain4(head)) {
            return Ok(());
        }
        let stranger = !self.has(src);
        if stranger && !self.roles.mac_changes && !self.roles.forged_transmits {
            return Err(Drop::GuardMac);
        }
        if tags.any_service() {
            return Err(Drop::TagNotAllowed);
        }
        let at = 12 + 4 * usize::from(tags.count());
        let kind = be16(head, at).ok_or(Drop::GuardHeaders)?;
        let packet = head.get(at + 2..).ok_or(Drop::GuardHeaders)?;
        Frame { src, dst, vlan, guard: self, memory }.check(kind, packet)?;
        if stranger {
            memory.changed = src;
        }
        Ok(())
    }

    /// Whether the guest hears all that goes out this way to its port. Groups it does; stations known
    /// to live here are its own, because what they sent was admitted, unless it may forge.
    #[inline]
    pub(crate) fn hears_all(&self, out: Out) -> bool {
        self.roles.promiscuous
            || match out {
                Out::Flood(Flood::Unknown) => false,
                Out::Port(_) => self.vouches(),
                _ => true,
            }
    }

    /// Whether all stations that are heard from the guest are its own, so that they are nowhere else.
    #[inline]
    pub(crate) fn vouches(&self) -> bool {
        !self.roles.mac_changes && !self.roles.forged_transmits
    }

    /// Whether a frame for the station `dst` is for the guest to hear.
    #[inline]
    pub(crate) fn hears(&self, memory: &Memory, dst: u64) -> bool {
        self.has(dst) || (self.roles.mac_changes && memory.changed == dst)
    }

    /// The address that its NIC came with, if it is known to be nowhere else.
    pub(crate) fn vouched(&self) -> Option<u64> {
        self.vouches().then_some(self.first)
    }

    /// Whether `mac` is the address that its NIC came with.
    pub(crate) fn is_first(&self, mac: u64) -> bool {
        self.first == mac
    }

    #[inline]
    fn has(&self, mac: u64) -> bool {
        self.own.binary_search(&mac).is_ok() || self.paired.binary_search(&mac).is_ok()
    }
}

impl Frame<'_> {
    #[inline]
    fn check(&mut self, kind: u16, packet: &[u8]) -> Result<(), Drop> {
        match kind {
            0x0800 => self.ipv4(packet),
            0x86dd => self.ipv6(packet),
            0x0806 => self.arp(packet),
            0x8035 => self.rarp(packet),
            // Tags that are none for us, but perhaps for the next switch: the old kinds, I-tag (802.1ah),
            // VN-tag, E-tag (802.1BR).
            0x9100 | 0x9200 | 0x9300 | 0x88e7 | 0x8926 | 0x893f => Err(Drop::GuardHeaders),
            // LLC carries spanning trees, CDP, and by SNAP anything else; then flow control, LACP and
            // OAM, port authentication, LLDP, MVRP, MMRP and SRP, CFM, TRILL, ECP. To a link-local
            // group they come here only where the operator made the port transparent.
            ..0x600
            | 0x8808
            | 0x8809
            | 0x888e
            | 0x88cc
            | 0x88f5
            | 0x88f6
            | 0x22ea
            | 0x8902
            | 0x22f3
            | 0x22f4
            | 0x8940
                if !is_link_local(self.dst) =>
            {
                Err(Drop::GuardControl)
            }
            _ => Ok(()),
        }
    }

    // -- roles -------------------------------------------------------------------------------------

    #[inline]
    fn ipv4(&mut self, packet: &[u8]) -> Result<(), Drop> {
        let ip = headers::ipv4(packet).map_err(reason)?;
        // What may be sent from 0.0.0.0.
        let mut before_address = false;
        match ip.proto {
            _ if ip.part == Part::Later => {}
            UDP => before_address = self.dhcp(&ip, 67, 68)?,
            ICMP => match kind(&ip)? {
                5 | 9 if ip.part == Part::First => return Err(Drop::GuardFragment),
                5 => return Err(Drop::GuardRedirect),
                9 if !self.guard.roles.router_advertisements => return Err(Drop::GuardRa),
                _ => {}
            },
            IGMP if ip.part == Part::First => return Err(Drop::GuardFragment),
            IGMP => match kind(&ip)? {
                0x12 | 0x16 | 0x17 | 0x22 => before_address = true, // reports and leaves
                _ if !self.guard.roles.querier => return Err(Drop::GuardQuerier),
                _ => {}
            },
            _ => {}
        }
        // One that has its address by DHCP asks for more time from the address, which a fabric that was
        // started anew meanwhile does not know.
        let renews = before_address && ip.proto == UDP && self.guard.learns;
        let own = self.has4(ip.src) || (ip.src == 0 && before_address) || renews;
        if own { Ok(()) } else { Err(Drop::GuardIp4) }
    }

    #[inline]
    fn ipv6(&mut self, packet: &[u8]) -> Result<(), Drop> {
        let ip = headers::ipv6(packet).map_err(reason)?;
        let mut before_address = false;
        match ip.proto {
            _ if ip.part == Part::Later => {}
            UDP => drop(self.dhcp(&ip, 547, 546)?),
            ICMP6 => before_address = self.icmp6(&ip)?,
            _ => {}
        }
        if self.has6(ip.src) || (ip.src == 0 && before_address) { Ok(()) } else { Err(Drop::GuardIp6) }
    }

    /// UDP: no answer of a DHCP server or relay, and no request in another's name. Whether it is a
    /// DHCP client's message.
    #[inline]
    fn dhcp<A>(&self, ip: &Ip<'_, A>, server: u16, client: u16) -> Result<bool, Drop> {
        let ports = be32(ip.upper, 0).ok_or(Drop::GuardHeaders)?;
        let (from, to) = ((ports >> 16) as u16, ports as u16);
        if from != server && to != client && to != server {
            return Ok(false);
        }
        if self.guard.roles.dhcp_server {
            return Ok(from == client && to == server && ip.part == Part::Whole);
        }
        if ip.part == Part::First {
            return Err(Drop::GuardFragment);
        }
        // Clients take what comes to their port, whatever port it is from.
        if from == server || to == client {
            return Err(Drop::GuardDhcpServer);
        }
        if server == 67 {
            self.asks4(ip.upper)?
        } else {
            asks6(ip.upper)?
        }
        Ok(from == client)
    }

    /// RFC 2131, 2: a request, for its own hardware address and no longer one, and passed on by nobody.
    fn asks4(&self, udp: &[u8]) -> Result<(), Drop> {
        let message = udp.get(8..).unwrap_or_default();
        let form = be32(message, 0).map(|word| word >> 8);
        let own = form == Some(0x01_0106) && mac(message, 28) == Some(self.src);
        if own && be32(message, 24) == Some(0) { Ok(()) } else { Err(Drop::GuardDhcpClient) }
    }

    /// Neighbour discovery (RFC 4861) and multicast listeners (RFC 2710, 3810, 4286). Whether the
    /// message may have the unspecified source.
    fn icmp6(&mut self, ip: &Ip<'_, u128>) -> Result<bool, Drop> {
        let kind = kind(ip)?;
        if ip.part == Part::First && matches!(kind, 130..=138 | 141..=143 | 151..=153) {
            return Err(Drop::GuardFragment); // RFC 6980
        }
        match kind {
            130 | 151..=153 if !self.guard.roles.querier => Err(Drop::GuardQuerier),
            134 if !self.guard.roles.router_advertisements => Err(Drop::GuardRa),
            137 | 138 => Err(Drop::GuardRedirect),
            131 | 132 | 143 => Ok(true),
            133 => self.nd_options(ip, 8).map(|()| true),
            135 => {
                self.nd_options(ip, 24)?;
                // From nobody: duplicate address detection, which claims its target.
                if ip.src == 0 { self.nd_target(ip).map(|()| true) } else { Ok(false) }
            }
            136 => {
                self.nd_options(ip, 24)?;
                self.nd_target(ip).map(|()| false)
            }
            141 | 142 => self.nd_options(ip, 8).map(|()| false),
            _ => Ok(false),
        }
    }

    // -- addresses ---------------------------------------------------------------------------------

    /// All of the message is seen, and what it says about link-layer addresses is the sender's.
    fn nd_options(&self, ip: &Ip<'_, u128>, at: usize) -> Result<(), Drop> {
        let options = ip.upper.get(at..ip.len).ok_or(Drop::GuardNd)?;
        if headers::link_layer_options_are(options, self.src) { Ok(()) } else { Err(Drop::GuardNd) }
    }

    fn nd_target(&mut self, ip: &Ip<'_, u128>) -> Result<(), Drop> {
        let target = be128(ip.upper, 8).ok_or(Drop::GuardNd)?;
        if self.has6(target) { Ok(()) } else { Err(Drop::GuardNd) }
    }

    /// ARP (RFC 826) for IPv4 on Ethernet; announcements and probes as in RFC 5227.
    fn arp(&mut self, packet: &[u8]) -> Result<(), Drop> {
        if self.arp_is_own(packet) == Some(true) { Ok(()) } else { Err(Drop::GuardArp) }
    }

    fn arp_is_own(&mut self, packet: &[u8]) -> Option<bool> {
        let (form, sizes, operation) = (be32(packet, 0)?, be16(packet, 4)?, be16(packet, 6)?);
        let (sender, sender_ip) = (mac(packet, 8)?, be32(packet, 14)?);
        let (target, target_ip) = (mac(packet, 18)?, be32(packet, 24)?);
        let own = form == 0x0001_0800 && sizes == 0x0604 && sender == self.src;
        Some(match operation {
            // A probe claims the address that it asks for.
            1 => own && self.has4(if sender_ip == 0 { target_ip } else { sender_ip }),
            // A reply tells the one that it is sent to, or announces.
            2 => own && self.has4(sender_ip) && (target == self.dst || target_ip == sender_ip),
            _ => false,
        })
    }

    /// Reverse ARP (RFC 903): a guest that has moved announces its own MAC address by it.
    fn rarp(&self, packet: &[u8]) -> Result<(), Drop> {
        let request = be16(packet, 6) == Some(3);
        let own = mac(packet, 8) == Some(self.src) && mac(packet, 18) == Some(self.src);
        if request && own { Ok(()) } else { Err(Drop::GuardArp) }
    }

    /// Whether an IPv4 address is the sender's here.
    #[inline]
    fn has4(&mut self, ip: u32) -> bool {
        let asked = (self.src, self.vlan, ip);
        if self.memory.last4 == asked {
            return true;
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
    fn has6(&mut self, ip: u128) -> bool {
        let asked = (self.src, self.vlan, ip);
        if self.memory.last6 == asked {
            return true;
        }
        let found = ip == link_local(self.src)
            || self.pairs(&self.guard.pairs6).any(|pair| ip & pair.mask == pair.net);
        let found = found || self.learned(Ipv6Addr::from_bits(ip).into());
        if found {
            self.memory.last6 = asked;
        }
        found || self.guard.unknown.contains(self.vlan)
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

/// RFC 8415, 7.3: none of a server's or a relay's messages, whatever port it is sent from. There is no
/// hardware address in DHCPv6, only identifiers that a server binds.
fn asks6(udp: &[u8]) -> Result<(), Drop> {
    match udp.get(8) {
        // Advertise, reply, reconfigure; relay-forward, relay-reply.
        Some(2 | 7 | 10 | 12 | 13) => Err(Drop::GuardDhcpServer),
        _ => Ok(()),
    }
}

/// The first byte of an ICMP, ICMPv6 or IGMP message.
#[inline]
fn kind<A>(ip: &Ip<'_, A>) -> Result<u8, Drop> {
    ip.upper.first().copied().ok_or(Drop::GuardHeaders)
}

#[cold]
fn reason(bad: Bad) -> Drop {
    match bad {
        Bad::Headers => Drop::GuardHeaders,
        Bad::SourceRoute => Drop::GuardSourceRoute,
        Bad::Fragment => Drop::GuardFragment,
    }
}
