//! Addresses that guests get by DHCP: bindings, learned from what servers tell clients.
//!
//! A port whose guard `learns` begins without addresses. A server's acknowledgement that is on its way
//! to it (DHCPv4, RFC 2131; DHCPv6 replies, RFC 8415) binds the address or prefix to the port for the
//! time of the lease; a release, a decline, a negative acknowledgement and the lease's end unbind it.
//! Whose acknowledgements these are need not be asked here: guests that may not serve DHCP had theirs
//! dropped when they sent them.
//!
//! These messages are longer than the private head of a frame, so the engine hands over a copy of the
//! whole. It is a server's or a guest's: every step asks for its bytes, and a port holds no more than
//! `MOST` addresses of each family, in place of which nothing else is forgotten.

use crate::fdb::Flush;
use crate::headers::{self, Part, UDP, be16, be32, be128, mac};
use crate::{Decision, Nanos, Out, PortId, Switch, VlanId};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses of one family that a port holds.
const MOST: usize = 8;
/// A DHCP message in one frame, at the largest MTU that counts.
pub const LONGEST: usize = 2048;
const SECOND: Nanos = 1_000_000_000;

/// A learned address or prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    pub vlan: VlanId,
    pub ip: IpAddr,
    /// 32 or 128 for an address, less for a delegated prefix.
    pub prefix: u8,
    /// When the lease ends; `Nanos::MAX` for never.
    pub until: Nanos,
}

impl Binding {
    fn is_for(&self, vlan: VlanId, ip: IpAddr) -> bool {
        let same = |a: u128, b: u128, width: u8| {
            let off = u32::from(width - self.prefix.min(width));
            a.checked_shr(off).unwrap_or(0) == b.checked_shr(off).unwrap_or(0)
        };
        self.vlan == vlan
            && match (self.ip, ip) {
                (IpAddr::V4(own), IpAddr::V4(ip)) => same(own.to_bits().into(), ip.to_bits().into(), 32),
                (IpAddr::V6(own), IpAddr::V6(ip)) => same(own.to_bits(), ip.to_bits(), 128),
                _ => false,
            }
    }
}

/// What one port has learned.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bindings(Vec<Binding>);

impl Bindings {
    /// Whether `ip` is the guest's in `vlan`.
    pub(crate) fn has(&self, vlan: VlanId, ip: IpAddr) -> bool {
        self.0.iter().any(|binding| binding.is_for(vlan, ip))
    }

    pub(crate) fn all(&self) -> &[Binding] {
        &self.0
    }

    fn bind(&mut self, new: Binding) {
        let of_family = |binding: &&Binding| binding.ip.is_ipv4() == new.ip.is_ipv4();
        let room = self.0.iter().filter(of_family).count() < MOST;
        let known = self.0.iter_mut().find(|b| (b.vlan, b.ip, b.prefix) == (new.vlan, new.ip, new.prefix));
        match known {
            Some(known) => known.until = new.until,
            None if room => self.0.push(new),
            None => {}
        }
    }

    /// Keep those for which `stays` says so; whether any went.
    pub(crate) fn keep(&mut self, stays: impl FnMut(&Binding) -> bool) -> bool {
        let before = self.0.len();
        self.0.retain(stays);
        self.0.len() < before
    }

    fn next(&self) -> Option<Nanos> {
        self.0.iter().map(|binding| binding.until).min().filter(|until| *until != Nanos::MAX)
    }
}

/// What a message says.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    /// A server to the client with this hardware address (none in DHCPv6): (address, prefix, seconds).
    Bound(Option<u64>, Vec<(IpAddr, u8, u32)>),
    /// A server: whatever it had is void.
    Refused(u64),
    /// A client gives these up.
    Gone(Vec<(IpAddr, u8)>),
}

/// Whether a frame, by its first bytes, may be DHCP.
#[inline]
#[must_use]
pub fn is_dhcp(head: &[u8]) -> bool {
    let at = 12 + 4 * tags(head);
    let udp = match be16(head, at) {
        Some(0x0800) => head.get(at + 11) == Some(&UDP),
        Some(0x86dd) => head.get(at + 8) == Some(&UDP),
        _ => false,
    };
    let ports = if be16(head, at) == Some(0x0800) { at + 22 } else { at + 42 };
    udp && matches!((be16(head, ports), be16(head, ports + 2)), (_, Some(67 | 68 | 546 | 547)))
}

