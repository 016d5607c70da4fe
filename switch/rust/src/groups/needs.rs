//! What a host must be able to say, and to hear, to be a host at all: no rule is asked about that.
//!
//! It says and hears it on its own link, and each message has to look so, or the way would be open for anything that looks
//! a little like it. Neighbour discovery was sent with 255 hops, so no router passed it on (RFC 4861); membership of
//! groups is told with one hop left, and to a group (IGMP: RFC 1112, 2236, 3376, in IPv4 alone; MLD: RFC 2710, 3810), with
//! or without the router alert that old hosts don't send. A guest asks whoever serves DHCP by the address that everybody
//! on the link hears (RFC 2131, RFC 8415); its own server, which may be anywhere, only if its addresses are by DHCP. What
//! servers say comes from anywhere, so it passes for a while after the guest has asked, and never unasked.

use crate::headers::{ICMP6, IGMP, Ip, Part, UDP};
use crate::{Nanos, PortId};

/// What a packet is to a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing that it can't do without.
    Nothing,
    Say,
    Hear,
    Both,
    /// It asks by DHCP: all who are on its link, ...
    AskAll,
    /// ... or one server.
    Ask,
    /// It is told something by DHCP.
    Told,
}

impl Need {
    /// Of a packet with so many `hops` left; `ports` and `number` as in [`Packet`](super::packet::Packet).
    pub(super) fn of(ip: &Ip<'_, u128>, v6: bool, hops: u8, ports: (u16, u16), number: u16) -> Need {
        let to_group = if v6 { ip.dst >> 120 == 0xff } else { ip.dst >> 28 == 0xe };
        match ip.proto {
            // RFC 6980: none of it is in fragments.
            _ if ip.part != Part::Whole => Need::Nothing,
            UDP => dhcp(ip.dst, v6, ports),
            ICMP6 if v6 => match (number >> 8, hops) {
                (133, 255) => Need::Say,
                (134, 255) => Need::Hear,
                (135 | 136, 255) => Need::Both,
                (131 | 132 | 143, 1) if to_group => Need::Say,
                (130, 1) if to_group => Need::Hear,
                _ => Need::Nothing,
            },
            IGMP if !v6 && hops == 1 && to_group => match ip.upper.first() {
                Some(0x12 | 0x16 | 0x17 | 0x22) => Need::Say,
                Some(0x11) => Need::Hear,
                _ => Need::Nothing,
            },
            _ => Need::Nothing,
        }
    }
}

fn dhcp(dst: u128, v6: bool, ports: (u16, u16)) -> Need {
    // Everybody on the link; all servers and relays on it.
    let (server, client, all) = if v6 { (547, 546, 0xff02 << 112 | 0x1_0002) } else { (67, 68, 0xffff_ffff) };
    match ports {
        _ if ports == (client, server) && dst == all => Need::AskAll,
        _ if ports == (client, server) => Need::Ask,
        _ if ports == (server, client) => Need::Told,
        _ => Need::Nothing,
    }
}

/// How long whoever asked may be told: as long as the answer to any other question (`State::New`). It asks again.
const WAITS: Nanos = 30_000_000_000;

/// By port number: until when its guest may be told something by DHCP, of IPv4 and IPv6; 0: it never asked.
#[derive(Debug, Default)]
pub(super) struct Waiting(Vec<[Nanos; 2]>);

impl Waiting {
    /// The guest of a port asked.
    #[cold]
    pub(super) fn asks(&mut self, now: Nanos, port: PortId, v6: bool) {
        let at = usize::from(port);
        if at >= self.0.len() {
            self.0.resize(at + 1, [0; 2]);
        }
        if let Some(until) = self.0.get_mut(at) {
            until[usize::from(v6)] = now.saturating_add(WAITS);
        }
    }

    /// Whether it waits for an answer.
    pub(super) fn waits(&self, now: Nanos, port: PortId, v6: bool) -> bool {
        self.0.get(usize::from(port)).is_some_and(|until| now < until[usize::from(v6)])
    }

    /// Know what is known there.
    pub(super) fn bring(&mut self, from: &Waiting) {
        self.0.clone_from(&from.0);
    }

    /// A port is gone.
    pub(super) fn forget(&mut self, port: PortId) {
        if let Some(until) = self.0.get_mut(usize::from(port)) {
            *until = [0; 2];
        }
    }

    /// Bytes of memory held.
    pub(super) fn memory(&self) -> usize {
        self.0.capacity() * size_of::<[Nanos; 2]>()
    }
}
