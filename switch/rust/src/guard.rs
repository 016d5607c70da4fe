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
//!     Nor does it give back, or decline, another's lease: for that, messages of its DHCP clients are looked at
//!     as a whole (`guard/whole.rs`).
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
//! That is all, and it is here; beside it are the list of what is a guest's own (`guard/own.rs`), the walk along
//! headers (`headers.rs`), the short way of plain packets that were admitted before (`guard/plain.rs`), and what
//! has to be seen whole (`guard/whole.rs`).
//! Tunnels are not looked into, and EtherTypes unknown here pass with their source address checked.

mod own;
mod plain;
mod whole;

pub(crate) use own::Memory;
pub use own::{Guard, Roles};

use crate::headers::{self, Bad, ICMP, ICMP6, IGMP, Ip, PIM, Part, UDP, be16, be32, be128, mac};
use crate::parse::{Header, is_link_local};
use crate::{DropReason, Flood, Out, VlanId};
use DropReason as Drop;

/// Where a DHCPv4 message has its client's address.
const CIADDR: usize = 12;

/// One frame: who sends, to whom, where.
struct Frame<'a> {
    src: u64,
    dst: u64,
    vlan: VlanId,
    guard: &'a Guard,
    memory: &'a mut Memory,
}

impl Guard {
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

    /// Whether a frame for the station `dst` is for the guest to hear.
    #[inline]
    pub(crate) fn hears(&self, memory: &Memory, dst: u64) -> bool {
        self.has(dst) || (self.roles.mac_changes && memory.changed == dst)
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
            // VN-tag, E-tag (802.1BR), CN-tag (802.1Qau), R-tag (802.1CB), HSR's (IEC 62439-3), TrustSec's.
            0x9100 | 0x9200 | 0x9300 | 0x88e7 | 0x8926 | 0x893f | 0x22e9 | 0xf1c1 | 0x892f | 0x8909 => {
                Err(Drop::GuardHeaders)
            }
            // LLC carries spanning trees, CDP, and by SNAP anything else, also behind an EtherType of its own
            // (802.1AC); then flow control, LACP and OAM, port authentication and that in advance, LLDP, MVRP,
            // MMRP and SRP, CFM, TRILL, ECP, congestion notification, MRP's rings, PRP. To a link-local
            // group they come here only where the operator made the port transparent. And what some makers'
            // bridges are told by: Cisco's CDP, VTP and DTP without SNAP, Realtek's remote control, loopback and
            // what is next to it.
            ..0x600
            | 0x8870
            | 0x2000
            | 0x2003
            | 0x2004
            | 0x8899
            | 0x9000..=0x9002
            | 0x88c7
            | 0x88e3
            | 0x88fb
            | 0x22e7
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
            | 0x893b
            | 0x8940
            | 0x8946
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
            // Of any part: the next switch need not look further.
            PIM if !self.guard.roles.querier => return Err(Drop::GuardQuerier),
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
        // started anew meanwhile does not know. The message says the same (RFC 2131, 4.3.6).
        let renews = before_address && ip.proto == UDP && self.guard.learns;
        let renews = renews && be32(ip.upper, 8 + CIADDR) == Some(ip.src);
        let own = self.has4(ip.src) || (ip.src == 0 && before_address) || renews;
        if own { Ok(()) } else { Err(Drop::GuardIp4) }
    }

    #[inline]
    fn ipv6(&mut self, packet: &[u8]) -> Result<(), Drop> {
        let ip = headers::ipv6(packet).map_err(reason)?;
        let mut before_address = false;
        match ip.proto {
            PIM if !self.guard.roles.querier => return Err(Drop::GuardQuerier),
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
    fn dhcp<A: Copy + Into<u128>>(&mut self, ip: &Ip<'_, A>, server: u16, client: u16) -> Result<bool, Drop> {
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
            self.asks4(ip.upper, ip.src.into())?
        } else {
            asks6(ip)?
        }
        // A server would take it from any port. But what gives a lease back has to be understood as what it is
        // by whoever keeps the guest's addresses, too; and clients have a port of their own.
        if from != client {
            return Err(Drop::GuardDhcpClient);
        }
        self.memory.asked = true;
        Ok(true)
    }

    /// RFC 2131, 2: a request, for its own hardware address and no longer one, and passed on by nobody. An
    /// address that is renewed, or given back, is its own, or that which it is sent from.
    fn asks4(&mut self, udp: &[u8], src: u128) -> Result<(), Drop> {
        let message = udp.get(8..).unwrap_or_default();
        let form = be32(message, 0).map(|word| word >> 8);
        let own = form == Some(0x01_0106) && mac(message, 28) == Some(self.src);
        let has = be32(message, CIADDR).ok_or(Drop::GuardDhcpClient)?;
        let own = own && (has == 0 || u128::from(has) == src || self.has4(has));
        if own && be32(message, 24) == Some(0) { Ok(()) } else { Err(Drop::GuardDhcpClient) }
    }

    /// Neighbour discovery (RFC 4861) and multicast listeners (RFC 2710, 3810, 4286). Whether the
    /// message may have the unspecified source.
    fn icmp6(&mut self, ip: &Ip<'_, u128>) -> Result<bool, Drop> {
        let kind = kind(ip)?;
        if ip.part == Part::First && matches!(kind, 130..=138 | 141..=143 | 148 | 149 | 151..=153) {
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
}

/// RFC 8415, 7.3: what clients say about themselves, whatever port it is sent from, and none of all else: a server's
/// or a relay's messages, questions for others' leases (RFC 5007), DHCPv4 inside (RFC 7341), which nobody here would weigh.
/// There is no hardware address in DHCPv6, only identifiers that a server binds. Which message it is must be seen, and be
/// in the packet by its length, which is written anew where a super-frame is cut.
fn asks6<A>(ip: &Ip<'_, A>) -> Result<(), Drop> {
    match ip.upper.get(8).filter(|_| ip.len > 8) {
        None => Err(Drop::GuardHeaders),
        // Solicit, request, confirm, renew, rebind; release, decline, information-request; an address of its own choice
        // (RFC 9686).
        Some(1 | 3..=6 | 8 | 9 | 11 | 36) => Ok(()),
        Some(_) => Err(Drop::GuardDhcpServer),
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