fn tags(head: &[u8]) -> usize {
    usize::from(matches!(be16(head, 12), Some(0x8100 | 0x88a8)))
}

/// A message's meaning for bindings, if it has one.
fn said(frame: &[u8]) -> Option<Said> {
    let at = 12 + 4 * tags(frame);
    let packet = frame.get(at + 2..)?;
    match be16(frame, at)? {
        0x0800 => {
            let ip = headers::ipv4(packet).ok().filter(|ip| ip.part == Part::Whole && ip.proto == UDP)?;
            let (from, to) = (be16(ip.upper, 0)?, be16(ip.upper, 2)?);
            v4(ip.upper.get(8..ip.len.min(ip.upper.len()))?, from == 67 && to == 68, from == 68 && to == 67)
        }
        0x86dd => {
            let ip = headers::ipv6(packet).ok().filter(|ip| ip.part == Part::Whole && ip.proto == UDP)?;
            let (from, to) = (be16(ip.upper, 0)?, be16(ip.upper, 2)?);
            v6(ip.upper.get(8..ip.len.min(ip.upper.len()))?, from == 547 && to == 546, to == 547)
        }
        _ => None,
    }
}

/// DHCPv4, RFC 2131.
fn v4(message: &[u8], server: bool, client: bool) -> Option<Said> {
    let (op, hardware) = (*message.first()?, be16(message, 1)?);
    if hardware != 0x0106 || be32(message, 236)? != 0x6382_5363 {
        return None;
    }
    let (mut kind, mut seconds, mut requested) = (0, None, 0);
    let mut options = message.get(240..)?;
    while let Some((&code, rest)) = options.split_first() {
        match code {
            0 => options = rest,
            255 => break,
            _ => {
                let (&len, rest) = rest.split_first()?;
                let (value, rest) = rest.split_at_checked(usize::from(len))?;
                match (code, len) {
                    (53, 1) => kind = value[0],
                    (51, 4) => seconds = be32(value, 0),
                    (50, 4) => requested = be32(value, 0)?,
                    _ => {}
                }
                options = rest;
            }
        }
    }
    let chaddr = mac(message, 28)?;
    let gone = |ip: u32| Said::Gone(vec![(Ipv4Addr::from_bits(ip).into(), 32)]);
    match (op, kind) {
        (2, 5) if server => {
            let yours = Ipv4Addr::from_bits(be32(message, 16)?);
            let host = !yours.is_unspecified()
                && !yours.is_multicast()
                && !yours.is_broadcast()
                && !yours.is_loopback();
            host.then(|| Said::Bound(Some(chaddr), vec![(yours.into(), 32, seconds.unwrap_or(0))]))
        }
        (2, 6) if server => Some(Said::Refused(chaddr)),
        (1, 4) if client => Some(gone(requested)),
        (1, 7) if client => Some(gone(be32(message, 12)?)),
        _ => None,
    }
}

/// DHCPv6, RFC 8415: a reply, or a release or decline.
fn v6(message: &[u8], server: bool, client: bool) -> Option<Said> {
    let kind = *message.first()?;
    let mut found = Vec::new();
    each_option(message.get(4..)?, &mut |code, value| {
        // IA_NA, IA_TA, IA_PD: what precedes the options in them.
        let fixed = match code {
            3 | 25 => 12,
            4 => 4,
            _ => return,
        };
        let inner = value.get(fixed..).unwrap_or_default();
        each_option(inner, &mut |code, value| {
            let lease = match code {
                5 => be128(value, 0).zip(be32(value, 20)).map(|(ip, valid)| (ip, 128, valid)),
                26 => be128(value, 9)
                    .zip(be32(value, 4))
                    .zip(value.get(8))
                    .map(|((ip, valid), len)| (ip, *len, valid)),
                _ => None,
            };
            if let Some((ip, len, valid)) = lease
                && (16..=128).contains(&len)
                && found.len() < MOST
            {
                let ip = Ipv6Addr::from_bits(ip);
                if !ip.is_unspecified()
                    && !ip.is_multicast()
                    && !ip.is_loopback()
                    && !ip.is_unicast_link_local()
                {
                    found.push((IpAddr::V6(ip), len, valid));
                }
            }
        })
        .unwrap_or_default();
    })?;
    match kind {
        7 if server && !found.is_empty() => Some(Said::Bound(None, found)),
        8 | 9 if client => Some(Said::Gone(found.into_iter().map(|(ip, len, _)| (ip, len)).collect())),
        _ => None,
    }
}

