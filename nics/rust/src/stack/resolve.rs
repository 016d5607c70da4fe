//! ARP (RFC 826, RFC 5227) and neighbour discovery (RFC 4861): what is asked, answered and learned.
//!
//! A guest answers for its own addresses only, and remembers only who it asked for or who asked for
//! it. It does not look for duplicates before it uses an address (RFC 4862, 5.4): its addresses are
//! given by whoever plans the network, and a guard at the port is what stops others from taking them.
//! Router advertisements and redirects are not listened to: gateways are given, too.

use super::address::{Class, Hop, solicited_node};
use super::guest::Guest;
use super::neighbour::Due;
use super::outbox::Outbox;
use super::packet::{ETH, Header, ICMPV6, Mac, Packet, pseudo};
use super::sockets::{Socket, StackError};
use crate::offload::checksum::{self, sum};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const BROADCAST: Mac = [0xff; 6];
const REQUEST: u8 = 1;
const REPLY: u8 = 2;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// Flags of an advertisement.
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;
const SOURCE_ADDRESS: u8 = 1;
const TARGET_ADDRESS: u8 = 2;

impl Guest {
    pub(super) fn arp_in(&mut self, arp: &[u8], out: &mut Outbox<'_>) {
        // Ethernet, IPv4, six and four bytes.
        let Some(arp) = arp.first_chunk::<28>() else { return };
        let [0, 1, 8, 0, 6, 4, 0, operation, rest @ ..] = arp else { return };
        let [m0, m1, m2, m3, m4, m5, s0, s1, s2, s3, _, _, _, _, _, _, t0, t1, t2, t3] = *rest;
        let mac = [m0, m1, m2, m3, m4, m5];
        let (sender, target) = (Ipv4Addr::new(s0, s1, s2, s3), Ipv4Addr::new(t0, t1, t2, t3));
        if !matches!(*operation, REQUEST | REPLY) || mac[0] & 1 != 0 || mac == self.addressing.mac {
            return;
        }
        let for_us = !target.is_loopback() && self.addressing.has(target.into());
        // A sender of 0.0.0.0 only probes whether the address is free.
        if !sender.is_unspecified() {
            self.learn(sender.into(), mac, for_us && *operation == REQUEST, out);
        }
        if for_us && *operation == REQUEST {
            let frame = self.arp(REPLY, target, mac, (mac, sender));
            self.launch_frame(out, frame);
        }
    }

