//! Which groups the guest listens to, and telling routers and snooping switches about it.
//!
//! Reports are IGMPv3 (RFC 3376) and MLDv2 (RFC 3810), whose records look alike; a querier that
//! speaks an older version is answered in its own. Sources are never filtered.

use super::address::{group_mac, solicited_node};
use super::guest::Guest;
use super::outbox::Outbox;
use super::packet::{ETH, ICMPV6, IGMP, Mac, Packet, pseudo, seal_v4, write_ethernet};
use crate::offload::checksum::{self, sum};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use switch::Nanos;

/// Groups a guest may be in; the solicited-node groups of its addresses come on top.
pub const GROUPS_MAX: usize = 64;

const ALL_SYSTEMS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// What a record or message says about a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Report {
    Join,
    Leave,
    /// An answer to a query.
    Current,
    /// An answer to a query of IGMPv2 or MLDv1.
    Old,
}

#[derive(Debug, Default)]
pub struct Multicast {
    /// How many sockets listen to each group; the guest itself counts as one.
    groups: BTreeMap<IpAddr, u32>,
    /// What is to be told, and when.
    reports: BTreeMap<IpAddr, (Nanos, Report)>,
    /// The filter is not what it was.
    pub changed: bool,
}

/// The bit of a group's MAC address in a filter of 64, as Ethernet adapters have.
#[must_use]
pub fn filter_bit(mac: Mac) -> u64 {
    let hash = mac.iter().fold(0u32, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    1 << (hash >> 26)
}

impl Multicast {
    pub fn has(&self, group: IpAddr) -> bool {
        group == ALL_SYSTEMS || group == ALL_NODES || self.groups.contains_key(&group)
    }

    /// All frames of groups that matter pass this filter, and few others.
    pub fn filter(&self) -> u64 {
        let always = [IpAddr::V4(ALL_SYSTEMS), IpAddr::V6(ALL_NODES)];
        always.iter().chain(self.groups.keys()).fold(0, |bits, &group| bits | filter_bit(group_mac(group)))
    }

    pub fn len(&self) -> usize {
        self.groups.len()
    }

    pub fn deadline(&self) -> Option<Nanos> {
        self.reports.values().map(|&(at, _)| at).min()
    }
}

impl Guest {
    pub(super) fn join_solicited_nodes(&mut self) {
        let nets = self.addressing.nets().to_vec();
        for net in nets {
            if let IpAddr::V6(v6) = net.address {
                self.join(solicited_node(v6).into());
            }
        }
    }

    pub(super) fn join(&mut self, group: IpAddr) {
        let count = self.multicast.groups.entry(group).or_default();
        *count += 1;
        if *count == 1 {
            self.multicast.changed = true;
            self.multicast.reports.insert(group, (self.now, Report::Join));
        }
    }

    pub(super) fn leave(&mut self, group: IpAddr) {
        if let Some(count) = self.multicast.groups.get_mut(&group) {
            *count -= 1;
            if *count == 0 {
                self.multicast.groups.remove(&group);
                self.multicast.changed = true;
                self.multicast.reports.insert(group, (self.now, Report::Leave));
            }
        }
    }

    /// Tell about all groups again.
    pub(super) fn report_groups(&mut self) {
        for &group in self.multicast.groups.keys() {
            self.multicast.reports.insert(group, (self.now, Report::Join));
        }
    }

    /// A query: have the groups reported at random times within `delay`.
    fn queried(&mut self, group: IpAddr, delay: Nanos, report: Report) {
        let groups: Vec<IpAddr> = self.multicast.groups.keys().copied().collect();
        for member in groups {
            if member.is_ipv4() == group.is_ipv4() && (group.is_unspecified() || group == member) {
                let at = self.now + self.random.below(delay);
                let entry = self.multicast.reports.entry(member).or_insert((at, report));
                if entry.1 != Report::Join {
                    *entry = (entry.0.min(at), report);
                }
            }
        }
    }

    pub(super) fn igmp_in(&mut self, packet: &Packet<'_>) {
        let Some(query) = packet.payload.first_chunk::<8>() else { return };
        if query[0] != 0x11 || packet.hop_limit != 1 || checksum::fold(sum(packet.payload)) != 0xffff {
            return;
        }
        let group = IpAddr::from([query[4], query[5], query[6], query[7]]);
        let v3 = packet.payload.len() >= 12;
        // In tenths of a second; from 128 on a floating point number (RFC 3376, 4.1.1).
        let tenths = match query[1] {
            0 => 100,
            code if v3 && code >= 128 => u64::from(code & 15 | 16) << ((code >> 4 & 7) + 3),
            code => u64::from(code),
        };
        self.queried(group, tenths * 100_000_000, if v3 { Report::Current } else { Report::Old });
    }

    /// A query of MLD whose checksum is right.
    pub(super) fn mld_in(&mut self, packet: &Packet<'_>) {
        let Some(query) = packet.payload.first_chunk::<24>() else { return };
        let IpAddr::V6(src) = packet.src else { return };
        if packet.hop_limit != 1 || !src.is_unicast_link_local() {
            return;
        }
        let group = Ipv6Addr::from(query[8..].first_chunk::<16>().copied().unwrap_or_default());
        let v2 = packet.payload.len() >= 28;
        let code = u16::from_be_bytes([query[4], query[5]]);
        let millis = match code {
            0x8000.. if v2 => u64::from(code & 0xfff | 0x1000) << ((code >> 12 & 7) + 3),
            _ => u64::from(code),
        };
        self.queried(group.into(), millis * 1_000_000, if v2 { Report::Current } else { Report::Old });
    }

    pub(super) fn tick_multicast(&mut self, out: &mut Outbox<'_>) {
        while let Some((&group, &(_, report))) =
            self.multicast.reports.iter().find(|(_, (at, _))| *at <= self.now)
        {
            self.multicast.reports.remove(&group);
            self.report(group, report, out);
        }
    }

    fn report(&mut self, group: IpAddr, report: Report, out: &mut Outbox<'_>) {
        // Types of group records (RFC 3376, 4.2.12).
        let record = match report {
            Report::Join => 4,
            Report::Leave => 3,
            Report::Current | Report::Old => 2,
        };
        let (dst, body) = match (group, report) {
            (IpAddr::V4(v4), Report::Old) => (group, [&[0x16, 0, 0, 0][..], &v4.octets()].concat()),
            (IpAddr::V6(v6), Report::Old) => {
                (group, [&[131, 0, 0, 0, 0, 0, 0, 0][..], &v6.octets()].concat())
            }
            (IpAddr::V4(v4), _) => {
                let body = [&[0x22, 0, 0, 0, 0, 0, 0, 1, record, 0, 0, 0][..], &v4.octets()].concat();
                (Ipv4Addr::new(224, 0, 0, 22).into(), body)
            }
            (IpAddr::V6(v6), _) => {
                let body = [&[143, 0, 0, 0, 0, 0, 0, 1, record, 0, 0, 0][..], &v6.octets()].concat();
                (Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16).into(), body)
            }
        };
        // A guest without an IPv4 address has no groups to speak of; IPv6 always has its link-local.
        let Some(src) = self.addressing.source(if dst.is_ipv4() { dst } else { ALL_NODES.into() }) else {
            return;
        };
        let frame = membership(self.addressing.mac, src, dst, body);
        self.launch_frame(out, frame);
    }
}