/// `None` when an option is cut off.
fn each_option(mut options: &[u8], each: &mut dyn FnMut(u16, &[u8])) -> Option<()> {
    while !options.is_empty() {
        let (code, len) = (be16(options, 0)?, usize::from(be16(options, 2)?));
        each(code, options.get(4..4 + len)?);
        options = &options[4 + len..];
    }
    Some(())
}

impl Switch {
    /// Whether any port's guard learns addresses: only then is `snoop` to be called.
    #[inline]
    #[must_use]
    pub fn snoops(&self) -> bool {
        self.learners > 0
    }

    /// A frame, all of it, that `ingress` sent and that goes where `decision` says: learn from it.
    pub fn snoop(&mut self, now: Nanos, ingress: PortId, decision: &Decision, frame: &[u8]) {
        let vlan = decision.vlan;
        match said(frame) {
            None => {}
            Some(Said::Gone(gone)) => {
                if matches!(decision.out, Out::Port(_) | Out::Flood(_)) {
                    self.unbind(ingress, |binding| {
                        binding.vlan == vlan && gone.contains(&(binding.ip, binding.prefix))
                    });
                }
            }
            Some(Said::Refused(chaddr)) => {
                if let Some(port) = self.learner(ingress, decision, Some(chaddr), frame) {
                    self.unbind(port, |binding| binding.vlan == vlan && binding.ip.is_ipv4());
                }
            }
            Some(Said::Bound(chaddr, leases)) => {
                let Some(port) = self.learner(ingress, decision, chaddr, frame) else { return };
                for (ip, prefix, seconds) in leases {
                    if seconds == 0 {
                        self.unbind(port, |b| (b.vlan, b.ip, b.prefix) == (vlan, ip, prefix));
                        continue;
                    }
                    let until = match seconds {
                        u32::MAX => Nanos::MAX,
                        seconds => now.saturating_add(Nanos::from(seconds) * SECOND),
                    };
                    self.bind(port, Binding { vlan, ip, prefix, until });
                }
            }
        }
    }

    /// The port that a server's message is for: where it goes, if the guest there has the hardware
    /// address that it names (in DHCPv6, that it is sent to).
    fn learner(
        &self,
        ingress: PortId,
        decision: &Decision,
        chaddr: Option<u64>,
        frame: &[u8],
    ) -> Option<PortId> {
        let client = chaddr.or_else(|| mac(frame, 0))?;
        let is_it = |port: PortId| {
            let guard = self.port(port).and_then(|config| config.guard.as_deref());
            port != ingress && guard.is_some_and(|guard| guard.learns && guard.is_first(client))
        };
        match decision.out {
            Out::Port(port) => is_it(port).then_some(port),
            Out::Flood(_) => self.flood_ports(decision.vlan).iter().copied().find(|port| is_it(*port)),
            Out::Group(_) | Out::Report(_) | Out::Local | Out::Answer | Out::Drop(_) => None,
        }
    }

    /// Bind an address to a port whose guard learns; at others nothing happens.
    pub fn bind(&mut self, port: PortId, binding: Binding) {
        let Some(at) = self.ports.get_mut(usize::from(port)).and_then(Option::as_deref_mut) else { return };
        if at.config.guard.as_ref().is_some_and(|guard| guard.learns) {
            at.memory.learned.bind(binding);
            self.leases = self.leases.into_iter().chain([binding.until]).min();
        }
    }

    fn unbind(&mut self, port: PortId, gone: impl Fn(&Binding) -> bool) {
        let at = self.ports.get_mut(usize::from(port)).and_then(Option::as_deref_mut);
        if at.is_some_and(|at| at.memory.unlearn(|binding| !gone(binding))) {
            self.unremember(port);
        }
    }

    /// An address is the guest's no longer: forget whatever was decided from it.
    fn unremember(&mut self, port: PortId) {
        self.fdb.flush(Flush { port: Some(port), vlan: None, fixed: false }, |_| true);
        self.fdb.unbind(port);
        self.fdb.outdate();
    }