    /// An ARP frame from `source` to the station `dst`.
    fn arp(&self, operation: u8, source: Ipv4Addr, dst: Mac, target: (Mac, Ipv4Addr)) -> Box<[u8]> {
        let mut frame = Vec::with_capacity(ETH + 28);
        frame.extend(dst);
        frame.extend(self.addressing.mac);
        frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, operation]);
        frame.extend(self.addressing.mac);
        frame.extend(source.octets());
        frame.extend(target.0);
        frame.extend(target.1.octets());
        frame.into()
    }

    /// Somebody said that `address` is at `mac`.
    fn learn(&mut self, address: IpAddr, mac: Mac, asked_us: bool, out: &mut Outbox<'_>) {
        if self.addressing.has(address) {
            if !std::mem::replace(&mut self.conflict_told, true) {
                let text = mac.map(|byte| format!("{byte:02x}")).join(":");
                self.log =
                    Some(format!("another station, {text}, says that it has this guest's address {address}"));
            }
            return;
        }
        if self.addressing.class(address) == Class::Elsewhere && self.addressing.on_link(address) {
            let parked = self.neighbours.learn(address, mac, asked_us, self.now);
            self.release(parked, out);
        }
    }

    /// Ask for the MAC address of `address`: everybody, or only `who`.
    pub(super) fn ask(&mut self, address: IpAddr, who: Option<Mac>, out: &mut Outbox<'_>) {
        let Some(source) = self.addressing.source(address) else { return };
        match (address, source) {
            (IpAddr::V4(address), IpAddr::V4(source)) => {
                let frame = self.arp(REQUEST, source, who.unwrap_or(BROADCAST), ([0; 6], address));
                self.launch_frame(out, frame);
            }
            (IpAddr::V6(address), IpAddr::V6(source)) => {
                let dst = if who.is_some() { address } else { solicited_node(address) };
                let body = self.discovery(SOLICITATION, 0, address, SOURCE_ADDRESS);
                self.send_discovery(source, dst, body, out);
            }
            _ => {}
        }
    }

    /// The body of a solicitation or advertisement, with our MAC address as its option.
    fn discovery(&self, kind: u8, flags: u8, target: Ipv6Addr, option: u8) -> [u8; 32] {
        let mut body = [0; 32];
        body[0] = kind;
        body[4] = flags;
        body[8..24].copy_from_slice(&target.octets());
        body[24..26].copy_from_slice(&[option, 1]);
        body[26..].copy_from_slice(&self.addressing.mac);
        body
    }

    fn send_discovery(&mut self, src: Ipv6Addr, dst: Ipv6Addr, mut body: [u8; 32], out: &mut Outbox<'_>) {
        let header = Header { hop_limit: 255, ..Header::new(src.into(), dst.into(), ICMPV6) };
        let total = pseudo(header.src, header.dst, ICMPV6, body.len()) + sum(&body);
        body[2..4].copy_from_slice(&checksum::finish(total));
        self.send(out, header, body.len(), |payload| payload.copy_from_slice(&body));
    }

    /// A neighbour solicitation or advertisement whose checksum is right.
    pub(super) fn discovery_in(&mut self, packet: &Packet<'_>, out: &mut Outbox<'_>) {
        let (IpAddr::V6(src), IpAddr::V6(dst)) = (packet.src, packet.dst) else { return };
        let Some((body, options)) = packet.payload.split_first_chunk::<24>() else { return };
        let target = Ipv6Addr::from(body[8..].first_chunk::<16>().copied().unwrap_or_default());
        // What a router would have forwarded is not from this link (RFC 4861, 7.1).
        if packet.hop_limit != 255 || body[1] != 0 || target.is_multicast() {
            return;
        }
        if body[0] == SOLICITATION {
            if !self.addressing.has(target.into()) || target.is_loopback() {
                return;
            }
            let Some(mac) = link_address(options, SOURCE_ADDRESS) else { return };
            if src.is_unspecified() {
                // Somebody is about to take this address; the answer goes to all (7.2.4).
                let body = self.discovery(ADVERTISEMENT, OVERRIDE, target, TARGET_ADDRESS);
                self.send_discovery(target, Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), body, out);
                return;
            }
            if let Some(mac) = mac {
                self.learn(src.into(), mac, true, out);
            }
            let body = self.discovery(ADVERTISEMENT, SOLICITED | OVERRIDE, target, TARGET_ADDRESS);
            self.send_discovery(target, src, body, out);
        } else {
            let Some(mac) = link_address(options, TARGET_ADDRESS) else { return };
            if dst.is_multicast() && body[4] & SOLICITED != 0 {
                return;
            }
            // A solicited answer to a question of one station may leave its address out.
            let address = IpAddr::V6(target);
            if let Some(mac) = mac.or_else(|| self.neighbours.mac(address)) {
                let known = self.neighbours.mac(address);
                // Without the override flag nothing known is changed, only no longer believed (7.2.5).
                if known.is_none_or(|known| known == mac) || body[4] & OVERRIDE != 0 {
                    self.learn(address, mac, false, out);
                } else {
                    self.neighbours.doubt(address, self.now);
                }
            }
        }
    }

    pub(super) fn tick_neighbours(&mut self, out: &mut Outbox<'_>) {
        if self.neighbours.deadline().is_none_or(|at| at > self.now) {
            return;
        }
        for due in self.neighbours.tick(self.now) {
            match due {
                Due::Ask(address, who) => self.ask(address, who, out),
                Due::Failed(hop, _) => self.neighbour_failed(hop),
            }
        }
    }

    /// Nobody has `hop`: whoever waits for an answer by way of it is told.
    fn neighbour_failed(&mut self, hop: IpAddr) {
        let through = |guest: &Guest, to: IpAddr| guest.addressing.hop(to) == Hop::Neighbour(hop);
        for id in self.sockets.ids() {
            let waits_for = match self.sockets.get(id) {
                Some(Socket::Tcp(conn)) => conn.connecting_to(),
                Some(Socket::Udp(udp)) => udp.waits_for(),
                Some(Socket::Ping(ping)) => Some(ping.target),
                _ => None,
            };
            if waits_for.is_some_and(|to| through(self, to)) {
                self.unreachable(id, StackError::HostUnreachable);
            }
        }
    }

    /// Tell the link which addresses are here, when that is due (RFC 5227, 3; RFC 4861, 7.2.6).
    pub(super) fn tick_announcement(&mut self, out: &mut Outbox<'_>) {
        if !std::mem::take(&mut self.announcing) {
            return;
        }
        let addresses: Vec<IpAddr> = self.addressing.nets().iter().map(|net| net.address).collect();
        for address in addresses {
            match address {
                IpAddr::V4(v4) => {
                    let frame = self.arp(REQUEST, v4, BROADCAST, ([0; 6], v4));
                    self.launch_frame(out, frame);
                }
                IpAddr::V6(v6) => {
                    let body = self.discovery(ADVERTISEMENT, OVERRIDE, v6, TARGET_ADDRESS);
                    self.send_discovery(v6, Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), body, out);
                }
            }
        }
        self.report_groups();
    }
}

/// The MAC address in the option `kind`; the outer `None` when the options are malformed.
#[allow(clippy::option_option)]
fn link_address(mut options: &[u8], kind: u8) -> Option<Option<Mac>> {
    let mut found = None;
    while !options.is_empty() {
        let len = usize::from(*options.get(1)?) * 8;
        let option = options.get(..len).filter(|option| !option.is_empty())?;
        if option[0] == kind && len == 8 {
            let mac = option.last_chunk::<6>().copied()?;
            found = (mac[0] & 1 == 0).then_some(mac);
        }
        options = &options[len..];
    }
    Some(found)
}
