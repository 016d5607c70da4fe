//! What the switch asks: general queries, and queries about one group, of IGMPv3 and MLDv2. Hosts of older
//! versions read them as their own (RFC 3376, 7.2.1; RFC 3810, 8.2.1).

use super::message::code;
use crate::headers::sum;
use crate::{Mac, Nanos, PortId, VlanId};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest of them.
pub(super) const LONGEST: usize = 90;
/// Robustness: each is said twice (RFC 3376, 8.1).
pub(super) const ROBUSTNESS: u8 = 2;

/// A query on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    pub vlan: VlanId,
    /// The port that it leaves by; `None`: all of its VLAN.
    pub port: Option<PortId>,
    frame: [u8; LONGEST],
    len: usize,
}

impl Query {
    /// The frame, without VLAN tag.
    #[must_use]
    pub fn frame(&self) -> &[u8] {
        &self.frame[..self.len]
    }
}

/// What it is about, and who asks.
pub(super) struct Asking {
    pub mac: Mac,
    pub source: IpAddr,
    /// `None`: all groups.
    pub group: Option<IpAddr>,
    pub response: Nanos,
    pub interval: Nanos,
}

pub(super) fn query(vlan: VlanId, port: Option<PortId>, asking: &Asking) -> Query {
    let mut query = Query { vlan, port, frame: [0; LONGEST], len: 0 };
    let bytes = match asking.source {
        IpAddr::V4(source) => igmp(asking, source),
        IpAddr::V6(source) => mld(asking, source),
    };
    query.len = bytes.len().min(LONGEST);
    query.frame[..query.len].copy_from_slice(&bytes[..query.len]);
    query
}

fn interval(asking: &Asking) -> u8 {
    code(asking.interval / 1_000_000_000)
}

/// RFC 3376, 4 and 4.1.
fn igmp(asking: &Asking, source: Ipv4Addr) -> Vec<u8> {
    let group = match asking.group {
        Some(IpAddr::V4(group)) => group,
        _ => Ipv4Addr::UNSPECIFIED,
    };
    let to = if group.is_unspecified() { Ipv4Addr::new(224, 0, 0, 1) } else { group };
    let [_, b, c, d] = to.octets();
    let mut bytes = vec![1, 0, 0x5e, b & 0x7f, c, d];
    bytes.extend(asking.mac);
    bytes.extend([8, 0]);
    // With the router alert option (RFC 2113), internetwork control.
    let mut ip = vec![0x46, 0xc0, 0, 36, 0, 0, 0, 0, 1, 2, 0, 0];
    ip.extend(source.octets());
    ip.extend(to.octets());
    ip.extend([0x94, 4, 0, 0]);
    seal(&mut ip, 10, 0);
    let mut igmp = vec![0x11, code(asking.response / 100_000_000), 0, 0];
    igmp.extend(group.octets());
    igmp.extend([ROBUSTNESS, interval(asking), 0, 0]);
    seal(&mut igmp, 2, 0);
    bytes.extend(ip);
    bytes.extend(igmp);
    bytes.resize(60, 0);
    bytes
}

/// RFC 3810, 5 and 5.1.
fn mld(asking: &Asking, source: Ipv6Addr) -> Vec<u8> {
    let group = match asking.group {
        Some(IpAddr::V6(group)) => group,
        _ => Ipv6Addr::UNSPECIFIED,
    };
    let to = if group.is_unspecified() { Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1) } else { group };
    let mut bytes = vec![0x33, 0x33];
    bytes.extend(&to.octets()[12..]);
    bytes.extend(asking.mac);
    bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 36, 0, 1]);
    bytes.extend(source.octets());
    bytes.extend(to.octets());
    // Hop-by-hop options with the router alert (RFC 2711).
    bytes.extend([58, 0, 5, 2, 0, 0, 1, 0]);
    let mut mld = vec![130, 0, 0, 0];
    // Below 32,768 ms the code is the number (5.1.3).
    mld.extend((((asking.response / 1_000_000).min(32_767)) as u16).to_be_bytes());
    mld.extend([0, 0]);
    mld.extend(group.octets());
    mld.extend([ROBUSTNESS, interval(asking), 0, 0]);
    let addresses = sum(&to.octets(), u32::from(sum(&source.octets(), 0)));
    let pseudo = u32::from(addresses) + mld.len() as u32 + 58;
    seal(&mut mld, 2, pseudo);
    bytes.extend(mld);
    bytes
}

/// Put the checksum in at `at`.
fn seal(bytes: &mut [u8], at: usize, pseudo: u32) {
    let sum = !sum(bytes, pseudo);
    bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}