    /// What was learned at a port.
    #[must_use]
    pub fn bindings(&self, port: PortId) -> &[Binding] {
        let port = self.ports.get(usize::from(port)).and_then(Option::as_deref);
        port.map_or(&[], |port| port.memory.learned.all())
    }

    /// Forget the leases that have ended.
    pub(crate) fn expire(&mut self, now: Nanos) {
        if self.leases.is_none_or(|at| at > now) {
            return;
        }
        self.leases = None;
        for id in 0..self.ports.len() {
            let Some(port) = self.ports.get_mut(id).and_then(Option::as_deref_mut) else { continue };
            let ended = port.memory.unlearn(|binding| binding.until > now);
            self.leases = self.leases.into_iter().chain(port.memory.learned.next()).min();
            if ended {
                self.unremember(id as PortId);
            }
        }
    }

    /// Count the ports that learn.
    pub(crate) fn count_learners(&mut self) {
        let guards = self.ports.iter().flatten().filter_map(|port| port.config.guard.as_ref());
        self.learners = guards.filter(|guard| guard.learns).count();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{DropReason, Guard, PortConfig, SwitchConfig, View};

    const SERVER: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const CLIENT: [u8; 6] = [2, 0, 0, 0, 0, 2];
    const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 3];
    const IP: u32 = 0x0a00_0007;