/// A membership message in a frame. Routers look at it by its router alert (RFC 2113, RFC 2711).
fn membership(mac: Mac, src: IpAddr, dst: IpAddr, mut body: Vec<u8>) -> Box<[u8]> {
    let header = if dst.is_ipv4() { 24 } else { 48 };
    let mut frame = vec![0; ETH + header];
    write_ethernet(&mut frame, mac, group_mac(dst), dst.is_ipv4());
    let ip = &mut frame[ETH..];
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let check = checksum::finish(sum(&body));
            body[2..4].copy_from_slice(&check);
            ip[..4].copy_from_slice(&[0x46, 0xc0, 0, (24 + body.len()) as u8]);
            ip[6] = 0x40;
            ip[8..10].copy_from_slice(&[1, IGMP]);
            ip[12..16].copy_from_slice(&src.octets());
            ip[16..20].copy_from_slice(&dst.octets());
            ip[20..24].copy_from_slice(&[0x94, 4, 0, 0]);
            seal_v4(ip);
        }
        (IpAddr::V6(source), IpAddr::V6(group)) => {
            let check = checksum::finish(pseudo(src, dst, ICMPV6, body.len()) + sum(&body));
            body[2..4].copy_from_slice(&check);
            ip[..8].copy_from_slice(&[0x60, 0, 0, 0, 0, (8 + body.len()) as u8, 0, 1]);
            ip[8..24].copy_from_slice(&source.octets());
            ip[24..40].copy_from_slice(&group.octets());
            ip[40..48].copy_from_slice(&[ICMPV6, 0, 5, 2, 0, 0, 1, 0]);
        }
        _ => {}
    }
    frame.extend(body);
    frame.into()
}
