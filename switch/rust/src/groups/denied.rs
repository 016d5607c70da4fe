//! Telling of what was denied: a line now and then, and how many more there were.
//!
//! A port may tell of five packets at once and then of one a second, all ports together of fifty and
//! then of ten. What can't be told is counted in the drops all the same.

use super::packet::{Packet, ends};
use crate::headers::{ICMP, ICMP6, TCP, UDP};
use crate::{DropReason, Nanos, PortId};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const SECOND: Nanos = 1_000_000_000;
const AT_ONCE: u32 = 5;
const ALL_AT_ONCE: u32 = 50;
const ALL_A_SECOND: u32 = 10;

/// What may be told.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: u32,
    since: Nanos,
}

impl Bucket {
    fn take(&mut self, now: Nanos, a_second: u32, most: u32) -> bool {
        let seconds = now.saturating_sub(self.since) / SECOND;
        if seconds > 0 {
            let more = u32::try_from(seconds).unwrap_or(u32::MAX).saturating_mul(a_second);
            self.left = self.left.saturating_add(more).min(most);
            self.since = now;
        }
        let some = self.left > 0;
        self.left = self.left.saturating_sub(1);
        some
    }
}

#[derive(Clone, Debug)]
struct Teller {
    bucket: Bucket,
    untold: u64,
}

/// What was denied and is worth a line.
#[derive(Clone, Debug)]
pub(super) struct Denied {
    all: Bucket,
    ports: Vec<Teller>,
    lines: Vec<(PortId, String)>,
}

impl Denied {
    pub(super) fn new() -> Denied {
        Denied { all: Bucket { left: ALL_AT_ONCE, since: 0 }, ports: vec![], lines: vec![] }
    }

    /// The rules of `port`, or what they know of connections, denied a packet.
    #[cold]
    pub(super) fn note(&mut self, now: Nanos, port: PortId, reason: DropReason, packet: Option<&Packet>) {
        let at = usize::from(port);
        if at >= self.ports.len() {
            let new = || Teller { bucket: Bucket { left: AT_ONCE, since: now }, untold: 0 };
            self.ports.resize_with(at + 1, new);
        }
        let Some(teller) = self.ports.get_mut(at) else { return };
        if self.lines.len() >= ALL_AT_ONCE as usize
            || !teller.bucket.take(now, 1, AT_ONCE)
            || !self.all.take(now, ALL_A_SECOND, ALL_AT_ONCE)
        {
            teller.untold += 1;
            return;
        }
        let more = match std::mem::take(&mut teller.untold) {
            0 => String::new(),
            n => format!("; {n} more before it"),
        };
        let what = packet.map_or_else(|| "a frame that is no IP".into(), described);
        self.lines.push((port, format!("denied ({}) {what}{more}", reason.name())));
    }

    /// The lines that wait.
    #[inline]
    pub(super) fn take(&mut self) -> Vec<(PortId, String)> {
        std::mem::take(&mut self.lines)
    }

    #[inline]
    pub(super) fn any(&self) -> bool {
        !self.lines.is_empty()
    }
}

/// An address as people write it.
pub(super) fn address(v6: bool, ip: u128) -> IpAddr {
    if v6 { Ipv6Addr::from(ip).into() } else { Ipv4Addr::from(ip as u32).into() }
}

/// A protocol as people call it.
pub(super) fn protocol(proto: u8) -> String {
    match proto {
        ICMP => "icmp".into(),
        TCP => "tcp".into(),
        UDP => "udp".into(),
        ICMP6 => "icmp6".into(),
        132 => "sctp".into(),
        n => format!("protocol {n}"),
    }
}

/// `tcp 10.0.0.1:1234 -> 10.0.0.2:22`.
fn described(packet: &Packet) -> String {
    let (_, proto, _, both) = ends(&packet.key);
    let (source, target) = (address(packet.v6, packet.source), address(packet.v6, packet.target));
    let name = protocol(packet.proto);
    match packet.proto {
        ICMP | ICMP6 => {
            let (kind, code) = (packet.number >> 8, packet.number & 0xff);
            format!("{name} type {kind} code {code} {source} -> {target}")
        }
        TCP | UDP | 33 | 132 | 136 if proto == packet.proto => {
            let from = both.get(packet.from).map_or(0, |end| end.1);
            let to = packet.number;
            let end = |ip: IpAddr, port: u16| {
                if packet.v6 { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
            };
            format!("{name} {} -> {}", end(source, from), end(target, to))
        }
        _ => format!("{name} {source} -> {target}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_of_now_and_then() {
        let mut denied = Denied::new();
        let mut lines = 0;
        for n in 0..100_000_u64 {
            denied.note(n * SECOND / 10_000, 3, DropReason::GroupIngress, None);
            lines += denied.take().len();
        }
        assert_eq!(lines, 5 + 9);
    }

    #[test]
    fn many_ports_are_told_of_together() {
        let mut denied = Denied::new();
        for port in 0..1000 {
            denied.note(0, port, DropReason::GroupIngress, None);
        }
        assert_eq!(denied.take().len(), 50);
        denied.note(SECOND, 3, DropReason::GroupIngress, None);
        assert!(denied.any());
    }
}