    fn udp4(dst: [u8; 6], src: [u8; 6], from_ip: u32, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
        let mut bytes = [dst, src].concat();
        bytes.extend([8, 0, 0x45, 0]);
        bytes.extend((28 + payload.len() as u16).to_be_bytes());
        bytes.extend([0, 0, 0, 0, 64, UDP, 0, 0]);
        bytes.extend(from_ip.to_be_bytes());
        bytes.extend([255; 4]);
        bytes.extend([ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat());
        bytes.extend((8 + payload.len() as u16).to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(payload);
        bytes
    }

    fn bootp(op: u8, ciaddr: u32, yiaddr: u32, chaddr: [u8; 6], options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![op, 1, 6, 0, 0, 0, 0, 1, 0, 0, 0, 0];
        bytes.extend([ciaddr.to_be_bytes(), yiaddr.to_be_bytes()].concat());
        bytes.extend([0; 8]);
        bytes.extend(chaddr);
        bytes.resize(236, 0);
        bytes.extend([0x63, 0x82, 0x53, 0x63]);
        bytes.extend(options);
        bytes
    }

    fn ack(yiaddr: u32, chaddr: [u8; 6], lease: u32) -> Vec<u8> {
        let options = [&[53, 1, 5, 0, 51, 4][..], &lease.to_be_bytes(), &[255]].concat();
        udp4(CLIENT, SERVER, 0x0a00_0001, (67, 68), &bootp(2, 0, yiaddr, chaddr, &options))
    }

    fn data(src: [u8; 6], ip: u32) -> Vec<u8> {
        udp4(SERVER, src, ip, (1000, 2000), &[0; 20])
    }

    /// A server at port 0, a client that has no address yet at 1, somebody else at 2.
    fn lab() -> Switch {
        let mut switch = Switch::new(SwitchConfig::default());
        for (port, mac) in [SERVER, CLIENT, OTHER].into_iter().enumerate() {
            let mut guard = Guard::new(mac);
            guard.roles.dhcp_server = port == 0;
            guard.learns = port != 0;
            if port == 0 {
                guard.add_addresses("10.0.0.1".parse().unwrap(), 32, None, None);
            }
            let config = PortConfig { guard: Some(Box::new(guard)), ..PortConfig::access(5) };
            switch.add_port(port as PortId, config).unwrap();
        }
        switch
    }

    fn send(switch: &mut Switch, now: Nanos, port: PortId, bytes: &[u8]) -> Out {
        switch.tick(now);
        let mut out = [Decision::default()];
        let view = View::plain(&bytes[..bytes.len().min(128)], bytes.len() as u32);
        switch.classify(now, port, [view], &mut out);
        if is_dhcp(view.head) && !matches!(out[0].out, Out::Drop(_)) {
            switch.snoop(now, port, &out[0], bytes);
        }
        out[0].out
    }

    #[track_caller]
    fn is_its(switch: &mut Switch, now: Nanos, port: PortId, frame: &[u8], own: bool) {
        let out = send(switch, now, port, frame);
        assert_eq!(
            out == Out::Drop(DropReason::GuardIp4) || out == Out::Drop(DropReason::GuardIp6),
            !own,
            "{out:?}"
        );
    }

    #[test]
    fn a_lease_makes_an_address_the_guests_until_it_ends() {
        let mut switch = lab();
        is_its(&mut switch, 0, 1, &data(CLIENT, IP), false);
        send(&mut switch, SECOND, 0, &ack(IP, CLIENT, 60));
        is_its(&mut switch, SECOND, 1, &data(CLIENT, IP), true);
        is_its(&mut switch, SECOND, 1, &data(CLIENT, IP + 1), false);
        is_its(&mut switch, SECOND, 2, &data(OTHER, IP), false);
        // Renewed from the address itself, and for longer.
        send(&mut switch, 31 * SECOND, 0, &ack(IP, CLIENT, 60));
        assert_eq!(switch.deadline(), Some(91 * SECOND).min(switch.deadline()));
        is_its(&mut switch, 90 * SECOND, 1, &data(CLIENT, IP), true);
        is_its(&mut switch, 91 * SECOND, 1, &data(CLIENT, IP), false);
        send(&mut switch, 92 * SECOND, 0, &ack(IP, CLIENT, u32::MAX));
        is_its(&mut switch, 1 << 62, 1, &data(CLIENT, IP), true);
    }

    #[test]
    fn a_lease_is_given_back_declined_or_refused() {
        let release = bootp(1, IP, 0, CLIENT, &[53, 1, 7, 255]);
        let decline = bootp(1, 0, 0, CLIENT, &[53, 1, 4, 50, 4, 10, 0, 0, 7, 255]);
        let nak = bootp(2, 0, 0, CLIENT, &[53, 1, 6, 255]);
        for (port, frame) in [
            (1, udp4(SERVER, CLIENT, IP, (68, 67), &release)),
            (1, udp4([255; 6], CLIENT, 0, (68, 67), &decline)),
            (0, udp4([255; 6], SERVER, 0x0a00_0001, (67, 68), &nak)),
        ] {
            let mut switch = lab();
            send(&mut switch, 0, 0, &ack(IP, CLIENT, 60));
            is_its(&mut switch, 1, 1, &data(CLIENT, IP), true);
            assert!(!matches!(send(&mut switch, 2, port, &frame), Out::Drop(_)));
            is_its(&mut switch, 3, 1, &data(CLIENT, IP), false);
        }
    }

    #[test]
    fn nobody_else_binds() {
        let mut switch = lab();
        // A guest that may not serve; an answer to another; and without a lease time.
        let mut forged = ack(IP, CLIENT, 60);
        forged[6..12].copy_from_slice(&OTHER);
        assert_eq!(send(&mut switch, 0, 2, &forged), Out::Drop(DropReason::GuardDhcpServer));
        send(&mut switch, 0, 0, &ack(IP, OTHER, 60));
        send(&mut switch, 0, 0, &ack(0xe000_0001, CLIENT, 60));
        send(&mut switch, 0, 0, &ack(IP, CLIENT, 0));
        is_its(&mut switch, 1, 1, &data(CLIENT, IP), false);
        // Not even itself.
        let own = udp4(
            [255; 6],
            CLIENT,
            0,
            (68, 67),
            &bootp(2, 0, IP, CLIENT, &[53, 1, 5, 51, 4, 0, 0, 1, 0, 255]),
        );
        send(&mut switch, 1, 1, &own);
        assert_eq!(switch.bindings(1), []);
    }

    #[test]
    fn no_more_than_a_few_are_kept_and_no_length_is_believed() {
        let mut switch = lab();
        for n in 0..100 {
            send(&mut switch, 0, 0, &ack(IP + n, CLIENT, 60));
        }
        assert_eq!(switch.bindings(1).len(), MOST);
        let whole = ack(IP, CLIENT, 60);
        for cut in 14..whole.len() {
            switch.snoop(
                0,
                0,
                &Decision { out: Out::Port(1), vlan: 5, ..Decision::default() },
                &whole[..cut],
            );
        }
        for (at, byte) in (0..whole.len()).flat_map(|at| [(at, 0), (at, 0xff)]) {
            let mut broken = whole.clone();
            broken[at] = byte;
            switch.snoop(0, 0, &Decision { out: Out::Port(1), vlan: 5, ..Decision::default() }, &broken);
        }
        assert!(switch.bindings(1).len() <= MOST);
    }

    #[test]
    fn what_is_bound_outlives_another_configuration_but_no_other_guest() {
        let mut switch = lab();
        send(&mut switch, 0, 0, &ack(IP, CLIENT, 60));
        let config = switch.port(1).unwrap().clone();
        switch.set_port(1, PortConfig { mtu: 9000, ..config.clone() }).unwrap();
        is_its(&mut switch, 1, 1, &data(CLIENT, IP), true);
        switch.set_port(1, PortConfig { guard: None, ..config.clone() }).unwrap();
        switch.set_port(1, config.clone()).unwrap();
        is_its(&mut switch, 1, 1, &data(CLIENT, IP), false);
        send(&mut switch, 0, 0, &ack(IP, CLIENT, 60));
        let moved = PortConfig { mode: crate::PortMode::Access(6), ..config };
        switch.set_port(1, moved).unwrap();
        assert_eq!(switch.bindings(1), []);
    }

    #[test]
    fn a_client_asks_for_more_time_from_its_address_before_anybody_knows_it() {
        let mut switch = lab();
        let renew = bootp(1, IP, 0, CLIENT, &[53, 1, 3, 255]);
        let frame = udp4(SERVER, CLIENT, IP, (68, 67), &renew);
        assert!(!matches!(send(&mut switch, 0, 1, &frame), Out::Drop(_)));
    }

    fn udp6(dst: [u8; 6], src: [u8; 6], ports: (u16, u16), message: &[u8]) -> Vec<u8> {
        let local = |mac: [u8; 6]| {
            let [a, b, c, d, e, f] = mac;
            [0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f]
        };
        let mut bytes = [dst, src].concat();
        bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        bytes.extend((8 + message.len() as u16).to_be_bytes());
        bytes.extend([UDP, 64]);
        bytes.extend(local(src));
        bytes.extend(local(dst));
        bytes.extend([ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat());
        bytes.extend((8 + message.len() as u16).to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(message);
        bytes
    }

    fn option6(code: u16, value: &[u8]) -> Vec<u8> {
        [&code.to_be_bytes()[..], &(value.len() as u16).to_be_bytes(), value].concat()
    }

    #[test]
    fn addresses_and_delegated_prefixes_of_dhcpv6() {
        let address: Ipv6Addr = "fd00::7".parse().unwrap();
        let prefix: Ipv6Addr = "fd01:2::".parse().unwrap();
        let message = |kind: u8, valid: u32| {
            let times = [1u32.to_be_bytes(), valid.to_be_bytes()].concat();
            let na = option6(5, &[&address.octets()[..], &times].concat());
            let pd = option6(26, &[&times[..], &[32], &prefix.octets()].concat());
            let mut bytes = vec![kind, 0, 0, 1];
            bytes.extend(option6(1, &[0, 1]));
            bytes.extend(option6(3, &[&[0; 12][..], &na].concat()));
            bytes.extend(option6(25, &[&[0; 12][..], &pd].concat()));
            bytes
        };
        let mut switch = lab();
        send(&mut switch, 0, 0, &udp6(CLIENT, SERVER, (547, 546), &message(7, 60)));
        let bound: Vec<_> = switch.bindings(1).iter().map(|b| (b.ip, b.prefix, b.until)).collect();
        assert_eq!(bound, [(address.into(), 128, 60 * SECOND), (prefix.into(), 32, 60 * SECOND)]);
        assert!(switch.bindings(1)[1].is_for(5, "fd01:2:ffff::9".parse().unwrap()));
        assert!(!switch.bindings(1)[1].is_for(5, "fd01:3::9".parse().unwrap()));
        // Sent by a client, an advertisement's content binds nothing; a release unbinds.
        send(&mut switch, 1, 1, &udp6(SERVER, CLIENT, (546, 547), &message(8, 60)));
        assert_eq!(switch.bindings(1), []);
        send(&mut switch, 2, 0, &udp6(CLIENT, SERVER, (547, 546), &message(2, 60)));
        assert_eq!(switch.bindings(1), []);
        send(&mut switch, 2, 0, &udp6(CLIENT, SERVER, (547, 546), &message(7, 60)));
        send(&mut switch, 3, 0, &udp6(CLIENT, SERVER, (547, 546), &message(7, 0)));
        assert_eq!(switch.bindings(1), [], "a lifetime of 0");
    }
}
